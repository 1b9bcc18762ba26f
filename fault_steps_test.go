package litefs_test

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"

	"litefs"
	"litefs/internal/crashtest"
	"litefs/internal/fsx"
	"litefs/internal/fsx/faultfs"
	"litefs/internal/fsx/memfs"
)

// fault fails one step that changes the disk.
type fault struct {
	mu    sync.Mutex
	armed bool
	left  int    // steps until it strikes
	hit   string // the step that failed
	err   error
}

// before is the hook of a faultfs.FS.
func (f *fault) before(op faultfs.Op) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.armed || f.hit != "" {
		return nil
	}
	if f.left--; f.left >= 0 {
		return nil
	}
	f.hit = op.String()
	return f.err
}

// arm has the fault strike from now on, once.
func (f *fault) arm(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = on
}

// step returns the step that failed, "" if none has.
func (f *fault) step() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hit
}

// faultRun runs transactions on a disk of which one step fails.
type faultRun struct {
	t     *testing.T
	disk  *memfs.FS
	fault *fault
	store *litefs.Store
	pager *pager
}

func newFaultRun(t *testing.T, mode litefs.JournalMode, k int) *faultRun {
	t.Helper()
	r := &faultRun{t: t, disk: memfs.New(), fault: &fault{left: k, err: syscall.ENOSPC}}
	r.store = newCrashStore(faultfs.New(r.disk, r.fault.before))
	if err := errors.Join(r.disk.MkdirAll("/var", 0o777), r.store.Open(t.Context())); err != nil {
		t.Fatal(err)
	}
	p, err := newPager(r.store, 17)
	if err != nil {
		t.Fatal(err)
	}
	p.mode = mode
	r.pager = p
	r.transact() // before the fault: there is something to lose
	return r
}

// transact runs a transaction. If it ends with an error, it is rolled back, as
// SQLite does, and the database is then what it was before or after it.
func (r *faultRun) transact() {
	r.t.Helper()
	before, hitBefore := r.pager.content, r.fault.step()
	next := r.pager.next()
	err := r.pager.commit(next)
	hit := r.fault.step()
	if err == nil {
		if hit != hitBefore && r.pager.wal == nil {
			r.t.Errorf("%s: the error was swallowed", hit)
		}
		return
	}
	if hit == hitBefore {
		r.t.Fatalf("after %s: transaction: %v", hit, err)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		r.t.Errorf("%s: the error became another: %v", hit, err)
	}
	if r.pager.wal != nil {
		return // what was written of it will be written over
	}
	if err := r.pager.rollBack(); err != nil {
		r.t.Fatalf("%s: roll back: %v", hit, err)
	}
	switch got := r.read(); got {
	case before, next:
		r.pager.content = got
	default:
		r.t.Errorf("%s: the database is neither what it was nor what it was to be", hit)
	}
	r.verify()
}

// read returns the database file.
func (r *faultRun) read() string {
	r.t.Helper()
	b, err := fsx.ReadFile(r.disk, r.pager.db.DatabasePath(), 1<<20)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b)
}

// verify checks that the position is that of the content.
func (r *faultRun) verify() {
	r.t.Helper()
	if _, err := r.pager.db.Verify(r.t.Context()); err != nil {
		r.t.Errorf("%s: %v", r.fault.step(), err)
	}
}

// retry runs fn again if the fault has struck in it. A second error ends the test.
func (r *faultRun) retry(what string, fn func() error) {
	r.t.Helper()
	before := r.fault.step()
	err := fn()
	if err != nil && r.fault.step() != before {
		err = fn()
	}
	if err != nil {
		r.t.Fatalf("after %s: %s: %v", r.fault.step(), what, err)
	}
}

// finish ends the run without faults and checks what is left. It reports whether
// the fault has struck.
func (r *faultRun) finish() bool {
	r.t.Helper()
	r.fault.arm(false)
	r.transact()
	r.verify()
	hit := r.fault.step()
	if err := r.pager.db.Alarm(); err != nil {
		r.t.Errorf("after %s: the alarm is still on: %v", hit, err)
	}
	content, pos := r.pager.content, r.pager.db.Pos()
	if err := errors.Join(r.pager.close(), r.store.Close()); err != nil {
		r.t.Errorf("after %s: close: %v", hit, err)
	}
	if got := r.read(); got != content {
		r.t.Errorf("after %s: acknowledged transactions are lost", hit)
	}
	if err := crashtest.CheckLog(r.disk, r.pager.db.LTXDir(), pos, []byte(content)); err != nil {
		r.t.Errorf("after %s: %v", hit, err)
	}
	if open := r.disk.OpenFiles(); len(open) > 0 {
		r.t.Errorf("after %s: files are left open: %q", hit, open)
	}
	s := stop{states: []string{"", content}}
	if err := s.judge(r.t, r.disk, 1); err != nil {
		r.t.Errorf("after %s: start: %v", hit, err)
	}
	return hit != ""
}

// Step k fails for k = 0, 1, 2, ... until a run meets no fault. The error reaches
// the program, the database is what it was before the transaction or after it, the
// position is that of the content, and the next transaction works.
func TestFailEveryStep(t *testing.T) {
	rollback := func(mode litefs.JournalMode) func(t *testing.T, k int) bool {
		return func(t *testing.T, k int) bool {
			t.Helper()
			r := newFaultRun(t, mode, k)
			r.fault.arm(true)
			r.transact()
			r.transact()
			return r.finish()
		}
	}
	wal := func(t *testing.T, k int) bool {
		t.Helper()
		r := newFaultRun(t, litefs.JournalModeWAL, k)
		r.fault.arm(true)
		r.transact()
		r.transact()
		r.retry("checkpoint", r.pager.checkpoint)
		r.transact()
		r.retry("truncate WAL", r.pager.truncateWAL)
		r.transact()
		return r.finish()
	}
	for name, run := range map[string]func(t *testing.T, k int) bool{
		"delete":   rollback(litefs.JournalModeDelete),
		"truncate": rollback(litefs.JournalModeTruncate),
		"persist":  rollback(litefs.JournalModePersist),
		"wal":      wal,
	} {
		t.Run(name, func(t *testing.T) {
			k := 0
			for run(t, k) {
				k++
			}
			if k < 20 {
				t.Errorf("only %d steps were reached: the harness is not wired", k)
			}
			t.Logf("%d steps", k)
		})
	}
}

// Step k of a start fails. The database is left out, or the start ends with the
// error; either way the next start finds all of it.
func TestFailEveryStepOfRecovery(t *testing.T) {
	for _, name := range []string{"delete", "wal"} {
		t.Run(name, func(t *testing.T) {
			r := runScenario(t, crashScenarios[name])
			steps := 0
			for i, s := range r.stops {
				if i%5 != 0 {
					continue
				}
				for k := 0; ; k++ {
					hit, err := failRecovery(t, s, k)
					if err != nil {
						t.Errorf("kill at %s, then failure of %s: %v", s.at, hit, err)
					}
					if hit == "" {
						break
					}
					steps++
				}
			}
			t.Logf("%d steps", steps)
		})
	}
}

// failRecovery starts a node after a stop with a fault at step k, and then again
// without. It returns the step that failed.
func failRecovery(t *testing.T, s stop, k int) (string, error) {
	t.Helper()
	disk := s.disk.Kill()
	f := &fault{left: k, armed: true, err: syscall.EIO}
	store := newCrashStore(faultfs.New(disk, f.before))
	err := store.Open(t.Context())
	known := store.DB("db") != nil
	err = errors.Join(err, store.Close())
	if err != nil && !errors.Is(err, syscall.EIO) {
		return f.step(), fmt.Errorf("the error became another: %w", err)
	}
	if err == nil && !known && f.step() == "" && s.durable > 0 {
		return "", errors.New("the database is left out for no reason")
	}
	if open := disk.OpenFiles(); len(open) > 0 {
		return f.step(), fmt.Errorf("files are left open: %q", open)
	}
	return f.step(), s.judge(t, disk, s.done)
}
