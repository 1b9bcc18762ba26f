package vfs

import (
	"context"
	"errors"
	"io"
	"syscall"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"litefs/internal/fsx"
)

// fileHandle is an open file with a backing file.
type fileHandle interface{ file() fsx.File }

// handle is an open file of SQLite. How it is written and synced depends on the
// file's role.
type handle struct {
	node  *fileNode
	f     fsx.File
	write func(f fsx.File, data []byte, offset int64) error
	sync  func(f fsx.File) error
	// release is told of the close, unless the file has no name by then. It may
	// be nil.
	release releaseFunc
}

var (
	_ gofs.FileReader   = (*handle)(nil)
	_ gofs.FileWriter   = (*handle)(nil)
	_ gofs.FileFsyncer  = (*handle)(nil)
	_ gofs.FileReleaser = (*handle)(nil)
)

func (h *handle) file() fsx.File { return h.f }

// Read implements fs.FileReader.
func (h *handle) Read(_ context.Context, dest []byte, offset int64) (fuse.ReadResult, syscall.Errno) {
	n, err := h.f.ReadAt(dest, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, h.node.fs.root.fail("read", h.node.name, err)
	}
	return fuse.ReadResultData(dest[:n]), 0
}

// Write implements fs.FileWriter.
func (h *handle) Write(_ context.Context, data []byte, offset int64) (uint32, syscall.Errno) {
	write := h.write
	if h.node.unlinked.Load() {
		write = writePlain
	}
	if err := write(h.f, data, offset); err != nil {
		return 0, h.node.fs.root.fail("write", h.node.name, err)
	}
	return uint32(len(data)), 0
}

// Fsync implements fs.FileFsyncer.
func (h *handle) Fsync(context.Context, uint32) syscall.Errno {
	sync := h.sync
	if h.node.unlinked.Load() {
		sync = fsx.File.Sync
	}
	if err := sync(h.f); err != nil {
		return h.node.fs.root.fail("sync", h.node.name, err)
	}
	return 0
}

// Release implements fs.FileReleaser.
func (h *handle) Release(context.Context) syscall.Errno {
	err := h.f.Close()
	if h.release != nil && !h.node.unlinked.Load() {
		err = errors.Join(err, h.release(h.f, h.node.typ))
	}
	if err != nil {
		return h.node.fs.root.fail("close", h.node.name, err)
	}
	return 0
}

// passthroughHandle is a handle whose reads, writes and mappings the kernel
// directs to the backing file, if it can.
type passthroughHandle struct{ *handle }

var _ gofs.FilePassthroughFder = passthroughHandle{}

// PassthroughFd implements fs.FilePassthroughFder.
func (h passthroughHandle) PassthroughFd() (int, bool) {
	return int(h.f.Fd()), h.node.fs.passthrough
}

// writePlain writes without looking at what it is.
func writePlain(f fsx.File, data []byte, offset int64) error {
	_, err := f.WriteAt(data, offset)
	return err
}
