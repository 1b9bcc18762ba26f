package litefs_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"litefs"
	"litefs/internal/crashtest"
	"litefs/internal/fsx"
	"litefs/internal/fsx/faultfs"
	"litefs/internal/fsx/memfs"
)

// crashDataDir is the data directory on the disk of a crashRun. The directory
// above it is there before the first start.
const crashDataDir = "/var/data"

// crashRun runs a scenario on a disk in memory and keeps what is on the disk
// before each step.
type crashRun struct {
	t     *testing.T
	disk  *memfs.FS
	fs    *faultfs.FS
	now   time.Time
	store *litefs.Store
	pager *pager

	mu      sync.Mutex
	states  []string // every content the database has had, or was about to have
	done    int      // index of the last whose transaction was acknowledged
	durable int      // index of the last whose transaction must survive a power cut
	stops   []stop
}

// stop is a moment at which the machine may stop.
type stop struct {
	at            string
	disk          *memfs.FS // not yet crashed
	states        []string
	done, durable int
}

func newCrashRun(t *testing.T) *crashRun {
	t.Helper()
	r := &crashRun{t: t, disk: memfs.New(), states: []string{""}, now: time.UnixMilli(1700000000000)}
	if err := errors.Join(r.disk.MkdirAll("/var", 0o777), r.disk.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	r.fs = faultfs.New(r.disk, func(op faultfs.Op) error {
		r.stop(op.String())
		return nil
	})
	return r
}

// stop keeps the present state of the disk.
func (r *crashRun) stop(at string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stops = append(r.stops, stop{at, r.disk.Kill(), slices.Clone(r.states), r.done, r.durable})
}

// open starts a node on the disk and connects to its database.
func (r *crashRun) open() {
	r.t.Helper()
	store := newCrashStore(r.fs)
	store.RetentionDuration = time.Minute
	if err := store.Open(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	p, err := newPager(store, uint64(len(r.states)))
	if err != nil {
		r.t.Fatal(err)
	}
	p.db.Now = func() time.Time { return r.now }
	r.store, r.pager = store, p
}

func newCrashStore(fsys fsx.FS) *litefs.Store {
	store := litefs.NewStore(crashDataDir, true)
	store.FS = fsys
	store.StrictVerify = true
	store.RetentionMonitorInterval = 0
	return store
}

// must ends the test on an error: in a run without faults there are none.
func (r *crashRun) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// commit runs a transaction. In WAL mode without a sync at each commit it need
// not survive a power cut before the next checkpoint.
func (r *crashRun) commit() {
	r.t.Helper()
	next := r.pager.next()
	r.mu.Lock()
	r.states = append(r.states, next)
	r.mu.Unlock()
	r.must(r.pager.commit(next))
	r.acknowledge(r.pager.full || r.pager.wal == nil)
}

// acknowledge notes that the last transaction was acknowledged.
func (r *crashRun) acknowledge(durable bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done = len(r.states) - 1
	if durable {
		r.durable = r.done
	}
}

// drop removes the database.
func (r *crashRun) drop() {
	r.t.Helper()
	r.mu.Lock()
	r.states = append(r.states, "")
	r.mu.Unlock()
	r.must(r.pager.close())
	r.must(r.pager.db.RemoveDatabase())
	r.acknowledge(true)
}

// close stops the node in order.
func (r *crashRun) close() {
	r.t.Helper()
	if r.store == nil {
		return
	}
	r.must(r.pager.close())
	r.acknowledge(true)
	r.must(r.store.Close())
	r.store = nil
	if open := r.disk.OpenFiles(); len(open) > 0 {
		r.t.Errorf("files are left open: %q", open)
	}
}

// disks returns what may be found after the stop, by name: after the death of the
// process, and after power cuts.
func (s stop) disks(seeds int) map[string]*memfs.FS {
	disks := map[string]*memfs.FS{"kill": s.disk.Kill(), "power": s.disk.Crash(nil)}
	for seed := range seeds {
		disks[fmt.Sprintf("power/%d", seed)] = s.disk.Crash(rand.New(rand.NewPCG(uint64(seed), 7)))
	}
	return disks
}

// acknowledged returns the index of the last state that must be found.
func (s stop) acknowledged(kind string) int {
	if kind == "kill" {
		return s.done
	}
	return s.durable
}

// judge starts a node on what a stop has left and checks that it has recovered:
// what was acknowledged is there, the position is that of the content, the log
// leads to it, and the node works. The disk is used up.
func (s stop) judge(t *testing.T, disk *memfs.FS, acknowledged int) error {
	t.Helper()
	store := newCrashStore(disk)
	if err := store.Open(t.Context()); err != nil {
		return err
	}
	err := s.judgeOpened(t.Context(), store, acknowledged)
	if err := errors.Join(err, store.Close()); err != nil {
		return err
	}
	if open := disk.OpenFiles(); len(open) > 0 {
		return fmt.Errorf("files are left open: %q", open)
	}
	return nil
}

func (s stop) judgeOpened(ctx context.Context, store *litefs.Store, acknowledged int) error {
	db := store.DB("db")
	if db == nil {
		if acknowledged > 0 && s.states[acknowledged] != "" {
			return errors.New("the database is gone")
		}
		return judgeNext(ctx, store)
	}
	if _, err := db.Verify(ctx); err != nil {
		return err
	}
	if db.Exists(litefs.FileTypeWAL) || db.Exists(litefs.FileTypeJournal) {
		return errors.New("recovery has left a WAL or a journal")
	}
	content := ""
	if db.Exists(litefs.FileTypeDatabase) {
		b, err := fsx.ReadFile(store.FS, db.DatabasePath(), 1<<20)
		if err != nil {
			return err
		}
		content = string(b)
	}
	if i := slices.Index(s.states[acknowledged:], content); i < 0 {
		return fmt.Errorf("content of %d pages is none of those from transaction %d to %d; it is that of transaction %d",
			pageCount(content), acknowledged, len(s.states)-1, slices.Index(s.states, content))
	}
	if err := crashtest.CheckLog(store.FS, db.LTXDir(), db.Pos(), []byte(content)); err != nil {
		return err
	}
	return judgeNext(ctx, store)
}

// judgeNext checks that a transaction works and is captured.
func judgeNext(ctx context.Context, store *litefs.Store) error {
	p, err := newPager(store, 99) //nolint:contextcheck // what the store starts lives as long as the store
	if err != nil {
		return err
	}
	before := p.db.Pos()
	if err := p.commit(p.next()); err != nil {
		return fmt.Errorf("next transaction: %w", err)
	}
	if err := p.close(); err != nil {
		return err
	}
	pos, err := p.db.Verify(ctx)
	if err != nil {
		return fmt.Errorf("after the next transaction: %w", err)
	}
	if pos.TXID != before.TXID+1 {
		return fmt.Errorf("next transaction after %s has position %s", before, pos)
	}
	return crashtest.CheckLog(store.FS, p.db.LTXDir(), pos, []byte(p.content))
}
