package vfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// watchPoll is the time between two looks at the process that is watched. It is
// taken for stuck if it is found killed twice.
const watchPoll = 50 * time.Millisecond

// WatchMount waits until parent, the process that has started this one and serves
// the mount on dir, has ended. If that was killed and cannot end because it waits for its own mount
// (ClearDeadMount says how that comes), the mount is ended by force. It returns when
// the parent is gone, or ctx is done.
//
// It is for a process of its own, which must not use the mount.
func WatchMount(ctx context.Context, dir string, parent int) error {
	dev, err := mountDevice(dir)
	if err != nil {
		if os.Getppid() != parent {
			return nil
		}
		return err
	}
	ticker := time.NewTicker(watchPoll)
	defer ticker.Stop()
	for killed := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if os.Getppid() != parent {
			return nil // with the parent went its mount
		}
		if !isKilled(parent) {
			killed = 0
			continue
		}
		if killed++; killed > 1 {
			if err := abortMount(dir, dev); err != nil {
				return fmt.Errorf("end the mount on %q by force: %w", dir, err)
			}
		}
	}
}

// abortMount ends the mount on dir if it is the one with the device number dev.
func abortMount(dir, dev string) error {
	_, minor, _ := strings.Cut(dev, ":")
	err := os.WriteFile("/sys/fs/fuse/connections/"+minor+"/abort", []byte("1"), 0)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// The file system of connections is not mounted.
	now, err := mountDevice(dir)
	if err != nil || now != dev {
		return nil // it has been ended
	}
	if err := unix.Unmount(dir, unix.MNT_FORCE); err != nil && !errors.Is(err, unix.EBUSY) { // busy is what it is left to be
		return os.NewSyscallError("umount", err)
	}
	return nil
}

// mountDevice returns the device number, MAJOR:MINOR, of what is mounted on dir.
func mountDevice(dir string) (string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	escaped := strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`).Replace(dir)
	dev := ""
	for line := range strings.Lines(string(mounts)) {
		// 36 35 0:39 / /mnt/db rw,noatime - fuse.litefs ...; see
		// proc_pid_mountinfo(5). What was mounted last lies on top.
		if f := strings.Fields(line); len(f) > 4 && f[4] == escaped {
			dev = f[2]
		}
	}
	if dev == "" {
		return "", fmt.Errorf("nothing is mounted on %q", dir)
	}
	return dev, nil
}
