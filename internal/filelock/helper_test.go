package filelock_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	_ "github.com/mattn/go-sqlite3"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// A helper process is this test binary run again with these variables set. It
// answers each line on its standard input with one line on its standard output.
const (
	helperModeEnv = "FILELOCK_HELPER_MODE" // "posix" or "sqlite"
	helperPathEnv = "FILELOCK_HELPER_PATH"
)

func TestMain(m *testing.M) {
	mode, path := os.Getenv(helperModeEnv), os.Getenv(helperPathEnv)
	var err error
	switch mode {
	case "":
		goleak.VerifyTestMain(m)
		return
	case "posix":
		err = servePOSIX(path)
	case "sqlite":
		err = serveSQLite(path)
	default:
		err = fmt.Errorf("unknown mode %q", mode)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "helper:", err)
		os.Exit(1)
	}
}

// serve answers requests until standard input ends.
func serve(answer func(request string) string) error {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		if _, err := fmt.Println(strings.ReplaceAll(answer(in.Text()), "\n", " ")); err != nil {
			return err
		}
	}
	return in.Err()
}

// servePOSIX takes POSIX locks on the file at path: "shared START LEN",
// "exclusive START LEN" and "unlock START LEN" are answered with "ok", "busy" or
// an error.
func servePOSIX(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	types := map[string]int16{"shared": unix.F_RDLCK, "exclusive": unix.F_WRLCK, "unlock": unix.F_UNLCK}
	return serve(func(request string) string {
		var verb string
		var start, length int64
		if _, err := fmt.Sscan(request, &verb, &start, &length); err != nil {
			return err.Error()
		}
		typ, ok := types[verb]
		if !ok {
			return "unknown verb " + verb
		}
		lk := unix.Flock_t{Type: typ, Whence: io.SeekStart, Start: start, Len: length}
		err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &lk)
		switch {
		case err == nil:
			return "ok"
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EACCES):
			return "busy"
		default:
			return err.Error()
		}
	})
}

// serveSQLite runs each request as one SQL statement on one connection to the
// database at path and answers with the first row, columns joined by "|", or with
// the message of the error. The first request opens the connection.
func serveSQLite(path string) error {
	db, err := sql.Open("sqlite3", "file:"+path+"?_busy_timeout=0")
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	return serve(func(request string) string {
		row, err := firstRow(db, request)
		if err != nil {
			return err.Error()
		}
		return row
	})
}

func firstRow(db *sql.DB, stmt string) (_ string, err error) {
	rows, err := db.QueryContext(context.Background(), stmt)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	columns, err := rows.Columns()
	if err != nil || !rows.Next() {
		return "", errors.Join(err, rows.Err())
	}
	values, refs := make([]sql.NullString, len(columns)), make([]any, len(columns))
	for i := range values {
		refs[i] = &values[i]
	}
	if err := rows.Scan(refs...); err != nil {
		return "", err
	}
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = v.String
	}
	return strings.Join(texts, "|"), nil
}

// helper is a running helper process.
type helper struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// startHelper starts a helper process, which ends with the test.
func startHelper(t *testing.T, mode, path string) *helper {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	h := &helper{cmd: exec.Command(exe)}
	h.cmd.Env = append(os.Environ(), helperModeEnv+"="+mode, helperPathEnv+"="+path,
		"GORACE=atexit_sleep_ms=0") // the race detector's default is a second
	h.cmd.Stderr = os.Stderr
	if h.in, err = h.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	h.out = bufio.NewReader(out)
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if h.cmd.ProcessState != nil {
			return // killed by the test
		}
		if err := errors.Join(h.in.Close(), h.cmd.Wait()); err != nil {
			t.Errorf("helper: %v", err)
		}
	})
	return h
}

func (h *helper) send(t *testing.T, request string) {
	t.Helper()
	if _, err := io.WriteString(h.in, request+"\n"); err != nil {
		t.Fatalf("send %q: %v", request, err)
	}
}

func (h *helper) receive(t *testing.T) string {
	t.Helper()
	line, err := h.out.ReadString('\n')
	if err != nil {
		t.Fatalf("receive: %v", err)
	}
	return strings.TrimSuffix(line, "\n")
}

// expect sends each request in turn and checks the answer.
func (h *helper) expect(t *testing.T, want string, requests ...string) {
	t.Helper()
	for _, request := range requests {
		h.send(t, request)
		if got := h.receive(t); got != want {
			t.Fatalf("%q answered %q, want %q", request, got, want)
		}
	}
}

// kill ends the process without giving it a chance to clean up.
func (h *helper) kill(t *testing.T) {
	t.Helper()
	if err := h.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := h.cmd.Wait(); err == nil {
		t.Fatal("killed helper ended in success")
	}
}

func (h *helper) pid() int { return h.cmd.Process.Pid }

// openFile opens path for reading and writing, until the end of the test.
func openFile(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() }) // some tests close it themselves
	return f
}
