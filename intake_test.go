package litefs_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"litefs"
	"litefs/internal/fsx"
)

// files is the content of a database's files.
type files map[litefs.FileType][]byte

// openFiles returns the files of a database while a connection has it open, so
// that there is a WAL beside it that holds most of it.
func openFiles(t *testing.T, rows string) files {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	conn := startSQLite(t, path)
	conn.expect(t, "wal", "PRAGMA journal_mode=wal")
	conn.expect(t, "1", "PRAGMA wal_autocheckpoint=1")
	conn.expect(t, "", "CREATE TABLE t(x)", "INSERT INTO t VALUES ("+rows+")", "INSERT INTO t SELECT zeroblob(10000) FROM t")
	conn.expect(t, "0", "PRAGMA wal_autocheckpoint=0")
	conn.expect(t, "", "UPDATE t SET x = x || x")
	content := make(files)
	for typ, suffix := range map[litefs.FileType]string{litefs.FileTypeDatabase: "", litefs.FileTypeWAL: "-wal"} {
		b, err := os.ReadFile(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		content[typ] = b
	}
	return content
}

// copier writes files into a database as cp does.
type copier struct {
	t  *testing.T
	db *litefs.DB
}

// open opens a file and cuts it to nothing, or makes it.
func (c copier) open(typ litefs.FileType) fsx.File {
	c.t.Helper()
	if !c.db.Exists(typ) {
		f, err := c.db.CreateFile(typ, os.O_WRONLY, 0o644)
		c.must(err)
		return f
	}
	f, err := c.db.OpenFile(typ, os.O_WRONLY)
	c.must(err)
	// The kernel makes O_TRUNC a request of its own, without a handle.
	g, err := c.db.OpenFile(typ, os.O_WRONLY)
	c.must(err)
	truncate := c.db.TruncateDatabase
	if typ == litefs.FileTypeWAL {
		truncate = c.db.TruncateWAL
	}
	c.must(truncate(g, 0))
	c.must(g.Close())
	c.must(c.db.ReleaseFile(g, typ))
	return f
}

// write writes b in pieces that are not pages, and has capture look after each.
func (c copier) write(typ litefs.FileType, f fsx.File, b []byte) {
	c.t.Helper()
	write := c.db.WriteDatabase
	if typ == litefs.FileTypeWAL {
		write = c.db.WriteWAL
	}
	for offset := 0; offset < len(b); offset += 5000 {
		c.must(write(f, b[offset:min(offset+5000, len(b))], int64(offset)))
		c.must(c.db.Gate())
	}
}

func (c copier) close(typ litefs.FileType, f fsx.File) {
	c.t.Helper()
	c.must(f.Close())
	c.must(c.db.ReleaseFile(f, typ))
}

func (c copier) copy(typ litefs.FileType, b []byte) {
	c.t.Helper()
	f := c.open(typ)
	c.write(typ, f, b)
	c.close(typ, f)
}

// damage changes a byte of a file in place.
func (c copier) damage(typ litefs.FileType, offset int64) {
	c.t.Helper()
	f, err := c.db.OpenFile(typ, os.O_RDWR)
	c.must(err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, offset)
	c.must(err)
	b[0] ^= 1
	c.must(c.db.WriteWAL(f, b, offset))
	c.close(typ, f)
}

func (c copier) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// A database is taken in whatever the order in which it and its WAL are copied,
// and whatever was there before.
func TestIntake(t *testing.T) {
	first, second := openFiles(t, "'first'"), openFiles(t, "'second'")
	const database, wal = litefs.FileTypeDatabase, litefs.FileTypeWAL
	for _, test := range []struct {
		name string
		copy func(c copier)
	}{
		{"database", func(c copier) { c.copy(database, first[database]) }},
		{"database, WAL", func(c copier) { c.copy(database, first[database]); c.copy(wal, first[wal]) }},
		{"WAL, database", func(c copier) { c.copy(wal, first[wal]); c.copy(database, first[database]) }},
		{"database over database", func(c copier) { c.copy(database, first[database]); c.copy(database, second[database]) }},
		{"database over database and WAL", func(c copier) {
			c.copy(database, first[database])
			c.copy(wal, first[wal])
			c.copy(database, second[database])
			c.must(c.db.RemoveWAL())
		}},
		{"both over both", func(c copier) {
			c.copy(database, first[database])
			c.copy(wal, first[wal])
			c.copy(database, second[database])
			c.copy(wal, second[wal])
		}},
		{"WAL removed", func(c copier) {
			c.copy(database, first[database])
			c.copy(wal, first[wal])
			c.must(c.db.RemoveWAL())
		}},
		{"WAL damaged", func(c copier) {
			c.copy(database, first[database])
			c.copy(wal, first[wal])
			c.damage(wal, 32+24+100)
			c.must(c.db.RemoveWAL())
		}},
		{"WAL header damaged", func(c copier) {
			c.copy(database, first[database])
			c.copy(wal, first[wal])
			c.damage(wal, 20)
			c.must(c.db.RemoveWAL())
		}},
		{"WAL cut to nothing", func(c copier) {
			c.copy(database, first[database])
			c.copy(wal, first[wal])
			c.close(wal, c.open(wal))
		}},
		{"database cut to nothing", func(c copier) {
			c.copy(database, first[database])
			c.close(database, c.open(database))
		}},
		{"beside a connection", func(c copier) {
			c.copy(database, first[database])
			other, err := c.db.OpenFile(database, os.O_RDWR)
			c.must(err)
			c.copy(database, second[database])
			before := c.db.Pos()
			c.must(other.Close())
			c.must(c.db.ReleaseFile(other, database))
			if c.db.Pos() != before {
				c.t.Errorf("position moved from %s to %s with the close of a connection that wrote nothing", before, c.db.Pos())
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			store := openStore(t, t.TempDir())
			db, err := store.CreateDBIfNotExists("db")
			if err != nil {
				t.Fatal(err)
			}
			test.copy(copier{t, db})
			pos, err := db.Verify(t.Context())
			if err != nil {
				t.Error(err)
			}
			if pos.TXID == 0 {
				t.Error("nothing was taken in")
			}
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// The close of a handle on a database that was dropped may arrive late. It does not
// end the intake of its successor.
func TestIntakeAfterDrop(t *testing.T) {
	content := openFiles(t, "'x'")[litefs.FileTypeDatabase]
	store := openStore(t, t.TempDir())
	db, err := store.CreateDBIfNotExists("db")
	if err != nil {
		t.Fatal(err)
	}
	c := copier{t, db}
	c.copy(litefs.FileTypeDatabase, content)
	old, err := db.OpenFile(litefs.FileTypeDatabase, os.O_RDWR)
	c.must(err)
	c.must(db.RemoveDatabase())
	dropped := db.Pos()

	f := c.open(litefs.FileTypeDatabase)
	c.must(db.WriteDatabase(f, content[:8192], 0))
	c.close(litefs.FileTypeDatabase, old)
	if pos := db.Pos(); pos != dropped {
		t.Errorf("position moved from %s to %s in the middle of the copy", dropped, pos)
	}
	c.must(db.WriteDatabase(f, content[8192:], 8192))
	c.close(litefs.FileTypeDatabase, f)
	if pos, err := db.Verify(t.Context()); err != nil || pos == dropped {
		t.Errorf("position is %s, error %v", pos, err)
	}
	c.must(store.Close())
}

// A checkpoint of SQLite beside an intake that is complete, but of which the close
// has not arrived yet, has the database captured first.
func TestIntakeEndsWithCheckpoint(t *testing.T) {
	content := openFiles(t, "'x'")
	store := openStore(t, t.TempDir())
	db, err := store.CreateDBIfNotExists("db")
	if err != nil {
		t.Fatal(err)
	}
	c := copier{t, db}
	c.copy(litefs.FileTypeWAL, content[litefs.FileTypeWAL])
	f := c.open(litefs.FileTypeDatabase)
	c.write(litefs.FileTypeDatabase, f, content[litefs.FileTypeDatabase])
	if pos := db.Pos(); pos.TXID != 0 {
		t.Errorf("position is %s before the file is complete", pos)
	}

	conn, err := db.OpenFile(litefs.FileTypeDatabase, os.O_RDWR)
	c.must(err)
	page := make([]byte, 4096)
	if _, err := conn.ReadAt(page, 0); err != nil && err != io.EOF { //nolint:errorlint // ReadAt returns it as it is
		t.Fatal(err)
	}
	c.must(db.WriteDatabase(conn, page, 0))
	if pos := db.Pos(); pos.TXID == 0 {
		t.Error("nothing was captured before the checkpoint")
	}
	c.close(litefs.FileTypeDatabase, f)
	c.must(conn.Close())
	c.must(db.ReleaseFile(conn, litefs.FileTypeDatabase))
	if _, err := db.Verify(t.Context()); err != nil {
		t.Error(err)
	}
	c.must(store.Close())
}

// Without a journal, the database may not be changed; the file may be made longer.
func TestWriteWithoutJournal(t *testing.T) {
	content := openFiles(t, "'x'")[litefs.FileTypeDatabase]
	store := openStore(t, t.TempDir())
	db, err := store.CreateDBIfNotExists("db")
	if err != nil {
		t.Fatal(err)
	}
	c := copier{t, db}
	c.copy(litefs.FileTypeDatabase, content)
	before := db.Pos()
	end := int64(len(content))
	f, err := db.OpenFile(litefs.FileTypeDatabase, os.O_RDWR)
	c.must(err)
	for _, test := range []struct {
		name  string
		write func() error
		want  error
	}{
		{"first byte", func() error { return db.WriteDatabase(f, []byte("x"), 0) }, litefs.ErrNoJournal},
		{"last byte", func() error { return db.WriteDatabase(f, []byte("x"), end-1) }, litefs.ErrNoJournal},
		{"across the end", func() error { return db.WriteDatabase(f, []byte("xy"), end-1) }, litefs.ErrNoJournal},
		{"shorter", func() error { return db.TruncateDatabase(f, end-1) }, litefs.ErrNoJournal},
		{"same length", func() error { return db.TruncateDatabase(f, end) }, nil},
		{"behind the end", func() error { return db.WriteDatabase(f, []byte("x"), end) }, nil},
		{"far behind the end", func() error { return db.WriteDatabase(f, []byte("x"), end+100000) }, nil},
		{"longer", func() error { return db.TruncateDatabase(f, end+200000) }, nil},
		{"back to the end", func() error { return db.TruncateDatabase(f, end) }, nil},
		{"longer again", func() error { return db.TruncateDatabase(f, end+100000) }, nil},
	} {
		if err := test.write(); !errors.Is(err, test.want) {
			t.Errorf("%s: error is %v, want %v", test.name, err, test.want)
		}
	}
	c.close(litefs.FileTypeDatabase, f)
	if pos, err := db.Verify(t.Context()); err != nil || pos != before {
		t.Errorf("position is %s, was %s, error %v", pos, before, err)
	}
	dir := store.Path()
	c.must(store.Close())
	store = openStore(t, dir)
	if pos := store.DB("db").Pos(); pos != before {
		t.Errorf("position after a restart is %s, was %s", pos, before)
	}
	c.must(store.Close())
}
