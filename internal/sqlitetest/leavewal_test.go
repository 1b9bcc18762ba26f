package sqlitetest_test

import (
	"math/rand/v2"
	"strconv"
	"testing"

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
