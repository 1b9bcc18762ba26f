package litefs_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"litefs"
	"litefs/internal/filelock"
)

// wantDatabase checks the states of the three guards of the database file.
func wantDatabase(t *testing.T, set *litefs.GuardSet, pending, reserved, share litefs.GuardState) {
	t.Helper()
	wantState(t, set, litefs.LockTypePending, pending)
	wantState(t, set, litefs.LockTypeReserved, reserved)
	wantState(t, set, litefs.LockTypeShared, share)
}

// awaitHeld waits until a set other than probe holds lock exclusive.
func awaitHeld(t *testing.T, probe *litefs.GuardSet, lock litefs.LockType) {
	t.Helper()
	must(t, filelock.Poll(t.Context(), func() (bool, error) {
		free, err := probe.Guard(lock).CanRLock()
		return !free, err
	}))
}

// attemptContext closes again when a wait looks at the context for the second time,
// that is, after a first attempt in vain.
type attemptContext struct {
	context.Context
	looks atomic.Int32
	again chan struct{}
}

func newAttemptContext(ctx context.Context) *attemptContext {
	return &attemptContext{Context: ctx, again: make(chan struct{})}
}

func (c *attemptContext) Err() error {
	if c.looks.Add(1) == 2 {
		close(c.again)
	}
	return c.Context.Err()
}

// TestGuardSetsConflict takes every lock in one set and tries it in another set of
// the same process. Neighbouring locks must stay free.
func TestGuardSetsConflict(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	a, b := newSet(t, path), newSet(t, path)
	for _, held := range allLocks {
		must(t, a.Guard(held.lock).Lock(t.Context()))
		for _, asked := range allLocks {
			want := asked.lock != held.lock
			ok, err := b.Guard(asked.lock).TryRLock()
			if err != nil || ok != want {
				t.Errorf("%s held: TryRLock of %s = %v, %v; want %v", held.name, asked.name, ok, err, want)
			}
		}
		must(t, a.Unlock())
		if ok, err := b.Guard(held.lock).TryLock(); !ok || err != nil {
			t.Errorf("%s after Unlock: TryLock = %v, %v", held.name, ok, err)
		}
		must(t, b.Unlock())
		wantState(t, b, held.lock, unlocked)
	}
}

// TestUnlockDatabase releases the locks of one file and then of both.
func TestUnlockDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	set, other := newSet(t, path), newSet(t, path)
	for _, l := range allLocks {
		must(t, set.Guard(l.lock).Lock(t.Context()))
	}
	check := func(free func(inSHM bool) bool) {
		t.Helper()
		for _, l := range allLocks {
			got, err := other.Guard(l.lock).CanLock()
			if want := free(l.inSHM); err != nil || got != want {
				t.Errorf("%s free: %v, %v; want %v", l.name, got, err, want)
			}
			if got := set.Guard(l.lock).State() == unlocked; got != free(l.inSHM) {
				t.Errorf("%s is %s", l.name, set.Guard(l.lock).State())
			}
		}
	}
	check(func(bool) bool { return false })
	must(t, set.UnlockDatabase())
	check(func(inSHM bool) bool { return !inSHM })
	must(t, set.Unlock())
	check(func(bool) bool { return true })
}

// TestLockSharedAgainstSQLite holds SHARED: others read and prepare a write, but
// cannot commit it.
func TestLockSharedAgainstSQLite(t *testing.T) {
	path, conn := newDatabase(t, "delete")
	set := newSet(t, path)
	must(t, set.LockShared(t.Context()))
	wantDatabase(t, set, unlocked, unlocked, shared)

	conn.expect(t, "1", "SELECT count(*) FROM t")
	conn.expect(t, "", "BEGIN IMMEDIATE", "INSERT INTO t VALUES (2)")
	conn.expect(t, busy, "COMMIT")

	// The writer keeps PENDING from now on, so that there are no new readers.
	second := newSet(t, path)
	ctx := newAttemptContext(t.Context())
	done := make(chan error, 1)
	go func() { done <- second.LockShared(ctx) }()
	<-ctx.again
	must(t, set.Unlock())
	conn.expect(t, "", "COMMIT")
	must(t, <-done)
	wantDatabase(t, second, unlocked, unlocked, shared)
	conn.expect(t, "2", "SELECT count(*) FROM t")
}

// TestLockExclusiveWaitsForReader also cancels the first wait, which must leave
// nothing behind.
func TestLockExclusiveWaitsForReader(t *testing.T) {
	path, reader := newDatabase(t, "delete")
	newcomer := startSQLite(t, path)
	set, probe := newSet(t, path), newSet(t, path)
	reader.expect(t, "", "BEGIN")
	reader.expect(t, "1", "SELECT count(*) FROM t")

	cause := errors.New("no longer a replica")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	done := make(chan error, 1)
	go func() { done <- set.LockExclusive(ctx) }()
	awaitHeld(t, probe, litefs.LockTypePending)
	newcomer.expect(t, busy, "SELECT count(*) FROM t")
	reader.expect(t, "1", "SELECT count(*) FROM t")
	cancel(cause)
	err := <-done
	holder := fmt.Sprintf("held shared by process %d", reader.cmd.Process.Pid)
	if !errors.Is(err, cause) || !strings.Contains(err.Error(), holder) {
		t.Errorf("LockExclusive = %v, want %v and %q", err, cause, holder)
	}
	wantDatabase(t, set, unlocked, unlocked, unlocked)
	newcomer.expect(t, "1", "SELECT count(*) FROM t")
	newcomer.expect(t, "", "BEGIN IMMEDIATE", "ROLLBACK")

	go func() { done <- set.LockExclusive(t.Context()) }()
	awaitHeld(t, probe, litefs.LockTypePending)
	newcomer.expect(t, busy, "SELECT count(*) FROM t", "BEGIN IMMEDIATE")
	reader.expect(t, busy, "INSERT INTO t VALUES (2)") // no deadlock: it is told at once
	reader.expect(t, "", "COMMIT")
	must(t, <-done)
	wantDatabase(t, set, exclusive, exclusive, exclusive)
	reader.expect(t, busy, "SELECT count(*) FROM t")
	must(t, set.Unlock())
	reader.expect(t, "", "INSERT INTO t VALUES (2)")
}

// TestLockExclusiveWaitsForWriter lets a writer finish its transaction, including
// the commit for which it needs the database for itself.
func TestLockExclusiveWaitsForWriter(t *testing.T) {
	path, writer := newDatabase(t, "delete")
	set := newSet(t, path)
	writer.expect(t, "", "BEGIN IMMEDIATE", "INSERT INTO t VALUES (2)")

	ctx := newAttemptContext(t.Context())
	done := make(chan error, 1)
	go func() { done <- set.LockExclusive(ctx) }()
	<-ctx.again
	writer.expect(t, "", "INSERT INTO t VALUES (3)", "COMMIT")
	must(t, <-done)
	writer.expect(t, busy, "SELECT count(*) FROM t")

	// To a shared lock without a gap, as the comment of LockExclusive says.
	if ok, err := set.Guard(litefs.LockTypeShared).TryRLock(); !ok || err != nil {
		t.Fatal(ok, err)
	}
	must(t, set.Guard(litefs.LockTypePending).Unlock())
	must(t, set.Guard(litefs.LockTypeReserved).Unlock())
	writer.expect(t, "3", "SELECT count(*) FROM t")
	writer.expect(t, busy, "INSERT INTO t VALUES (4)")
	must(t, set.Unlock())
	writer.expect(t, "", "INSERT INTO t VALUES (4)")
}

// TestLockExclusiveEndsWithContext covers a wait for each of the locks on the way.
func TestLockExclusiveEndsWithContext(t *testing.T) {
	for _, held := range []litefs.LockType{litefs.LockTypePending, litefs.LockTypeReserved, litefs.LockTypeShared} {
		t.Run(held.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "db")
				set, other := newSet(t, path), newSet(t, path)
				must(t, other.Guard(held).Lock(t.Context()))
				time.AfterFunc(time.Second/2, func() {
					// Who is waited for can go on to EXCLUSIVE.
					if ok, err := other.Guard(litefs.LockTypeShared).CanLock(); !ok || err != nil {
						t.Errorf("the waiting set is in the way: %v, %v", ok, err)
					}
				})
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := set.LockExclusive(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("LockExclusive = %v, want %v", err, context.DeadlineExceeded)
				}
				err := set.LockShared(ctx)
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("LockShared = %v, want %v", err, context.DeadlineExceeded)
				}
				wantDatabase(t, set, unlocked, unlocked, unlocked)
				must(t, other.Unlock())
				must(t, other.LockExclusive(t.Context())) // nothing of set is in the way
			})
		})
	}
}

// TestLockExclusiveLooksFirst uses a file that cannot be locked shared to see that
// the wait for RESERVED does without SHARED, which would be in the way of a commit.
func TestLockExclusiveLooksFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "db")
		writer := newSet(t, path)
		must(t, writer.Guard(litefs.LockTypeReserved).Lock(t.Context()))
		writeOnly, err := os.OpenFile(path, os.O_WRONLY, 0)
		must(t, err)
		defer writeOnly.Close()
		set := litefs.NewGuardSet(litefs.LockFiles{Database: writeOnly})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := set.LockExclusive(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("LockExclusive = %v, want %v", err, context.DeadlineExceeded)
		}
	})
}

// TestLockExclusiveAmongSets has several owners compete. They count in the file: if
// two had the lock at once, counts would be lost.
func TestLockExclusiveAmongSets(t *testing.T) {
	const owners, rounds = 4, 500
	path := filepath.Join(t.TempDir(), "db")
	must(t, os.WriteFile(path, make([]byte, 8), 0o600))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // ends a deadlock
	defer cancel()
	increment := func(set *litefs.GuardSet, f *os.File) error {
		if err := set.LockExclusive(ctx); err != nil {
			return err
		}
		runtime.Gosched() // let the others try
		var n [8]byte
		if _, err := f.ReadAt(n[:], 0); err != nil {
			return err
		}
		binary.BigEndian.PutUint64(n[:], binary.BigEndian.Uint64(n[:])+1)
		if _, err := f.WriteAt(n[:], 0); err != nil {
			return err
		}
		return set.Unlock()
	}
	var wg sync.WaitGroup
	for range owners {
		f := openFile(t, path)
		set := litefs.NewGuardSet(litefs.LockFiles{Database: f})
		wg.Go(func() {
			for range rounds {
				if err := increment(set, f); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	n, err := os.ReadFile(path)
	must(t, err)
	if got := binary.BigEndian.Uint64(n); got != owners*rounds {
		t.Errorf("counted %d, want %d", got, owners*rounds)
	}
}

// TestLockExclusiveInWAL waits until the last connection is closed.
func TestLockExclusiveInWAL(t *testing.T) {
	path, conn := newDatabase(t, "wal")
	set, probe := newSet(t, path), newSet(t, path)
	done := make(chan error, 1)
	go func() { done <- set.LockExclusive(t.Context()) }()
	awaitHeld(t, probe, litefs.LockTypePending)
	conn.expect(t, "", "INSERT INTO t VALUES (2)") // an open connection goes on
	conn.close(t)
	must(t, <-done)
	startSQLite(t, path).expect(t, busy, "SELECT count(*) FROM t")
}

// TestWALWriteLock keeps writers out of the WAL while readers go on.
func TestWALWriteLock(t *testing.T) {
	path, conn := newDatabase(t, "wal")
	set := newSet(t, path)
	must(t, set.LockShared(t.Context()))
	must(t, set.Guard(litefs.LockTypeDMS).RLock(t.Context()))
	write := set.Guard(litefs.LockTypeWrite)
	must(t, write.Lock(t.Context()))
	conn.expect(t, busy, "BEGIN IMMEDIATE", "INSERT INTO t VALUES (2)")
	conn.expect(t, "1", "SELECT count(*) FROM t")
	must(t, write.Unlock())
	conn.expect(t, "", "BEGIN IMMEDIATE")
	if ok, err := write.TryLock(); ok || err != nil {
		t.Errorf("TryLock against a writer = %v, %v", ok, err)
	}
	conn.expect(t, "", "COMMIT")
	must(t, set.Unlock())
}

// TestDatabaseHoldsStill locks the database while SQLite commits. Under LockShared
// the database file must not change; under LockExclusive there is no journal either.
func TestDatabaseHoldsStill(t *testing.T) {
	const inserts = 50
	path, conn := newDatabase(t, "delete")
	conn.expect(t, "600000", "PRAGMA busy_timeout = 600000")
	db := openFile(t, path)
	set := litefs.NewGuardSet(litefs.LockFiles{Database: db})

	// still looks for a while, long enough for a commit, at what every commit changes.
	still := func() error {
		var before, after [100]byte
		if _, err := db.ReadAt(before[:], 0); err != nil {
			return err
		}
		for start := time.Now(); time.Since(start) < 2*time.Millisecond; {
			if _, err := db.ReadAt(after[:], 0); err != nil {
				return err
			}
			if after != before {
				return errors.New("the database file changed")
			}
		}
		return nil
	}
	noJournal := func() error {
		switch _, err := os.Stat(path + "-journal"); {
		case err == nil:
			return errors.New("there is a journal")
		case errors.Is(err, os.ErrNotExist):
			return nil
		default:
			return err
		}
	}
	round := func() error {
		if err := set.LockShared(t.Context()); err != nil {
			return err
		}
		if err := errors.Join(still(), set.Unlock()); err != nil {
			return fmt.Errorf("under LockShared: %w", err)
		}
		if err := set.LockExclusive(t.Context()); err != nil {
			return err
		}
		if err := errors.Join(noJournal(), still(), noJournal(), set.Unlock()); err != nil {
			return fmt.Errorf("under LockExclusive: %w", err)
		}
		return nil
	}
	// One round a commit: without a pause the locks would starve SQLite.
	committed := make(chan struct{}, inserts)
	rounds := make(chan int, 1)
	go func() {
		n := 0
		defer func() { rounds <- n }()
		for range committed {
			if err := round(); err != nil {
				t.Error(err)
				return
			}
			n++
		}
	}()
	for range inserts {
		conn.expect(t, "", "INSERT INTO t VALUES (2)")
		committed <- struct{}{}
	}
	close(committed)
	if n := <-rounds; n != inserts {
		t.Errorf("%d rounds, want %d", n, inserts)
	}
	conn.expect(t, fmt.Sprint(inserts+1), "SELECT count(*) FROM t")
	conn.expect(t, "ok", "PRAGMA integrity_check")
}
