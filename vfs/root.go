package vfs

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"syscall"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"litefs"
)

// rootNode is the mounted directory. It is flat.
type rootNode struct {
	gofs.Inode
	fs *FileSystem

	mu   sync.Mutex
	attr fuse.Attr // of the directory that the mount covers
}

var (
	_ gofs.NodeLookuper  = (*rootNode)(nil)
	_ gofs.NodeCreater   = (*rootNode)(nil)
	_ gofs.NodeUnlinker  = (*rootNode)(nil)
	_ gofs.NodeReaddirer = (*rootNode)(nil)
	_ gofs.NodeGetattrer = (*rootNode)(nil)
	_ gofs.NodeSetattrer = (*rootNode)(nil)
	_ gofs.NodeStatfser  = (*rootNode)(nil)
	_ gofs.NodeFsyncer   = (*rootNode)(nil)
	_ gofs.NodeRenamer   = (*rootNode)(nil)
	_ gofs.NodeLinker    = (*rootNode)(nil)
	_ gofs.NodeSymlinker = (*rootNode)(nil)
	_ gofs.NodeMkdirer   = (*rootNode)(nil)
	_ gofs.NodeMknoder   = (*rootNode)(nil)
	_ gofs.NodeRmdirer   = (*rootNode)(nil)
)

func newRootNode(fsys *FileSystem, info os.FileInfo) *rootNode {
	r := &rootNode{fs: fsys}
	r.attr.FromStat(info.Sys().(*syscall.Stat_t))
	return r
}

// Lookup implements fs.NodeLookuper.
func (r *rootNode) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	if comesAndGoes(name) {
		out.SetEntryTimeout(noCache)
	}
	if node := r.fs.textNode(name); node != nil {
		out.SetEntryTimeout(noCache)
		out.SetAttrTimeout(noCache)
		node.attr(&out.Attr)
		return r.NewInode(ctx, node, gofs.StableAttr{Mode: fuse.S_IFREG, Ino: r.fs.ino(name)}), 0
	}
	dbName, typ, err := litefs.ParseFilename(name)
	if err != nil {
		return nil, syscall.ENOENT
	}
	db := r.fs.store.DB(dbName)
	if db == nil {
		return nil, syscall.ENOENT
	}
	child := r.fs.newNode(db, typ, name)
	if child == nil {
		return nil, syscall.ENOENT
	}
	if errno := child.statPath(&out.Attr); errno != 0 {
		return nil, errno
	}
	return r.attach(ctx, name, child), 0
}

// attach returns an inode for a file that exists. It gives way to the one that the
// kernel knows already, if there is one.
func (r *rootNode) attach(ctx context.Context, name string, child sqliteNode) *gofs.Inode {
	return r.NewInode(ctx, child, gofs.StableAttr{Mode: fuse.S_IFREG, Ino: r.fs.ino(name)})
}

// Create implements fs.NodeCreater. It never answers ENOSYS, which would turn
// the creation of files off for the whole mount.
func (r *rootNode) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*gofs.Inode, gofs.FileHandle, uint32, syscall.Errno) {
	dbName, typ, err := litefs.ParseFilename(name)
	if err != nil || typ == litefs.FileTypePos || r.fs.textNode(name) != nil {
		return nil, nil, 0, r.refuse("create", name)
	}
	if err := r.fs.admit(); err != nil {
		return nil, nil, 0, r.fail("create", name, err)
	}
	own := isOwnThread(ctx) && !r.fs.store.IsPrimary()
	if !own && !r.fs.store.IsPrimary() && r.fs.store.DB(dbName) == nil {
		return nil, nil, 0, r.fail("create", name, litefs.ErrReadOnlyReplica)
	}
	db, err := r.fs.store.CreateDBIfNotExists(dbName)
	if err != nil {
		return nil, nil, 0, r.fail("create", name, err)
	}
	child := r.fs.newNode(db, typ, name)
	f, err := child.create(own, int(flags), os.FileMode(mode&0o7777))
	if err != nil {
		return nil, nil, 0, r.fail("create", name, err)
	}
	if errno := statFile(f, &out.Attr); errno != 0 {
		return nil, nil, 0, errno
	}
	if caller, ok := fuse.FromContext(ctx); ok && os.Geteuid() == 0 && out.Owner != caller.Owner {
		if err := syscall.Fchown(int(f.Fd()), int(caller.Uid), int(caller.Gid)); err != nil {
			r.fs.logger.Warn("cannot give a new file to its maker", slog.String("name", name), slog.Any("error", err))
		}
		out.Owner = caller.Owner
	}
	r.fs.newIno(name)
	inode := r.attach(ctx, name, child)
	release := db.ReleaseFile
	if own {
		release = nil
	}
	handle := child.handle(f, release)
	return inode, handle, child.openFlags(), 0
}

// Unlink implements fs.NodeUnlinker.
func (r *rootNode) Unlink(ctx context.Context, name string) syscall.Errno {
	dbName, typ, err := litefs.ParseFilename(name)
	db := r.fs.store.DB(dbName)
	if err != nil || typ == litefs.FileTypePos || r.fs.textNode(name) != nil {
		return r.refuse("unlink", name)
	}
	if db == nil {
		return syscall.ENOENT
	}
	node := r.fs.newNode(db, typ, name)
	remove := node.remove
	if isOwnThread(ctx) && !r.fs.store.IsPrimary() && typ != litefs.FileTypeSuperJournal {
		remove = func() error { return db.RemoveOwnFile(typ) }
	}
	if err := remove(); err != nil {
		return r.fail("unlink", name, err)
	}
	r.fs.forget(name)
	if child := r.GetChild(name); child != nil {
		if known, ok := child.Operations().(sqliteNode); ok {
			known.base().unlinked.Store(true)
		}
	}
	return 0
}

// Readdir implements fs.NodeReaddirer.
func (r *rootNode) Readdir(context.Context) (gofs.DirStream, syscall.Errno) {
	names := []string{lagName}
	if r.fs.textNode(primaryName) != nil {
		names = append(names, primaryName)
	}
	for _, db := range r.fs.store.DBs() {
		names = append(names, fileNames(db)...)
		superJournals, err := db.SuperJournals()
		if err != nil {
			return nil, r.fail("list super-journals of", db.Name(), err)
		}
		names = append(names, superJournals...)
	}
	entries := make([]fuse.DirEntry, 0, len(names))
	for _, name := range names {
		entries = append(entries, fuse.DirEntry{Name: name, Mode: fuse.S_IFREG, Ino: r.fs.ino(name)})
	}
	return gofs.NewListDirStream(entries), 0
}

// fileNames returns the names in the mount of the files that a database has.
func fileNames(db *litefs.DB) []string {
	var names []string
	for _, file := range []struct {
		typ    litefs.FileType
		suffix string
	}{
		{litefs.FileTypeDatabase, ""},
		{litefs.FileTypeJournal, "-journal"},
		{litefs.FileTypeWAL, "-wal"},
		{litefs.FileTypeSHM, "-shm"},
	} {
		if !db.Exists(file.typ) {
			continue
		}
		names = append(names, db.Name()+file.suffix)
		if file.typ == litefs.FileTypeDatabase {
			names = append(names, db.Name()+posSuffix)
		}
	}
	return names
}

// Getattr implements fs.NodeGetattrer.
func (r *rootNode) Getattr(_ context.Context, _ gofs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	r.mu.Lock()
	defer r.mu.Unlock()
	out.Attr = r.attr
	out.Ino = 1
	return 0
}

// Setattr implements fs.NodeSetattrer: mode, owner and times of the directory
// last as long as the mount.
func (r *rootNode) Setattr(_ context.Context, _ gofs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	r.mu.Lock()
	defer r.mu.Unlock()
	if mode, ok := in.GetMode(); ok {
		r.attr.Mode = r.attr.Mode&^0o7777 | mode&0o7777
	}
	if uid, ok := in.GetUID(); ok {
		r.attr.Uid = uid
	}
	if gid, ok := in.GetGID(); ok {
		r.attr.Gid = gid
	}
	out.Attr = r.attr
	out.Ino = 1
	return 0
}

// Statfs implements fs.NodeStatfser: the space is that of the data directory.
func (r *rootNode) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	var st syscall.Statfs_t
	if err := syscall.Statfs(r.fs.store.Path(), &st); err != nil {
		return gofs.ToErrno(err)
	}
	out.FromStatfsT(&st)
	return 0
}

// Fsync implements fs.NodeFsyncer. SQLite syncs the directory after it has
// removed a journal: what must be durable is the folder of the database.
func (r *rootNode) Fsync(context.Context, gofs.FileHandle, uint32) syscall.Errno {
	for _, db := range r.fs.store.DBs() {
		if err := db.SyncDir(); err != nil {
			return r.fail("sync directory of", db.Name(), err)
		}
	}
	return 0
}

// Rename implements fs.NodeRenamer.
func (r *rootNode) Rename(_ context.Context, name string, _ gofs.InodeEmbedder, _ string, _ uint32) syscall.Errno {
	return r.refuse("rename", name)
}

// Link implements fs.NodeLinker.
func (r *rootNode) Link(_ context.Context, _ gofs.InodeEmbedder, name string, _ *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	return nil, r.refuse("link", name)
}

// Symlink implements fs.NodeSymlinker.
func (r *rootNode) Symlink(_ context.Context, _, name string, _ *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	return nil, r.refuse("symlink", name)
}

// Mkdir implements fs.NodeMkdirer.
func (r *rootNode) Mkdir(_ context.Context, name string, _ uint32, _ *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	return nil, r.refuse("mkdir", name)
}

// Mknod implements fs.NodeMknoder.
func (r *rootNode) Mknod(_ context.Context, name string, _, _ uint32, _ *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	return nil, r.refuse("mknod", name)
}

// Rmdir implements fs.NodeRmdirer.
func (r *rootNode) Rmdir(_ context.Context, name string) syscall.Errno {
	return r.refuse("rmdir", name)
}

// refuse is for what the mount does not do.
func (r *rootNode) refuse(op, name string) syscall.Errno {
	r.fs.logger.Debug("refused: the mount holds SQLite databases in one flat directory", slog.String("op", op), slog.String("name", name))
	return syscall.EPERM
}

// fail reports an error that a program will see as a number only.
func (r *rootNode) fail(op, name string, err error) syscall.Errno {
	r.fs.logger.Debug("request ended with an error", slog.String("op", op), slog.String("name", name), slog.Any("error", err))
	return errno(err)
}
