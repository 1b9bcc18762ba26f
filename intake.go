package litefs

import (
	"errors"
	"log/slog"

	"litefs/internal/fsx"
	"litefs/internal/sqlite"
)

// A database file that is written whole without a journal, as cp and VACUUM INTO
// do, is taken in: captured in one transaction once it is complete. The intake
// begins when the file is made or cut to nothing. It ends when the handle that
// wrote the file is closed, or when SQLite goes to work on it: when it makes a
// journal or a WAL, or runs a checkpoint through another handle. Until then
// nothing is captured, from a WAL that was put beside the file beforehand neither.

// intakeState is what is known of an intake.
type intakeState struct {
	on bool
	by fsx.File // the handle that writes the file; nil until it does
}

func (db *DB) beginIntake() {
	db.intake = intakeState{on: true}
	db.wal.valid = db.files.wal == nil
}

// intakeWrite reports whether a write through f is part of an intake. Beside a
// WAL, a second handle that writes is that of a checkpoint.
func (db *DB) intakeWrite(f fsx.File) bool {
	if !db.intake.on || db.intake.by != nil && db.intake.by != f && db.walInUse() {
		return false
	}
	db.intake.by = f
	return true
}

// abortIntake has the next capture compare the whole database, because SQLite is
// at work on it.
func (db *DB) abortIntake() {
	if db.intake.on {
		db.intake = intakeState{}
		db.wal.valid = false
	}
}

// endIntake ends the intake when f is closed, the handle that wrote the file or,
// if none did, the last that could have. Beside a hot journal the file is not yet
// what it will be; SQLite rolls it back when it opens it, and that is captured.
func (db *DB) endIntake(f fsx.File) error {
	if !db.intake.on || db.intake.by != f && (db.intake.by != nil || db.databaseWritable()) {
		return nil
	}
	db.intake.by = nil
	if journal, err := db.readJournal(); err != nil || journal.active {
		return err
	}
	return db.takeIn()
}

// takeIn captures a database that is complete. What is not a database is left
// alone, and can still become one.
func (db *DB) takeIn() error {
	if !db.intake.on || db.following.Load() || db.files.database == nil {
		return nil
	}
	view, err := db.openView()
	if errors.Is(err, sqlite.ErrNotDatabase) {
		db.logger.Warn("file is not a SQLite database and is not replicated", slog.Any("error", err))
		return nil
	}
	if err != nil {
		return err
	}
	if view.pages == 0 {
		return db.takeInEmpty()
	}
	err = db.commitChanges(changes{
		txns: 1, pageSize: view.pageSize, commit: view.pages, snapshot: true,
		pages: allPages(view.pages, view.pageSize), read: view.read, sync: true,
	})
	if err == nil {
		db.adoptCursor(view.cursor)
		db.logger.Info("took in a database", slog.Any("pos", db.Pos()), slog.Uint64("pages", uint64(view.pages)))
	}
	return db.setAlarm(err)
}

// takeInEmpty captures that a database was cut to nothing. The file is then like
// one that has just been made.
func (db *DB) takeInEmpty() error {
	if db.sums.size() == 0 {
		return nil
	}
	err := db.captureDrop()
	if err == nil {
		db.beginIntake()
	}
	return db.setAlarm(err)
}
