package vfs

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// fileUser is a process that holds a file of the mount open.
type fileUser struct {
	pid     int
	command string
	path    string
}

// openFileUsers lists the processes that hold files below dir open, one file
// each. It reads links of /proc and never touches the mount.
func openFileUsers(dir string) []fileUser {
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var users []fileUser
	for _, proc := range procs {
		pid, err := strconv.Atoi(proc.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if path, ok := firstFileBelow(filepath.Join("/proc", proc.Name(), "fd"), dir); ok {
			command, _ := os.ReadFile(filepath.Join("/proc", proc.Name(), "comm")) // it may have ended
			users = append(users, fileUser{pid, strings.TrimSpace(string(command)), path})
		}
	}
	return users
}

func firstFileBelow(fdDir, dir string) (string, bool) {
	fds, err := os.ReadDir(fdDir)
	if err != nil {
		return "", false
	}
	for _, fd := range fds {
		if path, err := os.Readlink(filepath.Join(fdDir, fd.Name())); err == nil && strings.HasPrefix(path, dir+"/") {
			return path, true
		}
	}
	return "", false
}
