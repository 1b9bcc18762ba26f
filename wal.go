package litefs

import (
	"fmt"
	"log/slog"
	"time"

	"litefs/internal/fsx"
	"litefs/internal/sqlite"
)

// walState is what capture knows of the WAL.
type walState struct {
	// cursor is where capture has got to. It is meaningful while valid is set;
	// otherwise it is unknown which frames the log has, and the next capture
	// compares the whole database.
	cursor sqlite.WALCursor
	valid  bool
	// ahead is set while the wal-index is not known to publish all that lies
	// before the cursor, since it could not be read when that was captured. If the
	// WAL is then restarted, some of it may have been withdrawn.
	ahead bool
	// doubtful is set once SQLite could not sync the WAL. It takes the commit back
	// then and writes over its frames, the last of which may stay as it is.
	doubtful bool
	// shm is the wal-index as the daemon can read it, nil if it cannot yet: the
	// backing file under passthrough, else a handle opened through the mount,
	// since the pages that applications map are then not in the backing file.
	shm fsx.File
}

// walInUse reports whether there is a WAL with anything in it. It is what makes
// a write to the database file part of a checkpoint.
func (db *DB) walInUse() bool {
	if db.files.wal == nil {
		return false
	}
	size, err := fileSize(db.files.wal)
	return err != nil || size > 0
}

// gate captures what the WAL holds, because the request that is waiting may let
// SQLite forget it. An error fails the request, and SQLite keeps its WAL.
//
// The log need not be durable yet: SQLite syncs the database file before it
// counts frames as checkpointed, and that sync waits for the log; see
// SyncDatabase.
func (db *DB) gate() error {
	db.captureMu.Lock()
	defer db.captureMu.Unlock()
	return db.setAlarm(db.captureWAL(captureGate))
}

// gateLocked captures what the WAL holds and makes the log durable if SQLite made
// the WAL so, for a request after which the WAL is gone.
func (db *DB) gateLocked() error {
	err := db.captureWAL(captureGate)
	if err == nil {
		err = db.syncLog()
	}
	return db.setAlarm(err)
}

// syncLog makes the log durable if the application asked for durability, which
// shows in that SQLite has synced the WAL.
func (db *DB) syncLog() error {
	if !db.walSynced.Load() {
		return nil
	}
	return db.log.sync()
}

// Gate captures all that has been committed, so that the position speaks of it.
func (db *DB) Gate() error {
	db.captureMu.Lock()
	defer db.captureMu.Unlock()
	if err := db.captureAll(); err != nil {
		return err
	}
	return db.gatherLog()
}

// captureAll captures what the database has that the log has not, whatever its
// journal mode.
func (db *DB) captureAll() error {
	if db.following.Load() {
		return nil // all there is comes from the log
	}
	if err := db.settleJournal(); err != nil {
		return err
	}
	if db.intake.by == nil && !db.databaseWritable() {
		if err := db.takeIn(); err != nil {
			return err
		}
	}
	if db.files.wal == nil || db.files.database == nil {
		return nil
	}
	return db.setAlarm(db.captureWAL(captureGate))
}

// WriteWAL writes to the WAL through f. Under passthrough the kernel does it.
func (db *DB) WriteWAL(f fsx.File, data []byte, offset int64) error {
	_, err := f.WriteAt(data, offset)
	if err == nil {
		db.wakeFollower()
	}
	return err
}

// SyncWAL makes the WAL durable.
func (db *DB) SyncWAL(f fsx.File) error {
	if err := f.Sync(); err != nil {
		db.captureMu.Lock()
		db.wal.doubtful = true
		db.captureMu.Unlock()
		return err
	}
	db.walSynced.Store(true)
	return nil
}

// TruncateWAL changes the length of the WAL through f, once what it holds is in
// the log.
func (db *DB) TruncateWAL(f fsx.File, size int64) error {
	db.interruptCheckpoint()
	db.captureMu.Lock()
	defer db.captureMu.Unlock()
	if db.following.Load() {
		return fmt.Errorf("truncate WAL of %q: %w", db.name, ErrReadOnlyReplica)
	}
	if db.files.database != nil {
		if err := db.gateLocked(); err != nil {
			return fmt.Errorf("truncate WAL of %q: %w", db.name, err)
		}
	}
	folded := true
	if size == 0 {
		var err error
		if folded, err = db.walFolded(); err != nil {
			return err
		}
	}
	if err := f.Truncate(size); err != nil {
		return err
	}
	if size == 0 && db.wal.valid {
		db.wal.cursor = sqlite.WALCursor{}
	}
	if folded {
		return nil
	}
	return db.setAlarm(db.captureDifference("the WAL was truncated before it was checkpointed"))
}

// RemoveWAL removes the WAL, once what it holds is in the log.
func (db *DB) RemoveWAL() error {
	db.interruptCheckpoint()
	db.captureMu.Lock()
	defer db.captureMu.Unlock()
	if db.following.Load() {
		return fmt.Errorf("remove WAL of %q: %w", db.name, ErrReadOnlyReplica)
	}
	if db.files.database != nil {
		if err := db.gateLocked(); err != nil {
			return fmt.Errorf("remove WAL of %q: %w", db.name, err)
		}
	}
	folded, err := db.walFolded()
	if err != nil {
		return err
	}
	db.stopFollower()
	db.walSynced.Store(false)
	if err := db.removeFile(FileTypeWAL); err != nil || folded {
		return err
	}
	return db.setAlarm(db.captureDifference("the WAL was removed before it was checkpointed"))
}

// truncateUnderWAL is what a checkpoint does at its end. After the database has
// shrunk it cuts the file. A writer may have made the database longer since the
// checkpoint looked; pages that it added without writing them read as zeros from
// now on, and are captured again.
func (db *DB) truncateUnderWAL(f fsx.File, size int64) error {
	if err := db.gateLocked(); err != nil {
		return err
	}
	before, err := fileSize(f)
	if err != nil {
		return err
	}
	if err := f.Truncate(size); err != nil {
		return err
	}
	if size >= before || db.pageSize == 0 || size >= int64(db.sums.size())*int64(db.pageSize) {
		return nil
	}
	return db.setAlarm(db.captureDifference("database file was truncated"))
}

// captureDifference compares the whole database with the page checksums and
// writes what differs to the log, as one transaction. It is right whatever has
// happened, and costs O(database).
func (db *DB) captureDifference(reason string) error {
	started := time.Now()
	view, err := db.openView()
	if err != nil {
		return err
	}
	if view.pages == 0 && db.sums.size() == 0 {
		db.adoptCursor(view.cursor)
		return nil
	}
	before := db.Pos()
	err = db.commitChanges(changes{
		txns: 1, pageSize: view.pageSize, commit: view.pages,
		snapshot: view.pageSize != db.pageSize,
		pages:    allPages(view.pages, view.pageSize), read: view.read, sync: true,
	})
	if err != nil {
		return err
	}
	db.adoptCursor(view.cursor)
	db.wal.ahead = db.sharedMemoryOpen() && db.wal.shm == nil // the view takes what is valid for published
	if err := db.strictVerify(); err != nil {
		return err
	}
	if db.Pos() != before {
		db.logger.Warn("captured by comparing the whole database", slog.String("reason", reason),
			slog.Any("pos", db.Pos()), slog.Duration("duration", time.Since(started)))
	}
	return nil
}

// adoptCursor has capture go on from a place in the WAL.
func (db *DB) adoptCursor(cursor sqlite.WALCursor) {
	db.wal.cursor, db.wal.valid = cursor, true
}
