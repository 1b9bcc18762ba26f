package litefs

import (
	"fmt"

	"litefs/internal/fsx"
	"litefs/ltx"
)

// rollbackTx is what is known of the transaction that runs under the rollback
// journal.
type rollbackTx struct {
	written bool   // the database file has been written to
	nonce   uint32 // of the journal that it runs under
	unit    uint32 // page size that dirty counts in, in bytes
	dirty   dirtyPages
	synced  bool // SQLite has synced the database file in this transaction
	// prepared is what the log already has of the transaction, as it was when
	// SQLite synced the database file; see SyncDatabase.
	prepared *stagedCommit
}

func (tx *rollbackTx) reset() {
	tx.written = false
	tx.dirty.reset()
	tx.synced = false
	tx.prepared = nil
}

// WriteDatabase writes to the database file through f, one of its open handles.
// What SQLite's locking and journals make possible is captured before the write
// or by the commit that ends its transaction; a write that no journal covers is
// refused with ErrNoJournal.
func (db *DB) WriteDatabase(f fsx.File, data []byte, offset int64) error {
	db.interruptCheckpoint()
	if db.checkpointsCaptured(data, offset) {
		_, err := f.WriteAt(data, offset)
		return err
	}
	if err := db.beforeDatabaseWrite(f, offset, int64(len(data))); err != nil {
		return fmt.Errorf("write database %q: %w", db.name, err)
	}
	_, err := f.WriteAt(data, offset)
	return err
}

// checkpointsCaptured reports whether a write is that of a checkpoint that copies
// a page as it has been captured. It is the usual case by far, and waits neither
// for a capture that is going on nor captures what has been committed since.
func (db *DB) checkpointsCaptured(data []byte, offset int64) bool {
	if !db.walOnly.Load() || db.following.Load() {
		return false
	}
	db.sumsMu.RLock()
	defer db.sumsMu.RUnlock()
	pageSize := int64(db.pageSize)
	if pageSize == 0 || int64(len(data)) != pageSize || offset%pageSize != 0 {
		return false
	}
	pgno := uint32(offset/pageSize) + 1
	return ltx.PageChecksum(pgno, data) == db.sums.page(pgno)
}

// beforeDatabaseWrite decides what a write to the database file is part of.
func (db *DB) beforeDatabaseWrite(f fsx.File, offset, size int64) error {
	if db.following.Load() {
		return ErrReadOnlyReplica
	}
	covered, checkpoint, err := db.coverWrite(f, offset, size)
	switch {
	case err != nil:
		return err
	case checkpoint:
		return db.gate()
	case covered:
		return nil
	}
	db.logger.Warn("refused a write to the database file that no journal covers: journal_mode OFF and MEMORY cannot be captured; use DELETE, TRUNCATE, PERSIST or WAL")
	return ErrNoJournal
}

// coverWrite finds out whether a write through f can be captured: it is part of
// a transaction under the rollback journal, of a file that is taken in when it is
// closed, or of a checkpoint.
func (db *DB) coverWrite(f fsx.File, offset, size int64) (covered, checkpoint bool, err error) {
	db.captureMu.Lock()
	defer db.captureMu.Unlock()
	if err := db.settleJournal(); err != nil {
		return false, false, err
	}
	journal, err := db.readJournal()
	switch {
	case err != nil:
		return false, false, err
	case journal.active:
		db.markDirty(journal.nonce, offset, size)
		return true, false, db.dropPrepared()
	case db.intakeWrite(f):
		return true, false, nil
	case db.walInUse():
		db.abortIntake()
		return true, true, nil
	default:
		// What lies behind the last page is no part of the database: SQLite
		// makes the file longer ahead of use (SQLITE_FCNTL_SIZE_HINT).
		return db.sums.size() > 0 && offset >= db.sizeBytes(), false, nil
	}
}

// sizeBytes returns the length of the database at its position, in bytes.
func (db *DB) sizeBytes() int64 { return int64(db.sums.size()) * int64(db.pageSize) }

// markDirty notes that the transaction under the journal writes a range.
func (db *DB) markDirty(nonce uint32, offset, size int64) {
	db.tx.written, db.tx.nonce = true, nonce
	if db.sums.size() == 0 || size == 0 {
		return // all pages will be captured anyway
	}
	unit := int64(db.pageSize)
	db.tx.unit = db.pageSize
	db.tx.dirty.add(uint32(offset/unit)+1, uint32((offset+size-1)/unit)+1)
}

// TruncateDatabase changes the length of the database file through f.
func (db *DB) TruncateDatabase(f fsx.File, size int64) error {
	db.interruptCheckpoint()
	db.captureMu.Lock()
	defer db.captureMu.Unlock()
	if err := db.truncateDatabase(f, size); err != nil {
		return fmt.Errorf("truncate database %q to %d bytes: %w", db.name, size, err)
	}
	return nil
}

func (db *DB) truncateDatabase(f fsx.File, size int64) error {
	if db.following.Load() {
		return ErrReadOnlyReplica
	}
	if err := db.settleJournal(); err != nil {
		return err
	}
	journal, err := db.readJournal()
	if err != nil {
		return err
	}
	switch {
	case journal.active: // the commit compares the size
		db.tx.written, db.tx.nonce = true, journal.nonce
		if err := db.dropPrepared(); err != nil {
			return err
		}
	case size == 0: // the file is about to be written anew, as cp does
		if err := db.gateLocked(); err != nil {
			return err
		}
		db.beginIntake()
	case db.intake.on:
	case db.walInUse():
		return db.truncateUnderWAL(f, size)
	case size < db.sizeBytes():
		return ErrNoJournal
	}
	return f.Truncate(size)
}

// stageJournal writes what the transaction under the journal did to the log.
func (db *DB) stageJournal() (*stagedCommit, error) {
	if db.files.database == nil {
		return nil, nil // dropped in the middle of the transaction
	}
	pageSize, commit, err := db.geometry(max(db.pageSize, db.journalPageSize()))
	if err != nil {
		return nil, err
	}
	if commit == 0 {
		if db.sums.size() == 0 {
			return nil, nil
		}
		pageSize = db.pageSize
	}
	c := changes{txns: 1, pageSize: pageSize, commit: commit, read: db.readDatabasePage, sync: db.tx.synced}
	if db.sums.size() == 0 || pageSize != db.pageSize {
		c.snapshot = true
		c.pages = allPages(commit, pageSize)
		return db.stage(c)
	}
	if db.tx.unit == pageSize {
		c.pages = pagesAndGrowth(db.tx.dirty.sorted(), db.sums.size(), commit, pageSize)
	} else {
		c.pages = growth(db.sums.size(), commit, pageSize)
	}
	return db.stage(c)
}

// readDatabasePage reads a page of the database file.
func (db *DB) readDatabasePage(pgno uint32, page []byte) error {
	return readPageAt(db.files.database, pgno, page)
}

// growth yields the pages that a database gains when it grows.
func growth(from, to, pageSize uint32) func(func(uint32) bool) {
	return pagesAndGrowth(nil, from, to, pageSize)
}

// pagesAndGrowth yields, ascending, the pages of dirty that lie within the
// database and all pages from size from to size to, without the lock page.
func pagesAndGrowth(dirty []uint32, from, to, pageSize uint32) func(func(uint32) bool) {
	lock := ltx.LockPgno(pageSize)
	return func(yield func(uint32) bool) {
		for _, pgno := range dirty {
			if pgno > min(from, to) {
				break
			}
			if pgno != lock && !yield(pgno) {
				return
			}
		}
		for pgno := uint64(from) + 1; pgno <= uint64(to); pgno++ {
			if uint32(pgno) != lock && !yield(uint32(pgno)) {
				return
			}
		}
	}
}
