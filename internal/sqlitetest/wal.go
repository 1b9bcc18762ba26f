package sqlitetest

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// walCases are checkpoints and what depends on them.
var walCases = []Case{
	{Name: "Checkpoint", Run: testCheckpoint, Modes: []string{WAL}},
	{Name: "AutoCheckpoint", Run: testAutoCheckpoint, Modes: []string{WAL}},
	{Name: "JournalSizeLimit", Run: testJournalSizeLimit, PageSizes: []int{4096}},
	{Name: "LongReader", Run: testLongReader, Modes: []string{WAL}},
	{Name: "PersistentWAL", Run: testPersistentWAL, Modes: []string{WAL}, PageSizes: []int{4096}},
}

// checkpoint runs a checkpoint and returns its result. Where the node checkpoints
// in the background, it tries again while that has the lock, as SQLite does not.
func checkpoint(t *testing.T, c *Conn, kind string) string {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; {
		got := c.Query(t, "PRAGMA wal_checkpoint("+kind+")")
		if got != "1|-1|-1" || time.Now().After(end) {
			return got
		}
	}
}

func testCheckpoint(e *Env) {
	t := e.T
	c, other := e.Open(t, "db"), e.Open(t, "db")
	c.Exec(t, createT, "PRAGMA wal_autocheckpoint = 0")
	for round := range 3 {
		for _, kind := range []string{"PASSIVE", "FULL", "RESTART", "TRUNCATE"} {
			e.Moves(t, "db", 2, func() {
				c.Exec(t, e.fillPages(20), fmt.Sprintf("UPDATE t SET x = %d WHERE id %% 3 = %d", round, round))
			})
			e.Moves(t, "db", 0, func() {
				if got := checkpoint(t, other, kind); got[0] != '0' {
					t.Fatalf("checkpoint %s: %s", kind, got)
				}
			})
			e.Moves(t, "db", 1, func() { other.Exec(t, "DELETE FROM t WHERE id % 11 = 0") })
		}
	}
	e.checkContent(t, "db", c)
}

// testAutoCheckpoint has two connections write in turn, so that each checkpoints
// what the other wrote.
func testAutoCheckpoint(e *Env) {
	t := e.T
	a, b := e.Open(t, "db"), e.Open(t, "db")
	a.Exec(t, createT)
	for _, c := range []*Conn{a, b} {
		c.Exec(t, "PRAGMA wal_autocheckpoint = 15")
	}
	e.Moves(t, "db", 60, func() {
		for i := range 30 {
			a.Exec(t, e.fillPages(3))
			b.Exec(t, fmt.Sprintf("UPDATE t SET x = randomblob(20) WHERE id = %d", i*7%50%(3*i+3)+1))
		}
	})
	if a.Digest(t) != b.Digest(t) {
		t.Fatal("the connections see different content")
	}
	e.checkContent(t, "db", a)
}

func testJournalSizeLimit(e *Env) {
	t := e.T
	for _, limit := range []int{0, 10000} {
		name := fmt.Sprintf("db%d", limit)
		c := e.Open(t, name)
		c.Want(t, fmt.Sprint(limit), fmt.Sprintf("PRAGMA journal_size_limit = %d", limit))
		c.Exec(t, createT)
		for range 4 {
			e.Moves(t, name, 2, func() { c.Exec(t, e.fillPages(50), "UPDATE t SET x = randomblob(30) WHERE id % 2 = 0") })
			if e.Mode == WAL {
				checkpoint(t, c, "RESTART")
			}
		}
		e.checkContent(t, name, c)
	}
}

// testLongReader has a reader keep its snapshot while the WAL grows and is
// checkpointed as far as the reader lets it be.
func testLongReader(e *Env) {
	t := e.T
	writer, reader := e.Open(t, "db"), e.Open(t, "db")
	writer.Exec(t, createT, e.fillPages(20))
	reader.Exec(t, "BEGIN")
	before := reader.Digest(t)
	for range 10 {
		e.Moves(t, "db", 2, func() {
			writer.Exec(t, e.fillPages(40), "UPDATE t SET x = randomblob(10) WHERE id % 4 = 0")
		})
		checkpoint(t, writer, "PASSIVE")
	}
	if reader.Digest(t) != before {
		t.Fatal("the reader has lost its snapshot")
	}
	reader.Exec(t, "COMMIT")
	if reader.Digest(t) != writer.Digest(t) {
		t.Fatal("the connections see different content")
	}
	if got := checkpoint(t, writer, "TRUNCATE"); got != "0|0|0" {
		t.Fatalf("checkpoint: %s", got)
	}
	e.Moves(t, "db", 1, func() { writer.Exec(t, e.fillPages(5)) })
	e.checkContent(t, "db", reader)
}

// testPersistentWAL has the WAL stay behind when the last connection goes.
func testPersistentWAL(e *Env) {
	t := e.T
	for range 3 {
		c := e.Open(t, "db")
		c.Exec(t, "CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, x)", e.fillPages(20))
		c.Kill(t)
		if _, err := os.Stat(e.Path("db-wal")); err != nil {
			t.Fatal(err)
		}
	}
	c := e.Open(t, "db")
	c.Want(t, "60", "SELECT count(*) FROM t")
	e.checkContent(t, "db", c)
	c.Close(t)
	if _, err := os.Stat(e.Path("db-wal")); !os.IsNotExist(err) {
		t.Fatalf("WAL after the last close: %v", err)
	}
}
