package vfs

import (
	"os"
	"syscall"

	"litefs"
)

// InvalidateDB implements litefs.Invalidator.
func (f *FileSystem) InvalidateDB(db *litefs.DB, offset, size int64) error {
	// Only the tree has the inode that the kernel knows: what is made for a second
	// lookup of a name gives way to it.
	inode := f.root.GetChild(db.Name())
	if inode == nil {
		return nil // the kernel has never asked for it
	}
	return notifyError(inode.NotifyContent(offset, size))
}

// InvalidateEntry implements litefs.Invalidator.
func (f *FileSystem) InvalidateEntry(name string) error {
	return notifyError(f.root.NotifyEntry(name))
}

// notifyError turns the answer to a notification into an error. ENOENT says that
// the kernel has nothing cached.
func notifyError(errno syscall.Errno) error {
	if errno == 0 || errno == syscall.ENOENT {
		return nil
	}
	return os.NewSyscallError("fuse notify", errno)
}

// ino returns the inode number of a name, which lasts until the file is removed.
func (f *FileSystem) ino(name string) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	ino, ok := f.inos[name]
	if !ok {
		ino = f.nextInoLocked()
		f.inos[name] = ino
	}
	return ino
}

// newIno gives a file that has just been made a number of its own, so that the
// kernel does not take it for one of that name that is still open.
func (f *FileSystem) newIno(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inos[name] = f.nextInoLocked()
}

// nextInoLocked returns a new inode number. The numbers of a mount start at random,
// so that those of two mounts differ: before SQLite opens a journal, it compares
// the number of the database file that it has open with that of the file of that
// name (fileHasMoved in os_unix.c). A program that still has a database open from
// a mount that is gone would else make a journal here, of pages that it has read
// there, and whoever comes next would roll it back.
func (f *FileSystem) nextInoLocked() uint64 {
	f.inoN++
	return f.inoN + 1 // 1 is the root
}

// forget drops what is remembered of a file that has been removed.
func (f *FileSystem) forget(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.inos, name)
}
