package sqlitetest

import "fmt"

// slowCases take seconds each.
var slowCases = []Case{
	{Name: "LockPage", Run: testLockPage, Modes: []string{Delete, WAL}, PageSizes: []int{65536}, Slow: true},
	{Name: "BigTransaction", Run: testBigTransaction, Modes: []string{Delete, WAL}, PageSizes: []int{4096}, Slow: true},
}

// testLockPage lets a database grow past 1 GiB, where the page that SQLite never
// uses lies. Most of its pages are zeros.
func testLockPage(e *Env) {
	t := e.T
	const lockPage = 1<<30/65536 + 1
	c := e.Open(t, "db")
	c.Exec(t, createT, "PRAGMA synchronous = OFF")
	c.Exec(t, "INSERT INTO t VALUES (1, zeroblob(540000000))")
	c.Exec(t, "INSERT INTO t VALUES (2, zeroblob(520000000))")
	c.Want(t, "1", fmt.Sprintf("SELECT page_count < %d FROM pragma_page_count", lockPage))
	e.Moves(t, "db", 1, func() { c.Exec(t, "INSERT INTO t VALUES (3, randomblob(30000000))") })
	c.Want(t, "1", fmt.Sprintf("SELECT page_count > %d FROM pragma_page_count", lockPage))
	e.Moves(t, "db", 2, func() {
		c.Exec(t, "UPDATE t SET x = randomblob(1000000) WHERE id = 3", "INSERT INTO t VALUES (4, randomblob(5000000))")
	})
	if e.Mode == WAL {
		checkpoint(t, c, "TRUNCATE")
	}
	c.Close(t)
	e.Connect(t, "db").Want(t, "1000000\n5000000", "SELECT length(x) FROM t WHERE id > 2")
}

// testBigTransaction commits a few hundred megabytes at once.
func testBigTransaction(e *Env) {
	t := e.T
	c := e.Open(t, "db")
	c.Exec(t, createT, "PRAGMA cache_size = -20000", "PRAGMA synchronous = OFF")
	e.Moves(t, "db", 1, func() { c.Exec(t, "BEGIN", fill(300, 1000000), "COMMIT") })
	e.Moves(t, "db", 0, func() { c.Exec(t, "BEGIN", "UPDATE t SET x = zeroblob(1000000) WHERE id <= 50", "ROLLBACK") })
	e.Moves(t, "db", 1, func() { c.Exec(t, "DELETE FROM t WHERE id % 2 = 0") })
	c.Close(t)
	e.Connect(t, "db").Want(t, "150|150000000", "SELECT count(*), sum(length(x)) FROM t")
}
