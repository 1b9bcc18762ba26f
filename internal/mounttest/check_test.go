package mounttest_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"litefs/internal/mounttest"
)

// recorder is a testing.TB that keeps errors to itself.
type recorder struct {
	testing.TB
	errors []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

// TestCheckFinds damages the data directory of a node that has stopped, and has
// the check find it.
func TestCheckFinds(t *testing.T) {
	for name, test := range map[string]struct {
		damage func(t *testing.T, dir string) // dir is the folder of the database
		want   string
	}{
		"nothing": {func(t *testing.T, _ string) { t.Helper() }, ""},
		"changed page": {func(t *testing.T, dir string) {
			t.Helper()
			change(t, filepath.Join(dir, "database"), -1)
		}, "content has checksum"},
		"changed log": {func(t *testing.T, dir string) {
			t.Helper()
			change(t, filepath.Join(dir, "ltx", "0000000000000002-0000000000000002.ltx"), 120)
		}, "0000000000000002-0000000000000002.ltx"},
		"gap": {func(t *testing.T, dir string) {
			t.Helper()
			remove(t, filepath.Join(dir, "ltx", "0000000000000002-0000000000000002.ltx"))
		}, "the one before ends at"},
		"no start": {func(t *testing.T, dir string) {
			t.Helper()
			remove(t, filepath.Join(dir, "ltx", "0000000000000001-0000000000000001.ltx"))
		}, "log starts with transaction"},
		"no end": {func(t *testing.T, dir string) {
			t.Helper()
			remove(t, filepath.Join(dir, "ltx", "0000000000000003-0000000000000003.ltx"))
		}, "the log makes another file"},
		"no log": {func(t *testing.T, dir string) {
			t.Helper()
			if err := os.RemoveAll(filepath.Join(dir, "ltx")); err != nil {
				t.Fatal(err)
			}
		}, "no log"},
		"no database": {func(t *testing.T, dir string) {
			t.Helper()
			remove(t, filepath.Join(dir, "database"))
		}, "checksum"},
		"temporary file": {func(t *testing.T, dir string) {
			t.Helper()
			if err := os.WriteFile(filepath.Join(dir, "ltx", "x.tmp"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "stray file"},
		"commit in the WAL": {func(t *testing.T, dir string) {
			t.Helper()
			// The shell dies before it closes the database, so that the WAL stays.
			out, err := exec.Command("sqlite3", "-batch", filepath.Join(dir, "database"),
				"PRAGMA journal_mode = wal; INSERT INTO t VALUES (9);", ".shell kill -9 $PPID").CombinedOutput()
			if err == nil {
				t.Fatalf("sqlite3 went on: %s", out)
			}
		}, "content has checksum"},
	} {
		t.Run(name, func(t *testing.T) {
			dataDir := t.TempDir()
			t.Run("Node", func(t *testing.T) {
				node := mounttest.Start(t, mounttest.Options{DataDir: dataDir})
				node.Store.Subscribe() // each transaction is a file then
				for _, script := range []string{"CREATE TABLE t (x)", "INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)"} {
					if out, err := exec.Command("sqlite3", "-batch", node.Path("db"), script).CombinedOutput(); err != nil {
						t.Fatalf("%s: %v: %s", script, err, out)
					}
				}
				if got := node.Pos(t, "db"); got.TXID != 3 {
					t.Fatalf("position %s after three transactions", got)
				}
			})
			test.damage(t, filepath.Join(dataDir, "dbs", "db"))
			r := &recorder{TB: t}
			mounttest.Check(r, dataDir)
			got := strings.Join(r.errors, "\n")
			if test.want == "" && got != "" || !strings.Contains(got, test.want) {
				t.Errorf("the check says %q, want %q", got, test.want)
			}
		})
	}
}

// change changes a byte of a file, counted from its end if offset is negative.
func change(t *testing.T, path string, offset int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if offset < 0 {
		offset += len(b)
	}
	b[offset] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}
