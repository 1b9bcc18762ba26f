package sqlite

import (
	"errors"
	"strings"
	"testing"

	"github.com/mattn/go-sqlite3"
)

// A transaction that is under way when the wal-index is fenced off must not touch
// frames that are committed; nothing can begin after it.
func TestFenceWALIndex(t *testing.T) {
	path := t.TempDir() + "/db"
	db := newDatabase(t, path, 512, 200, "journal_mode=wal", "wal_autocheckpoint=0", "cache_size=10")
	f := openWAL(t, path)
	exec(t, db, "UPDATE t SET b = randomblob(length(b))") // frames of pages that are written again below
	ctx := t.Context()
	conn, err := db.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	run := func(query string) error {
		_, err := conn.ExecContext(ctx, query)
		return err
	}
	for _, query := range []string{"BEGIN IMMEDIATE", "UPDATE t SET b = randomblob(length(b)) WHERE id % 2"} {
		if err := run(query); err != nil {
			t.Fatal(err)
		}
	}
	before := readFile(t, path+"-wal")[:f.header(t).MaxFrame*(512+24)+32]
	if err := FenceWALIndex(f.shm); err != nil {
		t.Fatal(err)
	}
	for _, query := range []string{"UPDATE t SET b = randomblob(length(b))", "COMMIT"} {
		if err := run(query); err != nil {
			t.Fatal(err)
		}
	}
	sameBytes(t, "committed frames", readFile(t, path+"-wal")[:len(before)], before)
	if err := FenceWALIndex(f.shm); err != nil { // the commit has published a header
		t.Fatal(err)
	}
	var refused sqlite3.Error
	if err := run("BEGIN IMMEDIATE"); !errors.As(err, &refused) || refused.Code != sqlite3.ErrCantOpen {
		t.Errorf("a transaction after the fence: %v", err)
	}
}

// What is fenced need not be a wal-index yet.
func TestFenceWALIndexEmpty(t *testing.T) {
	for _, content := range []string{"", "short", strings.Repeat("\xff", 200)} {
		f := &memFile{b: []byte(content)}
		if err := FenceWALIndex(f); err != nil {
			t.Errorf("%q: %v", content, err)
		}
		if _, err := NewWALIndex(f).Header(); !errors.Is(err, ErrWALVersion) {
			t.Errorf("%q: the header reads as %v", content, err)
		}
	}
}
