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
// The old wal-index gets a header of a version that SQLite does not know, so
// that each next transaction of such a program ends with SQLITE_CANTOPEN. The
// old WAL is made immutable where the file system knows that, so that a
// transaction that is under way ends with an I/O error instead of a commit that
// nobody would ever see; then a copy takes its name.

// copyTries is how often a WAL is copied that cannot be made immutable and is
// written to meanwhile.
const copyTries = 20

// fence cuts off programs that still use the files of an earlier mount. A crash
// in between leaves the old files, which are fenced off again, or the copy; the
// wal-index goes last, so that it can be fenced off until then.
func (db *DB) fence() error {
	if err := db.fenceSHM(); err != nil {
		return err
	}
	if err := db.replaceWAL(); err != nil {
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
	_, err := db.files.shm.WriteAt(sqlite.FencedWALIndexHeader(), 0)
	return err
}

// replaceWAL puts a copy in the place of the WAL, even of one that is empty: a
// program may be in the middle of its first transaction.
func (db *DB) replaceWAL() (err error) {
	old := db.files.wal
	if old == nil {
		return nil
	}
	db.files.wal = nil
	defer func() { err = errors.Join(err, old.Close()) }()
	immutable := setImmutable(old, true)
	if immutable != nil {
		db.logger.Debug("file system cannot make a file immutable", slog.Any("error", immutable))
	}
	var copied fs.FileInfo
	copyOld := func(f fsx.File) (err error) {
		copied, err = db.copyWAL(f, old)
		return err
	}
	if err := db.writeReplacement(FileTypeWAL, copyOld); err != nil {
		if immutable == nil {
			err = errors.Join(err, setImmutable(old, false))
		}
		return err
	}
	// A file that is immutable cannot be replaced. What is written to it in the
	// moment in which it is not, is copied afterwards.
	if immutable == nil {
		err = setImmutable(old, false)
	}
	if err == nil {
		err = db.store.FS.Rename(db.WALPath()+tmpSuffix, db.WALPath())
	}
	if immutable == nil {
		err = errors.Join(err, setImmutable(old, true))
	}
	if err != nil {
		return err
	}
	now, err := old.Stat()
	if err != nil {
		return err
	}
	if !sameVersion(copied, now) {
		return db.replaceBacking(FileTypeWAL, copyOld)
	}
	return db.reopenBacking(FileTypeWAL)
}

// copyWAL copies a WAL as it is at one moment, and returns what describes it then.
func (db *DB) copyWAL(to, from fsx.File) (fs.FileInfo, error) {
	for range copyTries {
		before, err := from.Stat()
		if err != nil {
			return nil, err
		}
		if err := to.Truncate(0); err != nil {
			return nil, err
		}
		if _, err := io.Copy(io.NewOffsetWriter(to, 0), io.NewSectionReader(from, 0, before.Size())); err != nil {
			return nil, err
		}
		if after, err := from.Stat(); err != nil || sameVersion(before, after) {
			return after, err
		}
		if err := db.fenceSHM(); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("WAL is being written to by a program that cannot be stopped")
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
