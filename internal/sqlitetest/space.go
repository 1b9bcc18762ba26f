package sqlitetest

import "fmt"

// spaceCases are databases that shrink and change their page size.
var spaceCases = []Case{
	{Name: "Vacuum", Run: testVacuum},
	{Name: "VacuumPageSize", Run: testVacuumPageSize, PageSizes: []int{4096}},
	{Name: "AutoVacuum", Run: testAutoVacuum},
	{Name: "IncrementalVacuum", Run: testIncrementalVacuum},
	{Name: "ShrinkAndGrow", Run: testShrinkAndGrow},
}

// testVacuum shrinks a database by thousands of pages (hundreds, of 64 KiB) and
// writes to it again.
func testVacuum(e *Env) {
	t := e.T
	pages := 3000
	if e.PageSize == 65536 {
		pages = 800
	}
	c := e.Open(t, "db")
	c.Exec(t, createT)
	for range 2 {
		c.Exec(t, e.fillPages(pages))
		c.Exec(t, "DELETE FROM t WHERE id % 40 != 0")
		e.Advances(t, "db", func() { c.Exec(t, "VACUUM") })
		e.Moves(t, "db", 1, func() { c.Exec(t, e.fillPages(20)) })
		e.Moves(t, "db", 1, func() { c.Exec(t, "UPDATE t SET x = 'y' WHERE id % 7 = 0") })
		if e.Mode == WAL {
			checkpoint(t, c, "TRUNCATE")
		}
		e.Moves(t, "db", 1, func() { c.Exec(t, e.fillPages(20)) })
	}
	e.checkContent(t, "db", c)
}

func testVacuumPageSize(e *Env) {
	t := e.T
	c := e.Open(t, "db")
	c.Exec(t, createT, e.fillPages(50))
	for _, size := range []int{512, 65536, 1024, 32768, 4096} {
		// A database in WAL mode keeps its page size.
		if e.Mode == WAL {
			c.Want(t, "delete", "PRAGMA journal_mode = delete")
		}
		content := c.Digest(t)
		e.Moves(t, "db", 1, func() { c.Exec(t, fmt.Sprintf("PRAGMA page_size = %d", size), "VACUUM") })
		c.Want(t, e.Mode, "PRAGMA journal_mode = "+e.Mode)
		c.Want(t, fmt.Sprint(size), "PRAGMA page_size")
		if c.Digest(t) != content {
			t.Fatal("VACUUM has changed the content")
		}
		e.Moves(t, "db", 2, func() {
			c.Exec(t, e.fillPages(5), "DELETE FROM t WHERE id % 7 = 0")
		})
	}
	e.checkContent(t, "db", c)
}

func testAutoVacuum(e *Env) {
	t := e.T
	c := e.Open(t, "db")
	c.Exec(t, "PRAGMA auto_vacuum = FULL", "VACUUM", createT)
	c.Want(t, "1", "PRAGMA auto_vacuum")
	for range 3 {
		c.Exec(t, e.fillPages(150))
		e.Moves(t, "db", 1, func() { c.Exec(t, "DELETE FROM t WHERE id % 10 != 0") })
		c.Want(t, "0", "PRAGMA freelist_count")
		e.Moves(t, "db", 1, func() { c.Exec(t, e.fillPages(3)) })
	}
	e.Moves(t, "db", 0, func() { c.Exec(t, "BEGIN", "DELETE FROM t", "ROLLBACK") })
	e.checkContent(t, "db", c)
}

func testIncrementalVacuum(e *Env) {
	t := e.T
	c := e.Open(t, "db")
	c.Exec(t, "PRAGMA auto_vacuum = INCREMENTAL", "VACUUM", createT, e.fillPages(150), "DELETE FROM t WHERE id % 10 != 0")
	for range 4 {
		e.Moves(t, "db", 1, func() { c.Query(t, "PRAGMA incremental_vacuum(5)") })
		e.Moves(t, "db", 1, func() { c.Exec(t, e.fillPages(2)) })
	}
	e.Moves(t, "db", 1, func() { c.Query(t, "PRAGMA incremental_vacuum") })
	c.Want(t, "0", "PRAGMA freelist_count")
	e.checkContent(t, "db", c)
}

// testShrinkAndGrow shrinks and grows a database between two looks at its
// position, so that both can be one piece of the log.
func testShrinkAndGrow(e *Env) {
	t := e.T
	c := e.Open(t, "db")
	c.Exec(t, "PRAGMA auto_vacuum = FULL", "VACUUM", createT, e.fillPages(200))
	e.Moves(t, "db", 4, func() {
		c.Exec(t, "DELETE FROM t WHERE id > 20", e.fillPages(100), "DELETE FROM t WHERE id > 60", e.fillPages(250))
	})
	// A database that grows by pages that it does not write: they go to the
	// free list in the transaction that adds them.
	e.Moves(t, "db", 1, func() {
		c.Exec(t, "BEGIN", "PRAGMA incremental_vacuum", e.fillPages(100), "DELETE FROM t WHERE id % 2 = 0", "COMMIT")
	})
	c.Exec(t, "PRAGMA auto_vacuum = NONE", "VACUUM")
	e.Moves(t, "db", 1, func() {
		c.Exec(t, "BEGIN", "CREATE TABLE u (id INTEGER PRIMARY KEY, x)", "INSERT INTO u (x) VALUES (zeroblob("+fmt.Sprint(40*e.PageSize)+"))", "DROP TABLE u", "COMMIT")
	})
	e.Moves(t, "db", 1, func() { c.Exec(t, e.fillPages(10)) })
	e.checkContent(t, "db", c)
}
