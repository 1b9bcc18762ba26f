package ltx

import (
	"bytes"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	_ "github.com/mattn/go-sqlite3"
)

// steps are transactions that SQLite runs one after another: each gives the
// database another content or size.
var steps = []string{
	"CREATE TABLE t (id INTEGER PRIMARY KEY, v BLOB)",
	"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 400) INSERT INTO t SELECT i, hex(randomblob(300)) FROM n",
	"UPDATE t SET v = hex(randomblob(250)) WHERE id % 50 = 0",
	"CREATE INDEX tv ON t (v)",
	"DELETE FROM t WHERE id > 20",
	"VACUUM", // makes the file smaller
	"INSERT INTO t SELECT NULL, zeroblob(3000) FROM t",
	"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 100) INSERT INTO t SELECT NULL, randomblob(900) FROM n", // larger again
	"DROP INDEX tv",
	"VACUUM",
}

// sqliteHistory runs steps and returns the database files after each.
func sqliteHistory(t *testing.T, pageSize uint32) history {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	db, err := sql.Open("sqlite3", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(t.Context(), fmt.Sprintf("PRAGMA page_size = %d", pageSize)); err != nil {
		t.Fatal(err)
	}
	var states [][]byte
	shrunk := false
	for _, step := range steps {
		if _, err := db.ExecContext(t.Context(), step); err != nil {
			t.Fatalf("%s: %v", step, err)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(states) > 0 && len(b) < len(states[len(states)-1]) {
			shrunk = true
		}
		states = append(states, b)
	}
	if got := len(states[0]) % int(pageSize); got != 0 || !shrunk {
		t.Fatalf("page size %d: database of %d bytes, made smaller: %v", pageSize, len(states[0]), shrunk)
	}
	return newHistory(pageSize, states...)
}

// TestSQLite takes real databases through files: each by itself and compacted,
// with this package and with the reference library.
func TestSQLite(t *testing.T) {
	for _, size := range []uint32{512, 1024, 4096, 65536} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			h := sqliteHistory(t, size)
			files := encodeAll(t, h.files)
			var db []byte
			for i, b := range files {
				checkRef(t, b, h.files[i])
				if d := diff(mustDecode(t, refEncode(t, h.files[i])), h.files[i]); d != "" {
					t.Fatal(d)
				}
				db = mustDecode(t, b).apply(db)
				if !bytes.Equal(db, h.states[i+1]) {
					t.Fatalf("after step %d: another database", i+1)
				}
			}
			for from := range files {
				to := min(from+5, len(files))
				got, err := compact(t, files[from:to], nil)
				if err != nil {
					t.Fatal(err)
				}
				if db := got.apply(h.states[from]); !bytes.Equal(db, h.states[to]) {
					t.Errorf("steps %d to %d make another database", from+1, to)
				}
				if d := diff(got, refCompact(t, files[from:to])); d != "" {
					t.Errorf("steps %d to %d, reference compactor: %s", from+1, to, d)
				}
			}
		})
	}
}

// buildTool builds the public ltx command, at the release that go.mod names.
func buildTool(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "ltx")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "github.com/superfly/ltx/cmd/ltx")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the ltx command: %v\n%s", err, out)
	}
	return bin
}

// runTool runs the ltx command and returns what it prints.
func runTool(t *testing.T, bin string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), bin, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("ltx %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func writeFile(t *testing.T, dir, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestTool hands files to the public ltx command: it must find them valid, and
// make the source database of them, checking every pre-apply and post-apply
// checksum on the way; and it must agree on the checksum of a database.
func TestTool(t *testing.T) {
	bin := buildTool(t)
	for _, size := range pageSizes {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			dir := t.TempDir()
			h := sqliteHistory(t, size)
			want := h.states[len(h.states)-1]
			files := encodeAll(t, h.files)
			paths := make([]string, len(files))
			for i, b := range files {
				paths[i] = writeFile(t, dir, FormatFilename(TXID(i+1), TXID(i+1)), b)
			}
			if got := runTool(t, bin, append([]string{"verify"}, paths...)...); got != "ok" {
				t.Errorf("ltx verify: %s", got)
			}
			checkApply(t, bin, paths, want)

			got, err := compact(t, files[:6], nil)
			if err != nil {
				t.Fatal(err)
			}
			rest, err := compact(t, files[6:], nil)
			if err != nil {
				t.Fatal(err)
			}
			checkApply(t, bin, []string{
				writeFile(t, dir, FormatFilename(1, 6), got.encode(t)),
				writeFile(t, dir, FormatFilename(7, TXID(len(files))), rest.encode(t)),
			}, want)

			source := writeFile(t, dir, "source", want)
			sum := ChecksumFlag
			for _, p := range snapshotOf(want, size, 1).pages {
				sum = sum.Add(PageChecksum(p.pgno, p.data))
			}
			if got := runTool(t, bin, "checksum", source); got != sum.String() {
				t.Errorf("ltx checksum: %s, want %s", got, sum)
			}
			encoded := filepath.Join(dir, "encoded")
			runTool(t, bin, "encode-db", "-o", encoded, source)
			checkEncoded(t, encoded, want, size)
		})
	}
}

// checkApply applies files to a new database with the ltx command.
func checkApply(t *testing.T, bin string, files []string, want []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	runTool(t, bin, slices.Concat([]string{"apply", "-db", path}, files)...)
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("ltx apply makes another database of %d files", len(files))
	}
}

// checkEncoded reads a snapshot that the ltx command made of a database.
func checkEncoded(t *testing.T, path string, want []byte, pageSize uint32) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f := mustDecode(t, b)
	expected := snapshotOf(want, pageSize, 1)
	expected.header.Timestamp = f.header.Timestamp
	if d := diff(f, expected); d != "" {
		t.Errorf("ltx encode-db: %s", d)
	}
	checkIndex(t, b, f)
}
