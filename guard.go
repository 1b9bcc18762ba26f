package litefs

import (
	"context"
	"errors"
	"fmt"
	"os"

	"litefs/internal/filelock"
)

// ErrNoLockFile is returned by the methods of a Guard that has no file to lock: its
// GuardSet was made without the file that the lock lives in, or its type is none of
// the LockType constants.
var ErrNoLockFile = errors.New("no file for this lock")

// GuardState is what a Guard holds.
type GuardState int

// The states of a Guard.
const (
	GuardStateUnlocked GuardState = iota
	GuardStateShared
	GuardStateExclusive
)

// String returns "unlocked", "shared" or "exclusive".
func (s GuardState) String() string {
	switch s {
	case GuardStateUnlocked:
		return "unlocked"
	case GuardStateShared:
		return "shared"
	case GuardStateExclusive:
		return "exclusive"
	default:
		return fmt.Sprintf("GuardState(%d)", int(s))
	}
}

// Guard is one owner's hold on one lock. The kernel decides who gets the lock, among
// all guards of this process and all SQLite connections of the machine. Guards of
// one set may be used by different goroutines, one guard by one goroutine at a time.
//
// The methods fail with os.ErrClosed if the file is closed, which has released the
// lock, with unix.EBADF if it is not open for reading (RLock) or writing (Lock), and
// with ErrNoLockFile. After an error the guard is in the state it was in before.
type Guard struct {
	lock  LockType
	file  *os.File // nil if there is none
	state GuardState
}

// State returns what the guard took and has not released.
func (g *Guard) State() GuardState { return g.state }

// TryLock makes the guard exclusive if that is possible at once, and reports whether
// it did. If not, a shared guard stays shared.
func (g *Guard) TryLock() (bool, error) { return g.try(filelock.Exclusive) }

// TryRLock makes the guard shared if that is possible at once, and reports whether
// it did. An exclusive guard is lowered, always and without a gap.
func (g *Guard) TryRLock() (bool, error) { return g.try(filelock.Shared) }

// Lock is TryLock that waits. If ctx is done before the lock is free, the error
// wraps context.Cause(ctx) and the state is as before. Two shared guards that both
// wait here wait for each other until a context ends.
func (g *Guard) Lock(ctx context.Context) error { return g.wait(ctx, filelock.Exclusive) }

// RLock is TryRLock that waits. If ctx is done before the lock is free, the error
// wraps context.Cause(ctx) and the state is as before.
func (g *Guard) RLock(ctx context.Context) error { return g.wait(ctx, filelock.Shared) }

// CanLock reports whether TryLock would find the lock free. It takes nothing, so
// that the answer may be outdated when it arrives.
func (g *Guard) CanLock() (bool, error) { return g.can(filelock.Exclusive) }

// CanRLock reports whether TryRLock would find the lock free. It takes nothing, so
// that the answer may be outdated when it arrives.
func (g *Guard) CanRLock() (bool, error) { return g.can(filelock.Shared) }

// Unlock releases the lock. An unlocked guard stays as it is, without an error.
func (g *Guard) Unlock() error {
	if g.state == GuardStateUnlocked {
		return nil
	}
	if err := filelock.Unlock(g.file, g.lock.bytes()); err != nil {
		return fmt.Errorf("release %s: %w", g.lock, err)
	}
	g.state = GuardStateUnlocked
	return nil
}

// try always asks the kernel, also for what the guard has, so that the lock of a
// closed file is not mistaken for a held one.
func (g *Guard) try(kind filelock.Kind) (bool, error) {
	if g.file == nil {
		return false, g.acquireError(ErrNoLockFile)
	}
	ok, err := filelock.TryLock(g.file, g.lock.bytes(), kind)
	if err != nil {
		return false, g.acquireError(err)
	}
	if ok {
		g.acquired(kind)
	}
	return ok, nil
}

func (g *Guard) wait(ctx context.Context, kind filelock.Kind) error {
	if g.file == nil {
		return g.acquireError(ErrNoLockFile)
	}
	if err := filelock.Lock(ctx, g.file, g.lock.bytes(), kind); err != nil {
		return g.acquireError(err)
	}
	g.acquired(kind)
	return nil
}

func (g *Guard) can(kind filelock.Kind) (bool, error) {
	if g.file == nil {
		return false, g.acquireError(ErrNoLockFile)
	}
	_, found, err := filelock.Conflict(g.file, g.lock.bytes(), kind)
	if err != nil {
		return false, g.acquireError(err)
	}
	return !found, nil
}

func (g *Guard) acquired(kind filelock.Kind) {
	g.state = GuardStateShared
	if kind == filelock.Exclusive {
		g.state = GuardStateExclusive
	}
}

func (g *Guard) acquireError(cause error) error { return fmt.Errorf("acquire %s: %w", g.lock, cause) }
