package litefs

import (
	"os"
	"path/filepath"
	"strings"

	"litefs/internal/fsx"
)

// Super-journals tie the rollback journals of a transaction over several
// databases together. They hold no pages; they are plain local files in the
// folder of the main database.

// superJournalFile returns the name of the file behind a super-journal.
func superJournalFile(name, db string) string {
	return "database" + strings.TrimPrefix(name, db)
}

// SuperJournalPath returns the path of the file behind a super-journal, whose
// name in the mount is given.
func (db *DB) SuperJournalPath(name string) string {
	return filepath.Join(db.dir, superJournalFile(name, db.name))
}

// SuperJournals returns the names in the mount of the super-journals that exist.
func (db *DB) SuperJournals() ([]string, error) {
	entries, err := db.store.FS.ReadDir(db.dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		if superJournalSuffix.MatchString(entry.Name()) {
			names = append(names, db.name+strings.TrimPrefix(entry.Name(), "database"))
		}
	}
	return names, nil
}

// CreateSuperJournal makes a super-journal.
func (db *DB) CreateSuperJournal(name string, flag int, perm os.FileMode) (fsx.File, error) {
	if !db.store.IsPrimary() {
		return nil, ErrReadOnlyReplica
	}
	accmode := flag & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR)
	f, err := db.store.FS.OpenFile(db.SuperJournalPath(name), accmode|os.O_CREATE|os.O_EXCL, perm)
	if err == nil {
		db.dirChanged.Store(true)
	}
	return f, err
}

// OpenSuperJournal opens a super-journal that exists.
func (db *DB) OpenSuperJournal(name string, flag int) (fsx.File, error) {
	return db.store.FS.OpenFile(db.SuperJournalPath(name), flag&(os.O_RDONLY|os.O_WRONLY|os.O_RDWR), 0)
}

// RemoveSuperJournal removes a super-journal, which commits its transaction.
func (db *DB) RemoveSuperJournal(name string) error {
	db.dirChanged.Store(true)
	return db.store.FS.Remove(db.SuperJournalPath(name))
}
