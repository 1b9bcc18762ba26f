package litefs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"litefs/internal/fsx"
	"litefs/internal/sqlite"
)

// OpenFile opens one of SQLite's files, which must exist, on behalf of a
// program. The caller reports the close with ReleaseFile, unless the file has
// been removed before.
func (db *DB) OpenFile(typ FileType, flag int) (fsx.File, error) {
	db.captureMu.Lock() // so that the count is of the file that has the name
	defer db.captureMu.Unlock()
	if err := db.mayOpen(typ, flag); err != nil {
		return nil, fmt.Errorf("open %s file of %q: %w", typ, db.name, err)
	}
	f, err := db.openOwn(typ, flag)
	if err == nil {
		db.addHandle(f, typ, flag)
	}
	return f, err
}

// OpenOwnFile opens one of SQLite's files for this process itself, which comes
// through the mount as a peer. It does not count as a program.
func (db *DB) OpenOwnFile(typ FileType, flag int) (fsx.File, error) {
	return db.openOwn(typ, flag)
}

func (db *DB) openOwn(typ FileType, flag int) (fsx.File, error) {
	if typ == FileTypeJournal && db.HasSpareJournal() {
		return nil, &fs.PathError{Op: "open", Path: db.JournalPath(), Err: fs.ErrNotExist}
	}
	return db.store.FS.OpenFile(db.BackingPath(typ), flag&(os.O_RDONLY|os.O_WRONLY|os.O_RDWR), 0)
}

// mayOpen refuses what would let a program write on a replica. SQLite then opens
// the file for reading, and tells whoever wants to write that the database is
// read-only. When the mount is about to go nothing is opened any more: detach fences
// off those that have the wal-index open by then.
func (db *DB) mayOpen(typ FileType, flag int) error {
	if db.detached {
		return ErrClosed
	}
	if !db.following.Load() || flag&(os.O_WRONLY|os.O_RDWR) == 0 {
		return nil
	}
	if typ == FileTypeJournal || typ == FileTypeWAL && db.store.ReplicaWrites == ReplicaWritesReadonly {
		return ErrReadOnlyReplica
	}
	return nil
}

// CreateFile makes one of SQLite's files and opens it on behalf of a program.
func (db *DB) CreateFile(typ FileType, flag int, perm os.FileMode) (fsx.File, error) {
	db.captureMu.Lock()
	defer db.captureMu.Unlock()
	if err := db.beforeCreate(typ); err != nil {
		return nil, fmt.Errorf("create %s file of %q: %w", typ, db.name, err)
	}
	f, err := db.createOwn(typ, flag, perm)
	if err == nil {
		db.addHandle(f, typ, flag)
	}
	return f, err
}

// CreateOwnFile makes one of SQLite's files for this process itself.
func (db *DB) CreateOwnFile(typ FileType, flag int, perm os.FileMode) (fsx.File, error) {
	db.captureMu.Lock()
	defer db.captureMu.Unlock()
	return db.createOwn(typ, flag, perm)
}

func (db *DB) createOwn(typ FileType, flag int, perm os.FileMode) (fsx.File, error) {
	accmode := flag & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR)
	if typ == FileTypeJournal {
		if f, err := db.reuseSpare(accmode, perm); f != nil || err != nil {
			return f, err
		}
	}
	path := db.BackingPath(typ)
	f, err := db.store.FS.OpenFile(path, accmode|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(db.closeBacking(typ), db.openBacking(typ)); err != nil {
		return nil, errors.Join(err, f.Close(), db.store.FS.Remove(path))
	}
	db.dirChanged.Store(true)
	db.afterCreate(typ)
	return f, nil
}

// beforeCreate refuses files that the node may not have, and captures what a
// new journal would hide.
func (db *DB) beforeCreate(typ FileType) error {
	if db.detached {
		return ErrClosed
	}
	if !db.store.IsPrimary() && (typ != FileTypeSHM || db.following.Load()) {
		return ErrReadOnlyReplica
	}
	if typ == FileTypeJournal || typ == FileTypeWAL {
		return errors.Join(db.settleJournal(), db.takeIn())
	}
	return nil
}

func (db *DB) afterCreate(typ FileType) {
	switch typ {
	case FileTypeDatabase:
		db.beginIntake()
	case FileTypeWAL:
		db.walSynced.Store(false)
		db.wal.valid = true // nothing of it is in the log yet
		db.wal.cursor.Frame = 0
		db.startFollower()
	case FileTypeSHM:
		db.adoptSHM()
	default:
	}
}

// ReleaseFile notes that f, a handle of OpenFile or CreateFile, has been closed.
func (db *DB) ReleaseFile(f fsx.File, typ FileType) error {
	db.forgetHandle(f, typ)
	if typ != FileTypeDatabase {
		return nil
	}
	db.captureMu.Lock()
	defer db.captureMu.Unlock()
	return db.endIntake(f)
}

// addHandle notes a handle of a program, if it is one on the journal or the wal-index,
// or one that may write the database file.
func (db *DB) addHandle(f fsx.File, typ FileType, flag int) {
	switch {
	case typ == FileTypeJournal || typ == FileTypeSHM:
	case typ == FileTypeDatabase && flag&(os.O_WRONLY|os.O_RDWR) != 0:
	default:
		return
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.handles[typ] == nil {
		db.handles[typ] = make(map[fsx.File]struct{})
	}
	db.handles[typ][f] = struct{}{}
}

func (db *DB) forgetHandle(f fsx.File, typ FileType) {
	db.mu.Lock()
	defer db.mu.Unlock()
	delete(db.handles[typ], f)
	if gone := db.closed[typ]; gone != nil && len(db.handles[typ]) == 0 {
		close(gone)
		delete(db.closed, typ)
	}
}

// awaitClosed waits until no program has a file open, but no longer than d.
func (db *DB) awaitClosed(typ FileType, d time.Duration) {
	db.mu.Lock()
	if len(db.handles[typ]) == 0 {
		db.mu.Unlock()
		return
	}
	if db.closed[typ] == nil {
		db.closed[typ] = make(chan struct{})
	}
	gone := db.closed[typ]
	db.mu.Unlock()
	select {
	case <-gone:
	case <-time.After(d):
	}
}

// forgetHandles forgets the handles on a file that is removed: what is still open
// has no name any more. That one of them is closed may be heard of much later.
func (db *DB) forgetHandles(typ FileType) {
	db.mu.Lock()
	defer db.mu.Unlock()
	delete(db.handles, typ)
}

// databaseWritable reports whether a program has a handle that may write the
// database file.
func (db *DB) databaseWritable() bool { return db.hasHandle(FileTypeDatabase) }

// sharedMemoryOpen reports whether a program has the wal-index open.
func (db *DB) sharedMemoryOpen() bool { return db.hasHandle(FileTypeSHM) }

func (db *DB) hasHandle(typ FileType) bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	return len(db.handles[typ]) > 0
}

// TruncateSHM changes the length of the wal-index through f, as whoever opens the
// database first does.
func (db *DB) TruncateSHM(f fsx.File, size int64) error {
	db.interruptCheckpoint()
	return f.Truncate(size)
}

// RemoveSHM removes the wal-index.
func (db *DB) RemoveSHM() error {
	db.interruptCheckpoint()
	db.captureMu.Lock()
	defer db.captureMu.Unlock()
	if db.following.Load() {
		return fmt.Errorf("remove wal-index of %q: %w", db.name, ErrReadOnlyReplica)
	}
	db.dropSHM()
	return db.removeFile(FileTypeSHM)
}

// RemoveOwnFile removes one of SQLite's files for this process itself, on a
// replica.
func (db *DB) RemoveOwnFile(typ FileType) error {
	db.captureMu.Lock()
	defer db.captureMu.Unlock()
	switch typ {
	case FileTypeWAL:
		db.stopFollower()
		db.walSynced.Store(false)
		db.wal.cursor, db.wal.valid = sqlite.WALCursor{}, true
	case FileTypeSHM:
		db.dropSHM()
	default:
		db.tx.reset()
		db.intake = intakeState{}
	}
	return db.removeFile(typ)
}

// mountPath returns the name of a file in the mount at dir.
func (db *DB) mountPath(dir string, typ FileType) string {
	return filepath.Join(dir, db.name+strings.TrimPrefix(filepath.Base(db.BackingPath(typ)), "database"))
}

// removeFile removes a file of SQLite's, which must exist. Its own handle is closed
// behind the back of whoever waits: the last close of a file without a name has the
// file system give its blocks back.
func (db *DB) removeFile(typ FileType) error {
	if err := db.store.FS.Remove(db.BackingPath(typ)); err != nil {
		return err // the file is still there
	}
	db.dirChanged.Store(true)
	db.forgetHandles(typ)
	if f := db.takeBacking(typ); f != nil {
		db.store.wg.Go(func() {
			if err := f.Close(); err != nil {
				db.logger.Warn("removed file did not close", slog.String("type", typ.String()), slog.Any("error", err))
			}
		})
	}
	return nil
}

// RemoveDatabase drops the database. The log gets a transaction that empties
// it, so that the history goes on if a database of that name is made again.
func (db *DB) RemoveDatabase() error {
	db.captureMu.Lock()
	defer db.captureMu.Unlock()
	if !db.store.IsPrimary() || db.following.Load() {
		return fmt.Errorf("drop database %q: %w", db.name, ErrReadOnlyReplica)
	}
	// A crash between the two leaves the file there and a log that says it is
	// empty: recovery then finds the log ahead by a file without pages and
	// drops the database, as was asked for.
	if db.sums.size() > 0 {
		if err := db.setAlarm(db.captureDrop()); err != nil {
			return err
		}
	}
	if err := db.dropPrepared(); err != nil {
		return err
	}
	db.tx.reset()
	db.intake = intakeState{}
	return errors.Join(db.dropSpare(), db.removeFile(FileTypeDatabase))
}

// captureDrop writes the transaction that empties the database to the log.
func (db *DB) captureDrop() error {
	return db.commitChanges(changes{txns: 1, pageSize: db.pageSize, pages: allPages(0, db.pageSize), sync: true})
}

// fileSize returns the length of a file in bytes.
func fileSize(f fsx.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// readFull fills b from offset. The error is io.EOF or io.ErrUnexpectedEOF if
// the file is shorter.
func readFull(r io.ReaderAt, b []byte, offset int64) error {
	n, err := r.ReadAt(b, offset)
	if n == len(b) {
		return nil
	}
	if errors.Is(err, io.EOF) && n > 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}

// ignoreEOF turns the end of a file into no error.
func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}
