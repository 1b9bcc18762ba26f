package filelock

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// TryLock takes a lock of the given kind on range r of f if that is possible
// without waiting, and reports whether it did. What the owner already holds in
// the range is converted: an exclusive lock is lowered to a shared one in one
// step; a shared lock that cannot be raised is kept, and the answer is false.
//
// Errors: os.ErrClosed if f is closed, unix.EBADF if f is not open for reading
// (Shared) or for writing (Exclusive), unix.EINVAL or unix.EOVERFLOW for a range
// or kind that does not exist, unix.ENOLCK if the kernel has no memory for the
// lock.
func TryLock(f *os.File, r Range, kind Kind) (bool, error) {
	lk, err := r.flock(kind.fcntlType())
	if err == nil {
		err = fcntl(f, unix.F_OFD_SETLK, &lk)
	}
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EACCES): // POSIX allows either
		return false, nil
	default:
		return false, lockError(f, r, kind, err)
	}
}

// Lock is TryLock that waits until it has the lock or ctx is done. In the latter
// case, also if ctx is done from the start, it changes no lock; its error wraps
// context.Cause(ctx) and names a holder that is in the way, if there still is one.
// Who waits may be overtaken: waiters have no order.
func Lock(ctx context.Context, f *os.File, r Range, kind Kind) error {
	var tryErr error
	err := Poll(ctx, func() (ok bool, _ error) {
		ok, tryErr = TryLock(f, r, kind)
		return ok, tryErr
	})
	if err == nil || tryErr != nil {
		return err
	}
	err = lockError(f, r, kind, err)
	if h, found, queryErr := Conflict(f, r, kind); queryErr == nil && found {
		return fmt.Errorf("%w (%s)", err, h)
	}
	return err
}

// Unlock releases whatever f holds in range r. To release what is not held is no
// error. Errors: os.ErrClosed if f is closed, unix.EINVAL or unix.EOVERFLOW for a
// range that does not exist, unix.ENOLCK if the kernel has no memory to split a
// lock.
func Unlock(f *os.File, r Range) error {
	lk, err := r.flock(unix.F_UNLCK)
	if err == nil {
		err = fcntl(f, unix.F_OFD_SETLK, &lk)
	}
	if err != nil {
		return fmt.Errorf("unlock %s of %q: %w", r, f.Name(), err)
	}
	return nil
}

// Conflict reports whether another owner holds a lock that keeps f from taking a
// lock of the given kind on range r, and describes one such lock. It changes no
// lock. The answer may be outdated by the time the caller reads it, and does not
// consider how f was opened. Errors are those of TryLock except unix.EBADF.
func Conflict(f *os.File, r Range, kind Kind) (h Holder, found bool, err error) {
	lk, err := r.flock(kind.fcntlType())
	if err == nil {
		err = fcntl(f, unix.F_OFD_GETLK, &lk)
	}
	if err != nil {
		return Holder{}, false, fmt.Errorf("query %s lock on %s of %q: %w", kind, r, f.Name(), err)
	}
	if lk.Type == unix.F_UNLCK {
		return Holder{}, false, nil
	}
	return newHolder(lk), true, nil
}

func lockError(f *os.File, r Range, kind Kind, cause error) error {
	return fmt.Errorf("lock %s of %q %s: %w", r, f.Name(), kind, cause)
}

// fcntl runs one lock command on f. It reaches the descriptor through
// SyscallConn, which keeps it open until the call is over. With (*os.File).Fd a
// concurrent Close could free the number, and the lock would land on whichever
// file is opened next; Fd also puts a non-blocking descriptor into blocking mode.
func fcntl(f *os.File, cmd int, lk *unix.Flock_t) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var callErr error
	err = conn.Control(func(fd uintptr) {
		for {
			callErr = unix.FcntlFlock(fd, cmd, lk)
			if !errors.Is(callErr, unix.EINTR) {
				return
			}
		}
	})
	if err != nil {
		// Control fails for one reason, a closed file, and says so with an error
		// that package os does not export.
		return os.ErrClosed
	}
	return callErr
}
