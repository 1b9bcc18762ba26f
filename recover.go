package litefs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"litefs/internal/sqlite"
	"litefs/ltx"
)

// open recovers the database from the state that a stop or a crash has left.
// Nobody else has its files open through a mount of ours by then; what programs
// of an earlier mount still hold open is fenced off (fence.go).
//
// The order is: roll back a hot journal; find the contiguous end of the log;
// find out, by page checksums, where on the log the database is; bring the two
// in line; fold the WAL into the database file. Every step can be cut short and
// is done again at the next start.
func (db *DB) open(ctx context.Context) error {
	db.captureMu.Lock()
	defer db.captureMu.Unlock()
	for _, typ := range backingTypes {
		if err := db.openBacking(typ); err != nil {
			return err
		}
	}
	if err := db.fence(); err != nil {
		return fmt.Errorf("fence off programs of an earlier mount: %w", err)
	}
	if err := db.rollBackHotJournal(); err != nil {
		return fmt.Errorf("roll back hot journal: %w", err)
	}
	if err := db.resumeReplace(); err != nil {
		return fmt.Errorf("replace ltx log: %w", err)
	}
	if err := db.loadAppending(); err != nil {
		return fmt.Errorf("read whether the log is durable: %w", err)
	}
	last, err := db.openLog()
	if err != nil {
		return fmt.Errorf("open ltx log: %w", err)
	}
	if err := db.redoApply(ctx, last); err != nil {
		return fmt.Errorf("apply the log: %w", err)
	}
	if err := db.reconcile(ctx, last); err != nil {
		return err
	}
	if err := db.foldWAL(); err != nil {
		return err
	}
	db.powerLost = false
	return errors.Join(db.settleLog(), db.trimDatabase())
}

// trimDatabase cuts off what lies past the end of the database. SQLite does that
// last, when a transaction that has made the database shorter is committed.
func (db *DB) trimDatabase() error {
	if db.files.database == nil || db.intake.on || db.sums.size() == 0 {
		return nil
	}
	size, err := fileSize(db.files.database)
	want := int64(db.sums.size()) * int64(db.pageSize)
	if err != nil || size <= want {
		return err
	}
	return errors.Join(db.files.database.Truncate(want), db.files.database.Sync())
}

// rollBackHotJournal does what SQLite would do at the next open: a journal whose
// header says that a transaction was under way is played back into the database
// file. A crash in between leaves the journal, and it is played back again.
func (db *DB) rollBackHotJournal() error {
	journal := db.files.journal
	if journal == nil {
		return nil
	}
	size, err := fileSize(journal)
	if err != nil {
		return err
	}
	reader, err := sqlite.NewJournalReader(journal, size)
	if errors.Is(err, sqlite.ErrJournalHeader) || db.files.database == nil {
		return db.removeBacking(FileTypeJournal) // it holds nothing to roll back
	}
	if err != nil {
		return err
	}
	super, err := sqlite.ReadSuperJournal(journal, size)
	if err != nil {
		return err
	}
	committed := super != "" && !db.superJournalExists(super)
	if !committed {
		if err := db.playBack(reader); err != nil {
			return err
		}
		db.logger.Info("rolled back a hot journal")
	}
	return db.removeBacking(FileTypeJournal)
}

func (db *DB) playBack(reader *sqlite.JournalReader) error {
	hdr := reader.Header()
	if err := db.files.database.Truncate(int64(hdr.InitialPages) * int64(hdr.PageSize)); err != nil {
		return err
	}
	for reader.Next() {
		if _, err := db.files.database.WriteAt(reader.Page(), int64(reader.Pgno()-1)*int64(hdr.PageSize)); err != nil {
			return err
		}
	}
	if err := reader.Err(); err != nil {
		return err
	}
	return db.files.database.Sync()
}

// removeBacking closes and removes a backing file.
func (db *DB) removeBacking(typ FileType) error {
	return errors.Join(db.closeBacking(typ), removeIfExists(db.store.FS, db.BackingPath(typ)))
}

// superJournalExists reports whether the super-journal that a journal names, by
// its path in the mount of that time, is there.
func (db *DB) superJournalExists(path string) bool {
	name, typ, err := ParseFilename(filepath.Base(path))
	if err != nil || typ != FileTypeSuperJournal {
		return true // not one of ours: as SQLite does, roll back
	}
	_, err = db.store.FS.Stat(filepath.Join(db.store.DBPath(name), superJournalFile(filepath.Base(path), name)))
	return err == nil
}

// reconcile brings database and log in line. last describes the newest file of
// the log, and is nil if there is none.
func (db *DB) reconcile(ctx context.Context, last *ltxTail) error {
	if db.files.database == nil {
		return db.reconcileMissing(last)
	}
	if last != nil {
		loaded, unchanged := db.loadChecksums(last)
		switch {
		case unchanged:
			return db.captureRest()
		case loaded:
			return db.reconcileChanged(ctx, last)
		}
		found, err := db.findEnd(ctx, last)
		if err != nil {
			return err
		}
		if found {
			return db.captureRest()
		}
	}
	return db.reconcileContent(ctx, last)
}

// reconcileChanged is for a database that somebody has written to since the node
// stopped cleanly at the end of the log. That is not to be taken for a database
// that lacks some of the log: what was written is the next transaction.
func (db *DB) reconcileChanged(ctx context.Context, last *ltxTail) error {
	err := db.captureDifference("it was changed while the node was stopped")
	if errors.Is(err, sqlite.ErrNotDatabase) {
		err = db.reconcileContent(ctx, last) // reports it and leaves it alone
	}
	if err == nil {
		err = db.store.FS.Remove(db.checksumsPath())
	}
	return db.setAlarm(err)
}

// reconcileContent compares all of the database's content with the log.
func (db *DB) reconcileContent(ctx context.Context, last *ltxTail) error {
	if last != nil {
		db.pageSize = last.hdr.PageSize
		db.setPos(last.pos)
	}
	view, err := db.openView()
	if errors.Is(err, sqlite.ErrNotDatabase) {
		db.beginIntake()
		db.logger.Warn("file is not a SQLite database and is not replicated", slog.Any("error", err))
		return nil
	}
	if err != nil {
		return err
	}
	sums, err := scanSums(ctx, view)
	if err != nil {
		return err
	}
	db.adoptCursor(view.cursor)
	switch {
	case last == nil && view.pages == 0:
		db.beginIntake() // an empty file, as it was made
		return nil
	case last == nil:
		return db.captureSnapshot(view, "there is no log")
	}
	overlay, err := db.findOverlay(view, sums, last)
	if err != nil {
		return err
	}
	if overlay != nil {
		return db.applyForward(ctx, view, overlay, last)
	}
	return db.captureSnapshot(view, "the database is on no point of the log")
}

// reconcileMissing is for a folder without a database file: the log, if there
// is one, must say that the database was dropped.
func (db *DB) reconcileMissing(last *ltxTail) error {
	if last == nil {
		return nil
	}
	db.setPos(last.pos)
	db.pageSize = last.hdr.PageSize
	if last.hdr.Commit == 0 {
		return nil
	}
	db.logger.Warn("database file is gone; the log records it as dropped", slog.Any("pos", last.pos))
	// The page checksums are not known and not needed: whatever they were, what
	// is left is the checksum of an empty database.
	db.sums = pageSums{pages: make([]ltx.Checksum, last.hdr.Commit), total: last.pos.PostApplyChecksum}
	return db.captureDrop()
}

// adoptState takes over the end of the log as the state of the database.
func (db *DB) adoptState(last *ltxTail, sums pageSums) {
	db.sums = sums
	db.pageSize = last.hdr.PageSize
	db.setPos(last.pos)
}

// captureRest captures what the WAL holds past the cursor.
func (db *DB) captureRest() error {
	if db.powerLost {
		return nil // it is not known whose it is; foldWAL sets it aside
	}
	before := db.Pos()
	if err := db.setAlarm(db.captureWAL(captureGate)); err != nil {
		return err
	}
	if pos := db.Pos(); pos != before {
		db.logger.Info("captured what the log lacked", slog.Any("from", before), slog.Any("to", pos))
	}
	return nil
}

// captureSnapshot writes the whole database to the log as the next transaction.
func (db *DB) captureSnapshot(view *dbView, reason string) error {
	err := db.commitChanges(changes{
		txns: 1, pageSize: view.pageSize, commit: view.pages, snapshot: true,
		pages: allPages(view.pages, view.pageSize), read: view.read, sync: true,
	})
	if err != nil {
		return err
	}
	db.logger.Warn("captured the whole database", slog.String("reason", reason), slog.Any("pos", db.Pos()))
	return nil
}
