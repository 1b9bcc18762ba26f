package vfs

import (
	"context"
	"io/fs"
	"strconv"
	"strings"
	"syscall"
	"time"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"litefs"
)

const (
	primaryName = ".primary"
	lagName     = ".lag"
	posSuffix   = "-pos"

	// noCache is the shortest time that the kernel can be told to remember
	// something for: 0 stands for the timeout of the mount.
	noCache = time.Nanosecond
)

// textNode is a read-only file whose content is made when it is opened. The
// kernel caches nothing of it.
type textNode struct {
	gofs.Inode
	fs   *FileSystem
	text func() (string, error)
}

var (
	_ gofs.NodeOpener    = (*textNode)(nil)
	_ gofs.NodeGetattrer = (*textNode)(nil)
	_ gofs.NodeFlusher   = (*textNode)(nil)
)

// textNode returns the node of a file that is made from the store's state, or
// nil if the name is not that of one.
func (f *FileSystem) textNode(name string) *textNode {
	switch name {
	case primaryName:
		if f.store.PrimaryInfo() == nil {
			return nil
		}
		return &textNode{fs: f, text: f.primaryText}
	case lagName:
		return &textNode{fs: f, text: f.lagText}
	}
	dbName, ok := strings.CutSuffix(name, posSuffix)
	if !ok {
		return nil
	}
	db := f.store.DB(dbName)
	if db == nil || !db.Exists(litefs.FileTypeDatabase) {
		return nil
	}
	return &textNode{fs: f, text: func() (string, error) {
		if !db.Exists(litefs.FileTypeDatabase) {
			return "", fs.ErrNotExist // dropped since the name was looked up
		}
		if err := db.Gate(); err != nil {
			return "", err
		}
		return db.Pos().String() + "\n", nil
	}}
}

// comesAndGoes reports whether name is that of a text file which appears with a
// database or a role, behind the kernel's back: that it is not there must not be
// remembered either.
func comesAndGoes(name string) bool {
	_, typ, err := litefs.ParseFilename(name)
	return name == primaryName || err == nil && typ == litefs.FileTypePos
}

// primaryText names the primary. There is no such file on the primary itself, nor
// while the primary is not known.
func (f *FileSystem) primaryText() (string, error) {
	info := f.store.PrimaryInfo()
	if info == nil {
		return "", fs.ErrNotExist // the role has changed since the name was looked up
	}
	return info.Hostname + "\n", nil
}

// lagText says how many milliseconds the node is behind the primary, rounded up: 0 is
// on the primary only.
func (f *FileSystem) lagText() (string, error) {
	lag := f.store.Lag().Time
	return strconv.FormatInt(int64((lag+time.Millisecond-1)/time.Millisecond), 10) + "\n", nil
}

func (n *textNode) attr(out *fuse.Attr) {
	out.Mode = fuse.S_IFREG | 0o444
	out.Nlink = 1
}

// Getattr implements fs.NodeGetattrer.
func (n *textNode) Getattr(_ context.Context, fh gofs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.attr(&out.Attr)
	if h, ok := fh.(*textHandle); ok {
		out.Size = uint64(len(h.text))
	}
	out.SetTimeout(noCache)
	return 0
}

// Open implements fs.NodeOpener.
func (n *textNode) Open(_ context.Context, flags uint32) (gofs.FileHandle, uint32, syscall.Errno) {
	if flags&syscall.O_ACCMODE != syscall.O_RDONLY {
		return nil, 0, syscall.EACCES
	}
	text, err := n.text()
	if err != nil {
		return nil, 0, n.fs.root.fail("open", n.Path(nil), err)
	}
	return &textHandle{text: text}, fuse.FOPEN_DIRECT_IO | fuse.FOPEN_NOFLUSH, 0
}

// Flush implements fs.NodeFlusher; see the package comment.
func (n *textNode) Flush(context.Context, gofs.FileHandle) syscall.Errno { return syscall.ENOSYS }

// textHandle is an open textNode.
type textHandle struct{ text string }

var _ gofs.FileReader = (*textHandle)(nil)

// Read implements fs.FileReader.
func (h *textHandle) Read(_ context.Context, dest []byte, offset int64) (fuse.ReadResult, syscall.Errno) {
	if offset >= int64(len(h.text)) {
		return fuse.ReadResultData(nil), 0
	}
	return fuse.ReadResultData(dest[:copy(dest, h.text[offset:])]), 0
}
