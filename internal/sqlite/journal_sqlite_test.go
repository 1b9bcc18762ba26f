package sqlite

import (
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// hotJournal starts a transaction that changes and adds many pages, with a
// cache so small that SQLite writes them to the database file before the
// commit, and returns a copy of the files in that state, as a crash would
// leave them. before is the database before the transaction.
func hotJournal(t *testing.T, pageSize uint32, synchronous string) (path string, before []byte) {
	t.Helper()
	original := filepath.Join(t.TempDir(), "db")
	db := newDatabase(t, original, pageSize, 400, "cache_size=5", "synchronous="+synchronous)
	before = readFile(t, original)
	exec(t, db, "BEGIN")
	exec(t, db, "UPDATE t SET b = randomblob(length(b))")
	insertRows(t, db, 300)
	path = copyFiles(t, original, "-journal")
	exec(t, db, "ROLLBACK")
	if bytes.Equal(readFile(t, path), before) {
		t.Fatal("the transaction did not reach the database file")
	}
	return path, before
}

// playBack rolls the hot journal of path back with a JournalReader, and
// returns how many segments it had.
func playBack(t *testing.T, path string) (segments int) {
	t.Helper()
	journal, db := openFile(t, path+"-journal"), openFile(t, path)
	r, err := NewJournalReader(journal, fileSize(t, journal))
	if err != nil {
		t.Fatal(err)
	}
	pageSize := int64(r.Header().PageSize)
	if err := db.Truncate(int64(r.Header().InitialPages) * pageSize); err != nil {
		t.Fatal(err)
	}
	nonces := map[uint32]bool{}
	for r.Next() {
		nonces[r.nonce] = true
		if _, err := db.WriteAt(r.Page(), int64(r.Pgno()-1)*pageSize); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	return len(nonces)
}

// The same crashed state, rolled back by SQLite and by JournalReader.
func TestHotJournal(t *testing.T) {
	for _, pageSize := range pageSizes {
		t.Run(fmt.Sprint(pageSize), func(t *testing.T) {
			for _, synchronous := range []string{"off", "normal", "full", "extra"} {
				t.Run(synchronous, func(t *testing.T) {
					path, before := hotJournal(t, pageSize, synchronous)
					theirs := copyFiles(t, path, "-journal")
					db := openSQLite(t, theirs)
					checkDatabase(t, db)
					if err := db.Close(); err != nil {
						t.Fatal(err)
					}

					b := readFile(t, path+"-journal")
					h, err := ParseJournalHeader(b)
					if err != nil {
						t.Fatal(err)
					}
					if noSync := h.RecordCount == JournalCountUnknown; noSync != (synchronous == "off") {
						t.Errorf("record count %#x with synchronous=%s", h.RecordCount, synchronous)
					}
					segments := playBack(t, path)
					if several := segments > 1; several != (synchronous != "off") {
						t.Errorf("%d segments with synchronous=%s", segments, synchronous)
					}
					sameBytes(t, "rolled back", readFile(t, path), readFile(t, theirs))
					sameBytes(t, "before", readFile(t, path), before)
				})
			}
		})
	}
}

// A power cut may leave any part of the journal that was not yet synced
// damaged. Whatever SQLite makes of a damaged journal, JournalReader does too.
func TestHotJournalDamaged(t *testing.T) {
	path, _ := hotJournal(t, 1024, "full")
	size := len(readFile(t, path+"-journal"))
	for i := range 40 {
		ours := copyFiles(t, path, "-journal")
		b := readFile(t, ours+"-journal")
		if at := 512 + i*(size-512)/40 + i; i%2 == 0 {
			b[at] ^= 0x40
		} else {
			b = b[:at]
		}
		writeFile(t, ours+"-journal", b)
		theirs := copyFiles(t, ours, "-journal")
		db := openSQLite(t, theirs)
		// The database may be broken now; that SQLite opened it is enough.
		if _, err := db.Exec("SELECT count(*) FROM sqlite_schema"); err != nil {
			t.Logf("variant %d: %v", i, err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(theirs + "-journal"); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("variant %d: SQLite left the journal: %v", i, err)
		}
		playBack(t, ours)
		sameBytes(t, fmt.Sprintf("variant %d", i), readFile(t, ours), readFile(t, theirs))
	}
}

// SQLite plays a journal back that names a super-journal only while that file
// exists, which shows that it reads the name that AppendSuperJournal wrote.
func TestSuperJournalSQLite(t *testing.T) {
	for _, exists := range []bool{true, false} {
		t.Run(fmt.Sprintf("exists %v", exists), func(t *testing.T) {
			path, before := hotJournal(t, 4096, "full")
			changed := readFile(t, path)
			super := path + "-mj012345967"
			b := AppendSuperJournal(readFile(t, path+"-journal"), 4096, super)
			writeFile(t, path+"-journal", b)
			if exists {
				writeFile(t, super, []byte(path+"-journal\x00"))
			}
			if got, err := ReadSuperJournal(bytes.NewReader(b), int64(len(b))); err != nil || got != super {
				t.Fatalf("name %q, %v, want %q", got, err, super)
			}
			db := openSQLite(t, path)
			if _, err := db.Exec("SELECT count(*) FROM sqlite_schema"); err != nil {
				t.Logf("open: %v", err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			want := changed
			if exists {
				want = before
			}
			sameBytes(t, "database", readFile(t, path), want)
		})
	}
}

// A journal that is composed here is played back by SQLite.
func TestJournalWrittenForSQLite(t *testing.T) {
	for _, pageSize := range pageSizes {
		t.Run(fmt.Sprint(pageSize), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "db")
			db := newDatabase(t, path, pageSize, 200)
			want := content(t, db)
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			before := readFile(t, path)
			pages := uint32(len(before)) / pageSize

			var journal []byte
			h := JournalHeader{SectorSize: 512, PageSize: pageSize, InitialPages: pages}
			after := append([]byte(nil), before...)
			for pgno := uint32(1); pgno <= pages; pgno++ {
				if pgno%7 == 1 { // a new segment
					h.Nonce, h.RecordCount = pgno*1e9, min(7, pages-pgno+1)
					journal = append(journal, make([]byte, -len(journal)&511)...)
					journal = h.AppendTo(journal)
				}
				page := after[(pgno-1)*pageSize : pgno*pageSize]
				journal = AppendJournalRecord(journal, h.Nonce, pgno, page)
				if pgno > 1 {
					clear(page)
				}
			}
			writeFile(t, path, append(after, make([]byte, 5*pageSize)...))
			writeFile(t, path+"-journal", journal)
			db = openSQLite(t, path)
			checkDatabase(t, db)
			if content(t, db) != want {
				t.Error("content differs")
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			sameBytes(t, "database", readFile(t, path), before)
		})
	}
}

// A journal that SQLite wrote for a transaction over two databases ends in the
// name of their super-journal. It is there only during the commit, for as long
// as the syncs take, so commits are made until one has been caught at it.
func TestSuperJournalWrittenBySQLite(t *testing.T) {
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	db := newDatabase(t, one, 1024, 10)
	if err := newDatabase(t, two, 1024, 10).Close(); err != nil {
		t.Fatal(err)
	}
	exec(t, db, fmt.Sprintf("ATTACH '%s' AS two", two))
	names := make(chan string, 1)
	stop := make(chan struct{})
	go watchSuperJournal(one+"-journal", names, stop)
	defer close(stop)
	for range 5000 {
		commitBoth(t, db)
		select {
		case name := <-names:
			if filepath.Dir(name) != dir || !validSuperName(name) {
				t.Errorf("name %q", name)
			}
			return
		default:
		}
	}
	t.Fatal("never saw a journal in the moment before its commit")
}

func commitBoth(t *testing.T, db *sql.DB) {
	t.Helper()
	exec(t, db, "BEGIN; UPDATE t SET b = randomblob(300) WHERE id = 1; UPDATE two.t SET b = randomblob(300) WHERE id = 1; COMMIT")
}

// watchSuperJournal reads the journal over and over until it names one.
func watchSuperJournal(path string, names chan<- string, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if name, err := ReadSuperJournal(bytes.NewReader(b), int64(len(b))); err == nil && name != "" {
			names <- name
			return
		}
	}
}
