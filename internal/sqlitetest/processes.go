package sqlitetest

import "fmt"

// processCases are several programs at work, and programs that die.
var processCases = []Case{
	{Name: "Concurrent", Run: testConcurrent, PageSizes: []int{4096}},
	{Name: "WriterKilled", Run: testWriterKilled, PageSizes: []int{4096}},
	{Name: "WriterKilledAmongOthers", Run: testWriterKilledAmongOthers, PageSizes: []int{4096}},
}

// testConcurrent has writers and readers in processes of their own. Every writer
// moves an amount from one row to another, so that the sum is always the same.
func testConcurrent(e *Env) {
	t := e.T
	const writers, readers, rounds = 3, 2, 30
	c := e.Open(t, "db")
	c.Exec(t, createT, "INSERT INTO t VALUES (1, 1000), (2, 1000), (3, 1000), (4, 1000)", "CREATE TABLE log (writer, round, x)")
	e.Moves(t, "db", writers*rounds, func() {
		var waits []func() string
		for w := range writers {
			conn := e.Connect(t, "db", "_busy_timeout=60000")
			conn.Exec(t, "PRAGMA journal_mode = "+e.Mode, "PRAGMA synchronous = NORMAL", "PRAGMA wal_autocheckpoint = 20")
			script := ""
			for i := range rounds {
				script += fmt.Sprintf("BEGIN IMMEDIATE; UPDATE t SET x = x - 1 WHERE id = %d; UPDATE t SET x = x + 1 WHERE id = %d; INSERT INTO log VALUES (%d, %d, randomblob(500)); COMMIT;\n",
					(w+i)%4+1, (w+i+1)%4+1, w, i)
			}
			waits = append(waits, conn.Start(script))
		}
		for range readers {
			conn := e.Connect(t, "db", "_busy_timeout=60000")
			conn.Exec(t, "CREATE TEMP TABLE seen (total)")
			script := ""
			for range rounds {
				script += "INSERT INTO seen SELECT sum(x) FROM main.t;\n"
			}
			wait := conn.Start(script)
			waits = append(waits, func() string {
				msg := wait()
				if msg == "" {
					conn.Want(t, "4000", "SELECT DISTINCT total FROM seen")
				}
				return msg
			})
		}
		for _, wait := range waits {
			if msg := wait(); msg != "" {
				t.Error(msg)
			}
		}
	})
	c.Want(t, fmt.Sprintf("4000|%d", writers*rounds), "SELECT sum(x), (SELECT count(*) FROM log) FROM t")
	e.checkContent(t, "db", c)
}

// testWriterKilled kills the only connection in the middle of a transaction that
// has spilled: the next one rolls back.
func testWriterKilled(e *Env) {
	t := e.T
	c := e.Open(t, "db")
	c.Exec(t, createT, e.fillPages(30))
	for range 3 {
		content := c.Digest(t)
		c.Exec(t, "PRAGMA cache_size = 5", "BEGIN", "UPDATE t SET x = randomblob(40) WHERE id % 2 = 0", e.fillPages(60))
		e.Moves(t, "db", 0, func() {
			c.Kill(t)
			c = e.Open(t, "db")
			if c.Digest(t) != content {
				t.Fatal("the transaction that was cut off is there")
			}
		})
		e.Moves(t, "db", 1, func() { c.Exec(t, e.fillPages(10)) })
		e.checkContent(t, "db", c)
	}
}

// testWriterKilledAmongOthers is testWriterKilled with another connection open,
// so that the wal-index stays.
func testWriterKilledAmongOthers(e *Env) {
	t := e.T
	c := e.Open(t, "db")
	c.Exec(t, createT, e.fillPages(30))
	for range 3 {
		content := c.Digest(t)
		victim := e.Open(t, "db")
		victim.Exec(t, "PRAGMA cache_size = 5", "BEGIN", "UPDATE t SET x = randomblob(40) WHERE id % 2 = 0", e.fillPages(60))
		e.Moves(t, "db", 0, func() {
			victim.Kill(t)
			if c.Digest(t) != content {
				t.Fatal("the transaction that was cut off is there")
			}
		})
		e.Moves(t, "db", 1, func() { c.Exec(t, e.fillPages(10)) })
		e.checkContent(t, "db", c)
	}
}
