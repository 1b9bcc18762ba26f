package litefs_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"litefs"
)

const (
	unlocked  = litefs.GuardStateUnlocked
	shared    = litefs.GuardStateShared
	exclusive = litefs.GuardStateExclusive
)

func openFile(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() }) // some tests close it themselves
	return f
}

// newSet returns a guard set with files of its own.
func newSet(t *testing.T, path string) *litefs.GuardSet {
	t.Helper()
	return litefs.NewGuardSet(litefs.LockFiles{Database: openFile(t, path), SHM: openFile(t, path+"-shm")})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantState(t *testing.T, set *litefs.GuardSet, lock litefs.LockType, want litefs.GuardState) {
	t.Helper()
	if got := set.Guard(lock).State(); got != want {
		t.Errorf("%s is %s, want %s", lock, got, want)
	}
}

// TestGuardTransitions goes through the moves of one guard while another owner holds
// nothing, a shared or an exclusive lock.
func TestGuardTransitions(t *testing.T) {
	try := func(t *testing.T, g *litefs.Guard, state litefs.GuardState) bool {
		t.Helper()
		var ok bool
		var err error
		switch state {
		case unlocked:
			ok, err = true, g.Unlock()
		case shared:
			ok, err = g.TryRLock()
		case exclusive:
			ok, err = g.TryLock()
		}
		must(t, err)
		return ok
	}
	for _, test := range []struct {
		other, from, to litefs.GuardState
		want            bool
	}{
		{unlocked, unlocked, unlocked, true},
		{unlocked, unlocked, shared, true},
		{unlocked, unlocked, exclusive, true},
		{unlocked, shared, unlocked, true},
		{unlocked, shared, shared, true},
		{unlocked, shared, exclusive, true},
		{unlocked, exclusive, unlocked, true},
		{unlocked, exclusive, shared, true},
		{unlocked, exclusive, exclusive, true},
		{shared, unlocked, shared, true},
		{shared, unlocked, exclusive, false},
		{shared, shared, unlocked, true},
		{shared, shared, shared, true},
		{shared, shared, exclusive, false},
		{exclusive, unlocked, shared, false},
		{exclusive, unlocked, exclusive, false},
	} {
		t.Run(fmt.Sprintf("%s to %s other %s", test.from, test.to, test.other), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "db")
			g := newSet(t, path).Guard(litefs.LockTypeShared)
			other := newSet(t, path).Guard(litefs.LockTypeShared)
			if !try(t, g, test.from) || !try(t, other, test.other) {
				t.Fatal("no way to set up the states")
			}
			if test.to != unlocked {
				can := g.CanRLock
				if test.to == exclusive {
					can = g.CanLock
				}
				if free, err := can(); err != nil || free != test.want {
					t.Errorf("can be %s: %v, %v; want %v", test.to, free, err, test.want)
				}
			}
			if got := try(t, g, test.to); got != test.want {
				t.Errorf("became %s: %v, want %v", test.to, got, test.want)
			}
			want := test.from
			if test.want {
				want = test.to
			}
			if got := g.State(); got != want {
				t.Errorf("state %s, want %s", got, want)
			}
		})
	}
}

func TestGuardStateString(t *testing.T) {
	for state, want := range map[litefs.GuardState]string{
		unlocked: "unlocked", shared: "shared", exclusive: "exclusive", 3: "GuardState(3)",
	} {
		if got := state.String(); got != want {
			t.Errorf("String = %q, want %q", got, want)
		}
	}
}

func TestGuardWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "db")
		a, b := newSet(t, path).Guard(litefs.LockTypeWrite), newSet(t, path).Guard(litefs.LockTypeWrite)
		must(t, a.Lock(t.Context()))
		cause := errors.New("cause")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, cause)
		defer cancel()
		for name, wait := range map[string]func(context.Context) error{"Lock": b.Lock, "RLock": b.RLock} {
			if err := wait(ctx); !errors.Is(err, cause) || b.State() != unlocked {
				t.Errorf("%s = %v, state %s; want %v", name, err, b.State(), cause)
			}
		}
		time.AfterFunc(time.Second, func() {
			if err := a.Unlock(); err != nil {
				t.Error(err)
			}
		})
		must(t, b.RLock(t.Context()))
		if b.State() != shared {
			t.Errorf("state %s, want shared", b.State())
		}
	})
}

// TestGuardErrors covers guards that have nothing to lock, and the order of calls.
func TestGuardErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	closedFile := openFile(t, path)
	closed := litefs.NewGuardSet(litefs.LockFiles{Database: closedFile})
	must(t, closed.Guard(litefs.LockTypeReserved).Lock(t.Context()))
	must(t, closed.Guard(litefs.LockTypePending).Lock(t.Context()))
	must(t, closedFile.Close())
	readOnlyFile, err := os.Open(path)
	must(t, err)
	defer readOnlyFile.Close()
	readOnly := litefs.NewGuardSet(litefs.LockFiles{Database: readOnlyFile})
	open := newSet(t, path)

	t.Run("guard", func(t *testing.T) {
		for _, test := range []struct {
			name string
			g    *litefs.Guard
			want error
		}{
			{"lock of the wal-index without the file", closed.Guard(litefs.LockTypeWrite), litefs.ErrNoLockFile},
			{"invalid lock type", open.Guard(129), litefs.ErrNoLockFile},
			{"closed file", closed.Guard(litefs.LockTypeShared), os.ErrClosed},
		} {
			t.Run(test.name, func(t *testing.T) {
				for method, try := range map[string]func() (bool, error){
					"TryLock": test.g.TryLock, "TryRLock": test.g.TryRLock,
					"CanLock": test.g.CanLock, "CanRLock": test.g.CanRLock,
					"Lock":  func() (bool, error) { return false, test.g.Lock(t.Context()) },
					"RLock": func() (bool, error) { return false, test.g.RLock(t.Context()) },
				} {
					if ok, err := try(); ok || !errors.Is(err, test.want) {
						t.Errorf("%s = %v, %v; want %v", method, ok, err, test.want)
					}
				}
				if err := test.g.Unlock(); err != nil || test.g.State() != unlocked {
					t.Errorf("Unlock = %v, state %s; want nothing to release", err, test.g.State())
				}
			})
		}
	})

	t.Run("read-only file", func(t *testing.T) {
		must(t, readOnly.LockShared(t.Context()))
		must(t, readOnly.Unlock())
		if err := readOnly.LockExclusive(t.Context()); !errors.Is(err, unix.EBADF) {
			t.Errorf("LockExclusive = %v, want %v", err, unix.EBADF)
		}
		wantDatabase(t, readOnly, unlocked, unlocked, unlocked)
	})

	t.Run("closed under held locks", func(t *testing.T) {
		err := closed.Unlock()
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("Unlock = %v, want %v", err, os.ErrClosed)
		}
		for _, part := range []string{"release RESERVED: ", "release PENDING: "} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("Unlock = %q, want %q in it", err, part)
			}
		}
		if ok, err := open.Guard(litefs.LockTypeReserved).TryLock(); !ok || err != nil {
			t.Errorf("the lock outlived its file: %v, %v", ok, err)
		}
		must(t, open.Unlock())
	})

	t.Run("set", func(t *testing.T) {
		empty := litefs.NewGuardSet(litefs.LockFiles{})
		lockers := func(set *litefs.GuardSet) map[string]func(context.Context) error {
			return map[string]func(context.Context) error{
				"LockShared": set.LockShared, "LockExclusive": set.LockExclusive,
			}
		}
		for name, lock := range lockers(empty) {
			if err := lock(t.Context()); !errors.Is(err, litefs.ErrNoLockFile) {
				t.Errorf("%s = %v, want %v", name, err, litefs.ErrNoLockFile)
			}
		}
		must(t, empty.Unlock())
		must(t, open.LockShared(t.Context()))
		for name, lock := range lockers(open) {
			if err := lock(t.Context()); !errors.Is(err, litefs.ErrLockHeld) {
				t.Errorf("%s = %v, want %v", name, err, litefs.ErrLockHeld)
			}
		}
		wantDatabase(t, open, unlocked, unlocked, shared)
	})
}
