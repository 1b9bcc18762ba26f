package memfs

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"litefs/internal/fsx"
)

// file is an open file.
type file struct {
	fs     *FS
	node   *node
	name   string
	access int   // os.O_RDONLY, os.O_WRONLY or os.O_RDWR
	offset int64 // of Read and Write
	closed bool
}

var _ fsx.File = (*file)(nil)

// use locks the FS for a use of the file that needs access, and returns how to
// unlock it.
func (f *file) use(op string, denied int) (unlock func(), err error) {
	f.fs.mu.Lock()
	switch {
	case f.closed:
		err = pathError(op, f.name, fs.ErrClosed)
	case f.access == denied:
		err = pathError(op, f.name, syscall.EBADF)
	}
	return f.fs.mu.Unlock, err
}

// Read implements fsx.File.
func (f *file) Read(p []byte) (int, error) {
	unlock, err := f.use("read", os.O_WRONLY)
	defer unlock()
	if err != nil {
		return 0, err
	}
	n, err := f.readAt(p, f.offset)
	f.offset += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

// ReadAt implements fsx.File.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	unlock, err := f.use("read", os.O_WRONLY)
	defer unlock()
	if err != nil {
		return 0, err
	}
	return f.readAt(p, off)
}

func (f *file) readAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, pathError("read", f.name, syscall.EINVAL)
	}
	if off >= int64(len(f.node.seen.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.seen.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Write implements fsx.File.
func (f *file) Write(p []byte) (int, error) {
	unlock, err := f.use("write", os.O_RDONLY)
	defer unlock()
	if err != nil {
		return 0, err
	}
	n, err := f.writeAt(p, f.offset)
	f.offset += int64(n)
	return n, err
}

// WriteAt implements fsx.File.
func (f *file) WriteAt(p []byte, off int64) (int, error) {
	unlock, err := f.use("write", os.O_RDONLY)
	defer unlock()
	if err != nil {
		return 0, err
	}
	return f.writeAt(p, off)
}

func (f *file) writeAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, pathError("write", f.name, syscall.EINVAL)
	}
	if len(p) > 0 {
		f.node.change(change{kind: write, offset: off, data: slices.Clone(p)}, f.fs.tick())
	}
	return len(p), nil
}

// Truncate implements fsx.File.
func (f *file) Truncate(size int64) error {
	unlock, err := f.use("truncate", os.O_RDONLY)
	defer unlock()
	if err != nil {
		return err
	}
	if size < 0 {
		return pathError("truncate", f.name, syscall.EINVAL)
	}
	if size != int64(len(f.node.seen.data)) {
		f.node.change(change{kind: truncate, offset: size}, f.fs.tick())
	}
	return nil
}

// Sync implements fsx.File.
func (f *file) Sync() error {
	unlock, err := f.use("sync", -1)
	defer unlock()
	if err != nil {
		return err
	}
	f.node.sync()
	return nil
}

// Stat implements fsx.File.
func (f *file) Stat() (fs.FileInfo, error) {
	unlock, err := f.use("stat", -1)
	defer unlock()
	if err != nil {
		return nil, err
	}
	return f.node.info(filepath.Base(f.name)), nil
}

// Fd implements fsx.File: there is no descriptor.
func (f *file) Fd() uintptr { return ^uintptr(0) }

// Close implements fsx.File.
func (f *file) Close() error {
	unlock, err := f.use("close", -1)
	defer unlock()
	if err != nil {
		return err
	}
	f.closed = true
	delete(f.fs.open, f)
	return nil
}
