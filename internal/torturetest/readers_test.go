package torturetest

import (
	"encoding/json"
	"math/rand/v2"
	"sync"
	"time"
)

// progress is how far the readers of a node have seen each database go.
type progress struct {
	mu      sync.Mutex
	life    int // of the node
	reached map[string]state
}

// floor returns what a read that begins now must see at least. What was seen in
// another life of the node does not count.
func (p *progress) floor(life int, name string) state {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life != life {
		p.life, p.reached = life, make(map[string]state)
	}
	return p.reached[name]
}

func (p *progress) reach(life int, name string, s state) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life == life && p.reached[name].before(s) {
		p.reached[name] = s
	}
}

// readers look at the databases of one node all the time.
type readers struct {
	h         *harness
	node      *node
	databases []*database
	progress  progress
}

// kept says of the connections that a reader keeps from which life of the node they
// are.
type kept map[string]int

// run has one reader look until the harness stops.
func (r *readers) run(number uint64) {
	p := startProgram(r.h.t, "reader", nil)
	rng := rand.New(rand.NewPCG(r.h.seed, 100+number))
	r.h.readers.Go(func() {
		conns := make(kept)
		for enc, dec := json.NewEncoder(p.in), json.NewDecoder(p.out); !r.h.stopping(); {
			db := r.databases[rng.IntN(len(r.databases))]
			r.look(enc, dec, db, conns, rng)
			if rng.IntN(4) == 0 {
				time.Sleep(time.Duration(rng.IntN(30)) * time.Millisecond)
			}
		}
		_ = p.in.Close()
		if err := p.cmd.Wait(); err != nil {
			r.h.fail("reader of the %s: %v", r.node.name, err)
		}
	})
}

// look has a reader look at a database once, and judges what it says.
//
// A connection from an earlier life of the node may fail, and may show what there
// was then, but nothing that never was.
func (r *readers) look(enc *json.Encoder, dec *json.Decoder, db *database, conns kept, rng *rand.Rand) {
	life, up := r.node.alive()
	from, open := conns[db.name]
	req := readRequest{
		Path:      r.node.path(db.name),
		Reopen:    !open || db.cfg.Drop || rng.IntN(8) == 0 || from != life && rng.IntN(3) > 0,
		Integrity: rng.IntN(3) == 0,
	}
	if rng.IntN(20) == 0 {
		req.Hold = time.Duration(rng.IntN(300)) * time.Millisecond
	}
	if req.Reopen {
		from = life
		conns[db.name] = life
	}
	floor := r.progress.floor(life, db.name)
	var answer readAnswer
	began := time.Now()
	if err := enc.Encode(req); err != nil {
		r.h.fail("ask a reader of the %s: %v", r.node.name, err)
		return
	}
	if err := dec.Decode(&answer); err != nil {
		r.h.fail("reader of the %s has ended: %v", r.node.name, err)
		return
	}
	current := from == life && up && r.node.still(life)
	switch {
	case answer.Wrong:
		r.h.fail("%s on the %s (life %d, connection of life %d, asked %+v at %s): %s", db.name, r.node.name, life, from, req, began.Format(time.StampMilli), answer.Err)
	case answer.Err != "" && current && (!answer.None || !db.cfg.Drop):
		r.h.fail("read of %s on the %s failed in life %d, asked %+v at %s: %s", db.name, r.node.name, life, req, began.Format(time.StampMilli), answer.Err)
	case answer.Err != "":
		r.h.ledger.count("reads while a node was down, or a database not there", 1)
		delete(conns, db.name)
	case current && answer.State.before(floor):
		r.h.fail("%s on the %s went back: from %+v to %+v, asked %+v at %s", db.name, r.node.name, floor, answer.State, req, began.Format(time.StampMilli))
	default:
		r.accept(answer, req, life, db, current)
	}
}

// accept notes a state that is in order as far as a reader can tell.
func (r *readers) accept(answer readAnswer, req readRequest, life int, db *database, current bool) {
	if current {
		r.progress.reach(life, db.name, answer.State)
	}
	if err := r.h.ledger.see(db.name, answer.State); err != nil {
		r.h.fail("%s on the %s: %v", db.name, r.node.name, err)
	}
	r.h.ledger.count("reads on the "+r.node.name, 1)
	if req.Integrity {
		r.h.ledger.count("integrity checks on the "+r.node.name, 1)
	}
}
