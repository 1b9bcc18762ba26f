package litefs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"litefs/internal/filelock"
	"litefs/internal/sqlite"
)

// peer is this node as a SQLite connection to one of its databases, through the
// mount. On a replica it keeps programs from writing and writes itself.
//
// A database with a WAL has its peer for as long as the node is a replica. The
// peer holds SHARED on the database file, so that the WAL stays, DMS on the
// wal-index, so that it stays valid, and WRITE and CKPT, so that nobody else
// writes to the WAL or from it. Readers are not in its way, nor it in theirs.
//
// Under a rollback journal there is a peer only while a transaction is applied:
// what keeps programs from writing is that they get no journal.
//
// A peer opens and locks files of the mount, whose requests come back to this
// process. So it is never used inside a FUSE handler, nor with captureMu held.
type peer struct {
	db       *DB
	path     string   // of the database in the mount
	database *os.File // of the mount, as the other files are
	locks    *GuardSet

	// What follows is there while the peer has the WAL open.
	wal, shm *os.File
	shmLocks *GuardSet
	index    *sqlite.WALIndex
	writer   *sqlite.WALIndexWriter
	header   sqlite.WALIndexHeader // as the peer has published it
	tried    uint32                // last frame when a checkpoint was last begun

	idleUntil time.Time // when checkpoints have had their share of the time
}

// openPeer opens the database file in the mount at dir.
func openPeer(db *DB, dir string) (*peer, error) {
	path := filepath.Join(dir, db.name)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &peer{db: db, path: path, database: f, locks: NewGuardSet(LockFiles{Database: f})}, nil
}

// close gives all locks up. WAL and wal-index stay as they are.
func (p *peer) close() error { return errors.Join(p.closeWAL(), p.database.Close()) }

func (p *peer) closeWAL() error {
	var errs []error
	for _, f := range []*os.File{p.wal, p.shm} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	p.wal, p.shm, p.shmLocks, p.index, p.writer, p.tried = nil, nil, nil, nil, nil, 0
	return errors.Join(errs...)
}

// attached reports whether the peer has the WAL open, with its locks.
func (p *peer) attached() bool { return p != nil && p.writer != nil }

// attachWAL opens WAL and wal-index, makes them if they are missing, and takes the
// locks of a peer there. SHARED, or more, is held on the database file. It waits
// for a writer and for a checkpoint that are at work, until ctx is done.
func (p *peer) attachWAL(ctx context.Context) error {
	err := p.openWAL(ctx)
	if err == nil {
		err = p.loadIndex()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("open WAL of %q: %w", p.db.name, err), p.closeWAL())
	}
	return nil
}

func (p *peer) openWAL(ctx context.Context) (err error) {
	if p.wal, err = p.openBeside(suffixWAL); err != nil {
		return err
	}
	if p.shm, err = p.openBeside(suffixSHM); err != nil {
		return err
	}
	p.shmLocks = NewGuardSet(LockFiles{SHM: p.shm})
	p.index = sqlite.NewWALIndex(p.shm)
	if err := filelock.Poll(ctx, p.tryDMS); err != nil {
		return fmt.Errorf("acquire %s: %w", LockTypeDMS, err)
	}
	for _, lock := range []LockType{LockTypeCkpt, LockTypeWrite} {
		if err := p.shmLocks.Guard(lock).Lock(ctx); err != nil {
			return err
		}
	}
	return nil
}

// tryDMS takes the dead man's switch. Who finds it free empties the wal-index,
// since nobody is left who would vouch for it. (os_unix.c unixLockSharedMemory)
func (p *peer) tryDMS() (bool, error) {
	dms := p.shmLocks.Guard(LockTypeDMS)
	alone, err := dms.TryLock()
	if err == nil && alone {
		err = p.shm.Truncate(0)
	}
	if err != nil {
		return false, err
	}
	return dms.TryRLock()
}

// openBeside opens a file of SQLite's beside the database, and makes it if it is
// missing, for those who may use the database.
func (p *peer) openBeside(suffix string) (*os.File, error) {
	f, err := os.OpenFile(p.path+suffix, os.O_RDWR, 0)
	if !isNotExist(err) {
		return f, err
	}
	info, err := p.database.Stat()
	if err != nil {
		return nil, err
	}
	if f, err = os.OpenFile(p.path+suffix, os.O_RDWR|os.O_CREATE, info.Mode().Perm()); err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Stat(p.db.DatabasePath(), &st); err == nil && os.Geteuid() == 0 {
		err = errors.Join(f.Chmod(info.Mode().Perm()), f.Chown(int(st.Uid), int(st.Gid)))
		if err != nil {
			p.db.logger.Warn("cannot give a file to the owner of its database", slog.String("path", f.Name()), slog.Any("error", err))
		}
	}
	return f, nil
}

// loadIndex reads the header of the wal-index, and rebuilds the wal-index from the
// WAL if it is not valid.
func (p *peer) loadIndex() error {
	p.writer = sqlite.NewWALIndexWriter(p.index)
	header, err := p.index.Header()
	if errors.Is(err, sqlite.ErrWALIndexInvalid) || errors.Is(err, sqlite.ErrWALIndexTorn) {
		return p.rebuildIndex()
	}
	p.header = header
	return err
}

// rebuildIndex makes the wal-index anew from the WAL. Read marks that somebody
// uses stay as they are.
func (p *peer) rebuildIndex() error {
	locked, err := p.lockReadMarks()
	if err != nil {
		return err
	}
	recover := p.shmLocks.Guard(LockTypeRecover)
	if ok, err := recover.TryLock(); err != nil || !ok {
		return errors.Join(err, errors.New("wal-index is being rebuilt"), p.unlockReadMarks())
	}
	info, err := p.wal.Stat()
	if err == nil {
		p.header, err = p.writer.Rebuild(p.wal, info.Size(), locked...)
	}
	return errors.Join(err, recover.Unlock(), p.unlockReadMarks())
}

// lockReadMarks takes the locks of those read marks, from 1 to 4, that nobody
// uses, and returns which they are.
func (p *peer) lockReadMarks() ([]int, error) {
	var locked []int
	for i := 1; i < sqlite.WALReadMarks; i++ {
		ok, err := p.shmLocks.Guard(LockTypeRead0 + LockType(i)).TryLock()
		if err != nil {
			return nil, errors.Join(err, p.unlockReadMarks())
		}
		if ok {
			locked = append(locked, i)
		}
	}
	return locked, nil
}

// unlockReadMarks releases the locks of the read marks, and that of mark 0.
func (p *peer) unlockReadMarks() error {
	var errs []error
	for i := range sqlite.WALReadMarks {
		errs = append(errs, p.shmLocks.Guard(LockTypeRead0+LockType(i)).Unlock())
	}
	return errors.Join(errs...)
}

// stopWriters waits until no program writes to the database, keeps all from
// beginning, and ends capture. It reports whether the peer has the WAL and must
// therefore stay.
func (p *peer) stopWriters(ctx context.Context) (attached bool, err error) {
	// With SHARED and RESERVED nobody commits under a rollback journal, and nobody
	// changes the journal mode.
	err = filelock.Poll(ctx, p.locks.tryReserved)
	if err != nil {
		return false, fmt.Errorf("wait for writers: %w", err)
	}
	wal, err := p.db.usesWAL()
	if err != nil {
		return false, err
	}
	if !wal {
		return false, p.stopRollbackWriters(ctx)
	}
	if err := p.attachWAL(ctx); err != nil {
		return false, err
	}
	if err := p.db.stopCapture(); err != nil {
		return false, err
	}
	// What a writer wrote that died before it published it has been captured; so
	// it is committed.
	if cursor, ok := p.header.Cursor(); ok != (p.db.cursor().Frame > 0) || ok && cursor != p.db.cursor() {
		if err := p.rebuildIndex(); err != nil {
			return false, err
		}
	}
	return true, p.locks.Guard(LockTypeReserved).Unlock()
}

// stopRollbackWriters ends capture of a database that has no WAL. A journal that a
// dead writer has left is played back as SQLite would do it; what is left of one
// that was played back or committed goes too, since a program that finds one does
// not have to make it.
func (p *peer) stopRollbackWriters(ctx context.Context) error {
	db := p.db
	if !db.Exists(FileTypeJournal) {
		return db.stopCapture()
	}
	db.captureMu.Lock()
	journal, err := db.readJournal()
	db.captureMu.Unlock()
	if err != nil {
		return err
	}
	if journal.active {
		if err := p.exclude(ctx); err != nil {
			return err
		}
		if err := db.rollBackLive(); err != nil {
			return err
		}
	}
	if err := db.stopCapture(); err != nil {
		return err
	}
	if err := os.Remove(p.path + suffixJournal); err != nil && !isNotExist(err) {
		return err
	}
	return db.store.FS.SyncDir(db.dir)
}

// exclude goes on from RESERVED to EXCLUSIVE: it waits for readers.
func (p *peer) exclude(ctx context.Context) error {
	for _, lock := range []LockType{LockTypePending, LockTypeShared} {
		if err := p.locks.Guard(lock).Lock(ctx); err != nil {
			return err
		}
	}
	return nil
}

// rollBackLive plays a hot journal back into the database file. The caller holds
// the database EXCLUSIVE.
func (db *DB) rollBackLive() error {
	db.captureMu.Lock()
	err := db.dropPrepared()
	db.tx.reset()
	if err == nil {
		err = db.rollBackHotJournal()
	}
	db.captureMu.Unlock()
	if err != nil {
		return fmt.Errorf("roll back hot journal: %w", err)
	}
	return errors.Join(db.store.invalidate(db, 0, 0), db.store.invalidateEntry(db.name+suffixJournal))
}

// cursor returns where capture has got to in the WAL.
func (db *DB) cursor() sqlite.WALCursor {
	db.captureMu.Lock()
	defer db.captureMu.Unlock()
	return db.wal.cursor
}

// usesWAL reports whether SQLite opens the database with a WAL: there is one, or
// the header of the database file asks for it.
func (db *DB) usesWAL() (bool, error) {
	db.captureMu.Lock()
	defer db.captureMu.Unlock()
	if db.files.database == nil || db.files.wal != nil {
		return db.files.wal != nil && db.files.database != nil, nil
	}
	return db.headerWantsWAL()
}

// headerWantsWAL reports whether the header of the database file asks for a WAL.
func (db *DB) headerWantsWAL() (bool, error) {
	var b [sqlite.DatabaseHeaderSize]byte
	if err := readFull(db.files.database, b[:], 0); err != nil {
		return false, ignoreEOF(err)
	}
	hdr, err := sqlite.ParseDatabaseHeader(b[:])
	return err == nil && hdr.WAL(), nil
}
