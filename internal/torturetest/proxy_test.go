package torturetest

import (
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// proxy is the network between the nodes. It listens on one address and connects to
// another, which may change.
type proxy struct {
	listener net.Listener
	ledger   *ledger
	faulty   atomic.Bool // do harm
	done     sync.WaitGroup

	mu     sync.Mutex // guards what follows
	rng    *rand.Rand
	target string
	open   map[net.Conn]bool
	closed bool
}

func startProxy(t *testing.T, rng *rand.Rand, l *ledger) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener, ledger: l, rng: rng, open: make(map[net.Conn]bool)}
	p.done.Go(p.accept)
	return p
}

func (p *proxy) url() string { return "http://" + p.listener.Addr().String() }

func (p *proxy) setTarget(address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = address
}

// stop ends everything.
func (p *proxy) stop() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	_ = p.listener.Close()
	p.cut()
	p.done.Wait()
}

// cut resets all connections.
func (p *proxy) cut() (connections int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.open {
		reset(conn)
	}
	return len(p.open) / 2
}

func (p *proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			p.done.Go(func() { p.serve(conn) })
		}
	}
}

// serve connects a connection to the target and copies both ways until one of them
// ends.
func (p *proxy) serve(replica net.Conn) {
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	primary, err := net.DialTimeout("tcp", target, time.Second)
	if err != nil {
		reset(replica)
		return
	}
	if !p.register(replica, primary) {
		return
	}
	p.ledger.count("connections", 1)
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{replica, primary}, {primary, replica}} {
		both.Go(func() {
			p.copy(way[1], way[0])
			_ = replica.Close()
			_ = primary.Close()
		})
	}
	both.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, replica)
	delete(p.open, primary)
}

func (p *proxy) register(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range conns {
		if p.closed {
			_ = conn.Close()
		} else {
			p.open[conn] = true
		}
	}
	return !p.closed
}

// The faults of a connection.
const (
	faultNone  = iota
	faultReset // reset the connection
	faultEnd   // end it in order, in the middle of something
	faultFlip  // change a bit
	faultStall // let nothing through for a while
)

// fault is what happens to one direction of a connection, once.
type fault struct {
	kind  int
	after int // bytes
	bit   int
}

// plan decides on the next fault. Most come early: connections are never long quiet.
func (p *proxy) plan() fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	return fault{p.rng.IntN(faultStall + 1), p.rng.IntN(1 << (4 + p.rng.IntN(16))), p.rng.IntN(8)}
}

// delay returns how long to keep some bytes back.
func (p *proxy) delay() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rng.IntN(50) > 0 {
		return 0
	}
	return time.Duration(p.rng.IntN(100)) * time.Millisecond
}

// copy copies one direction, with faults.
func (p *proxy) copy(dst, src net.Conn) {
	b := make([]byte, 16<<10)
	for next := p.plan(); ; {
		n, err := src.Read(b)
		if err != nil {
			return
		}
		data := b[:n]
		if p.faulty.Load() {
			time.Sleep(p.delay())
			if next.after >= n {
				next.after -= n
			} else {
				if data = p.harm(next, data, dst); data == nil {
					return
				}
				next = p.plan()
			}
		}
		if _, err := dst.Write(data); err != nil {
			return
		}
	}
}

// harm does to data, which is on its way to dst, what the fault is. It returns what
// is to be sent, nil if that is the end of the connection.
func (p *proxy) harm(f fault, data []byte, dst net.Conn) []byte {
	switch f.kind {
	case faultReset:
		p.ledger.count("connections reset", 1)
		reset(dst)
		return nil
	case faultEnd:
		p.ledger.count("connections ended early", 1)
		_, _ = dst.Write(data[:f.after]) // the caller closes it
		return nil
	case faultFlip:
		p.ledger.count("bits flipped", 1)
		data[f.after] ^= 1 << f.bit
	case faultStall:
		p.ledger.count("connections stalled", 1)
		time.Sleep(time.Duration(f.bit) * 500 * time.Millisecond) // a silent peer is given up after 3 s
	}
	return data
}

// reset closes a connection such that the other side gets an error.
func reset(conn net.Conn) {
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.Close()
}
