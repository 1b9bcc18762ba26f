package sqlite

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// walFiles are the files of a WAL-mode database that a SQLite connection in
// this process has open.
type walFiles struct {
	path  string
	db    *os.File
	wal   *os.File
	shm   *os.File
	index *WALIndex
}

func openWAL(tb testing.TB, path string) walFiles {
	tb.Helper()
	shm := openFile(tb, path+"-shm")
	return walFiles{
		path:  path,
		db:    openFile(tb, path),
		wal:   openFile(tb, path+"-wal"),
		shm:   shm,
		index: NewWALIndex(shm),
	}
}

func (f walFiles) header(tb testing.TB) WALIndexHeader {
	tb.Helper()
	h, err := f.index.Header()
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

func (f walFiles) info(tb testing.TB) CheckpointInfo {
	tb.Helper()
	info, err := f.index.CheckpointInfo()
	if err != nil {
		tb.Fatal(err)
	}
	return info
}

func (f walFiles) walHeader(tb testing.TB) WALHeader {
	tb.Helper()
	h, err := ReadWALHeader(f.wal)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

// verify scans the whole WAL and compares it with the wal-index.
func (f walFiles) verify(tb testing.TB) {
	tb.Helper()
	h, header := f.header(tb), f.walHeader(tb)
	s := NewWALScanner(f.wal, header.Start(), h.MaxFrame)
	latest := map[uint32]uint32{}
	for s.Next() {
		latest[s.Frame().Pgno] = s.Frame().Frame
	}
	if s.Err() != nil || s.Stop() != StopLimit {
		tb.Fatalf("scan stops at frame %d of %d: %v, %v", s.Cursor().Frame, h.MaxFrame, s.Stop(), s.Err())
	}
	cursor, pageCount := s.Commit()
	if want, ok := h.Cursor(); !ok || cursor != want || pageCount != h.PageCount {
		tb.Fatalf("last commit %+v with %d pages, wal-index has %+v with %d", cursor, pageCount, want, h.PageCount)
	}
	pages, err := f.index.LatestFrames(1, h.MaxFrame)
	if err != nil {
		tb.Fatal(err)
	}
	if len(pages) != len(latest) {
		tb.Fatalf("%d pages in the wal-index, %d in the WAL", len(pages), len(latest))
	}
	for i, p := range pages {
		if latest[p.Pgno] != p.Frame || (i > 0 && p.Pgno <= pages[i-1].Pgno) {
			tb.Fatalf("page %d: frame %d in the wal-index, %d in the WAL", p.Pgno, p.Frame, latest[p.Pgno])
		}
	}
	for pgno := uint32(1); pgno <= pageCount+1; pgno += 1 + pageCount/50 {
		if got, err := f.index.FindFrame(pgno, 1, h.MaxFrame); err != nil || got != latest[pgno] {
			tb.Fatalf("page %d: frame %d, %v, want %d", pgno, got, err, latest[pgno])
		}
	}
}

// backfill copies the WAL into the database file as a checkpointer does.
func (f walFiles) backfill(tb testing.TB) {
	tb.Helper()
	h := f.header(tb)
	pages, err := f.index.LatestFrames(f.info(tb).Backfill+1, h.MaxFrame)
	if err != nil {
		tb.Fatal(err)
	}
	if err := f.index.SetBackfillAttempted(h.MaxFrame); err != nil {
		tb.Fatal(err)
	}
	page := make([]byte, h.PageSize)
	for _, p := range pages {
		if p.Pgno > h.PageCount {
			continue
		}
		if _, err := f.wal.ReadAt(page, WALFrameOffset(p.Frame, h.PageSize)+WALFrameHeaderSize); err != nil {
			tb.Fatal(err)
		}
		if _, err := f.db.WriteAt(page, int64(p.Pgno-1)*int64(h.PageSize)); err != nil {
			tb.Fatal(err)
		}
	}
	if err := f.db.Truncate(int64(h.PageCount) * int64(h.PageSize)); err != nil {
		tb.Fatal(err)
	}
	if err := f.index.SetBackfill(h.MaxFrame); err != nil {
		tb.Fatal(err)
	}
}

var walPragmas = []string{"journal_mode=wal", "wal_autocheckpoint=0", "synchronous=off"}

// SQLite writes the WAL and the wal-index, over more than two index blocks and
// over restarts; the scanner and the WALIndex read them.
func TestWALWrittenBySQLite(t *testing.T) {
	for _, pageSize := range pageSizes {
		t.Run(fmt.Sprint(pageSize), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "db")
			db := newDatabase(t, path, pageSize, 10, walPragmas...)
			f := openWAL(t, path)
			f.verify(t)

			// Many small transactions, and for small pages many frames.
			for i := range 20 {
				insertRows(t, db, 10+i)
			}
			f.verify(t)
			if pageSize == 512 {
				exec(t, db, "INSERT INTO t (b) SELECT randomblob(500000) FROM t LIMIT 12")
				if n := f.header(t).MaxFrame; n < 2*4096 {
					t.Fatalf("only %d frames", n)
				}
				f.verify(t)
			}

			// A transaction larger than the cache overwrites its own frames.
			exec(t, db, "PRAGMA cache_size=5")
			exec(t, db, "BEGIN; UPDATE t SET b = randomblob(300) WHERE id < 100; UPDATE t SET b = randomblob(250) WHERE id < 100; COMMIT")
			f.verify(t)

			before := f.walHeader(t)
			for _, mode := range []string{"RESTART", "TRUNCATE"} {
				old := f.header(t)
				cursor, _ := old.Cursor()
				if got := queryString(t, db, "PRAGMA wal_checkpoint("+mode+")"); got[0] != '0' {
					t.Fatalf("checkpoint: %s", got)
				}
				insertRows(t, db, 5)
				f.verify(t)
				after := f.walHeader(t)
				if after.Sequence != before.Sequence+1 || after.Salt[0] != before.Salt[0]+1 || after.Salt[1] == before.Salt[1] {
					t.Errorf("%s: header %+v after %+v", mode, after, before)
				}
				if holds, err := cursor.Holds(f.wal); err != nil || holds {
					t.Errorf("%s: the WAL still holds the old cursor: %v", mode, err)
				}
				before = after
			}
			want := content(t, db)

			// The database file, brought up to date from the WAL, is the database.
			f.backfill(t)
			db2 := openSQLite(t, copyFiles(t, path))
			checkDatabase(t, db2)
			if content(t, db2) != want {
				t.Error("content differs")
			}
		})
	}
}

// The wal-index that Rebuild makes is, byte for byte, the one that SQLite
// makes of the same WAL.
func TestRebuildEqualsSQLite(t *testing.T) {
	for _, c := range []struct {
		pageSize uint32
		rows     int
	}{{512, 1}, {512, 2000}, {512, 5000}, {1024, 3000}, {4096, 100}, {65536, 50}} {
		t.Run(fmt.Sprintf("%d %d", c.pageSize, c.rows), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "db")
			db := newDatabase(t, path, c.pageSize, 1, append([]string{"cache_size=10"}, walPragmas...)...)
			insertRows(t, db, c.rows)
			exec(t, db, "BEGIN")
			insertRows(t, db, c.rows/2) // frames that are not committed
			path = copyFiles(t, path, "-wal")
			exec(t, db, "ROLLBACK")

			db = openSQLite(t, path)
			if got, want := queryString(t, db, "SELECT count(*) FROM t"), fmt.Sprint(1+c.rows); got != want {
				t.Fatalf("%s rows, want %s", got, want)
			}
			theirs := readFile(t, path+"-shm")
			wal := readFile(t, path+"-wal")
			ours := new(memFile)
			h, err := NewWALIndexWriter(NewWALIndex(ours)).Rebuild(bytes.NewReader(wal), int64(len(wal)), 1, 2, 3, 4)
			if err != nil {
				t.Fatal(err)
			}
			if frames := WALFrames(int64(len(wal)), c.pageSize); c.rows > 1000 && frames == h.MaxFrame {
				t.Errorf("all of %d frames are committed", frames)
			}
			sameBytes(t, fmt.Sprintf("wal-index of %d frames", h.MaxFrame), ours.b, theirs[:len(ours.b)])
		})
	}
}

// A WAL in either byte order that is written here is recovered by SQLite.
func TestWALWrittenForSQLite(t *testing.T) {
	for _, pageSize := range pageSizes {
		t.Run(fmt.Sprint(pageSize), func(t *testing.T) {
			for _, bigEndian := range []bool{false, true} {
				t.Run(fmt.Sprintf("big-endian %v", bigEndian), func(t *testing.T) {
					before := filepath.Join(t.TempDir(), "db")
					db := newDatabase(t, before, pageSize, 20, "journal_mode=wal")
					if err := db.Close(); err != nil {
						t.Fatal(err)
					}
					after := copyFiles(t, before)
					db = openSQLite(t, after)
					insertRows(t, db, 300)
					want := content(t, db)
					if err := db.Close(); err != nil {
						t.Fatal(err)
					}

					pages := readFile(t, after)
					n := uint32(len(pages)) / pageSize
					wal := openFile(t, before+"-wal")
					h := WALHeader{BigEndian: bigEndian, PageSize: pageSize, Sequence: 3, Salt: Salt{0x11111111, 0xfffffffe}}
					if err := WriteWALHeader(wal, h); err != nil {
						t.Fatal(err)
					}
					w := NewWALWriter(wal, h.Start())
					for pgno := n; pgno >= 1; pgno-- {
						var commit uint32
						if pgno == 1 {
							commit = n
						}
						if err := w.WriteFrame(pgno, commit, pages[(pgno-1)*pageSize:pgno*pageSize]); err != nil {
							t.Fatal(err)
						}
					}
					if err := w.Flush(); err != nil {
						t.Fatal(err)
					}
					db = openSQLite(t, before, "wal_autocheckpoint=0")
					checkDatabase(t, db)
					if content(t, db) != want {
						t.Error("content differs")
					}
					f := openWAL(t, before)
					f.verify(t)
					if got := f.header(t); got.BigEndian != bigEndian || got.MaxFrame != n {
						t.Errorf("wal-index header %+v", got)
					}
					// SQLite goes on in the same byte order.
					insertRows(t, db, 10)
					f.verify(t)
					if f.walHeader(t).BigEndian != bigEndian {
						t.Error("SQLite changed the byte order")
					}
					checkDatabase(t, db)
				})
			}
		})
	}
}
