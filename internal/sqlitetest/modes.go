package sqlitetest

import "fmt"

// modeCases change journal and locking modes.
var modeCases = []Case{
	{Name: "ModeSwitch", Run: testModeSwitch, PageSizes: []int{4096}},
	{Name: "ModeSwitchSecondConnection", Run: testModeSwitchSecondConnection, PageSizes: []int{4096}},
	{Name: "UncoveredModes", Run: testUncoveredModes, PageSizes: []int{4096}, MountOnly: true},
	{Name: "UncoveredModesNewDatabase", Run: testUncoveredModesNewDatabase, Modes: []string{Delete}, PageSizes: []int{4096}},
	{Name: "Exclusive", Run: testExclusive},
	{Name: "ExclusiveFromTheStart", Run: testExclusiveFromTheStart, PageSizes: []int{4096}},
	{Name: "ReadOnlyConnection", Run: testReadOnlyConnection, PageSizes: []int{4096}},
}

func testModeSwitch(e *Env) {
	t := e.T
	c := e.Open(t, "db")
	c.Exec(t, createT)
	for _, mode := range []string{Delete, WAL, Truncate, WAL, Persist, WAL, Delete, Truncate, Persist, Delete, Persist, WAL} {
		c.Want(t, mode, "PRAGMA journal_mode = "+mode)
		e.Moves(t, "db", 2, func() {
			c.Exec(t, e.fillPages(10), "UPDATE t SET x = randomblob(10) WHERE id % 3 = 0")
		})
		c.Want(t, e.Mode, "PRAGMA journal_mode = "+e.Mode)
		e.Moves(t, "db", 1, func() { c.Exec(t, e.fillPages(5)) })
	}
	e.checkContent(t, "db", c)
}

// testModeSwitchSecondConnection switches while another connection is open. WAL
// mode cannot be left under a second connection; it can be entered.
func testModeSwitchSecondConnection(e *Env) {
	t := e.T
	a, b := e.Open(t, "db"), e.Open(t, "db")
	a.Exec(t, createT, "PRAGMA busy_timeout = 0")
	b.Want(t, "0", "SELECT count(*) FROM t")
	if e.Mode == WAL {
		a.Fails(t, "locked", "PRAGMA journal_mode = delete")
		b.Close(t)
		a.Want(t, Delete, "PRAGMA journal_mode = delete")
		b = e.Connect(t, "db")
	}
	for _, mode := range []string{WAL, e.Mode, Truncate, WAL} {
		if mode != WAL {
			b.Close(t)
		}
		a.Want(t, mode, "PRAGMA journal_mode = "+mode)
		if mode != WAL {
			b = e.Connect(t, "db")
		}
		e.Moves(t, "db", 2, func() {
			b.Exec(t, e.fillPages(5))
			a.Exec(t, "DELETE FROM t WHERE id % 4 = 0")
		})
		if a.Digest(t) != b.Digest(t) {
			t.Fatal("the connections see different content")
		}
	}
	e.checkContent(t, "db", a)
}

// testUncoveredModes has writes that no journal covers refused.
func testUncoveredModes(e *Env) {
	t := e.T
	c := e.Open(t, "db")
	c.Exec(t, createT, e.fillPages(5))
	if e.Mode == WAL {
		c.Want(t, "delete", "PRAGMA journal_mode = delete")
	}
	before := c.Digest(t)
	for _, mode := range []string{"off", "memory"} {
		c.Want(t, mode, "PRAGMA journal_mode = "+mode)
		e.Moves(t, "db", 0, func() { c.Fails(t, "disk I/O error", "INSERT INTO t (x) VALUES (1)") })
		if !e.Mount.Logged("journal_mode OFF and MEMORY") {
			t.Fatal("the node has not logged why")
		}
		c.Close(t)
		c = e.Open(t, "db")
		if c.Digest(t) != before {
			t.Fatal("the write that was refused has changed the database")
		}
		e.Moves(t, "db", 2, func() {
			c.Exec(t, e.fillPages(2), "DELETE FROM t WHERE id % 3 = 0")
		})
		c.Want(t, "delete", "PRAGMA journal_mode = delete")
		before = c.Digest(t)
	}
	c.Close(t)
	e.checkContent(t, "db", e.Connect(t, "db"))
}

// testUncoveredModesNewDatabase fills a new database without a journal, as
// importers do.
func testUncoveredModesNewDatabase(e *Env) {
	t := e.T
	for _, mode := range []string{"off", "memory"} {
		c := e.Connect(t, mode)
		c.Want(t, mode, "PRAGMA journal_mode = "+mode)
		c.Exec(t, createT, e.fillPages(30))
		content := c.Digest(t)
		c.Close(t)
		c = e.Open(t, mode)
		if c.Digest(t) != content {
			t.Fatal("content has changed")
		}
		e.Moves(t, mode, 1, func() { c.Exec(t, e.fillPages(3)) })
		e.checkContent(t, mode, c)
	}
}

// testExclusive enters and leaves the exclusive locking mode.
func testExclusive(e *Env) {
	t := e.T
	c := e.Open(t, "db")
	c.Exec(t, createT)
	for range 2 {
		c.Want(t, "exclusive", "PRAGMA locking_mode = EXCLUSIVE")
		e.Moves(t, "db", 4, func() {
			c.Exec(t, e.fillPages(10), "UPDATE t SET x = randomblob(10) WHERE id % 3 = 0", e.fillPages(10), "DELETE FROM t WHERE id % 5 = 0")
		})
		e.Moves(t, "db", 0, func() { c.Exec(t, "BEGIN", "DELETE FROM t", "ROLLBACK") })
		if e.Mode == WAL {
			checkpoint(t, c, "RESTART")
			e.Moves(t, "db", 1, func() { c.Exec(t, e.fillPages(10)) })
		}
		c.Want(t, "normal", "PRAGMA locking_mode = NORMAL")
		e.Moves(t, "db", 1, func() { c.Exec(t, e.fillPages(10)) })
	}
	e.checkContent(t, "db", c)
}

// testExclusiveFromTheStart never shares a wal-index: in WAL mode it lives in the
// memory of the one connection.
func testExclusiveFromTheStart(e *Env) {
	t := e.T
	for round := range 3 {
		c := e.Connect(t, "db")
		c.Want(t, "exclusive", "PRAGMA locking_mode = EXCLUSIVE")
		c.Exec(t, fmt.Sprintf("PRAGMA page_size = %d", e.PageSize))
		c.Want(t, e.Mode, "PRAGMA journal_mode = "+e.Mode)
		c.Exec(t, "CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, x)")
		e.Moves(t, "db", 3, func() {
			c.Exec(t, e.fillPages(10), "UPDATE t SET x = randomblob(10) WHERE id % 3 = 0", e.fillPages(10))
		})
		if e.Mode == WAL {
			checkpoint(t, c, "TRUNCATE")
			e.Moves(t, "db", 2, func() { c.Exec(t, "DELETE FROM t WHERE id % 5 = 0", e.fillPages(2)) })
		}
		content := c.Digest(t)
		if round == 1 {
			c.Kill(t)
		} else {
			c.Close(t)
		}
		c = e.Connect(t, "db")
		if c.Digest(t) != content {
			t.Fatal("the next connection sees other content")
		}
		e.checkContent(t, "db", c)
		c.Close(t)
	}
}

func testReadOnlyConnection(e *Env) {
	t := e.T
	c := e.Open(t, "db")
	c.Exec(t, createT, e.fillPages(10))
	r := e.Connect(t, "db", "mode=ro")
	for range 3 {
		if r.Digest(t) != c.Digest(t) {
			t.Fatal("the connections see different content")
		}
		r.Fails(t, "readonly", "INSERT INTO t (x) VALUES (1)")
		e.Moves(t, "db", 1, func() { c.Exec(t, e.fillPages(10)) })
	}
	c.Close(t)
	r.Want(t, "40", "SELECT count(*) FROM t")
	r.Close(t)
	r = e.Connect(t, "db", "mode=ro")
	r.Want(t, "40", "SELECT count(*) FROM t")
}
