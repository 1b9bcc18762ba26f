package litefs

import (
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"

	"litefs/internal/fsx"
	"litefs/internal/sqlite"
)

// immutableFlag is FS_IMMUTABLE_FL of linux/fs.h.
const immutableFlag = 0x10

// A program that still has a database open from a mount that is gone can go on
// writing to the WAL and the wal-index: the kernel passes those writes through
// to the backing files, and asks nobody. Its locks are on files that the new
// mount does not share, so its commits would mix with those of the new mount.
//
// Before anything else, recovery therefore gives WAL and wal-index a new start.
// The old WAL gets another name and is made immutable where the file system knows
// that, so that a transaction that is under way ends with an I/O error instead of
// a commit that nobody would ever see. The old wal-index gets a header of a
// version that SQLite does not know, so that each next transaction of such a
// program ends with SQLITE_CANTOPEN. Then a copy of the WAL takes its place.

const (
	// fencedSuffix marks the old WAL. It stays for as long as somebody has it
	// open, or until the next start, and means nothing once the copy has taken
	// its place. Until then there is a file that the copy is made in.
	fencedSuffix = "-fenced"
	// copyTries is how often a WAL is copied that cannot be made immutable and is
	// written to meanwhile.
	copyTries = 20
)

// fence cuts off programs that still use the files of an earlier mount. A crash
// in between leaves the old files, which are fenced off again, or the copy; the
// wal-index goes last, so that it can be fenced off until then.
func (db *DB) fence() error {
	old, err := db.moveWAL()
	if err != nil {
		return err
	}
	if old != nil {
		// First of all: the header of the wal-index must not change any more.
		if err := setImmutable(old, true); err != nil {
			db.logger.Debug("file system cannot make a file immutable", slog.Any("error", err))
		}
	}
	if err := db.fenceSHM(); err != nil {
		return errors.Join(err, db.moveBack(old))
	}
	if err := db.replaceWAL(old); err != nil {
		return err
	}
	// A commit that was under way has published itself over the first fence.
	if err := db.fenceSHM(); err != nil {
		return err
	}
	if db.files.shm == nil {
		return nil
	}
	// It is of no use without the WAL's locks, and SQLite makes it anew.
	return db.removeBacking(FileTypeSHM)
}

// fenceSHM makes the old wal-index unusable.
func (db *DB) fenceSHM() error {
	if db.files.shm == nil {
		return nil
	}
	return sqlite.FenceWALIndex(db.files.shm)
}

// replaceWAL puts a copy in the place of the old WAL, if there is one, even if it
// is empty: a program may be in the middle of its first transaction.
func (db *DB) replaceWAL(old fsx.File) error {
	if old == nil {
		return nil
	}
	err := db.replaceBacking(FileTypeWAL, func(f fsx.File) error { return db.copyWAL(f, old) })
	if err != nil {
		return errors.Join(err, db.moveBack(old))
	}
	if err := old.Close(); err != nil {
		return err
	}
	return db.dropFenced()
}

// moveBack undoes moveWAL.
func (db *DB) moveBack(old fsx.File) error {
	if old == nil {
		return nil
	}
	return errors.Join(setImmutable(old, false), db.store.FS.Rename(db.fencedPath(), db.WALPath()), old.Close())
}

func (db *DB) fencedPath() string { return db.WALPath() + fencedSuffix }

// moveWAL gives the WAL its other name and returns it; nil if there is none.
func (db *DB) moveWAL() (fsx.File, error) {
	fsys, tmp := db.store.FS, db.WALPath()+tmpSuffix
	old := db.files.wal
	db.files.wal = nil
	if old == nil {
		f, err := db.interruptedMove(tmp)
		if f != nil || err != nil {
			return f, err
		}
		return nil, db.removeFenced()
	}
	err := db.removeFenced()
	if err == nil {
		err = db.createSynced(tmp)
	}
	if err == nil {
		err = fsys.Rename(db.WALPath(), db.fencedPath())
	}
	if err != nil {
		return nil, errors.Join(err, old.Close())
	}
	return old, nil
}

// interruptedMove returns the WAL if a recovery was killed after it had moved it
// and before the copy had taken its place.
func (db *DB) interruptedMove(tmp string) (fsx.File, error) {
	there, err := fsx.Exists(db.store.FS, tmp)
	if err != nil || !there {
		return nil, err
	}
	f, err := db.store.FS.OpenFile(db.fencedPath(), os.O_RDONLY, 0)
	if isNotExist(err) {
		return nil, nil
	}
	return f, err
}

// createSynced makes an empty file whose name is durable.
func (db *DB) createSynced(name string) error {
	f, err := db.store.FS.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), db.store.FS.SyncDir(db.dir))
}

// dropFenced removes an old WAL, if there is one that nobody has open any more.
func (db *DB) dropFenced() error {
	f, err := db.store.FS.OpenFile(db.fencedPath(), os.O_RDONLY, 0)
	if isNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	used := inUse(f)
	if err := f.Close(); err != nil || used {
		return err
	}
	return db.removeFenced()
}

// removeFenced removes an old WAL, if there is one, once its copy has taken its
// place. It stays immutable.
func (db *DB) removeFenced() error {
	f, err := db.store.FS.OpenFile(db.fencedPath(), os.O_RDONLY, 0)
	if isNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	immutable := setImmutable(f, false)
	err = db.store.FS.Remove(db.fencedPath())
	if immutable == nil {
		err = errors.Join(err, setImmutable(f, true))
	}
	return errors.Join(err, f.Close())
}

// inUse reports whether anybody else has a file open, as far as can be told.
func inUse(f fsx.File) bool {
	if f.Fd() == ^uintptr(0) {
		return false // a file in memory
	}
	// A write lease is for whoever is the only one (F_SETLEASE in fcntl(2)).
	_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_WRLCK)
	if err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
	}
	return err != nil
}

// copyWAL copies a WAL as it is at one moment.
func (db *DB) copyWAL(to, from fsx.File) error {
	for range copyTries {
		before, err := from.Stat()
		if err != nil {
			return err
		}
		if err := to.Truncate(0); err != nil {
			return err
		}
		if _, err := io.Copy(io.NewOffsetWriter(to, 0), io.NewSectionReader(from, 0, before.Size())); err != nil {
			return err
		}
		if after, err := from.Stat(); err != nil || sameVersion(before, after) {
			return err
		}
		if err := db.fenceSHM(); err != nil {
			return err
		}
	}
	return errors.New("WAL is being written to by a program that cannot be stopped")
}

// sameVersion reports whether a file has not been written to.
func sameVersion(a, b fs.FileInfo) bool {
	return a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// setImmutable has every later write to an open file fail, or not. It takes a
// file system with that attribute, and CAP_LINUX_IMMUTABLE.
func setImmutable(f fsx.File, on bool) error {
	if f.Fd() == ^uintptr(0) {
		return errors.ErrUnsupported // a file in memory
	}
	fd := int(f.Fd())
	flags, err := unix.IoctlGetUint32(fd, unix.FS_IOC_GETFLAGS)
	if err != nil {
		return os.NewSyscallError("ioctl FS_IOC_GETFLAGS", err)
	}
	flags &^= immutableFlag
	if on {
		flags |= immutableFlag
	}
	return os.NewSyscallError("ioctl FS_IOC_SETFLAGS",
		unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, int(flags)))
}

// makeWritable undoes what a recovery that was killed has done to a WAL.
func (db *DB) makeWritable(path string) error {
	f, err := db.store.FS.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(setImmutable(f, false), f.Close())
}
