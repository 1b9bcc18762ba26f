package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"testing"

	"litefs"
)

func TestErrno(t *testing.T) {
	for _, test := range []struct {
		err  error
		want syscall.Errno
	}{
		{nil, 0},
		{litefs.ErrReadOnlyReplica, syscall.EACCES},
		{litefs.ErrNoJournal, syscall.EIO},
		{litefs.ErrInvalidName, syscall.EPERM},
		{litefs.ErrCapture, syscall.EIO},
		{litefs.ErrClosed, syscall.EIO},
		{litefs.ErrDatabaseNotFound, syscall.EIO},
		{litefs.ErrDatabaseExists, syscall.EIO},
		{litefs.ErrDataDirLocked, syscall.EIO},
		{fs.ErrNotExist, syscall.ENOENT},
		{fs.ErrExist, syscall.EEXIST},
		{syscall.ENOSPC, syscall.ENOSPC},
		{&os.PathError{Op: "write", Path: "p", Err: syscall.EDQUOT}, syscall.EDQUOT},
		{fmt.Errorf("%w: database: %w", litefs.ErrCapture, syscall.ENOSPC), syscall.ENOSPC},
		{errors.New("anything else"), syscall.EIO},
	} {
		err := test.err
		if err != nil {
			err = fmt.Errorf("wrapped: %w", err)
		}
		if got := errno(err); got != test.want {
			t.Errorf("errno(%v) = %v, want %v", test.err, got, test.want)
		}
	}
}
