package vfs

import (
	"context"
	"errors"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"litefs"
	"litefs/internal/fsx"
)

// sqliteNode is the node of one of SQLite's files.
type sqliteNode interface {
	gofs.InodeEmbedder
	base() *fileNode
	create(own bool, flags int, mode os.FileMode) (fsx.File, error)
	remove() error
	statPath(out *fuse.Attr) syscall.Errno
	handle(f fsx.File, release releaseFunc) gofs.FileHandle
	openFlags() uint32
}

// fileNode is what the nodes of SQLite's files have in common.
type fileNode struct {
	gofs.Inode
	fs   *FileSystem
	db   *litefs.DB
	typ  litefs.FileType
	name string // in the mount
	path string // of the backing file
	// unlinked is set once the name is gone: what is still open is then a file
	// like any other.
	unlinked atomic.Bool
}

var (
	_ gofs.NodeGetattrer = (*fileNode)(nil)
	_ gofs.NodeFlusher   = (*fileNode)(nil)
)

func (n *fileNode) base() *fileNode { return n }

// newNode returns a node for a file of db, or nil if the type has no node.
func (f *FileSystem) newNode(db *litefs.DB, typ litefs.FileType, name string) sqliteNode {
	var node sqliteNode
	switch typ {
	case litefs.FileTypeDatabase:
		node = &databaseNode{}
	case litefs.FileTypeJournal:
		node = &journalNode{}
	case litefs.FileTypeWAL:
		node = &walNode{}
	case litefs.FileTypeSHM:
		node = &shmNode{}
	case litefs.FileTypeSuperJournal:
		node = &superJournalNode{}
	default:
		return nil
	}
	base := node.base()
	base.fs, base.db, base.typ, base.name, base.path = f, db, typ, name, db.BackingPath(typ)
	if typ == litefs.FileTypeSuperJournal {
		base.path = db.SuperJournalPath(name)
	}
	return node
}

func (n *fileNode) create(own bool, flags int, mode os.FileMode) (fsx.File, error) {
	if own {
		return n.db.CreateOwnFile(n.typ, flags, mode)
	}
	return n.db.CreateFile(n.typ, flags, mode)
}

// openFlags has the kernel keep cached pages from one open to the next, and not
// write mapped pages back at each close. If the daemon is killed, the close of what
// it has open here itself would wait for ever for that.
func (n *fileNode) openFlags() uint32 { return fuse.FOPEN_KEEP_CACHE | fuse.FOPEN_NOFLUSH }

func (n *fileNode) statPath(out *fuse.Attr) syscall.Errno {
	if n.typ == litefs.FileTypeJournal && n.db.HasSpareJournal() {
		return syscall.ENOENT
	}
	var st syscall.Stat_t
	if err := syscall.Stat(n.path, &st); err != nil {
		return gofs.ToErrno(err)
	}
	out.FromStat(&st)
	return 0
}

// Getattr implements fs.NodeGetattrer.
func (n *fileNode) Getattr(_ context.Context, fh gofs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	if h, ok := fh.(fileHandle); ok {
		return statFile(h.file(), &out.Attr)
	}
	if n.unlinked.Load() {
		out.Mode = fuse.S_IFREG | 0o600 // open somewhere, without a name to ask by
		return 0
	}
	return n.statPath(&out.Attr)
}

// Flush implements fs.NodeFlusher; see the package comment.
func (n *fileNode) Flush(context.Context, gofs.FileHandle) syscall.Errno { return syscall.ENOSYS }

// setattr applies everything but a change of length to the backing file.
func (n *fileNode) setattr(in *fuse.SetAttrIn) error {
	if n.unlinked.Load() {
		return nil
	}
	if mode, ok := in.GetMode(); ok {
		if err := syscall.Chmod(n.path, mode&0o7777); err != nil {
			return err
		}
	}
	uid, uidOK := in.GetUID()
	gid, gidOK := in.GetGID()
	if uidOK || gidOK {
		if err := syscall.Chown(n.path, idOr(uid, uidOK), idOr(gid, gidOK)); err != nil {
			return err
		}
	}
	return n.setTimes(in)
}

func (n *fileNode) setTimes(in *fuse.SetAttrIn) error {
	times := [2]unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Nsec: unix.UTIME_OMIT}}
	atime, atimeOK := in.GetATime()
	mtime, mtimeOK := in.GetMTime()
	if atimeOK {
		times[0] = unix.NsecToTimespec(atime.UnixNano())
	}
	if mtimeOK {
		times[1] = unix.NsecToTimespec(mtime.UnixNano())
	}
	if !atimeOK && !mtimeOK {
		return nil
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, n.path, times[:], 0)
}

func idOr(id uint32, ok bool) int {
	if !ok {
		return -1
	}
	return int(id)
}

// setattrWith applies a change of attributes; truncate makes one of the length.
// A request without a handle gets one for its duration.
func (n *fileNode) setattrWith(fh gofs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut, truncate func(fsx.File, int64) error) syscall.Errno {
	if size, ok := in.GetSize(); ok {
		if err := n.truncateWith(fh, int64(size), truncate); err != nil {
			return n.fs.root.fail("truncate", n.name, err)
		}
	}
	if err := n.setattr(in); err != nil {
		return n.fs.root.fail("set attributes of", n.name, err)
	}
	if h, ok := fh.(fileHandle); ok {
		return statFile(h.file(), &out.Attr)
	}
	return n.statPath(&out.Attr)
}

func (n *fileNode) truncateWith(fh gofs.FileHandle, size int64, truncate func(fsx.File, int64) error) (err error) {
	h, ok := fh.(fileHandle)
	switch {
	case ok && n.unlinked.Load():
		return h.file().Truncate(size)
	case ok:
		return truncate(h.file(), size)
	}
	if n.typ == litefs.FileTypeSuperJournal {
		f, err := n.db.OpenSuperJournal(n.name, os.O_WRONLY)
		if err != nil {
			return err
		}
		return errors.Join(truncate(f, size), f.Close())
	}
	f, err := n.db.OpenFile(n.typ, os.O_WRONLY)
	if err != nil {
		return err
	}
	err = truncate(f, size)
	return errors.Join(err, f.Close(), n.db.ReleaseFile(f, n.typ))
}

// openWith opens the backing file for whoever asks. This process itself, which
// comes as a SQLite peer, does not count as a program that has the file open.
func (n *fileNode) openWith(ctx context.Context, node sqliteNode, flags uint32) (gofs.FileHandle, uint32, syscall.Errno) {
	if err := n.fs.admit(); err != nil {
		return nil, 0, n.fs.root.fail("open", n.name, err)
	}
	open, release := n.db.OpenFile, n.db.ReleaseFile
	if isOwnThread(ctx) {
		open, release = n.db.OpenOwnFile, nil
	} else if n.typ == litefs.FileTypeDatabase {
		if err := n.db.AwaitPeer(ctx); err != nil {
			return nil, 0, n.fs.root.fail("open", n.name, err)
		}
	}
	f, err := open(n.typ, int(flags))
	if err != nil {
		return nil, 0, n.fs.root.fail("open", n.name, err)
	}
	return node.handle(f, release), node.openFlags(), 0
}

// isOwnThread reports whether a request comes from this process. What FUSE calls
// the pid is the number of the thread.
func isOwnThread(ctx context.Context) bool {
	caller, ok := fuse.FromContext(ctx)
	if !ok {
		return false
	}
	_, err := os.Stat("/proc/self/task/" + strconv.Itoa(int(caller.Pid)))
	return err == nil
}

// releaseFunc is told of the close of a handle.
type releaseFunc func(f fsx.File, typ litefs.FileType) error

// statFile fills out from an open file.
func statFile(f fsx.File, out *fuse.Attr) syscall.Errno {
	var st syscall.Stat_t
	if err := syscall.Fstat(int(f.Fd()), &st); err != nil {
		return gofs.ToErrno(err)
	}
	out.FromStat(&st)
	return 0
}
