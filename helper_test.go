package litefs_test

import (
	"bufio"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/mattn/go-sqlite3"
	"go.uber.org/goleak"
)

// sqliteHelperEnv makes this test binary a helper process with a connection to the
// database that it names.
const sqliteHelperEnv = "LITEFS_TEST_SQLITE_HELPER"

const busy = "database is locked"

func TestMain(m *testing.M) {
	path := os.Getenv(sqliteHelperEnv)
	if path == "" {
		goleak.VerifyTestMain(m)
		return
	}
	if err := serveSQLite(path); err != nil {
		fmt.Fprintln(os.Stderr, "helper:", err)
		os.Exit(1)
	}
}

// serveSQLite runs each line of standard input as one SQL statement and answers on
// standard output with one line: the first column of the first row, or the message
// of the error.
func serveSQLite(path string) error {
	db, err := sql.Open("sqlite3", "file:"+path+"?_busy_timeout=0")
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var column sql.NullString
		err := db.QueryRow(in.Text()).Scan(&column)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			column.String = strings.ReplaceAll(err.Error(), "\n", " ")
		}
		if _, err := fmt.Println(column.String); err != nil {
			return err
		}
	}
	return errors.Join(in.Err(), db.Close())
}

// sqlite is a helper process with a connection to a database.
type sqlite struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// startSQLite starts a helper process, which ends with the test at the latest.
func startSQLite(t *testing.T, path string) *sqlite {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &sqlite{cmd: exec.Command(exe)}
	s.cmd.Env = append(os.Environ(), sqliteHelperEnv+"="+path,
		"GORACE=atexit_sleep_ms=0") // the race detector's default is a second
	s.cmd.Stderr = os.Stderr
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.out = bufio.NewReader(out)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.close(t) })
	return s
}

// close closes the connection and ends the process.
func (s *sqlite) close(t *testing.T) {
	t.Helper()
	if s.cmd.ProcessState != nil {
		return
	}
	if err := errors.Join(s.in.Close(), s.cmd.Wait()); err != nil {
		t.Errorf("helper: %v", err)
	}
}

func (s *sqlite) exec(t *testing.T, stmt string) string {
	t.Helper()
	if _, err := io.WriteString(s.in, stmt+"\n"); err != nil {
		t.Fatalf("send %q: %v", stmt, err)
	}
	line, err := s.out.ReadString('\n')
	if err != nil {
		t.Fatalf("receive the answer to %q: %v", stmt, err)
	}
	return strings.TrimSuffix(line, "\n")
}

// expect runs the statements in turn and checks the answer of each.
func (s *sqlite) expect(t *testing.T, want string, stmts ...string) {
	t.Helper()
	for _, stmt := range stmts {
		if got := s.exec(t, stmt); got != want {
			t.Fatalf("%s: answered %q, want %q", stmt, got, want)
		}
	}
}

// newDatabase makes a database of one table with one row, and a connection to it.
func newDatabase(t *testing.T, journalMode string) (path string, conn *sqlite) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "db")
	conn = startSQLite(t, path)
	conn.expect(t, journalMode, "PRAGMA journal_mode = "+journalMode)
	conn.expect(t, "", "CREATE TABLE t (x)", "INSERT INTO t VALUES (1)")
	return path, conn
}
