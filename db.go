package litefs

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"litefs/internal/fsx"
	"litefs/internal/sqlite"
	"litefs/ltx"
)

// DB is one database: SQLite's files, the page checksums and the position that
// are derived from them, and the LTX log.
//
// captureMu serialises everything that looks at what SQLite wrote and turns it
// into a piece of the log. Gates hold it while they do disk I/O on the backing
// files; nothing under it calls into the mount, invalidates a kernel cache, or
// waits for another process.
type DB struct {
	store  *Store
	name   string
	dir    string
	logger *slog.Logger
	log    *ltxLog

	// Now returns the time that goes into LTX files.
	Now func() time.Time

	// applyMu is held while a replica applies and while the role changes. It comes
	// before captureMu, and no FUSE handler takes it: what is done under it uses
	// the mount.
	applyMu    sync.Mutex
	peer       *peer            // on a replica, while the database has a WAL
	unfinished *unfinishedApply // or nil
	appending  bool             // the mark is there that the log may not be durable
	powerLost  bool             // while the database is opened: some of the log may be gone

	captureMu sync.Mutex
	sumsMu    sync.RWMutex // taken by writers of pageSize and sums; a leaf below captureMu
	files     backingFiles
	spare     spareJournal
	pageSize  uint32   // bytes; 0 before the first transaction
	sums      pageSums // of the database at pos
	tx        rollbackTx
	wal       walState
	intake    intakeState
	detached  bool // the mount is about to go: programs open no file any more

	mu      sync.Mutex // leaf
	pos     ltx.Pos
	moved   chan struct{}                      // closed and replaced when pos changes
	alarm   error                              // why capture stands still, or nil
	handles map[FileType]map[fsx.File]struct{} // of programs; see addHandle
	closed  map[FileType]chan struct{}         // closed when the last handle is; made by awaitClosed

	follower      *follower
	checkpointing atomic.Pointer[checkpointRun] // nil if none is at work
	partial       *partial
	held          chan struct{} // closed when programs may open the database; nil if they may

	following  atomic.Bool // others' transactions are applied, nothing is captured
	walOnly    atomic.Bool // there is a WAL and no rollback journal
	spareThere atomic.Bool // there is a spare journal
	walSynced  atomic.Bool // SQLite has synced the WAL that is there
	dirMu      sync.Mutex  // held while the names are synced; leaf
	dirChanged atomic.Bool // names were added or removed since the last SyncDir
}

// backingFiles are the daemon's own handles on SQLite's files; nil where there
// is no such file.
type backingFiles struct {
	database, journal, wal, shm fsx.File
}

// slot returns where the handle of a file is kept.
func (f *backingFiles) slot(typ FileType) *fsx.File {
	switch typ {
	case FileTypeDatabase:
		return &f.database
	case FileTypeJournal:
		return &f.journal
	case FileTypeWAL:
		return &f.wal
	case FileTypeSHM:
		return &f.shm
	default:
		panic(fmt.Sprintf("no backing file of type %d", typ))
	}
}

// backingTypes are the files of a database that its folder holds by fixed names.
var backingTypes = []FileType{FileTypeDatabase, FileTypeJournal, FileTypeWAL, FileTypeSHM}

func newDB(store *Store, name string) *DB {
	dir := store.DBPath(name)
	return &DB{
		store:  store,
		name:   name,
		dir:    dir,
		logger: store.Logger.With(slog.String("db", name)),
		log:    newLTXLog(store.FS, filepath.Join(dir, "ltx"), store.compact),
		Now:    time.Now,
		moved:  make(chan struct{}),

		partial: newPartial(store.FS, filepath.Join(dir, partialDir)),

		handles: make(map[FileType]map[fsx.File]struct{}),
		closed:  make(map[FileType]chan struct{}),
	}
}

// Name returns the name of the database.
func (db *DB) Name() string { return db.name }

// Store returns the store that the database belongs to.
func (db *DB) Store() *Store { return db.store }

// Path returns the folder of the database.
func (db *DB) Path() string { return db.dir }

// DatabasePath returns the path of the backing database file.
func (db *DB) DatabasePath() string { return db.BackingPath(FileTypeDatabase) }

// JournalPath returns the path of the backing rollback journal.
func (db *DB) JournalPath() string { return db.BackingPath(FileTypeJournal) }

// WALPath returns the path of the backing WAL.
func (db *DB) WALPath() string { return db.BackingPath(FileTypeWAL) }

// SHMPath returns the path of the backing wal-index.
func (db *DB) SHMPath() string { return db.BackingPath(FileTypeSHM) }

// BackingPath returns the path of the file behind one in the mount. It is empty for
// a type of which a database does not have exactly one file: see SuperJournalPath.
func (db *DB) BackingPath(typ FileType) string {
	name := "database"
	switch typ {
	case FileTypeDatabase:
	case FileTypeJournal:
		name += suffixJournal
	case FileTypeWAL:
		name += suffixWAL
	case FileTypeSHM:
		name += suffixSHM
	default:
		return ""
	}
	return filepath.Join(db.dir, name)
}

// LTXDir returns the folder of the LTX log.
func (db *DB) LTXDir() string { return db.log.dir }

// LTXPath returns the path of an LTX file.
func (db *DB) LTXPath(minTXID, maxTXID ltx.TXID) string {
	return filepath.Join(db.log.dir, ltx.FormatFilename(minTXID, maxTXID))
}

// Pos returns the position: the last transaction in the LTX log and the
// checksum of the database after it.
func (db *DB) Pos() ltx.Pos {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.pos
}

// TXID returns the last transaction in the LTX log.
func (db *DB) TXID() ltx.TXID { return db.Pos().TXID }

// PageSize returns the page size in bytes, or 0 before the first transaction.
func (db *DB) PageSize() uint32 {
	db.captureMu.Lock()
	defer db.captureMu.Unlock()
	return db.pageSize
}

// Alarm returns why capture stands still, or nil.
func (db *DB) Alarm() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.alarm
}

// Moved returns the position and a channel that is closed once it changes.
func (db *DB) Moved() (ltx.Pos, <-chan struct{}) {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.pos, db.moved
}

// setPos publishes a position.
func (db *DB) setPos(pos ltx.Pos) {
	db.mu.Lock()
	db.pos = pos
	close(db.moved)
	db.moved = make(chan struct{})
	db.mu.Unlock()
	db.store.MarkDirty(db.name)
}

// setAlarm notes why capture stands still, nil if it does not, and reports the
// change. It returns err, wrapped as ErrCapture.
func (db *DB) setAlarm(err error) error {
	db.mu.Lock()
	was := db.alarm
	db.alarm = err
	db.mu.Unlock()
	switch {
	case err != nil && was == nil:
		db.logger.Error("capture stands still; commits stay in SQLite's own files until it succeeds", slog.Any("error", err))
	case err == nil && was != nil:
		db.logger.Info("capture works again", slog.Any("pos", db.Pos()))
	}
	if err != nil {
		return fmt.Errorf("%w: database %q: %w", ErrCapture, db.name, err)
	}
	return nil
}

// create makes the folder of a new database.
func (db *DB) create() error {
	if err := db.store.FS.MkdirAll(db.dir, 0o777); err != nil {
		return err
	}
	return db.store.FS.SyncDir(db.store.DBDir())
}

// Exists reports whether a file of the database is there.
func (db *DB) Exists(typ FileType) bool {
	db.captureMu.Lock()
	defer db.captureMu.Unlock()
	return *db.files.slot(typ) != nil
}

// SyncDir makes the names of the database's files durable, if any of them has
// changed since the last time.
func (db *DB) SyncDir() error {
	if err := db.syncSpare(); err != nil {
		return err
	}
	return db.syncNames()
}

func (db *DB) syncNames() error {
	db.dirMu.Lock() // so that whoever comes second waits for the sync
	defer db.dirMu.Unlock()
	if !db.dirChanged.Swap(false) {
		return nil
	}
	err := db.store.FS.SyncDir(db.dir)
	if err != nil {
		db.dirChanged.Store(true)
	}
	return err
}

// openBacking opens the daemon's own handle on a file, if the file is there.
func (db *DB) openBacking(typ FileType) error {
	f, err := db.store.FS.OpenFile(db.BackingPath(typ), os.O_RDWR, 0)
	if isNotExist(err) {
		return nil
	}
	if typ == FileTypeWAL && errors.Is(err, fs.ErrPermission) {
		if err := db.makeWritable(db.WALPath()); err != nil {
			return err
		}
		f, err = db.store.FS.OpenFile(db.BackingPath(typ), os.O_RDWR, 0)
	}
	if err != nil {
		return err
	}
	db.setBacking(typ, f)
	return nil
}

// setBacking makes f the daemon's own handle on a file.
func (db *DB) setBacking(typ FileType, f fsx.File) {
	*db.files.slot(typ) = f
	db.walOnly.Store(db.files.wal != nil && db.files.journal == nil)
}

// closeBacking closes the daemon's own handle on a file, if it has one.
func (db *DB) closeBacking(typ FileType) error {
	if f := db.takeBacking(typ); f != nil {
		return f.Close()
	}
	return nil
}

// takeBacking gives up a file without closing it; nil if it is not open.
func (db *DB) takeBacking(typ FileType) fsx.File {
	f := *db.files.slot(typ)
	db.setBacking(typ, nil)
	return f
}

// geometry returns the page size in bytes and the number of pages of the database
// file. A file of no length is an empty database and has neither. The error is
// sqlite.ErrNotDatabase if the file does not begin like a database, which is
// normal for an encrypted one; then the page size that is known from a journal or
// from the log is all there is to go by, if pageSize is not 0 and the file is a
// number of such pages.
func (db *DB) geometry(pageSize uint32) (uint32, uint32, error) {
	size, err := fileSize(db.files.database)
	if err != nil || size == 0 {
		return 0, 0, err
	}
	var b [sqlite.DatabaseHeaderSize]byte
	n, err := db.files.database.ReadAt(b[:], 0)
	if err := ignoreEOF(err); err != nil {
		return 0, 0, err
	}
	hdr, err := sqlite.ParseDatabaseHeader(b[:n])
	switch {
	case err == nil:
		// The file may be longer than the database (SQLITE_FCNTL_CHUNK_SIZE),
		// but what lies past the end of the file was never written.
		return hdr.PageSize, min(hdr.PageCount(size), pageCount(size, hdr.PageSize)), nil
	case pageSize != 0 && size%int64(pageSize) == 0:
		return pageSize, pageCount(size, pageSize), nil
	default:
		return 0, 0, err
	}
}

// pageCount returns how many pages a file of size bytes has, a part of one
// included.
func pageCount(size int64, pageSize uint32) uint32 {
	return uint32((size + int64(pageSize) - 1) / int64(pageSize))
}

// close captures what is outstanding and saves the page checksums.
func (db *DB) close() error {
	db.applyMu.Lock()
	defer db.applyMu.Unlock()
	if err := db.closePeer(); err != nil {
		return err
	}
	db.captureMu.Lock()
	defer db.captureMu.Unlock()
	err := errors.Join(db.dropPrepared(), db.captureAll())
	if err == nil {
		err = db.settleLog()
	}
	if err == nil && db.following.Load() && db.unfinished == nil && !db.sharedMemoryOpen() {
		err = db.foldWAL() // on a primary, the last program to close has done that
	}
	if err == nil && db.unfinished == nil {
		err = db.saveChecksums()
	}
	if err == nil && db.sharedMemoryOpen() {
		err = db.fence() // the mount was detached from under programs that go on
	}
	return errors.Join(err, db.closeFiles(), db.dropFenced())
}

// closeFiles closes the daemon's own handles.
func (db *DB) closeFiles() error {
	errs := []error{db.dropSpare(), db.log.close()}
	for _, typ := range backingTypes {
		errs = append(errs, db.closeBacking(typ))
	}
	return errors.Join(errs...)
}
