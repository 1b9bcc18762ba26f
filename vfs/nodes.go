package vfs

import (
	"context"
	"os"
	"syscall"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"litefs/internal/fsx"
)

// databaseNode is a database file.
type databaseNode struct{ fileNode }

func (n *databaseNode) remove() error { return n.db.RemoveDatabase() }

func (n *databaseNode) handle(f fsx.File, release releaseFunc) gofs.FileHandle {
	return &handle{node: &n.fileNode, f: f, release: release, write: n.db.WriteDatabase, sync: n.db.SyncDatabase}
}

// Open implements fs.NodeOpener.
func (n *databaseNode) Open(ctx context.Context, flags uint32) (gofs.FileHandle, uint32, syscall.Errno) {
	return n.openWith(ctx, n, flags)
}

// Setattr implements fs.NodeSetattrer.
func (n *databaseNode) Setattr(_ context.Context, fh gofs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	return n.setattrWith(fh, in, out, n.db.TruncateDatabase)
}

// journalNode is a rollback journal.
type journalNode struct{ fileNode }

func (n *journalNode) remove() error { return n.db.RemoveJournal() }

func (n *journalNode) handle(f fsx.File, release releaseFunc) gofs.FileHandle {
	return passthroughHandle{&handle{node: &n.fileNode, f: f, release: release, write: n.db.WriteJournal, sync: n.db.SyncJournal}}
}

// Open implements fs.NodeOpener.
func (n *journalNode) Open(ctx context.Context, flags uint32) (gofs.FileHandle, uint32, syscall.Errno) {
	return n.openWith(ctx, n, flags)
}

// Setattr implements fs.NodeSetattrer.
func (n *journalNode) Setattr(_ context.Context, fh gofs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	return n.setattrWith(fh, in, out, n.db.TruncateJournal)
}

// walNode is a write-ahead log.
type walNode struct{ fileNode }

func (n *walNode) remove() error { return n.db.RemoveWAL() }

func (n *walNode) handle(f fsx.File, release releaseFunc) gofs.FileHandle {
	return passthroughHandle{&handle{node: &n.fileNode, f: f, release: release, write: n.db.WriteWAL, sync: n.db.SyncWAL}}
}

// Open implements fs.NodeOpener.
func (n *walNode) Open(ctx context.Context, flags uint32) (gofs.FileHandle, uint32, syscall.Errno) {
	return n.openWith(ctx, n, flags)
}

// Setattr implements fs.NodeSetattrer.
func (n *walNode) Setattr(_ context.Context, fh gofs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	return n.setattrWith(fh, in, out, n.db.TruncateWAL)
}

// shmNode is a wal-index.
type shmNode struct{ fileNode }

func (n *shmNode) remove() error { return n.db.RemoveSHM() }

func (n *shmNode) handle(f fsx.File, release releaseFunc) gofs.FileHandle {
	return passthroughHandle{&handle{node: &n.fileNode, f: f, release: release, write: writePlain, sync: fsx.File.Sync}}
}

// Open implements fs.NodeOpener.
func (n *shmNode) Open(ctx context.Context, flags uint32) (gofs.FileHandle, uint32, syscall.Errno) {
	return n.openWith(ctx, n, flags)
}

// Setattr implements fs.NodeSetattrer.
func (n *shmNode) Setattr(_ context.Context, fh gofs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	return n.setattrWith(fh, in, out, n.db.TruncateSHM)
}

// superJournalNode is the super-journal of a transaction over several databases.
type superJournalNode struct{ fileNode }

func (n *superJournalNode) create(_ bool, flags int, mode os.FileMode) (fsx.File, error) {
	return n.db.CreateSuperJournal(n.name, flags, mode)
}

func (n *superJournalNode) remove() error { return n.db.RemoveSuperJournal(n.name) }

func (n *superJournalNode) handle(f fsx.File, _ releaseFunc) gofs.FileHandle {
	return &handle{node: &n.fileNode, f: f, write: writePlain, sync: fsx.File.Sync}
}

// Open implements fs.NodeOpener.
func (n *superJournalNode) Open(_ context.Context, flags uint32) (gofs.FileHandle, uint32, syscall.Errno) {
	f, err := n.db.OpenSuperJournal(n.name, int(flags))
	if err != nil {
		return nil, 0, n.fs.root.fail("open", n.name, err)
	}
	return n.handle(f, nil), n.openFlags(), 0
}

// Setattr implements fs.NodeSetattrer.
func (n *superJournalNode) Setattr(_ context.Context, fh gofs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	return n.setattrWith(fh, in, out, fsx.File.Truncate)
}
