package filelock_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"litefs/internal/filelock"
)

func TestPollPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pauses []time.Duration
		last := time.Now()
		err := filelock.Poll(t.Context(), func() (bool, error) {
			pauses = append(pauses, time.Since(last))
			last = time.Now()
			return len(pauses) == 10, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		const µs = time.Microsecond
		want := []time.Duration{0, 50 * µs, 100 * µs, 200 * µs, 400 * µs, 800 * µs, 1600 * µs, 3200 * µs, 5000 * µs, 5000 * µs}
		if !slices.Equal(pauses, want) {
			t.Errorf("pauses %v, want %v", pauses, want)
		}
	})
}

func TestPollEnds(t *testing.T) {
	cause := errors.New("cause")
	t.Run("error of try", func(t *testing.T) {
		if err := filelock.Poll(t.Context(), func() (bool, error) { return false, cause }); !errors.Is(err, cause) {
			t.Errorf("Poll = %v, want %v", err, cause)
		}
	})
	t.Run("context done from the start", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		err := filelock.Poll(ctx, func() (bool, error) {
			t.Error("try was called")
			return true, nil
		})
		if !errors.Is(err, cause) {
			t.Errorf("Poll = %v, want %v", err, cause)
		}
	})
	t.Run("context done in between", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		calls := 0
		err := filelock.Poll(ctx, func() (bool, error) {
			if calls++; calls == 3 {
				cancel(cause)
			}
			return false, nil
		})
		if !errors.Is(err, cause) || calls != 3 {
			t.Errorf("Poll = %v after %d calls, want %v after 3", err, calls, cause)
		}
	})
}

func TestLockWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "f")
		a, b := openFile(t, path), openFile(t, path)
		tryLock(t, a, exclusive, true)
		start := time.Now()
		time.AfterFunc(time.Second, func() { unlock(t, a) })
		if err := filelock.Lock(t.Context(), b, bytes120, shared); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(start); waited < time.Second || waited > time.Second+5*time.Millisecond {
			t.Errorf("waited %v for a lock that was free after 1 s", waited)
		}
		tryLock(t, a, exclusive, false)
	})
}

func TestLockEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "f")
		a, b := openFile(t, path), openFile(t, path)
		tryLock(t, a, shared, true)
		tryLock(t, b, shared, true)

		cause := errors.New("no longer primary")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, cause)
		defer cancel()
		start := time.Now()
		err := filelock.Lock(ctx, b, bytes120, exclusive)
		if waited := time.Since(start); !errors.Is(err, cause) || waited != time.Second {
			t.Fatalf("Lock = %v after %v, want %v after 1s", err, waited, cause)
		}
		want := fmt.Sprintf("lock bytes 120-121 of %q exclusive: no longer primary "+
			"(bytes 120-121 held shared by an open file description)", path)
		if err.Error() != want {
			t.Errorf("error %q\nwant  %q", err, want)
		}
		unlock(t, a)
		tryLock(t, a, exclusive, false) // b kept its shared lock

		if err := filelock.Lock(ctx, b, bytes120, exclusive); !errors.Is(err, cause) {
			t.Errorf("Lock with an ended context = %v, want %v", err, cause)
		}
		tryLock(t, a, shared, true) // and took nothing
	})
}
