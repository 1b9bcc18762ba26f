package redis_test

import (
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"litefs"
	"litefs/leaser/redis"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	// testTTL is short enough to wait for, and long enough for a busy machine.
	testTTL = 2 * time.Second
	// callTimeout is longer than any call takes that is answered.
	callTimeout = 10 * time.Second
)

var (
	nodeA = litefs.PrimaryInfo{Hostname: "a", AdvertiseURL: "http://a:20202"}
	nodeB = litefs.PrimaryInfo{Hostname: "b", AdvertiseURL: "http://b:20202"}
)

// open returns a node's leaser, with what change says of its configuration.
func open(t *testing.T, url string, node litefs.PrimaryInfo, change ...func(*redis.Config)) *redis.Leaser {
	t.Helper()
	config := redis.Config{
		URL: url, Key: "litefs/primary", TTL: testTTL, CallTimeout: callTimeout,
		Hostname: node.Hostname, AdvertiseURL: node.AdvertiseURL,
	}
	for _, fn := range change {
		fn(&config)
	}
	leaser, err := redis.NewLeaser(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := leaser.Close(); err != nil {
			t.Errorf("close leaser: %v", err)
		}
	})
	return leaser
}

func key(name string) func(*redis.Config) {
	return func(c *redis.Config) { c.Key = name }
}

func ttl(d time.Duration) func(*redis.Config) {
	return func(c *redis.Config) { c.TTL = d }
}

func minEpoch(epoch uint64) func(*redis.Config) {
	return func(c *redis.Config) { c.MinEpoch = func() uint64 { return epoch } }
}

// connect returns a client of its own for the server at addr.
func connect(t *testing.T, addr string) *goredis.Client {
	t.Helper()
	client := goredis.NewClient(&goredis.Options{Addr: addr})
	t.Cleanup(func() { client.Close() })
	return client
}

// command runs a command and returns an error if it fails.
func command(t *testing.T, client *goredis.Client, args ...any) {
	t.Helper()
	if err := client.Do(t.Context(), args...).Err(); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
}

func acquire(t *testing.T, leaser *redis.Leaser) litefs.Lease {
	t.Helper()
	lease, err := leaser.Acquire(t.Context())
	if err != nil {
		t.Fatalf("Acquire: %v", err)
	}
	return lease
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// proxy is a TCP proxy to one server at a time.
type proxy struct {
	listener net.Listener
	running  sync.WaitGroup

	mu     sync.Mutex // guards what follows
	target string
	cut    string        // what a request contains that is to get no answer
	delay  time.Duration // of every answer
	conns  map[net.Conn]bool
	served int // connections that there have been
}

// startProxy starts a proxy to the server at target.
func startProxy(t *testing.T, target string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: listener, target: target, conns: make(map[net.Conn]bool)}
	p.running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return // closed
			}
			p.running.Go(func() { p.serve(client) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		p.drop()
		p.running.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) url() string { return "redis://" + p.addr() }

// setTarget sends new connections to another server, and ends those that there are.
func (p *proxy) setTarget(target string) {
	p.mu.Lock()
	p.target = target
	p.mu.Unlock()
	p.drop()
}

// cutAfter has the next request that contains part executed and not answered: its
// connection ends.
func (p *proxy) cutAfter(part string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = part
}

func (p *proxy) setDelay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

func (p *proxy) accepted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.served
}

// drop ends all connections.
func (p *proxy) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		conn.Close()
	}
}

func (p *proxy) serve(client net.Conn) {
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	server, err := net.Dial("tcp", target)
	if err != nil {
		client.Close()
		return
	}
	p.mu.Lock()
	p.conns[client], p.conns[server] = true, true
	p.served++
	p.mu.Unlock()
	var (
		mu       sync.Mutex
		cutting  bool
		copying  sync.WaitGroup
		requests strings.Builder // all of a connection
	)
	copying.Go(func() {
		defer server.Close()
		for buf := make([]byte, 1<<16); ; {
			n, err := client.Read(buf)
			if err != nil {
				return
			}
			requests.Write(buf[:n])
			p.mu.Lock()
			if p.cut != "" && strings.Contains(requests.String(), p.cut) {
				p.cut = ""
				mu.Lock()
				cutting = true
				mu.Unlock()
			}
			p.mu.Unlock()
			if _, err := server.Write(buf[:n]); err != nil {
				return
			}
		}
	})
	copying.Go(func() {
		defer client.Close()
		for buf := make([]byte, 1<<16); ; {
			n, err := server.Read(buf)
			mu.Lock()
			stop := err != nil || cutting
			mu.Unlock()
			if stop {
				return
			}
			p.mu.Lock()
			delay := p.delay
			p.mu.Unlock()
			<-time.After(delay)
			if _, err := client.Write(buf[:n]); err != nil {
				return
			}
		}
	})
	copying.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, client)
	delete(p.conns, server)
}
