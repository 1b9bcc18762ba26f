package sqlitetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// fileCases are databases that come, go and are replaced as files.
var fileCases = []Case{
	{Name: "DropAndRecreate", Run: testDropAndRecreate, PageSizes: []int{4096}},
	{Name: "DropLeavesWAL", Run: testDropLeavesWAL, Modes: []string{WAL}, PageSizes: []int{4096}},
	{Name: "EmptyFile", Run: testEmptyFile, PageSizes: []int{4096}},
	{Name: "NotADatabase", Run: testNotADatabase, Modes: []string{Delete}, PageSizes: []int{4096}},
	{Name: "VacuumInto", Run: testVacuumInto, PageSizes: []int{4096}},
	{Name: "CopyNew", Run: testCopyNew, PageSizes: []int{4096}},
	{Name: "CopyOver", Run: testCopyOver, PageSizes: []int{512, 4096}},
	{Name: "BackupInto", Run: testBackupInto, PageSizes: []int{4096}},
	{Name: "ShellBackup", Run: testShellBackup, PageSizes: []int{4096}},
	{Name: "PosDuringCopy", Run: testPosDuringCopy, Modes: []string{Delete}, PageSizes: []int{4096}},
	{Name: "Restart", Run: testRestart, PageSizes: []int{4096}, MountOnly: true},
}

func testDropAndRecreate(e *Env) {
	t := e.T
	for round := range 3 {
		c := e.Open(t, "db")
		c.Want(t, "0", "SELECT count(*) FROM sqlite_schema")
		c.Exec(t, createT, e.fillPages(20+10*round))
		e.checkContent(t, "db", c)
		if round == 1 {
			c.Kill(t) // leaves journal or WAL to be removed
		} else {
			c.Close(t)
		}
		e.Remove(t, "db")
		if entries, err := os.ReadDir(e.Dir); err != nil {
			t.Fatal(err)
		} else if e.Mount == nil && len(entries) > 0 {
			t.Fatalf("files are left: %v", entries)
		}
	}
	c := e.Open(t, "db")
	c.Exec(t, createT)
	e.checkContent(t, "db", c)
	c.Close(t)
	e.Remove(t, "db")
}

// testDropLeavesWAL removes just the database file: SQLite takes a WAL beside a
// database without pages for a leftover.
func testDropLeavesWAL(e *Env) {
	t := e.T
	c := e.Open(t, "db")
	c.Exec(t, createT, e.fillPages(20))
	c.Kill(t)
	if err := os.Remove(e.Path("db")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(e.Path("db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	e.Moves(t, "db", 0, func() {
		c = e.Connect(t, "db")
		c.Want(t, "0", "SELECT count(*) FROM sqlite_schema")
	})
	e.Moves(t, "db", 1, func() { c.Exec(t, createT) })
	c.Exec(t, e.fillPages(5))
	e.checkContent(t, "db", c)
}

func testEmptyFile(e *Env) {
	t := e.T
	if err := os.WriteFile(e.Path("db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := e.Connect(t, "db")
	c.Want(t, "0", "SELECT count(*) FROM sqlite_schema")
	c.Close(t)
	c = e.Open(t, "db")
	c.Exec(t, createT, e.fillPages(5))
	e.checkContent(t, "db", c)
}

func testNotADatabase(e *Env) {
	t := e.T
	if err := os.WriteFile(e.Path("notes"), []byte("These are not the pages you are looking for.\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("sqlite3", "-batch", e.Path("notes"), "CREATE TABLE t (x)").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "not a database") {
		t.Fatalf("%v: %s", err, out)
	}
	if e.Mount != nil {
		e.Mount.Restart(t)
	}
	got, err := os.ReadFile(e.Path("notes"))
	if err != nil || string(got) != "These are not the pages you are looking for.\n" {
		t.Fatalf("%q, %v", got, err)
	}
	if err := os.Remove(e.Path("notes")); err != nil {
		t.Fatal(err)
	}
	e.Open(t, "notes").Exec(t, createT)
}

// plain returns the path of a closed database outside e.Dir.
func (e *Env) plain(t *testing.T, pages int) string {
	t.Helper()
	outside := *e
	outside.Dir, outside.Mount = t.TempDir(), nil
	c := outside.Open(t, "plain")
	c.Exec(t, createT, e.fillPages(pages))
	c.Close(t)
	return outside.Path("plain")
}

// want checks that a database has the content of another one.
func (e *Env) want(t *testing.T, name, path string) {
	t.Helper()
	other := &Env{Dir: filepath.Dir(path)}
	want := other.Connect(t, filepath.Base(path))
	c := e.Connect(t, name)
	if c.Digest(t) != want.Digest(t) {
		t.Fatalf("%s differs from %s", name, path)
	}
	e.checkContent(t, name, c)
	c.Close(t)
	want.Close(t)
}

func testVacuumInto(e *Env) {
	t := e.T
	source := e.Open(t, "source")
	source.Exec(t, createT, e.fillPages(60), "DELETE FROM t WHERE id % 2 = 0")
	source.Exec(t, "VACUUM INTO "+quote(e.Path("copy")))
	e.want(t, "copy", e.Path("source"))
	e.Moves(t, "copy", 1, func() { e.Connect(t, "copy").Exec(t, e.fillPages(3)) })
	e.Open(t, "copy").Exec(t, e.fillPages(3))
	outside := filepath.Join(t.TempDir(), "outside")
	source.Exec(t, "VACUUM INTO "+quote(outside))
	e.want(t, "source", outside)
}

func testCopyNew(e *Env) {
	t := e.T
	from := e.plain(t, 60)
	e.Copy(t, from, e.Path("db"))
	e.want(t, "db", from)
	c := e.Open(t, "db")
	e.Moves(t, "db", 1, func() { c.Exec(t, e.fillPages(5)) })
	c.Close(t)
	// Out again.
	to := filepath.Join(t.TempDir(), "out")
	e.Copy(t, e.Path("db"), to)
	e.want(t, "db", to)
}

func testCopyOver(e *Env) {
	t := e.T
	for _, pages := range []int{100, 10, 60} {
		c := e.Open(t, "db")
		c.Exec(t, "CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, x)", e.fillPages(50))
		c.Close(t)
		from := e.plain(t, pages)
		e.Advances(t, "db", func() { e.Copy(t, from, e.Path("db")) })
		e.want(t, "db", from)
	}
	c := e.Open(t, "db")
	e.Moves(t, "db", 1, func() { c.Exec(t, e.fillPages(5)) })
	e.checkContent(t, "db", c)
}

func testBackupInto(e *Env) {
	t := e.T
	from := e.plain(t, 60)
	outside := &Env{Dir: filepath.Dir(from)}
	source := outside.Connect(t, filepath.Base(from))
	for _, step := range []int{-1, 7} {
		e.Advances(t, "db", func() { source.Backup(t, e.Path("db"), step) })
		e.want(t, "db", from)
		c := e.Open(t, "db")
		e.Moves(t, "db", 1, func() { c.Exec(t, e.fillPages(30)) })
		c.Close(t)
	}
	// From the mount, and within it.
	c := e.Connect(t, "db")
	out := filepath.Join(t.TempDir(), "out")
	c.Backup(t, out, 5)
	e.want(t, "db", out)
	c.Backup(t, e.Path("second"), 5)
	e.want(t, "second", out)
}

func testShellBackup(e *Env) {
	t := e.T
	from := e.plain(t, 60)
	shell(t, from, ".backup "+e.Path("db"))
	e.want(t, "db", from)
	c := e.Open(t, "db")
	c.Exec(t, e.fillPages(5))
	shell(t, from, ".clone "+e.Path("clone"))
	e.checkContent(t, "clone", e.Connect(t, "clone"))
	e.Shell(t, "db", ".restore "+from)
	e.want(t, "db", from)
}

// testPosDuringCopy looks at the position in the middle of a copy.
func testPosDuringCopy(e *Env) {
	t := e.T
	from := e.plain(t, 40)
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(e.Path("db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	half := len(content) / 2
	for _, part := range [][]byte{content[:half], content[half:]} {
		if _, err := f.Write(part); err != nil {
			t.Fatal(err)
		}
		if e.Mount != nil && e.Mount.Pos(t, "db").TXID != 0 {
			t.Fatalf("position is %s before the copy is done", e.Mount.Pos(t, "db"))
		}
	}
	e.Advances(t, "db", func() {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	})
	e.want(t, "db", from)
}

// testRestart has the node stop and start again, with and without a WAL left by
// a program that died.
func testRestart(e *Env) {
	t := e.T
	c := e.Open(t, "db")
	c.Exec(t, createT, e.fillPages(30))
	content := c.Digest(t)
	c.Close(t)
	for range 2 {
		e.Moves(t, "db", 0, func() { e.Mount.Restart(t) })
		c = e.Open(t, "db")
		if c.Digest(t) != content {
			t.Fatal("the restart has changed the database")
		}
		e.Moves(t, "db", 1, func() { c.Exec(t, e.fillPages(5)) })
		content = c.Digest(t)
		c.Kill(t)
	}
	e.Moves(t, "db", 0, func() { e.Mount.Restart(t) })
	c = e.Open(t, "db")
	if c.Digest(t) != content {
		t.Fatal("the restart has changed the database")
	}
	e.checkContent(t, "db", c)
}
