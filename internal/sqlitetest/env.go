package sqlitetest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"litefs/ltx"
)

// The journal modes that can be captured.
const (
	Delete   = "delete"
	Truncate = "truncate"
	Persist  = "persist"
	WAL      = "wal"
)

var (
	allModes     = []string{Delete, Truncate, Persist, WAL}
	allPageSizes = []int{512, 4096, 65536}
)

// Modes returns the journal modes that a case runs with that names none.
func Modes() []string { return slices.Clone(allModes) }

// Mount is what the suite needs of a mounted node.
type Mount interface {
	// Pos returns the position of a database, zero if there is none.
	Pos(tb testing.TB, name string) ltx.Pos
	// Restart unmounts and mounts again.
	Restart(tb testing.TB)
	// Logged reports whether the node has logged text.
	Logged(text string) bool
}

// Combination is what a case is run with.
type Combination struct {
	Mode     string // journal mode
	PageSize int    // bytes
}

// Env is a test and where it runs. Run sets T and Combination.
type Env struct {
	T *testing.T
	Combination
	Dir   string // where databases are
	Mount Mount  // nil if Dir is a plain directory
}

// Case is one behaviour.
type Case struct {
	Name      string
	Run       func(e *Env)
	Modes     []string // journal modes to run with; nil stands for all
	PageSizes []int    // page sizes to run with; nil stands for all
	MountOnly bool     // on a plain directory there is nothing to see
	Slow      bool     // only for long runs
}

// Long reports whether a long run is asked for, with LITEFS_TEST_LONG=1 in the
// environment: every case in every combination, which takes many minutes.
func Long() bool { return os.Getenv("LITEFS_TEST_LONG") != "" }

// Cases returns the suite.
func Cases() []Case {
	return slices.Concat(basicCases, spaceCases, walCases, fileCases, modeCases, processCases, slowCases)
}

// Run runs every case in every combination that it asks for and that newEnv has
// an Env for. newEnv returns one of its own for each, or nil to leave it out.
func Run(t *testing.T, newEnv func(t *testing.T, c Case, combination Combination) *Env) {
	t.Helper()
	for _, c := range Cases() {
		t.Run(c.Name, func(t *testing.T) {
			if c.Slow && !Long() {
				t.Skip("takes minutes; LITEFS_TEST_LONG=1 runs it")
			}
			for _, mode := range orAll(c.Modes, allModes) {
				for _, size := range orAll(c.PageSizes, allPageSizes) {
					t.Run(fmt.Sprintf("%s/%d", mode, size), func(t *testing.T) {
						combination := Combination{Mode: mode, PageSize: size}
						e := newEnv(t, c, combination)
						if e == nil {
							t.Skip("left out")
						}
						e.T, e.Combination = t, combination
						c.Run(e)
					})
				}
			}
		})
	}
}

func orAll[T any](some, all []T) []T {
	if some == nil {
		return all
	}
	return some
}

// Path returns the path of a file.
func (e *Env) Path(name string) string { return filepath.Join(e.Dir, name) }

// Connect opens a database as it is. params are added to the URI.
func (e *Env) Connect(t *testing.T, name string, params ...string) *Conn {
	t.Helper()
	return connect(t, fileURI(e.Path(name))+"?"+strings.Join(params, "&"))
}

// Open opens a database and sets the page size and the journal mode of e.
func (e *Env) Open(t *testing.T, name string) *Conn {
	t.Helper()
	c := e.Connect(t, name)
	c.Exec(t, fmt.Sprintf("PRAGMA page_size = %d", e.PageSize))
	c.Want(t, e.Mode, "PRAGMA journal_mode = "+e.Mode)
	return c
}

// Shell runs the sqlite3 shell on a database and returns its output.
func (e *Env) Shell(t *testing.T, name, script string) string {
	t.Helper()
	return shell(t, e.Path(name), script)
}

func shell(t *testing.T, path, script string) string {
	t.Helper()
	cmd := exec.Command("sqlite3", "-batch", "-bail", path)
	cmd.Stdin = strings.NewReader(script)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("sqlite3 %s: %v: %s", script, err, out)
	}
	return string(bytes.TrimSpace(out))
}

// Copy copies a file with cp.
func (e *Env) Copy(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", from, to).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
}

// Remove removes a database with all its files, the database file first.
func (e *Env) Remove(t *testing.T, name string) {
	t.Helper()
	for _, suffix := range []string{"", "-journal", "-wal", "-shm"} {
		if err := os.Remove(e.Path(name + suffix)); err != nil && (suffix == "" || !os.IsNotExist(err)) {
			t.Fatal(err)
		}
	}
}

// Moves checks that fn moves the position of a database by n transactions. Taken
// together these must change something: what adds up to nothing is not captured.
func (e *Env) Moves(t *testing.T, name string, n int, fn func()) {
	t.Helper()
	if e.Mount == nil {
		fn()
		return
	}
	before := e.Mount.Pos(t, name)
	fn()
	after := e.Mount.Pos(t, name)
	if after.TXID != before.TXID+ltx.TXID(n) || n == 0 && after != before {
		t.Fatalf("position moved from %s to %s, want %d transactions", before, after, n)
	}
}

// Advances checks that fn moves the position of a database, soon if not at once:
// a file that is written whole is taken in when its writer has closed it, which
// the kernel tells the node after it has told the writer.
func (e *Env) Advances(t *testing.T, name string, fn func()) {
	t.Helper()
	if e.Mount == nil {
		fn()
		return
	}
	before := e.Mount.Pos(t, name)
	fn()
	for end := time.Now().Add(10 * time.Second); e.Mount.Pos(t, name).TXID <= before.TXID; {
		if time.Now().After(end) {
			t.Fatalf("position stays at %s", before)
		}
	}
}

// fill returns a statement that inserts n rows of size random bytes each into t,
// which has the columns (id INTEGER PRIMARY KEY, x).
func fill(n, size int) string {
	return fmt.Sprintf("INSERT INTO t (x) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) SELECT randomblob(%d) FROM n", n, size)
}

// createT makes the table that most cases use.
const createT = "CREATE TABLE t (id INTEGER PRIMARY KEY, x)"

// checkContent has a fresh process agree with c on what a database holds,
// and SQLite find no fault in it.
func (e *Env) checkContent(t *testing.T, name string, c *Conn) {
	t.Helper()
	want := c.Digest(t)
	other := e.Connect(t, name)
	if got := other.Digest(t); got != want {
		t.Fatalf("another process sees %s, want %s", got, want)
	}
	other.Want(t, "ok", "PRAGMA integrity_check")
	other.Close(t)
}
