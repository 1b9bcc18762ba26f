package vfs

import (
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// closeOnExec keeps the connections to the kernel from the programs that this
// process starts. go-fuse leaves them open to those when it mounts by itself
// (mountDirect). Once this process is killed, the kernel would go on to wait for
// answers, and with it everybody who uses the mount, until the last of those
// programs had ended, which may be one of those that wait.
func closeOnExec() error {
	const dir = "/proc/self/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil {
			return err
		}
		if target, err := os.Readlink(filepath.Join(dir, entry.Name())); err == nil && target == "/dev/fuse" {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}
