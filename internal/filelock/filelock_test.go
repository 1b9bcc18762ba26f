package filelock_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"litefs/internal/filelock"
)

const (
	shared    = filelock.Shared
	exclusive = filelock.Exclusive
)

// bytes120 is the range that most tests lock.
var bytes120 = filelock.Range{Start: 120, Len: 2}

func tryLock(t *testing.T, f *os.File, kind filelock.Kind, want bool) {
	t.Helper()
	if got, err := filelock.TryLock(f, bytes120, kind); err != nil || got != want {
		t.Fatalf("TryLock %s = %v, %v; want %v", kind, got, err, want)
	}
}

func unlock(t *testing.T, f *os.File) {
	t.Helper()
	if err := filelock.Unlock(f, bytes120); err != nil {
		t.Fatal(err)
	}
}

// TestConflictsInProcess covers every pair of kinds on two opens of one file.
func TestConflictsInProcess(t *testing.T) {
	for _, test := range []struct {
		held, asked filelock.Kind
		want        bool
	}{
		{shared, shared, true},
		{shared, exclusive, false},
		{exclusive, shared, false},
		{exclusive, exclusive, false},
	} {
		t.Run(fmt.Sprintf("%s then %s", test.held, test.asked), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f")
			a, b := openFile(t, path), openFile(t, path)
			tryLock(t, a, test.held, true)
			_, found, err := filelock.Conflict(b, bytes120, test.asked)
			if err != nil || found == test.want {
				t.Errorf("Conflict = %v, %v; want %v", found, err, !test.want)
			}
			tryLock(t, b, test.asked, test.want)
			unlock(t, a)
			tryLock(t, b, test.asked, true)
		})
	}
}

// TestConflictsWithPOSIX covers every pair of kinds between a lock of this package
// and a POSIX lock of another process, whichever comes first.
func TestConflictsWithPOSIX(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	f := openFile(t, path)
	other := startHelper(t, "posix", path)
	for _, test := range []struct {
		first, second filelock.Kind
		want          bool
	}{
		{shared, shared, true},
		{shared, exclusive, false},
		{exclusive, shared, false},
		{exclusive, exclusive, false},
	} {
		t.Run(fmt.Sprintf("ours %s theirs %s", test.first, test.second), func(t *testing.T) {
			tryLock(t, f, test.first, true)
			answer := map[bool]string{true: "ok", false: "busy"}[test.want]
			other.expect(t, answer, test.second.String()+" 121 1")
			other.expect(t, "ok", test.second.String()+" 122 1", "unlock 0 0")
			unlock(t, f)
		})
		t.Run(fmt.Sprintf("theirs %s ours %s", test.first, test.second), func(t *testing.T) {
			other.expect(t, "ok", test.first.String()+" 121 1")
			tryLock(t, f, test.second, test.want)
			unlock(t, f)
			other.expect(t, "ok", "unlock 121 1")
			tryLock(t, f, test.second, true)
			unlock(t, f)
		})
	}
}

func TestConflictNamesTheHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	f, g := openFile(t, path), openFile(t, path)
	other := startHelper(t, "posix", path)

	check := func(t *testing.T, kind filelock.Kind, want filelock.Holder, text string) {
		t.Helper()
		got, found, err := filelock.Conflict(f, bytes120, kind)
		if err != nil || !found || got != want {
			t.Errorf("Conflict = %+v, %v, %v; want %+v", got, found, err, want)
		}
		if got.String() != text {
			t.Errorf("String = %q, want %q", got, text)
		}
	}
	t.Run("process", func(t *testing.T) {
		other.expect(t, "ok", "shared 121 1")
		check(t, exclusive, filelock.Holder{Kind: shared, Range: filelock.Range{Start: 121, Len: 1}, PID: other.pid()},
			fmt.Sprintf("byte 121 held shared by process %d", other.pid()))
		if _, found, err := filelock.Conflict(f, bytes120, shared); found || err != nil {
			t.Errorf("a shared lock conflicts with a shared lock: %v", err)
		}
		other.expect(t, "ok", "unlock 121 1")
	})
	t.Run("open file description", func(t *testing.T) {
		if ok, err := filelock.TryLock(g, filelock.Range{Start: 100}, exclusive); !ok || err != nil {
			t.Fatal(ok, err)
		}
		check(t, shared, filelock.Holder{Kind: exclusive, Range: filelock.Range{Start: 100}, PID: -1},
			"bytes 100- held exclusive by an open file description")
	})
	t.Run("own lock is none", func(t *testing.T) {
		if _, found, err := filelock.Conflict(g, bytes120, exclusive); found || err != nil {
			t.Errorf("own lock reported as a conflict: %v", err)
		}
	})
}

func TestUpgradeAndDowngrade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	a, b := openFile(t, path), openFile(t, path)
	other := startHelper(t, "posix", path)

	tryLock(t, a, shared, true)
	tryLock(t, b, shared, true)
	tryLock(t, a, exclusive, false) // b is in the way
	other.expect(t, "busy", "exclusive 120 2")
	unlock(t, b)
	other.expect(t, "busy", "exclusive 120 2") // a kept its shared lock
	other.expect(t, "ok", "shared 120 2", "unlock 120 2")

	tryLock(t, a, exclusive, true)
	tryLock(t, a, exclusive, true) // to lock again is no error
	other.expect(t, "busy", "shared 120 2")
	tryLock(t, a, shared, true)
	other.expect(t, "ok", "shared 120 2")
	other.expect(t, "busy", "exclusive 120 2")
}

// TestDowngradeLeavesNoGap has a waiter for the exclusive lock, which must never
// get it while the other owner goes back and forth between shared and exclusive.
func TestDowngradeLeavesNoGap(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	a, b := openFile(t, path), openFile(t, path)
	tryLock(t, a, exclusive, true)

	stop := make(chan struct{})
	got := make(chan error, 1)
	go func() {
		for {
			if ok, err := filelock.TryLock(b, bytes120, exclusive); ok || err != nil {
				got <- fmt.Errorf("TryLock = %v, %w", ok, err)
				return
			}
			select {
			case <-stop:
				got <- nil
				return
			default:
			}
		}
	}()
	for range 20000 {
		tryLock(t, a, shared, true)
		tryLock(t, a, exclusive, true)
	}
	close(stop)
	if err := <-got; err != nil {
		t.Error(err)
	}
}

func TestPartialUnlockSplits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	f := openFile(t, path)
	other := startHelper(t, "posix", path)
	if ok, err := filelock.TryLock(f, filelock.Range{Start: 10, Len: 3}, exclusive); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := filelock.Unlock(f, filelock.Range{Start: 11, Len: 1}); err != nil {
		t.Fatal(err)
	}
	other.expect(t, "busy", "shared 10 1", "shared 12 1")
	other.expect(t, "ok", "exclusive 11 1")
}

// TestReleaseOnClose shows when a lock ends: with the last descriptor of its own
// open file description, not with another one of the same file.
func TestReleaseOnClose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	f := openFile(t, path)
	other := startHelper(t, "posix", path)
	tryLock(t, f, exclusive, true)

	again := openFile(t, path)
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	other.expect(t, "busy", "shared 120 1")

	conn, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	dup := -1
	if err := conn.Control(func(fd uintptr) { dup, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	other.expect(t, "busy", "shared 120 1")
	if err := unix.Close(dup); err != nil {
		t.Fatal(err)
	}
	other.expect(t, "ok", "exclusive 120 1")

	g := openFile(t, path)
	tryLock(t, g, shared, false)
	other.kill(t)
	tryLock(t, g, exclusive, true)
}

// TestErrors covers what is neither success nor a conflict.
func TestErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	rw := openFile(t, path)
	closed := openFile(t, path)
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	readOnly, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	writeOnly, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer writeOnly.Close()

	for _, test := range []struct {
		name string
		file *os.File
		r    filelock.Range
		kind filelock.Kind
		want error
	}{
		{"closed file", closed, bytes120, shared, os.ErrClosed},
		{"exclusive on a read-only descriptor", readOnly, bytes120, exclusive, unix.EBADF},
		{"shared on a write-only descriptor", writeOnly, bytes120, shared, unix.EBADF},
		{"no kind", rw, bytes120, 0, unix.EINVAL},
		{"unknown kind", rw, bytes120, 3, unix.EINVAL},
		{"negative start", rw, filelock.Range{Start: -1, Len: 1}, shared, unix.EINVAL},
		{"negative length", rw, filelock.Range{Start: 100, Len: -1}, shared, unix.EINVAL},
		{"too long", rw, filelock.Range{Start: 2, Len: 1<<63 - 1}, shared, unix.EOVERFLOW},
	} {
		t.Run(test.name, func(t *testing.T) {
			ok, err := filelock.TryLock(test.file, test.r, test.kind)
			if ok || !errors.Is(err, test.want) {
				t.Errorf("TryLock = %v, %v; want %v", ok, err, test.want)
			}
			if err := filelock.Lock(t.Context(), test.file, test.r, test.kind); !errors.Is(err, test.want) {
				t.Errorf("Lock = %v, want %v", err, test.want)
			}
			if errors.Is(test.want, unix.EBADF) {
				return // a question of how the file was opened, which concerns only locking
			}
			if _, found, err := filelock.Conflict(test.file, test.r, test.kind); found || !errors.Is(err, test.want) {
				t.Errorf("Conflict = %v, %v; want %v", found, err, test.want)
			}
		})
	}

	t.Run("Unlock", func(t *testing.T) {
		err := filelock.Unlock(closed, bytes120)
		if !errors.Is(err, os.ErrClosed) || !strings.HasPrefix(err.Error(), "unlock bytes 120-121 of ") {
			t.Errorf("Unlock = %v, want %v", err, os.ErrClosed)
		}
		if err := filelock.Unlock(rw, filelock.Range{Start: 1, Len: -1}); !errors.Is(err, unix.EINVAL) {
			t.Errorf("Unlock = %v, want %v", err, unix.EINVAL)
		}
		if err := filelock.Unlock(readOnly, bytes120); err != nil {
			t.Errorf("Unlock of what is not held: %v", err)
		}
	})
}

// TestCloseWhileLocking closes a file under a goroutine that uses it: the use fails
// cleanly, and never touches a file that was given the same descriptor number.
func TestCloseWhileLocking(t *testing.T) {
	dir := t.TempDir()
	innocent := filepath.Join(dir, "innocent")
	for range 50 {
		f := openFile(t, filepath.Join(dir, "f"))
		started, done := make(chan struct{}), make(chan error, 1)
		go func() {
			close(started)
			for {
				if ok, err := filelock.TryLock(f, bytes120, exclusive); !ok || err != nil {
					done <- err
					return
				}
			}
		}()
		<-started
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		g, h := openFile(t, innocent), openFile(t, innocent) // one of them has the number
		if err := <-done; !errors.Is(err, os.ErrClosed) {
			t.Fatalf("TryLock on a closed file = %v, want %v", err, os.ErrClosed)
		}
		tryLock(t, g, exclusive, true)
		unlock(t, g)
		tryLock(t, h, exclusive, true)
		_, _ = g.Close(), h.Close()
	}
}

// TestMutualExclusion counts in a file, under the lock, from owners in this process.
func TestMutualExclusion(t *testing.T) {
	const owners, rounds = 8, 50
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, make([]byte, 8), 0o600); err != nil {
		t.Fatal(err)
	}
	increment := func(f *os.File) error {
		if err := filelock.Lock(t.Context(), f, bytes120, exclusive); err != nil {
			return err
		}
		var n [8]byte
		if _, err := f.ReadAt(n[:], 0); err != nil {
			return err
		}
		binary.BigEndian.PutUint64(n[:], binary.BigEndian.Uint64(n[:])+1)
		if _, err := f.WriteAt(n[:], 0); err != nil {
			return err
		}
		return filelock.Unlock(f, bytes120)
	}
	var wg sync.WaitGroup
	for range owners {
		f := openFile(t, path)
		wg.Go(func() {
			for range rounds {
				if err := increment(f); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	n, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := binary.BigEndian.Uint64(n); got != owners*rounds {
		t.Errorf("counted %d, want %d", got, owners*rounds)
	}
}

func TestStrings(t *testing.T) {
	for want, s := range map[string]fmt.Stringer{
		"shared":        shared,
		"exclusive":     exclusive,
		"Kind(0)":       filelock.Kind(0),
		"byte 120":      filelock.Range{Start: 120, Len: 1},
		"bytes 120-121": bytes120,
		"bytes 0-":      filelock.Range{},
		"byte 1 held shared by a process of another PID namespace": filelock.Holder{
			Kind: shared, Range: filelock.Range{Start: 1, Len: 1},
		},
	} {
		if got := s.String(); got != want {
			t.Errorf("String = %q, want %q", got, want)
		}
	}
}
