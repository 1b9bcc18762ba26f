package sqlitetest_test

import (
	"encoding/binary"
	"os"
	"testing"

	"litefs/internal/mounttest"
	"litefs/internal/sqlite"
	"litefs/internal/sqlitetest"
)

// TestWithdrawnCommit has a writer die between writing a commit to the WAL and
// publishing it in the wal-index, which other connections keep in use. For them
// the commit has never been, and so it must not be in the log, which replicas show; who
// recovers the wal-index later may still find it.
func TestWithdrawnCommit(t *testing.T) {
	exec := func(stmts ...string) func(*testing.T, *sqlitetest.Conn) {
		return func(t *testing.T, c *sqlitetest.Conn) {
			t.Helper()
			for _, stmt := range stmts {
				c.Query(t, stmt)
			}
		}
	}
	for name, then := range map[string]func(*testing.T, *sqlitetest.Conn){
		"Nothing":    exec(),
		"Write":      exec("INSERT INTO t (x) VALUES (zeroblob(9000))"),
		"Checkpoint": exec("PRAGMA wal_checkpoint(FULL)"),
		"Restart":    exec("PRAGMA wal_checkpoint(RESTART)", "INSERT INTO t (x) VALUES (1)"),
		"Truncate":   exec("PRAGMA wal_checkpoint(TRUNCATE)", "INSERT INTO t (x) VALUES (1)"),
		"LeaveWAL":   exec("PRAGMA journal_mode = delete"),
		"Close":      func(t *testing.T, c *sqlitetest.Conn) { t.Helper(); c.Close(t) },
		"Kill":       func(t *testing.T, c *sqlitetest.Conn) { t.Helper(); c.Kill(t) },
	} {
		for _, gate := range []string{"Gate", "NoGate"} {
			for path, noPassthrough := range map[string]bool{"Passthrough": false, "NoPassthrough": true} {
				t.Run(name+"/"+gate+"/"+path, func(t *testing.T) {
					node := mounttest.Start(t, mounttest.Options{NoPassthrough: noPassthrough})
					e := &sqlitetest.Env{Dir: node.Dir(), Mount: node, Combination: sqlitetest.Combination{Mode: sqlitetest.WAL, PageSize: 4096}}
					c := e.Open(t, "db")
					c.Exec(t, "PRAGMA wal_autocheckpoint = 0", "CREATE TABLE t (id INTEGER PRIMARY KEY, x)", "INSERT INTO t (x) VALUES (zeroblob(20000))")
					before := node.Pos(t, "db")
					appendCommit(t, node.Path("db-wal"))
					if gate == "Gate" {
						if pos := node.Pos(t, "db"); pos != before {
							t.Fatalf("position %s after %s and a commit that is not published", pos, before)
						}
					}
					c.Want(t, "0", "PRAGMA user_version")
					then(t, c)
					if _, err := node.Store.DB("db").Verify(t.Context()); err != nil {
						t.Error(err)
					}
					if one, two := node.Pos(t, "db"), node.Pos(t, "db"); one != two {
						t.Errorf("position went from %s to %s by looking at it", one, two)
					}
					other := e.Connect(t, "db")
					other.Exec(t, "INSERT INTO t (x) VALUES (2)")
					other.Want(t, "ok", "PRAGMA integrity_check")
					if _, err := node.Store.DB("db").Verify(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
		}
	}
}

// appendCommit appends a transaction that sets the user version to 77, and does
// not publish it.
func appendCommit(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	hdr, err := sqlite.ReadWALHeader(f)
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	page := make([]byte, hdr.PageSize)
	scanner := sqlite.NewWALScanner(f, hdr.Start(), sqlite.WALFrames(info.Size(), hdr.PageSize))
	for scanner.Next() {
		if scanner.Frame().Pgno != 1 {
			continue
		}
		offset := sqlite.WALFrameOffset(scanner.Frame().Frame, hdr.PageSize) + sqlite.WALFrameHeaderSize
		if _, err := f.ReadAt(page, offset); err != nil {
			t.Fatal(err)
		}
	}
	end, pages := scanner.Commit()
	if scanner.Err() != nil || pages == 0 || !sqlite.IsDatabase(page) {
		t.Fatalf("WAL with a database of %d pages, %v", pages, scanner.Err())
	}
	binary.BigEndian.PutUint32(page[60:], 77)
	w := sqlite.NewWALWriter(f, end)
	if err := w.WriteFrame(1, pages, page); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
}
