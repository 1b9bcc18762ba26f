package litefs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"litefs/internal/fsx"
	"litefs/internal/sqlite"
)

// The rollback journal tells when a transaction ends. In DELETE and TRUNCATE mode
// that is a request to the mount, which waits until the transaction is in the log.
// In PERSIST mode it is a write of zeros over the journal's header, which under
// passthrough nobody tells us of: the transaction is then captured at the next
// occasion, which comes before the next write to the database file at the latest.
// Until then the database file is where the change is kept.

// journalState is what the header of the rollback journal says.
type journalState struct {
	// active is set while a transaction runs, or waits to be rolled back, under
	// the journal. SQLite writes the header with its magic before it touches the
	// database file.
	active bool
	nonce  uint32 // tells one transaction's journal from the next one's
}

// readJournal reads the header of the rollback journal.
func (db *DB) readJournal() (journalState, error) {
	if db.files.journal == nil {
		return journalState{}, nil
	}
	var b [sqlite.JournalHeaderSize]byte
	if n, err := db.files.journal.ReadAt(b[:], 0); n < len(b) {
		return journalState{}, ignoreEOF(err)
	}
	if string(b[:len(sqlite.JournalHeaderString)]) != sqlite.JournalHeaderString {
		return journalState{}, nil
	}
	return journalState{active: true, nonce: binary.BigEndian.Uint32(b[12:])}, nil
}

// journalPageSize returns the page size that the journal states, or 0.
func (db *DB) journalPageSize() uint32 {
	if db.files.journal == nil {
		return 0
	}
	var b [sqlite.JournalHeaderSize]byte
	if err := readFull(db.files.journal, b[:], 0); err != nil {
		return 0
	}
	hdr, err := sqlite.ParseJournalHeader(b[:])
	if err != nil {
		return 0
	}
	return hdr.PageSize
}

// SyncDatabase makes the database file durable. A transaction that does so asks
// for durability, so its piece of the log will be synced too.
//
// SQLite syncs the database file when it has written all of a transaction, right
// before it commits. The log is therefore written and synced at the same time:
// the two share the wait for the disk. A crash before the commit leaves the
// journal hot and the log ahead, as one within the commit does. Not so with a
// super-journal, whose databases must commit together or not at all.
//
// Under a WAL the sync is that of a checkpoint, after which SQLite may start the
// WAL anew: what it held is durable in the log when the sync returns.
func (db *DB) SyncDatabase(f fsx.File) error {
	return inParallel(db.prepareSync, f.Sync)
}

// inParallel runs two functions at the same time, the one that takes longer on the
// goroutine of the caller: the other may have to wait for a thread.
func inParallel(longer, shorter func() error) error {
	done := make(chan error, 1)
	go func() { done <- shorter() }()
	return errors.Join(longer(), <-done)
}

// prepareSync makes the log ready for a sync of the database file. An error fails
// the sync, and SQLite rolls back or keeps its WAL.
func (db *DB) prepareSync() error {
	checkpoint, err := db.captureForSync()
	if err == nil && checkpoint {
		err = db.setAlarm(db.log.sync())
	}
	return err
}

// captureForSync captures what a sync of the database file is the end of, and
// reports whether that is a checkpoint.
func (db *DB) captureForSync() (checkpoint bool, err error) {
	db.captureMu.Lock()
	defer db.captureMu.Unlock()
	if db.following.Load() {
		return false, nil
	}
	journal, err := db.readJournal()
	switch {
	case err != nil:
		return false, err
	case journal.active && db.tx.written:
		return false, db.prepareJournal()
	case db.walInUse():
		db.walSynced.Store(true)
		return true, db.setAlarm(db.captureWAL(captureGate))
	default:
		return false, nil
	}
}

// prepareJournal writes the transaction that runs under the journal to the log.
func (db *DB) prepareJournal() error {
	db.tx.synced = true
	size, err := fileSize(db.files.journal)
	if err != nil {
		return err
	}
	super, err := sqlite.ReadSuperJournal(db.files.journal, size)
	if err != nil || super != "" {
		return err
	}
	staged, err := db.stageJournal()
	db.tx.prepared = staged
	return db.setAlarm(err)
}

// dropPrepared takes back what was prepared, because it is no longer all that
// the transaction does.
func (db *DB) dropPrepared() error {
	staged := db.tx.prepared
	db.tx.prepared = nil
	return db.abandon(staged)
}

// WriteJournal writes to the rollback journal. Under passthrough the kernel does
// it.
func (db *DB) WriteJournal(f fsx.File, data []byte, offset int64) error {
	if _, err := f.WriteAt(data, offset); err != nil {
		return err
	}
	if offset == 0 {
		db.Settle()
	}
	return nil
}

// SyncJournal makes the rollback journal durable. In PERSIST mode that is the end
// of a commit. The name of a new journal is synced at the same time: SQLite asks for
// that next, and the two share the wait for the disk.
func (db *DB) SyncJournal(f fsx.File) error {
	sync := f.Sync
	if db.dirChanged.Load() {
		sync = func() error { return inParallel(f.Sync, db.syncNames) }
	}
	if err := sync(); err != nil {
		return err
	}
	db.Settle()
	return nil
}

// Settle captures a transaction whose journal has ended without a request. If it
// cannot, the alarm says so, and no further transaction begins.
func (db *DB) Settle() {
	db.captureMu.Lock()
	defer db.captureMu.Unlock()
	_ = db.settleJournal() // reported as an alarm
}

func (db *DB) settleJournal() error {
	if !db.tx.written || db.following.Load() {
		return nil
	}
	journal, err := db.readJournal()
	if err != nil || journal.active && journal.nonce == db.tx.nonce {
		return err
	}
	staged, err := db.takeStaged()
	if err == nil {
		db.tx.reset()
		err = errors.Join(db.publish(staged), db.strictVerify())
	}
	return db.setAlarm(err)
}

// takeStaged returns what the log has of the transaction, written now unless it
// was prepared.
func (db *DB) takeStaged() (*stagedCommit, error) {
	if staged := db.tx.prepared; staged != nil {
		db.tx.prepared = nil
		return staged, nil
	}
	return db.stageJournal()
}

// TruncateJournal changes the length of the rollback journal. In TRUNCATE mode,
// cutting it to nothing commits the transaction.
func (db *DB) TruncateJournal(f fsx.File, size int64) error {
	if size >= sqlite.JournalHeaderSize {
		return f.Truncate(size)
	}
	return db.CommitJournal(JournalModeTruncate, func() error { return f.Truncate(size) })
}

// RemoveJournal removes the rollback journal, which in DELETE mode commits the
// transaction.
func (db *DB) RemoveJournal() error {
	db.awaitClosed(FileTypeJournal, closeGrace)
	return db.CommitJournal(JournalModeDelete, db.retireJournal)
}

// CommitJournal captures the transaction that runs under the rollback journal,
// then has finish end the journal, then publishes the new position.
//
// A crash before finish takes effect leaves the journal hot and the log ahead by
// one transaction, which nobody has seen; recovery rolls back and then applies
// the log. A crash after it leaves database and log equal.
func (db *DB) CommitJournal(mode JournalMode, finish func() error) error {
	db.captureMu.Lock()
	defer db.captureMu.Unlock()
	if db.following.Load() {
		return fmt.Errorf("commit %s journal of %q: %w", mode, db.name, ErrReadOnlyReplica)
	}
	if err := db.commitJournal(finish); err != nil {
		return fmt.Errorf("commit %s journal of %q: %w", mode, db.name, err)
	}
	return nil
}

func (db *DB) commitJournal(finish func() error) error {
	if err := db.settleJournal(); err != nil {
		return err
	}
	if !db.tx.written {
		return finish()
	}
	staged, err := db.takeStaged()
	if err := db.setAlarm(err); err != nil {
		return err
	}
	if err := finish(); err != nil {
		return errors.Join(err, db.abandon(staged))
	}
	db.tx.reset()
	return db.setAlarm(errors.Join(db.publish(staged), db.strictVerify()))
}

// settleInterval is the time between two looks for transactions that have ended
// without any request, as they do under journal_mode=PERSIST with
// synchronous=OFF.
const settleInterval = time.Second

// settleJournals captures such transactions until ctx is done.
func (s *Store) settleJournals(ctx context.Context) {
	ticker := time.NewTicker(settleInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, db := range s.DBs() {
			db.Settle()
			db.syncAppended()
			if err := db.gatherLog(); err != nil {
				// A commit that finds no room fails and raises the alarm.
				db.logger.Debug("cannot make files of the tail of the log", slog.Any("error", err))
			}
		}
	}
}
