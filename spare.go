package litefs

import (
	"errors"
	"os"
	"time"

	"litefs/internal/fsx"
)

// Under journal_mode=DELETE every transaction makes a rollback journal and removes
// it. To make a file, to make its name durable and to give its blocks back is most of
// what such a transaction costs a disk. So a journal that programs remove is cut to
// nothing and keeps its name in the folder of the database; to the mount it is gone.
// The next journal is that file again. As with a removal, it is atomic, and durable
// once the directory of the mount is synced. A node that starts takes an empty journal
// for what it is, none.

// spareJournal is a rollback journal that programs have removed.
type spareJournal struct {
	f     fsx.File // nil if there is none
	dirty bool     // that it was cut is not durable
}

// closeGrace is how long the removal of a journal waits for the close of it that came
// before: the kernel sends both without waiting for the first to be done.
const closeGrace = 2 * time.Millisecond

// retireJournal removes the rollback journal. If a program has it open still, it goes
// with its name, and stays with the program alone.
func (db *DB) retireJournal() error {
	journal := db.files.journal
	if journal == nil || db.hasHandle(FileTypeJournal) {
		return db.removeFile(FileTypeJournal)
	}
	if err := journal.Truncate(0); err != nil {
		return err // the journal is still there
	}
	db.spare = spareJournal{f: db.takeBacking(FileTypeJournal), dirty: true}
	db.spareThere.Store(true)
	return nil
}

// reuseSpare opens the spare journal as a new one. It returns nil if there is none that
// is like a new one, and then no file of that name either.
func (db *DB) reuseSpare(accmode int, perm os.FileMode) (fsx.File, error) {
	if db.spare.f == nil {
		return nil, nil
	}
	info, err := db.spare.f.Stat()
	if err != nil || info.Mode().Perm() != perm.Perm() {
		return nil, errors.Join(err, db.dropSpare())
	}
	f, err := db.store.FS.OpenFile(db.JournalPath(), accmode, 0)
	if err == nil {
		db.setBacking(FileTypeJournal, db.spare.f)
		db.spare = spareJournal{}
		db.spareThere.Store(false)
	}
	return f, err
}

// HasSpareJournal reports whether the backing file of the journal is one that programs
// have removed.
func (db *DB) HasSpareJournal() bool { return db.spareThere.Load() }

// syncSpare makes the removal of a journal durable.
func (db *DB) syncSpare() error {
	db.captureMu.Lock()
	defer db.captureMu.Unlock()
	if !db.spare.dirty {
		return nil
	}
	err := db.spare.f.Sync()
	db.spare.dirty = err != nil
	return err
}

// dropSpare removes the spare journal, if there is one, for good.
func (db *DB) dropSpare() error {
	spare := db.spare.f
	db.spare = spareJournal{}
	db.spareThere.Store(false)
	if spare == nil {
		return nil
	}
	db.dirChanged.Store(true)
	return errors.Join(spare.Close(), removeIfExists(db.store.FS, db.JournalPath()))
}
