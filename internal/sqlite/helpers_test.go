package sqlite

import (
	"bytes"
	"database/sql"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/mattn/go-sqlite3" // the SQLite that the formats are proven against
)

// pageSizes are all that SQLite has.
var pageSizes = []uint32{512, 1024, 2048, 4096, 8192, 16384, 32768, 65536}

// memFile is a file in memory.
type memFile struct{ b []byte }

func (m *memFile) ReadAt(b []byte, off int64) (int, error) {
	if off >= int64(len(m.b)) {
		return 0, io.EOF
	}
	n := copy(b, m.b[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (m *memFile) WriteAt(b []byte, off int64) (int, error) {
	if grow := int(off) + len(b) - len(m.b); grow > 0 {
		m.b = append(m.b, make([]byte, grow)...)
	}
	return copy(m.b[off:], b), nil
}

// openSQLite opens path with one connection and runs the pragmas on it.
func openSQLite(tb testing.TB, path string, pragmas ...string) *sql.DB {
	tb.Helper()
	db, err := sql.Open("sqlite3", path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(1)
	for _, p := range pragmas {
		exec(tb, db, "PRAGMA "+p)
	}
	return db
}

// newDatabase makes a database with the table t and n rows of 200 to 1000 bytes.
func newDatabase(tb testing.TB, path string, pageSize uint32, n int, pragmas ...string) *sql.DB {
	tb.Helper()
	db := openSQLite(tb, path, append([]string{fmt.Sprintf("page_size=%d", pageSize)}, pragmas...)...)
	exec(tb, db, "CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB)")
	insertRows(tb, db, n)
	return db
}

func insertRows(tb testing.TB, db *sql.DB, n int) {
	tb.Helper()
	exec(tb, db, fmt.Sprintf(`WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i < %d)
		INSERT INTO t (b) SELECT randomblob(200 + i %% 800) FROM c`, n))
}

func exec(tb testing.TB, db *sql.DB, query string) {
	tb.Helper()
	if _, err := db.Exec(query); err != nil {
		tb.Fatalf("%s: %v", query, err)
	}
}

// queryString returns all columns of all rows, so that any pragma can be asked.
func queryString(tb testing.TB, db *sql.DB, query string) string {
	tb.Helper()
	rows, err := db.Query(query)
	if err != nil {
		tb.Fatalf("%s: %v", query, err)
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		tb.Fatal(err)
	}
	var out []string
	for rows.Next() {
		values, pointers := make([]string, len(columns)), make([]any, len(columns))
		for i := range values {
			pointers[i] = &values[i]
		}
		if err := rows.Scan(pointers...); err != nil {
			tb.Fatal(err)
		}
		out = append(out, strings.Join(values, "|"))
	}
	if err := rows.Err(); err != nil {
		tb.Fatalf("%s: %v", query, err)
	}
	return strings.Join(out, "\n")
}

// content identifies all that the table t holds.
func content(tb testing.TB, db *sql.DB) string {
	tb.Helper()
	return queryString(tb, db, "SELECT id, hex(b) FROM t ORDER BY id")
}

// checkDatabase asks SQLite whether the database is sound.
func checkDatabase(tb testing.TB, db *sql.DB) {
	tb.Helper()
	if got := queryString(tb, db, "PRAGMA integrity_check"); got != "ok" {
		tb.Fatalf("integrity_check: %s", got)
	}
}

// openFile opens a file for reading and writing until the end of the test: to
// close it earlier would drop the locks that this process has on it.
func openFile(tb testing.TB, path string) *os.File {
	tb.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = f.Close() })
	return f
}

func fileSize(tb testing.TB, f *os.File) int64 {
	tb.Helper()
	info, err := f.Stat()
	if err != nil {
		tb.Fatal(err)
	}
	return info.Size()
}

func readFile(tb testing.TB, path string) []byte {
	tb.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func writeFile(tb testing.TB, path string, b []byte) {
	tb.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		tb.Fatal(err)
	}
}

// copyFiles copies path and path with each suffix into a new directory and
// returns the path of the first copy.
func copyFiles(tb testing.TB, path string, suffixes ...string) string {
	tb.Helper()
	dst := filepath.Join(tb.TempDir(), filepath.Base(path))
	for _, s := range append(suffixes, "") {
		writeFile(tb, dst+s, readFile(tb, path+s))
	}
	return dst
}

// sameBytes fails with the first difference.
func sameBytes(tb testing.TB, what string, got, want []byte) {
	tb.Helper()
	if bytes.Equal(got, want) {
		return
	}
	i := 0
	for i < min(len(got), len(want)) && got[i] == want[i] {
		i++
	}
	tb.Fatalf("%s: %d bytes, want %d; first difference at %d", what, len(got), len(want), i)
}

// be32 encodes big-endian words.
func be32(words ...uint32) []byte {
	var b []byte
	for _, w := range words {
		b = binary.BigEndian.AppendUint32(b, w)
	}
	return b
}
