package crashtest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"litefs/internal/mounttest"
	"litefs/ltx"
)

// roundsPerDatabase bounds the length of a log, which is read whole each round.
const roundsPerDatabase = 5

// history is what writers have been told is committed.
type history struct {
	mu     sync.Mutex
	acks   map[int64]uint64 // writer by number of the commit
	twice  []string
	errors map[string]int
}

func (h *history) ack(n int64, writer uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if other, ok := h.acks[n]; ok {
		h.twice = append(h.twice, fmt.Sprintf("commit %d was acknowledged to writers %d and %d", n, other, writer))
	}
	h.acks[n] = writer
}

func (h *history) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.acks)
}

// process is a writer that runs.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed once all it has said has been heard
}

// harness runs rounds over one database after another.
type harness struct {
	t       *testing.T
	rng     *rand.Rand
	node    *node
	history *history
	nextID  uint64
	config  writerConfig // of the writers of this round
	commits int          // that were acknowledged, in databases that are done with
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", s)
	return &harness{t: t, rng: rand.New(rand.NewPCG(s, 0)), nextID: s & 0xffffff << 16}
}

// newDatabase starts with a new node and an empty database.
func (h *harness) newDatabase() {
	h.t.Helper()
	h.finish()
	h.node = newNode(h.t, []string{"auto", "auto", "off"}[h.rng.IntN(3)])
	h.node.start()
	h.history = &history{acks: make(map[int64]uint64), errors: make(map[string]int)}
	h.config = writerConfig{Path: h.node.path()}
	out, err := exec.Command("sqlite3", "-batch", h.node.path(), fmt.Sprintf("PRAGMA page_size = %d;", 512<<h.rng.IntN(5))+schema).CombinedOutput()
	if err != nil {
		h.t.Fatalf("make a database: %v: %s", err, out)
	}
}

// finish stops the node and checks what an orderly stop leaves.
func (h *harness) finish() {
	h.t.Helper()
	if h.node == nil {
		return
	}
	h.node.stop()
	h.commits += h.history.count()
}

// chooseMode decides how the writers of a round write.
func (h *harness) chooseMode() {
	h.config.Mode = []string{"delete", "truncate", "persist", "wal", "wal", "wal"}[h.rng.IntN(6)]
	h.config.Synchronous = []string{"normal", "full"}[h.rng.IntN(2)]
	h.config.Vary = h.rng.IntN(2) == 0
	h.config.Exclusive = h.rng.IntN(6) == 0
}

// startWriters starts some writers: one, if it locks the others out.
func (h *harness) startWriters(stay bool) []*process {
	h.t.Helper()
	n := 1 + h.rng.IntN(3)
	if h.config.Exclusive {
		n = 1
	}
	var writers []*process
	for range n {
		h.nextID++
		cfg := h.config
		cfg.ID, cfg.Stay = h.nextID, stay
		writers = append(writers, h.startWriter(cfg))
	}
	return writers
}

func (h *harness) startWriter(cfg writerConfig) *process {
	h.t.Helper()
	p := &process{cmd: roleCommand(h.t, "writer", cfg), done: make(chan struct{})}
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	history := h.history
	go func() {
		defer close(p.done)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var n int64
			if _, err := fmt.Sscanf(lines.Text(), "ack %d", &n); err == nil {
				history.ack(n, cfg.ID)
				continue
			}
			history.mu.Lock()
			history.errors[lines.Text()]++
			history.mu.Unlock()
		}
	}()
	return p
}

func (h *harness) killWriters(writers []*process) {
	h.t.Helper()
	for _, w := range writers {
		h.node.killProgram(w.cmd, w.done)
	}
}

// wait lets the writers work: until some commits are in, and then for a while.
func (h *harness) wait(commits int) {
	h.t.Helper()
	want := h.history.count() + commits
	for deadline := time.Now().Add(10 * time.Second); h.history.count() < want; {
		if time.Now().After(deadline) {
			h.t.Fatalf("no commits within 10 s; errors %v", h.history.errors)
		}
		time.Sleep(time.Millisecond)
	}
	time.Sleep(time.Duration(h.rng.IntN(150_000)) * time.Microsecond)
}

// judge checks what there is once nobody writes any more.
func (h *harness) judge() {
	h.t.Helper()
	found := h.read()
	h.history.mu.Lock()
	for n, writer := range h.history.acks {
		if got, ok := found.Writers[n]; !ok || uint64(got) != writer {
			h.t.Errorf("commit %d, acknowledged to writer %d, is lost; there is that of writer %d; the last is %d",
				n, writer, got, len(found.Writers))
		}
	}
	for _, text := range h.history.twice {
		h.t.Error(text)
	}
	h.history.mu.Unlock()
	h.node.check()
	if h.t.Failed() {
		h.t.Fatalf("writers up to %d: %+v; errors %v", h.nextID, h.config, h.history.errors)
	}
}

// read has another process open and read the database.
func (h *harness) read() contents {
	h.t.Helper()
	cmd := roleCommand(h.t, "reader", readerConfig{Path: h.node.path()})
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		h.t.Fatalf("reader: %v: %s; writers %+v; errors %v", err, stderr.String(), h.config, h.history.errors)
	}
	var c contents
	if err := json.Unmarshal(out.Bytes(), &c); err != nil {
		h.t.Fatalf("reader said %q: %v", out.String(), err)
	}
	return c
}

// restart starts the node again. Now and then it is killed while it starts.
func (h *harness) restart() (kills int) {
	h.t.Helper()
	for h.rng.IntN(3) == 0 {
		h.node.launch()
		time.Sleep(time.Duration(h.rng.IntN(40_000)) * time.Microsecond)
		h.node.kill()
		kills++
	}
	h.node.start()
	return kills
}

// The node is killed at a random moment, with writers at work, and started again
// on the same directories.
func TestKillNode(t *testing.T) {
	h := newHarness(t)
	kills, zombies := 0, 0
	for round := 0; kills < *rounds; round++ {
		if round%roundsPerDatabase == 0 {
			h.newDatabase()
		}
		h.chooseMode()
		stay := h.rng.IntN(2) == 0
		writers := h.startWriters(stay)
		h.wait(1 + h.rng.IntN(20))
		h.node.kill()
		kills++
		if h.rng.IntN(2) == 0 {
			h.killWriters(writers)
			kills += h.restart()
		} else {
			// The writers go on, with the files of the dead mount or new ones.
			zombies++
			kills += h.restart()
			more := h.startWriters(false)
			if !h.config.Exclusive {
				h.wait(1)
			}
			h.killWriters(append(writers, more...))
		}
		h.judge()
	}
	h.finish()
	t.Logf("%d kills, %d times with writers that stayed; %d commits", kills, zombies, h.commits)
}

// Programs are killed at a random moment. Whoever opens the database then rolls
// back or recovers what they have left, and no transaction comes of it.
func TestKillProgram(t *testing.T) {
	h := newHarness(t)
	for kills := 0; kills < *rounds; kills++ {
		if kills%roundsPerDatabase == 0 {
			h.newDatabase()
		}
		h.chooseMode()
		writers := h.startWriters(false)
		h.wait(1 + h.rng.IntN(20))
		var holder *holder
		if !h.config.Exclusive && h.rng.IntN(2) == 0 {
			holder = h.hold()
		}
		// One first: the others recover from it.
		h.killWriters(writers[:1])
		if len(writers) > 1 {
			h.wait(0)
		}
		h.killWriters(writers[1:])
		before := h.position()
		h.read()
		// A rollback does not bring back what free pages held: SQLite does not
		// journal them. That is the one change that it may make.
		if after := h.position(); after != before && after != before+1 && holder == nil {
			t.Errorf("transaction %d became %d when the database was opened", before, after)
		}
		holder.release()
		h.judge()
	}
	h.finish()
	t.Logf("%d kills; %d commits", *rounds, h.commits)
}

func (h *harness) position() ltx.TXID {
	h.t.Helper()
	return mounttest.ReadPos(h.t, h.node.path()).TXID
}

// holder is a process that has the database open.
type holder struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
}

// hold starts a process that opens the database and keeps it open. It returns nil
// if the database stays busy.
func (h *harness) hold() *holder {
	h.t.Helper()
	p := &holder{t: h.t, cmd: roleCommand(h.t, "reader", readerConfig{Path: h.node.path(), Hold: true})}
	in, err := p.cmd.StdinPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err := errors.Join(err, p.cmd.Start()); err != nil {
		h.t.Fatal(err)
	}
	p.in = in
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "open\n" {
		_ = p.cmd.Wait() // busy
		return nil
	}
	return p
}

// release ends the process, if there is one.
func (p *holder) release() {
	if p == nil {
		return
	}
	p.t.Helper()
	if err := errors.Join(p.in.Close(), p.cmd.Wait()); err != nil {
		p.t.Errorf("process that keeps the database open: %v", err)
	}
}
