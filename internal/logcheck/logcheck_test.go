package logcheck_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"litefs"
	"litefs/internal/logcheck"
)

// newChecker builds the ltx tool.
func newChecker(t *testing.T) *logcheck.Checker {
	t.Helper()
	tool := filepath.Join(t.TempDir(), "ltx")
	if out, err := exec.Command("go", "build", "-o", tool, "github.com/superfly/ltx/cmd/ltx").CombinedOutput(); err != nil {
		t.Fatalf("build ltx: %v\n%s", err, out)
	}
	return &logcheck.Checker{LTX: tool, SQLite: "sqlite3"}
}

// dataDir is the data directory of a node that is stopped.
type dataDir string

func (d dataDir) path(name string) string { return filepath.Join(string(d), "dbs", "db", name) }

// commit runs a script on the database and has a node capture what it did.
func (d dataDir) commit(t *testing.T, script string) {
	t.Helper()
	if err := os.MkdirAll(d.path(""), 0o777); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("sqlite3", "-bail", d.path("database"), script).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	d.start(t)
}

// start starts and stops a node.
func (d dataDir) start(t *testing.T) {
	t.Helper()
	store := litefs.NewStore(string(d), true)
	if err := store.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}

// log returns the paths of the LTX files.
func (d dataDir) log(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob(d.path("ltx/*.ltx"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no log (error %v)", err)
	}
	slices.Sort(paths)
	return paths
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// flip changes one byte of a file.
func flip(t *testing.T, path string, offset int) {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	b[offset] ^= 1
	must(t, os.WriteFile(path, b, 0o600))
}

func TestCheckDir(t *testing.T) {
	checker := newChecker(t)
	for _, test := range []struct {
		name   string
		damage func(t *testing.T, d dataDir)
		want   string // part of the error, "" for none
		txid   uint64
	}{
		{"intact", func(*testing.T, dataDir) {}, "", 3},
		{"dropped", func(t *testing.T, d dataDir) {
			t.Helper()
			must(t, os.Remove(d.path("database")))
			d.start(t)
		}, "", 4},
		{"dropped and made again", func(t *testing.T, d dataDir) {
			t.Helper()
			must(t, os.Remove(d.path("database")))
			d.start(t)
			d.commit(t, "CREATE TABLE u(x)")
		}, "", 5},
		{"not a database", func(t *testing.T, d dataDir) {
			t.Helper()
			must(t, os.WriteFile(d.path("database"), []byte("not a database"), 0o600))
		}, "", 3},
		{"gap", func(t *testing.T, d dataDir) {
			t.Helper()
			must(t, os.Remove(d.log(t)[1]))
		}, "does not follow", 3},
		{"damaged file", func(t *testing.T, d dataDir) {
			t.Helper()
			flip(t, d.log(t)[1], 150)
		}, "ltx", 0},
		{"misnamed file", func(t *testing.T, d dataDir) {
			t.Helper()
			log := d.log(t)
			to := strings.ReplaceAll(filepath.Base(log[2]), "3", "4")
			must(t, os.Rename(log[2], filepath.Join(filepath.Dir(log[2]), to)))
		}, "header says", 0},
		{"last file is missing", func(t *testing.T, d dataDir) {
			t.Helper()
			must(t, os.Remove(d.log(t)[2]))
		}, "its log ends at", 2},
		{"no log", func(t *testing.T, d dataDir) {
			t.Helper()
			must(t, os.RemoveAll(d.path("ltx")))
		}, "no log", 0},
		{"changed database", func(t *testing.T, d dataDir) {
			t.Helper()
			flip(t, d.path("database"), 4096+2000)
		}, "its log ends at", 3},
		{"grown database", func(t *testing.T, d dataDir) {
			t.Helper()
			out, err := exec.Command("sqlite3", d.path("database"), "CREATE TABLE u(x)").CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}, "pages", 3},
		{"WAL beside the database", func(t *testing.T, d dataDir) {
			t.Helper()
			script := ".filectrl persist_wal 1\nPRAGMA journal_mode=wal; PRAGMA wal_autocheckpoint=0; INSERT INTO t VALUES (4);"
			cmd := exec.Command("sqlite3", d.path("database"))
			cmd.Stdin = strings.NewReader(script)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}, "its log ends at", 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := dataDir(t.TempDir())
			d.commit(t, "CREATE TABLE t(x)")
			d.commit(t, "INSERT INTO t VALUES (1)")
			d.commit(t, "INSERT INTO t VALUES (2)")
			test.damage(t, d)
			positions, err := checker.CheckDir(t.Context(), string(d))
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("error is %v, want one with %q", err, test.want)
			}
			if got := uint64(positions["db"].TXID); got != test.txid {
				t.Errorf("log ends at transaction %d, want %d", got, test.txid)
			}
		})
	}
}
