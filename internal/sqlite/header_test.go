package sqlite

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
)

// literalHeader is the header of a 4 KiB-page WAL database, byte by byte.
func literalHeader() []byte {
	return bytes.Join([][]byte{
		[]byte("SQLite format 3\x00"),
		{0x10, 0x00, 2, 2, 8, 64, 32, 32},
		be32(7, 42, 0, 0, 3, 4, 0, 9, 1, 99, 1, 0xcafe), // offsets 24 to 71
		make([]byte, 20),
		be32(7, 3045001),
	}, nil)
}

func TestParseDatabaseHeader(t *testing.T) {
	got, err := ParseDatabaseHeader(literalHeader())
	if err != nil {
		t.Fatal(err)
	}
	want := DatabaseHeader{
		PageSize: 4096, WriteVersion: VersionWAL, ReadVersion: VersionWAL, ReservedBytes: 8,
		ChangeCounter: 7, StatedPageCount: 42, SchemaCookie: 3, LargestRootPage: 9,
		UserVersion: 99, Incremental: true, ApplicationID: 0xcafe, VersionValidFor: 7, LibraryVersion: 3045001,
	}
	if got != want {
		t.Fatalf("got %+v\nwant %+v", got, want)
	}
	if !got.WAL() || !got.AutoVacuum() {
		t.Error("WAL or AutoVacuum is false")
	}
}

func TestParseDatabaseHeaderInvalid(t *testing.T) {
	cases := map[string]func(b []byte) []byte{
		"empty":          func([]byte) []byte { return nil },
		"short":          func(b []byte) []byte { return b[:99] },
		"string":         func(b []byte) []byte { b[15] = 1; return b },
		"page size 0":    func(b []byte) []byte { b[16] = 0; return b },
		"page size 256":  func(b []byte) []byte { b[16] = 1; return b },
		"page size 4097": func(b []byte) []byte { b[17] = 1; return b },
		"read version":   func(b []byte) []byte { b[19] = 3; return b },
		"fractions":      func(b []byte) []byte { b[22] = 33; return b },
		"reserved":       func(b []byte) []byte { b[16], b[20] = 2, 33; return b },
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			b := change(literalHeader())
			if _, err := ParseDatabaseHeader(b); !errors.Is(err, ErrNotDatabase) {
				t.Errorf("error %v, want %v", err, ErrNotDatabase)
			}
			if IsDatabase(b) {
				t.Error("IsDatabase is true")
			}
		})
	}
}

func TestDatabaseHeaderPageCount(t *testing.T) {
	h := DatabaseHeader{PageSize: 1024, ChangeCounter: 5, VersionValidFor: 5, StatedPageCount: 3}
	if got := h.PageCount(10 * 1024); got != 3 {
		t.Errorf("stated: %d", got)
	}
	h.VersionValidFor = 4
	if got := h.PageCount(10*1024 + 1); got != 11 {
		t.Errorf("stated for another change counter: %d", got)
	}
	h.VersionValidFor, h.StatedPageCount = 5, 0
	if got := h.PageCount(10 * 1024); got != 10 {
		t.Errorf("not stated: %d", got)
	}
}

func TestLockPage(t *testing.T) {
	for pageSize, want := range map[uint32]uint32{512: 2097153, 4096: 262145, 65536: 16385} {
		if got := LockPage(pageSize); got != want {
			t.Errorf("page size %d: %d, want %d", pageSize, got, want)
		}
	}
}

// SQLite writes, ParseDatabaseHeader reads; the setters write, SQLite reads.
func TestDatabaseHeaderSQLite(t *testing.T) {
	for _, pageSize := range pageSizes {
		t.Run(fmt.Sprint(pageSize), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "db")
			db := newDatabase(t, path, pageSize, 50, "auto_vacuum=2", "user_version=77", "application_id=1234")
			want := content(t, db)
			pages := queryString(t, db, "PRAGMA page_count")
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			b := readFile(t, path)
			h, err := ParseDatabaseHeader(b)
			if err != nil {
				t.Fatal(err)
			}
			if h.PageSize != pageSize || h.WAL() || !h.AutoVacuum() || !h.Incremental || h.UserVersion != 77 || h.ApplicationID != 1234 {
				t.Errorf("header %+v", h)
			}
			if got := fmt.Sprint(h.PageCount(0)); got != pages {
				t.Errorf("page count %s, want %s", got, pages)
			}

			SetFormatVersion(b, VersionWAL)
			SetChangeCounter(b, h.ChangeCounter+1)
			SetPageCount(b, h.StatedPageCount+3)
			b = append(b, make([]byte, 3*pageSize)...)
			writeFile(t, path, b)
			db = openSQLite(t, path)
			if got := queryString(t, db, "PRAGMA journal_mode"); got != "wal" {
				t.Errorf("journal mode %s", got)
			}
			if got, want := queryString(t, db, "PRAGMA page_count"), fmt.Sprint(h.StatedPageCount+3); got != want {
				t.Errorf("page count %s, want %s", got, want)
			}
			if content(t, db) != want {
				t.Error("content changed")
			}
		})
	}
}
