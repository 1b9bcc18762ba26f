package sqlitetest_test

import (
	"testing"

	"litefs"
	"litefs/internal/mounttest"
	"litefs/internal/sqlitetest"
)

// TestLeaveWALDuringCheckpoint has programs take the WAL away while the node
// checkpoints it. SQLite then checkpoints without asking for the lock, since it has
// the database for itself; what the node copies meanwhile must not come after it.
func TestLeaveWALDuringCheckpoint(t *testing.T) {
	rounds := 60
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
			c.Exec(t, "CREATE TABLE t (id INTEGER PRIMARY KEY, x)")
			for round := range rounds {
				c.Query(t, "PRAGMA journal_mode = wal")
				c.Exec(t, "PRAGMA wal_autocheckpoint = 0", "PRAGMA synchronous = normal")
				for range 40 {
					c.Exec(t, `WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 20)
						INSERT OR REPLACE INTO t SELECT abs(random()) % 800, randomblob(900) FROM c`)
				}
				before := c.Digest(t)
				c = leave(t, e, c)
				if c.Digest(t) != before {
					t.Fatalf("round %d: the content has changed", round)
				}
			}
			c.Want(t, "ok", "PRAGMA integrity_check")
			if _, err := node.Store.DB("db").Verify(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
