package sqlitetest

import (
	"fmt"
	"strings"
)

// basicCases are transactions as programs make them.
var basicCases = []Case{
	{Name: "CRUD", Run: testCRUD},
	{Name: "Synchronous", Run: testSynchronous, PageSizes: []int{4096}},
	{Name: "Rollback", Run: testRollback},
	{Name: "Savepoint", Run: testSavepoint},
	{Name: "CacheSpill", Run: testCacheSpill},
	{Name: "Constraint", Run: testConstraint},
	{Name: "Schema", Run: testSchema},
	{Name: "Mmap", Run: testMmap, PageSizes: []int{4096}},
	{Name: "Attach", Run: testAttach, PageSizes: []int{4096}},
	{Name: "FTS5", Run: testFTS5, PageSizes: []int{4096}},
}

func testCRUD(e *Env) {
	t := e.T
	c := e.Open(t, "db")
	e.Moves(t, "db", 1, func() { c.Exec(t, createT) })
	e.Moves(t, "db", 1, func() { c.Exec(t, "INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, 'three')") })
	e.Moves(t, "db", 1, func() { c.Exec(t, "UPDATE t SET x = 'zwei' WHERE id = 2") })
	e.Moves(t, "db", 1, func() { c.Exec(t, "DELETE FROM t WHERE id = 1") })
	e.Moves(t, "db", 3, func() {
		for range 3 {
			c.Exec(t, "INSERT INTO t (x) VALUES ('more')")
		}
	})
	e.Moves(t, "db", 0, func() {
		c.Want(t, "2|zwei\n3|three\n4|more\n5|more\n6|more", "SELECT * FROM t")
		c.Exec(t, "UPDATE t SET x = 'nobody' WHERE id = 100")
	})
	e.checkContent(t, "db", c)
	if got := e.Shell(t, "db", "SELECT count(*) FROM t"); got != "5" {
		t.Fatalf("the shell counts %q rows, want 5", got)
	}
	c.Exec(t, "DROP TABLE t")
	c.Close(t)
	e.Connect(t, "db").Want(t, "0", "SELECT count(*) FROM sqlite_schema")
}

func testSynchronous(e *Env) {
	t := e.T
	c := e.Open(t, "db")
	c.Exec(t, createT)
	for _, level := range []string{"OFF", "NORMAL", "FULL", "EXTRA"} {
		c.Exec(t, "PRAGMA synchronous = "+level)
		e.Moves(t, "db", 2, func() {
			c.Exec(t, fill(20, 300))
			c.Exec(t, "DELETE FROM t WHERE id % 3 = 0")
		})
	}
	e.checkContent(t, "db", c)
}

func testRollback(e *Env) {
	t := e.T
	c := e.Open(t, "db")
	c.Exec(t, createT, e.fillPages(10))
	before := c.Digest(t)
	e.Moves(t, "db", 0, func() {
		c.Exec(t, "BEGIN", e.fillPages(5), "UPDATE t SET x = 'y' WHERE id < 5", "CREATE TABLE u (x)", "ROLLBACK")
		c.Exec(t, "BEGIN", "DELETE FROM t", "ROLLBACK")
		c.Exec(t, "BEGIN IMMEDIATE", "COMMIT")
		c.Exec(t, "BEGIN EXCLUSIVE", "ROLLBACK")
	})
	if after := c.Digest(t); after != before {
		t.Fatal("rollback has changed the database")
	}
	e.Moves(t, "db", 1, func() { c.Exec(t, "INSERT INTO t (x) VALUES (1)") })
	e.checkContent(t, "db", c)
}

func testSavepoint(e *Env) {
	t := e.T
	c := e.Open(t, "db")
	c.Exec(t, createT)
	e.Moves(t, "db", 1, func() {
		c.Exec(t, "BEGIN", "INSERT INTO t (x) VALUES ('a')",
			"SAVEPOINT one", e.fillPages(20),
			"SAVEPOINT two", "DELETE FROM t WHERE id % 2 = 0",
			"ROLLBACK TO two", "UPDATE t SET x = 'b' WHERE id = 3", "RELEASE two",
			"ROLLBACK TO one", "INSERT INTO t (x) VALUES ('c')", "RELEASE one",
			"COMMIT")
	})
	c.Want(t, "1|a\n2|c", "SELECT * FROM t")
	e.Moves(t, "db", 1, func() {
		c.Exec(t, "SAVEPOINT outer", "INSERT INTO t (x) VALUES ('d')", "RELEASE outer")
	})
	// SQLite commits what is then a change of the change counter alone.
	c.Exec(t, "SAVEPOINT outer", e.fillPages(20), "ROLLBACK TO outer", "RELEASE outer")
	c.Want(t, "1|a\n2|c\n3|d", "SELECT * FROM t")
	e.checkContent(t, "db", c)
}

// testCacheSpill has transactions that are larger than SQLite's cache, so that
// pages are written before the commit.
func testCacheSpill(e *Env) {
	t := e.T
	c := e.Open(t, "db")
	c.Exec(t, createT, "CREATE INDEX i ON t (x)", e.fillPages(30), "PRAGMA cache_size = 10")
	e.Moves(t, "db", 1, func() {
		c.Exec(t, "BEGIN", e.fillPages(200), "UPDATE t SET x = randomblob(100) WHERE id % 5 = 0", e.fillPages(100), "COMMIT")
	})
	before := c.Digest(t)
	e.Moves(t, "db", 0, func() {
		c.Exec(t, "BEGIN", e.fillPages(200), "DELETE FROM t WHERE id % 2 = 0", "ROLLBACK")
	})
	if after := c.Digest(t); after != before {
		t.Fatal("rollback has changed the database")
	}
	e.Moves(t, "db", 1, func() { c.Exec(t, "DELETE FROM t WHERE id % 3 = 0") })
	e.checkContent(t, "db", c)
}

// testConstraint has statements fail in the middle of a transaction that has
// spilled, again and again.
func testConstraint(e *Env) {
	t := e.T
	c := e.Open(t, "db")
	c.Exec(t, "CREATE TABLE t (id INTEGER PRIMARY KEY, x UNIQUE)", "PRAGMA cache_size = 10", "INSERT INTO t VALUES (0, 'taken')")
	e.Moves(t, "db", 1, func() {
		c.Exec(t, "BEGIN")
		for range 8 {
			c.Exec(t, e.fillPages(15))
			// The last row of each statement fails, after it has written the others.
			c.Fails(t, "UNIQUE", fmt.Sprintf(
				"INSERT INTO t (x) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30) SELECT iif(i = 30, 'taken', randomblob(%d)) FROM n",
				e.rowSize()))
			c.Fails(t, "UNIQUE", "UPDATE t SET x = iif(id = (SELECT max(id) FROM t), 'taken', randomblob(30)) WHERE id > 0")
		}
		c.Exec(t, "COMMIT")
	})
	c.Want(t, "121", "SELECT count(*) FROM t")
	before := c.Digest(t)
	e.Moves(t, "db", 0, func() {
		c.Exec(t, "BEGIN", e.fillPages(50))
		c.Fails(t, "UNIQUE", "INSERT OR ROLLBACK INTO t (x) VALUES ('taken')")
	})
	if after := c.Digest(t); after != before {
		t.Fatal("the conflict has changed the database")
	}
	e.checkContent(t, "db", c)
}

func testSchema(e *Env) {
	t := e.T
	c := e.Open(t, "db")
	for _, stmt := range []string{
		createT, "CREATE INDEX i ON t (x)", e.fillPages(20),
		"ALTER TABLE t ADD COLUMN y DEFAULT 7", "ALTER TABLE t RENAME TO s", "REINDEX",
		"CREATE TABLE w (a, b, PRIMARY KEY (b, a)) WITHOUT ROWID",
		"INSERT INTO w SELECT id, x FROM s",
		"CREATE TRIGGER g AFTER DELETE ON s BEGIN DELETE FROM w WHERE a = old.id; END",
		"DELETE FROM s WHERE id > 15",
		"ALTER TABLE s DROP COLUMN y", "ANALYZE",
		"PRAGMA user_version = 12", "PRAGMA application_id = 99", "DROP INDEX i",
	} {
		e.Moves(t, "db", 1, func() { c.Exec(t, stmt) })
	}
	c.Want(t, "15", "SELECT count(*) FROM w")
	e.checkContent(t, "db", c)
}

// testMmap has the database file mapped by readers while others write to it.
func testMmap(e *Env) {
	t := e.T
	a, b := e.Open(t, "db"), e.Open(t, "db")
	for _, c := range []*Conn{a, b} {
		c.Exec(t, "PRAGMA mmap_size = 268435456")
	}
	a.Exec(t, createT, e.fillPages(40))
	for range 5 {
		if a.Digest(t) != b.Digest(t) {
			t.Fatal("the connections see different content")
		}
		b.Exec(t, "UPDATE t SET x = randomblob(50) WHERE id % 3 = 1", e.fillPages(10))
		if a.Digest(t) != b.Digest(t) {
			t.Fatal("the connections see different content")
		}
		a.Exec(t, "DELETE FROM t WHERE id % 4 = 0")
	}
	if e.Mode == WAL {
		checkpoint(t, a, "TRUNCATE")
	}
	a.Exec(t, "VACUUM")
	e.checkContent(t, "db", b)
}

// testAttach commits transactions over several databases, in rollback journal
// modes by way of a super-journal.
func testAttach(e *Env) {
	t := e.T
	for _, name := range []string{"main", "two", "three"} {
		c := e.Open(t, name)
		c.Exec(t, createT)
		c.Close(t)
	}
	c := e.Connect(t, "main")
	c.Exec(t, "PRAGMA journal_mode = "+e.Mode,
		fmt.Sprintf("ATTACH %s AS two", quote(e.Path("two"))), fmt.Sprintf("ATTACH %s AS three", quote(e.Path("three"))),
		"PRAGMA two.journal_mode = "+e.Mode, "PRAGMA three.journal_mode = "+e.Mode)
	write := func(tables ...string) {
		c.Exec(t, "BEGIN")
		for _, table := range tables {
			c.Exec(t, strings.Replace(e.fillPages(5), "INTO t", "INTO "+table, 1))
		}
	}
	for range 3 {
		for _, name := range []string{"main", "two", "three"} {
			e.Moves(t, name, 1, func() {
				write("main.t", "two.t", "three.t")
				c.Exec(t, "COMMIT")
			})
			e.Moves(t, name, 0, func() {
				write("main.t", "two.t", "three.t")
				c.Exec(t, "ROLLBACK")
			})
		}
	}
	e.Moves(t, "two", 0, func() {
		write("main.t", "three.t")
		c.Exec(t, "COMMIT")
	})
	c.Want(t, "50|45|50", "SELECT (SELECT count(*) FROM main.t), (SELECT count(*) FROM two.t), (SELECT count(*) FROM three.t)")
	c.Close(t)
	for _, name := range []string{"main", "two", "three"} {
		e.Connect(t, name).Want(t, "ok", "PRAGMA integrity_check")
	}
}

// testFTS5 uses the shell, which has the extension that the library lacks.
func testFTS5(e *Env) {
	t := e.T
	e.Open(t, "db").Close(t)
	e.Shell(t, "db", "CREATE VIRTUAL TABLE docs USING fts5(body);")
	for i := range 5 {
		e.Moves(t, "db", 1, func() {
			e.Shell(t, "db", fmt.Sprintf(`INSERT INTO docs WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
				SELECT 'word' || (i %% 17) || ' round%d ' || hex(randomblob(20)) FROM n;`, i))
		})
	}
	e.Shell(t, "db", "DELETE FROM docs WHERE docs MATCH 'round2'; INSERT INTO docs (docs) VALUES ('optimize');")
	if got := e.Shell(t, "db", "SELECT count(*) FROM docs WHERE docs MATCH 'word3'; INSERT INTO docs (docs) VALUES ('integrity-check');"); got != "48" {
		t.Fatalf("%q rows match, want 48", got)
	}
}

// fillPages returns a statement that inserts n rows into t which take a page each
// or a little more, or a quarter of one of 64 KiB.
func (e *Env) fillPages(n int) string { return fill(n, e.rowSize()) }

func (e *Env) rowSize() int { return min(e.PageSize*3/4, 12<<10) }

// quote returns a string as an SQL literal.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
