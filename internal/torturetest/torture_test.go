package torturetest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"litefs/internal/mounttest"
	"litefs/internal/sqlitetest"
)

const (
	// settleTimeout is how long the replica may take to have what the primary has, once
	// nothing changes any more.
	settleTimeout = 30 * time.Second
	// settleEvery is the time between two such looks.
	settleEvery = time.Minute
	readerCount = 3 // on the replica
)

// database is one of those that are tortured.
type database struct {
	name    string
	writers int
	cfg     writerConfig
}

var rollbackModes = []string{"delete", "truncate", "persist"}

// databases are what there is. Path and Seed are filled in.
var databases = []*database{
	{name: "wal", writers: 2, cfg: writerConfig{Modes: []string{"wal"}}},
	{name: "delete", writers: 2, cfg: writerConfig{Modes: []string{"delete"}, PageSizes: true}},
	{name: "truncate", writers: 1, cfg: writerConfig{Modes: []string{"truncate"}}},
	{name: "persist", writers: 1, cfg: writerConfig{Modes: []string{"persist"}}},
	{name: "modes", writers: 2, cfg: writerConfig{Modes: append([]string{"wal", "wal"}, rollbackModes...), PageSizes: true}},
	{name: "exclusive", writers: 1, cfg: writerConfig{Modes: []string{"wal", "wal", "delete"}, Exclusive: true}},
	{name: "dropped", writers: 1, cfg: writerConfig{Modes: append([]string{"wal"}, rollbackModes...), PageSizes: true, Drop: true}},
}

// harness is one run.
type harness struct {
	t                *testing.T
	seed             uint64
	rng              *rand.Rand
	ledger           *ledger
	proxy            *proxy
	primary, replica *node
	writers          []*writing
	writersDone      sync.WaitGroup
	readers          sync.WaitGroup
	stopped          atomic.Bool
	failures         atomic.Int64
	rounds           int // of harm
}

// fail reports what is wrong, up to a point.
func (h *harness) fail(format string, args ...any) {
	h.t.Helper()
	if h.failures.Add(1) <= 20 {
		h.t.Errorf("%s: %s", time.Now().Format(time.StampMilli), fmt.Sprintf(format, args...))
	}
}

// stopping reports whether the run is over.
func (h *harness) stopping() bool { return h.stopped.Load() }

func TestTorture(t *testing.T) {
	h := newHarness(t)
	h.startPrimary()
	h.startReplica()
	h.startWriters()
	onReplica := &readers{h: h, node: h.replica, databases: databases}
	for i := range readerCount {
		onReplica.run(uint64(i))
	}
	onPrimary := &readers{h: h, node: h.primary}
	for _, db := range databases {
		// A program must not have a database open that another one removes.
		if !db.cfg.Drop && !db.cfg.Exclusive {
			onPrimary.databases = append(onPrimary.databases, db)
		}
	}
	onPrimary.run(readerCount)

	end := time.Now().Add(*duration)
	for settleAt := time.Now().Add(settleEvery); time.Now().Before(end) && h.failures.Load() == 0; {
		h.harm()
		if time.Now().After(settleAt) {
			h.settle()
			h.resume()
			settleAt = time.Now().Add(settleEvery)
			h.t.Logf("%s\n%s", time.Now().Format(time.TimeOnly), h.ledger)
		}
	}
	h.settle()
	h.finish()
	t.Logf("%v:\n%s", *duration, h.ledger)
}

// startWriters starts the owners of the databases, and when those are on both nodes
// the other writers.
func (h *harness) startWriters() {
	h.t.Helper()
	for i, db := range databases {
		h.writers = append(h.writers, h.startWriter(db, 0, uint64(i)))
	}
	for _, db := range databases {
		for began := time.Now(); h.ledger.newest(db.name).N == 0; time.Sleep(time.Millisecond) {
			if time.Since(began) > startTimeout {
				h.t.Fatalf("nothing is written to %s", db.name)
			}
		}
	}
	h.settle()
	h.resume()
	for i, db := range databases {
		for j := 1; j < db.writers; j++ {
			h.writers = append(h.writers, h.startWriter(db, j, uint64(i)))
		}
	}
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	h := &harness{t: t, seed: *seed, ledger: newLedger()}
	if h.seed == 0 {
		h.seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", h.seed)
	h.rng = rand.New(rand.NewPCG(h.seed, 0))
	base, err := os.MkdirTemp("", "litefs-torturetest-") //nolint:usetesting // it is kept if the test fails
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("data directories and logs kept: %s", base)
			return
		}
		_ = os.RemoveAll(base) // what stays in the directory for temporary files is no fault
	})
	command := mounttest.Build(t)
	h.proxy = startProxy(t, rand.New(rand.NewPCG(h.seed, 1)), h.ledger)
	t.Cleanup(h.proxy.stop)
	h.primary = newNode(t, "primary", command, base)
	h.replica = newNode(t, "replica", command, base)
	for _, n := range []*node{h.primary, h.replica} {
		n.ledger, n.fail = h.ledger, h.fail
	}
	return h
}

// vary returns settings that make no difference to what a node does, only to how.
func (h *harness) vary() []string {
	var args []string
	if h.rng.IntN(3) == 0 {
		args = append(args, "--fuse-passthrough", "off")
	}
	if h.rng.IntN(3) > 0 {
		args = append(args, "--strict-verify")
	}
	if h.rng.IntN(4) == 0 {
		args = append(args, "--data-background-checkpoint=false")
	}
	return args
}

func (h *harness) startPrimary() {
	h.t.Helper()
	h.primary.start(append(h.vary(), "--lease-hostname", "primary")...)
	h.proxy.setTarget(h.primary.url[len("http://"):])
}

func (h *harness) startReplica() {
	h.t.Helper()
	h.replica.start(append(h.vary(), "--lease-static-primary=false", "--lease-hostname", "primary",
		"--lease-advertise-url", h.proxy.url(), "--lease-reconnect-delay", "20ms",
		"--lease-replica-writes", []string{"wait", "readonly"}[h.rng.IntN(2)])...)
}

// writing is a writer as the harness sees it.
type writing struct {
	*program
	db     *database
	number int // 0 owns the database
	paused chan struct{}
	killed atomic.Bool
	done   chan struct{} // closed once it has ended, and all it has told was heard
}

// startWriter starts a writer of a database, of which the one with number 0 owns it.
func (h *harness) startWriter(db *database, number int, salt uint64) *writing {
	h.t.Helper()
	cfg := db.cfg
	cfg.Path, cfg.Seed, cfg.Owner = h.primary.path(db.name), h.seed+salt<<8+uint64(number), number == 0
	cfg.Generation = h.ledger.newest(db.name).Generation
	cfg.PauseMax = 50 * time.Millisecond
	w := &writing{program: startProgram(h.t, "writer", cfg), db: db, number: number, paused: make(chan struct{}, 1), done: make(chan struct{})}
	h.writersDone.Go(func() {
		defer close(w.done)
		for dec := json.NewDecoder(w.out); ; {
			var e event
			if err := dec.Decode(&e); err != nil {
				break
			}
			h.hear(w, e)
		}
		if err := w.cmd.Wait(); err != nil && !w.killed.Load() {
			h.fail("writer of %s: %v", db.name, err)
		}
	})
	return w
}

// hear takes note of what a writer tells.
func (h *harness) hear(w *writing, e event) {
	h.t.Helper()
	switch e.Kind {
	case eventAck:
		if err := h.ledger.acknowledge(w.db.name, e.State); err != nil {
			h.fail("%s on the primary: %v", w.db.name, err)
		}
	case eventDrop:
		h.ledger.drop(w.db.name, e.State)
	case eventPaused:
		w.paused <- struct{}{}
	case eventDid:
		h.ledger.count("time a writer did: "+e.What, 1)
	case eventError:
		h.judge(w, e)
	}
}

// judge decides whether a writer may fail: only because of a node that was killed.
func (h *harness) judge(w *writing, e event) {
	h.t.Helper()
	switch {
	case h.primary.upSince(e.Opened):
		h.fail("writer of %s failed, connected at %s: %s", w.db.name, e.Opened.Format(time.StampMilli), e.What)
	default:
		h.ledger.count("errors of writers while the primary was down", 1)
	}
}

// harm does some harm, and then lets the nodes recover. The first rounds do each kind
// once.
func (h *harness) harm() {
	h.t.Helper()
	h.proxy.faulty.Store(h.rng.IntN(4) > 0)
	h.pause(200, 2000)
	kinds := []func(){h.losePrimary, h.loseReplica, h.loseBoth, h.restart, h.loseConnections, h.loseWriters, h.loseWriters}
	kind := h.rounds
	if kind >= len(kinds) {
		kind = h.rng.IntN(len(kinds))
	}
	h.rounds++
	kinds[kind]()
}

func (h *harness) losePrimary() {
	h.t.Helper()
	h.killPrimary()
	h.pause(0, 500)
	h.startPrimary()
}

func (h *harness) loseReplica() {
	h.t.Helper()
	h.killReplica()
	h.pause(0, 2500) // beyond what the log goes back
	h.startReplica()
}

func (h *harness) loseBoth() {
	h.t.Helper()
	h.killPrimary()
	h.killReplica()
	h.startReplica()
	h.pause(0, 500)
	h.startPrimary()
}

// restart ends a node in order, with programs at work, and starts it again.
func (h *harness) restart() {
	h.t.Helper()
	h.ledger.count("restarts of a node", 1)
	if h.rng.IntN(2) == 0 {
		h.primary.stop()
		h.startPrimary()
	} else {
		h.replica.stop()
		h.startReplica()
	}
}

// loseWriters kills some programs that write, and has others take their places.
func (h *harness) loseWriters() {
	h.t.Helper()
	for range 1 + h.rng.IntN(5) {
		i := h.rng.IntN(len(h.writers))
		w := h.writers[i]
		w.killed.Store(true)
		_ = w.cmd.Process.Kill() // it runs until its input ends
		<-w.done
		h.ledger.count("kills of a writer", 1)
		h.writers[i] = h.startWriter(w.db, w.number, h.rng.Uint64())
		h.pause(0, 200)
	}
}

func (h *harness) loseConnections() {
	h.ledger.count("connections reset", h.proxy.cut())
}

func (h *harness) killPrimary() {
	h.primary.kill()
	h.ledger.count("kills of the primary", 1)
}

func (h *harness) killReplica() {
	h.replica.kill()
	h.ledger.count("kills of the replica", 1)
}

// pause waits for a while, in milliseconds.
func (h *harness) pause(atLeast, atMost int) {
	time.Sleep(time.Duration(atLeast+h.rng.IntN(atMost-atLeast)) * time.Millisecond)
}

// settle has the writers and the faults pause, and compares the nodes.
func (h *harness) settle() {
	h.t.Helper()
	h.proxy.faulty.Store(false)
	for _, w := range h.writers {
		if _, err := fmt.Fprintln(w.in, "pause"); err != nil {
			h.t.Fatalf("writer of %s: %v", w.db.name, err)
		}
	}
	deadline := time.After(settleTimeout)
	for _, w := range h.writers {
		select {
		case <-w.paused:
		case <-deadline:
			h.t.Fatalf("writer of %s does not pause:\n%s", w.db.name, stacks(w.cmd.Process.Pid))
		}
	}
	began := time.Now()
	for _, db := range databases {
		h.await(db, began.Add(settleTimeout))
		h.compare(db)
	}
	h.ledger.count("comparisons of the nodes", 1)
	h.t.Logf("%s caught up within %v", time.Now().Format(time.TimeOnly), time.Since(began).Round(time.Millisecond))
}

// await waits until the replica is at the primary's position.
func (h *harness) await(db *database, deadline time.Time) {
	h.t.Helper()
	for {
		want, got := h.primary.pos(db.name), h.replica.pos(db.name)
		if want == got {
			return
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("%s is at %q on the primary, at %q on the replica, and stays there", db.name, want, got)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// compare compares the content of a database on both nodes, and checks that nothing
// of it is missing.
func (h *harness) compare(db *database) {
	h.t.Helper()
	if _, err := os.Stat(h.primary.path(db.name)); os.IsNotExist(err) {
		return // it is dropped at the moment
	}
	var digests [2]string
	for i, n := range []*node{h.primary, h.replica} {
		env := &sqlitetest.Env{Dir: n.mnt}
		conn := env.Connect(h.t, db.name, "_busy_timeout=10000", "mode=ro")
		digests[i] = conn.Digest(h.t)
		var last state
		row := conn.Query(h.t, "SELECT generation, coalesce(max(n), 0), coalesce((SELECT hash FROM history ORDER BY n DESC LIMIT 1), 0) FROM meta LEFT JOIN history")
		if _, err := fmt.Sscanf(row, "%d|%d|%d", &last.Generation, &last.N, &last.Hash); err != nil {
			h.t.Fatalf("%s on the %s ends with %q: %v", db.name, n.name, row, err)
		}
		if newest := h.ledger.newest(db.name); last.before(newest) {
			h.fail("%s on the %s ends with %+v, but there was %+v", db.name, n.name, last, newest)
		}
		if err := h.ledger.see(db.name, last); err != nil {
			h.fail("%s on the %s: %v", db.name, n.name, err)
		}
		conn.Close(h.t)
	}
	if digests[0] != digests[1] {
		h.fail("%s is not the same on both nodes", db.name)
	}
}

// resume has the writers go on.
func (h *harness) resume() {
	h.t.Helper()
	for _, w := range h.writers {
		if _, err := fmt.Fprintln(w.in, "resume"); err != nil {
			h.t.Fatalf("writer of %s: %v", w.db.name, err)
		}
	}
}

// finish ends the programs and then the nodes, and checks what they leave.
func (h *harness) finish() {
	h.t.Helper()
	h.stopped.Store(true)
	h.readers.Wait()
	for _, w := range h.writers {
		_ = w.in.Close()
	}
	h.writersDone.Wait()
	h.primary.stop()
	h.replica.stop()
	h.primary.check()
	h.replica.check()
	if h.t.Failed() {
		return
	}
	h.checkCounts()
}

// checkCounts checks that the run was worth something.
func (h *harness) checkCounts() {
	h.t.Helper()
	expected := []string{"transactions", "reads on the primary", "reads on the replica", "kills of the primary", "kills of the replica"}
	if *duration >= settleEvery { // it is a matter of luck else
		expected = append(expected, "bits flipped", "connections reset", "connections stalled", "differences applied",
			"transfers taken up again", "time a writer did: drop of a database")
	}
	for _, what := range expected {
		if h.ledger.counted(what) == 0 {
			h.t.Errorf("the run had no %s", what)
		}
	}
}
