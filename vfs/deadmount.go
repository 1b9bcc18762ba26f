package vfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A process that is killed while one of its threads waits for its own mount (it
// is a SQLite peer there, and opens files when it mounts) cannot end: the thread
// waits for an answer that nobody will give, the kernel ends the mount only when
// the process has closed /dev/fuse, and that waits for the thread. It stays a
// zombie that holds the lock of the data directory, and whoever looks at the
// mount hangs too. Ending the mount by force ends all of that.

const (
	// clearTimeout is how long a process may take to end once its mount has.
	clearTimeout = 5 * time.Second
	// killedTimeout is how long it may take until it shows that a process was
	// killed.
	killedTimeout = 2 * time.Second
	clearPoll     = 10 * time.Millisecond
)

// ClearDeadMount ends a mount on dir that hangs because its process has been
// killed. The process is the one that holds the lock of dataDir; one that is alive
// is left alone. It is called before the data directory is opened.
func ClearDeadMount(ctx context.Context, dir, dataDir string, logger *slog.Logger) error {
	lock := filepath.Join(dataDir, "lock")
	pid, err := awaitKilled(ctx, lock)
	if err != nil || pid == 0 {
		return err
	}
	logger.Warn("ending the mount of a process that was killed and hangs", slog.String("dir", dir), slog.Int("pid", pid))
	if err := unix.Unmount(dir, unix.MNT_FORCE); err != nil && !errors.Is(err, unix.EBUSY) { // busy is what it is left to be
		return fmt.Errorf("end the mount on %q by force: %w", dir, os.NewSyscallError("umount", err))
	}
	ctx, cancel := context.WithTimeout(ctx, clearTimeout)
	defer cancel()
	for {
		if pid, err = lockHolder(lock); err != nil || pid == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return nil // opening the data directory says what is wrong
		case <-time.After(clearPoll):
		}
	}
}

// awaitKilled returns the process that holds the lock if it has been killed, as
// soon as that shows. It returns 0 if nobody holds the lock, or if whoever does
// is alive.
func awaitKilled(ctx context.Context, lock string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, killedTimeout)
	defer cancel()
	for {
		pid, err := lockHolder(lock)
		if err != nil || pid == 0 || isKilled(pid) {
			return pid, err
		}
		select {
		case <-ctx.Done():
			return 0, nil
		case <-time.After(clearPoll):
		}
	}
}

// lockHolder returns the process that holds a flock on a file, 0 if none does.
func lockHolder(path string) (int, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return 0, err
	}
	st := info.Sys().(*syscall.Stat_t)
	file := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	for line := range strings.Lines(string(locks)) {
		// 1: FLOCK ADVISORY WRITE 4711 fe:00:1234 0 EOF; see proc_locks(5).
		if f := strings.Fields(line); len(f) > 5 && f[1] == "FLOCK" && f[5] == file {
			return strconv.Atoi(f[4])
		}
	}
	return 0, nil
}

// isKilled reports whether a process has been killed and is not gone. Its first
// thread is then a zombie, or on its way to become one, or it is the one that
// cannot end and has the signal pending.
func isKilled(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(status)) {
		// A mask in hexadecimal; see proc_pid_status(5).
		if mask, ok := strings.CutPrefix(line, "SigPnd:"); ok {
			pending, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
			if err == nil && pending&(1<<(unix.SIGKILL-1)) != 0 {
				return true
			}
		}
	}
	return isExiting(pid)
}

// exitingFlag is PF_EXITING of linux/sched.h. A zombie has it too.
const exitingFlag = 0x4

// isExiting reports whether the first thread of a process has come to its end.
func isExiting(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	// The flags are the seventh field behind the name, which is in parentheses
	// and may hold any character; see proc_pid_stat(5).
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 7 {
		return false
	}
	flags, err := strconv.ParseUint(fields[6], 10, 64)
	return err == nil && flags&exitingFlag != 0
}
