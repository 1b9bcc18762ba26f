package sqlitetest_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"litefs"
	"litefs/internal/mounttest"
	"litefs/internal/sqlitetest"
)

// TestLeaveWALDuringCheckpoint has programs take the WAL away while the node
// checkpoints it. SQLite then checkpoints without asking for the lock, since it has
// the database for itself; what the node copies meanwhile must not come after it.
func TestLeaveWALDuringCheckpoint(t *testing.T) {
	const commits = 40 // of 20 rows each
	rounds := 100
	if sqlitetest.Long() {
		rounds = 500
	}
	for name, leave := range map[string]func(*testing.T, *sqlitetest.Env, *sqlitetest.Conn) *sqlitetest.Conn{
		"Mode": func(t *testing.T, _ *sqlitetest.Env, c *sqlitetest.Conn) *sqlitetest.Conn {
			t.Helper()
			c.Want(t, "delete", "PRAGMA journal_mode = delete")
			return c
		},
		"Close": func(t *testing.T, e *sqlitetest.Env, c *sqlitetest.Conn) *sqlitetest.Conn {
			t.Helper()
			c.Close(t)
			return e.Connect(t, "db")
		},
	} {
		t.Run(name, func(t *testing.T) {
			node := mounttest.Start(t, mounttest.Options{Configure: func(s *litefs.Store) { s.BackgroundCheckpoint = true }})
			e := &sqlitetest.Env{Dir: node.Dir(), Mount: node, Combination: sqlitetest.Combination{Mode: sqlitetest.WAL, PageSize: 4096}}
			c := e.Open(t, "db")
			c.Exec(t, "CREATE TABLE t (id INTEGER PRIMARY KEY, n, x)",
				`WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 800)
				INSERT INTO t SELECT i, 0, randomblob(900) FROM c`)
			for round := range rounds {
				c.Query(t, "PRAGMA journal_mode = wal")
				c.Exec(t, "PRAGMA wal_autocheckpoint = 0", "PRAGMA synchronous = normal")
				for range commits {
					c.Exec(t, "UPDATE t SET n = n + 1, x = randomblob(900) WHERE id % 40 = "+strconv.Itoa(rand.IntN(40)))
				}
				c = leave(t, e, c)
				c.Want(t, strconv.Itoa((round+1)*commits*20), "SELECT sum(n) FROM t")
			}
			c.Want(t, "ok", "PRAGMA integrity_check")
			if _, err := node.Store.DB("db").Verify(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// A program that has the database for itself under locking_mode=EXCLUSIVE asks for no
// locks of the WAL: the node must leave its WAL alone.
func TestNoCheckpointUnderExclusive(t *testing.T) {
	node := mounttest.Start(t, mounttest.Options{Configure: func(s *litefs.Store) { s.BackgroundCheckpoint = true }})
	e := &sqlitetest.Env{Dir: node.Dir(), Mount: node, Combination: sqlitetest.Combination{Mode: sqlitetest.WAL, PageSize: 4096}}
	c := e.Open(t, "db")
	fill := `INSERT INTO t SELECT zeroblob(3000) FROM (WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 100) SELECT i FROM c)`
	c.Exec(t, "PRAGMA wal_autocheckpoint = 0", "CREATE TABLE t (x)")
	c.Want(t, "exclusive", "PRAGMA locking_mode = exclusive")
	db := node.Store.DB("db")
	write := func() {
		t.Helper()
		captured := db.Pos().TXID + 10
		for range 10 {
			c.Exec(t, fill)
		}
		for db.Pos().TXID < captured {
			time.Sleep(time.Millisecond)
		}
	}
	size := func() int64 {
		t.Helper()
		info, err := os.Stat(db.DatabasePath())
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	before := size()
	write()
	write() // a checkpoint would have been due before this
	if after := size(); after != before {
		t.Errorf("the database file went from %d to %d bytes by a checkpoint in the background", before, after)
	}
	c.Want(t, "normal", "PRAGMA locking_mode = normal")
	c.Want(t, "2000", "SELECT count(*) FROM t")
	for !node.Logged("checkpointed") {
		write()
	}
	c.Want(t, "ok", "PRAGMA integrity_check")
}
