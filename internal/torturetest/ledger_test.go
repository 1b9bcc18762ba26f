package torturetest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// ledger holds what is known of the history of every database.
type ledger struct {
	mu        sync.Mutex
	databases map[string]*record
	counts    map[string]int
}

// record is the history of one database.
type record struct {
	hashes map[[2]int64]int64 // by generation and number
	drops  int64              // that were begun
	acked  state              // the newest that a writer was told is committed
	seen   state              // the newest that anybody has seen
}

func newLedger() *ledger {
	return &ledger{databases: make(map[string]*record), counts: make(map[string]int)}
}

func (l *ledger) record(name string) *record {
	r := l.databases[name]
	if r == nil {
		r = &record{hashes: make(map[[2]int64]int64)}
		l.databases[name] = r
	}
	return r
}

// count counts something that has happened.
func (l *ledger) count(what string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[what] += n
}

func (l *ledger) counted(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts[what]
}

// drop notes that a database of the generation of s is about to be dropped.
func (l *ledger) drop(name string, s state) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.record(name)
	r.drops++
	if r.seen.before(s) {
		r.seen = s
	}
}

// acknowledge notes that a writer was told that s is committed.
func (l *ledger) acknowledge(name string, s state) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts["transactions"]++
	r := l.record(name)
	if r.acked.before(s) {
		r.acked = s
	}
	return r.add(s)
}

// see notes that a reader has seen s.
func (l *ledger) see(name string, s state) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.record(name).add(s)
}

// add adds a state and says whether it contradicts what is known.
func (r *record) add(s state) error {
	if r.seen.before(s) {
		r.seen = s
	}
	if s.Generation > r.drops+1 {
		return fmt.Errorf("generation %d was made after %d drops: a database was lost", s.Generation, r.drops)
	}
	if s.N == 0 {
		return nil
	}
	key := [2]int64{s.Generation, s.N}
	hash, ok := r.hashes[key]
	if ok && hash != s.Hash {
		return fmt.Errorf("transaction %d of generation %d is another one than before: it was lost and its number used again", s.N, s.Generation)
	}
	r.hashes[key] = s.Hash
	return nil
}

// newest returns the newest state that was acknowledged or seen.
func (l *ledger) newest(name string) state {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.record(name)
	if r.seen.before(r.acked) {
		return r.acked
	}
	return r.seen
}

// String lists what was counted.
func (l *ledger) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	for _, what := range slices.Sorted(maps.Keys(l.counts)) {
		fmt.Fprintf(&b, "%8d  %s\n", l.counts[what], what)
	}
	return b.String()
}
