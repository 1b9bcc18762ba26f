// Package fsx is the only door to the disk for what must be durable.
//
// Every step that changes the disk goes through FS and File, so that a test can
// fail any one of them, or cut the power before it. File is an interface and not
// *os.File: a seam that hands out *os.File can refuse an open but can never fail
// a write or an fsync. Package faultfs fails chosen steps; package memfs loses
// what was not synced.
package fsx

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// File is the part of *os.File that the project uses. Fd is there for file
// locks and for FUSE passthrough; a file in memory returns an invalid one.
type File interface {
	io.Reader
	io.Writer
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync makes the content and the length durable, as fdatasync does: times
	// and modes may be lost, and of a new file the name is (see FS.SyncDir).
	Sync() error
	Truncate(size int64) error
	Stat() (fs.FileInfo, error)
	Fd() uintptr
}

// FS is the part of package os that the project uses.
type FS interface {
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	Rename(oldname, newname string) error
	Remove(name string) error
	MkdirAll(name string, perm fs.FileMode) error
	RemoveAll(name string) error
	Stat(name string) (fs.FileInfo, error)
	ReadDir(name string) ([]fs.DirEntry, error)
	// SyncDir makes the entries of a directory durable.
	SyncDir(name string) error
}

// OS is the real file system.
type OS struct{}

var _ FS = OS{}

// OpenFile implements FS.
func (OS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err // not f: a nil *os.File in the interface would not be nil
	}
	return osFile{f}, nil
}

// osFile is a file on disk.
type osFile struct{ *os.File }

// Sync implements File. Unlike fsync, fdatasync costs no journal commit of the
// file system when nothing but the modification time has changed, which is what
// a WAL that is written over again needs.
func (f osFile) Sync() error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var syncErr error
	err = conn.Control(func(fd uintptr) {
		for {
			if syncErr = unix.Fdatasync(int(fd)); !errors.Is(syncErr, unix.EINTR) {
				return
			}
		}
	})
	if err := errors.Join(err, syncErr); err != nil {
		return &fs.PathError{Op: "sync", Path: f.Name(), Err: err}
	}
	return nil
}

// Rename implements FS.
func (OS) Rename(oldname, newname string) error { return os.Rename(oldname, newname) }

// Remove implements FS.
func (OS) Remove(name string) error { return os.Remove(name) }

// MkdirAll implements FS.
func (OS) MkdirAll(name string, perm fs.FileMode) error { return os.MkdirAll(name, perm) }

// RemoveAll implements FS.
func (OS) RemoveAll(name string) error { return os.RemoveAll(name) }

// Stat implements FS.
func (OS) Stat(name string) (fs.FileInfo, error) { return os.Stat(name) }

// ReadDir implements FS.
func (OS) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(name) }

// SyncDir implements FS.
func (OS) SyncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// StartWriteback has the kernel begin to write what is cached of f. It makes
// nothing durable; it makes a later Sync short. A file in memory has no need of it.
func StartWriteback(f File) {
	if fd := f.Fd(); fd != ^uintptr(0) {
		_ = unix.SyncFileRange(int(fd), 0, 0, unix.SYNC_FILE_RANGE_WRITE) // a hint
	}
}

// Exists reports whether name is there.
func Exists(fsys FS, name string) (bool, error) {
	_, err := fsys.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// MkdirAllSync makes a directory with all that is missing of the path to it, and
// makes the names of those that it has made durable.
func MkdirAllSync(fsys FS, name string, perm fs.FileMode) error {
	var parents []string // of what is missing
	for dir := filepath.Clean(name); ; dir = filepath.Dir(dir) {
		there, err := Exists(fsys, dir)
		if err != nil {
			return err
		}
		if there || dir == filepath.Dir(dir) {
			break
		}
		parents = append(parents, filepath.Dir(dir))
	}
	if err := fsys.MkdirAll(name, perm); err != nil {
		return err
	}
	for _, dir := range parents {
		if err := fsys.SyncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// ReadFile returns the content of name, which must not be longer than limit
// bytes.
func ReadFile(fsys FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	err = errors.Join(err, f.Close())
	if err == nil && int64(len(data)) > limit {
		err = &fs.PathError{Op: "read", Path: name, Err: errors.New("file is longer than expected")}
	}
	return data, err
}

// WriteFileAtomic makes name hold exactly data, or leaves it as it was, and
// returns once that choice is durable.
//
// A crash before the rename leaves a stray name.tmp, which the next call
// overwrites; a crash after it leaves the new content, because the content was
// synced before it got its name.
func WriteFileAtomic(fsys FS, name string, data []byte, perm fs.FileMode) error {
	tmp := name + ".tmp"
	err := writeSynced(fsys, tmp, data, perm)
	if err == nil {
		err = fsys.Rename(tmp, name)
	}
	if err != nil {
		_ = fsys.Remove(tmp) // it may not exist, and it does no harm
		return err
	}
	return fsys.SyncDir(filepath.Dir(name))
}

func writeSynced(fsys FS, name string, data []byte, perm fs.FileMode) error {
	f, err := fsys.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, perm)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
