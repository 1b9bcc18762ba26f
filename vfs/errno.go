package vfs

import (
	"errors"
	"io/fs"
	"syscall"

	"litefs"
)

// errno translates an error into what the program that made the request gets.
// Errors of the disk keep their number, so that a full disk is a full disk.
func errno(err error) syscall.Errno {
	var number syscall.Errno
	switch {
	case err == nil:
		return 0
	case errors.Is(err, litefs.ErrReadOnlyReplica):
		return syscall.EACCES
	case errors.Is(err, litefs.ErrNoJournal):
		return syscall.EIO
	case errors.Is(err, litefs.ErrInvalidName):
		return syscall.EPERM
	case errors.As(err, &number):
		return number
	case errors.Is(err, fs.ErrNotExist):
		return syscall.ENOENT
	case errors.Is(err, fs.ErrExist):
		return syscall.EEXIST
	default:
		return syscall.EIO
	}
}
