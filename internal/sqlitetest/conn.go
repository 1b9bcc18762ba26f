package sqlitetest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// Conn is a process with a connection to a database.
type Conn struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	enc *json.Encoder
	dec *json.Decoder
	err bytes.Buffer // standard error
}

// connect starts a process that opens uri. It ends with the test at the latest.
func connect(t *testing.T, uri string) *Conn {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &Conn{cmd: exec.Command(exe)}
	c.cmd.Env = append(os.Environ(), childEnv+"="+uri,
		"GORACE=atexit_sleep_ms=0") // the race detector's default is a second
	if testing.CoverMode() != "" { // else the process complains when it ends
		c.cmd.Env = append(c.cmd.Env, "GOCOVERDIR="+t.TempDir())
	}
	c.cmd.Stderr = &c.err
	out, outErr := c.cmd.StdoutPipe()
	if c.in, err = c.cmd.StdinPipe(); err != nil || outErr != nil {
		t.Fatal(errors.Join(err, outErr))
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.enc, c.dec = json.NewEncoder(c.in), json.NewDecoder(out)
	t.Cleanup(func() { c.Close(t) })
	return c
}

// Close closes the connection and ends the process, once.
func (c *Conn) Close(t *testing.T) {
	t.Helper()
	if c.cmd.ProcessState != nil {
		return
	}
	if err := errors.Join(c.in.Close(), c.cmd.Wait()); err != nil || c.err.Len() > 0 {
		t.Errorf("close connection: %v: %s", err, c.err.String())
	}
}

// Kill ends the process at once, as a crash of the program would.
func (c *Conn) Kill(t *testing.T) {
	t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = c.cmd.Wait() // it reports the signal
}

func (c *Conn) do(t *testing.T, req request) response {
	t.Helper()
	resp, err := c.roundTrip(req)
	if err != nil {
		t.Fatalf("%s %s: %v: %s", req.Op, req.SQL, err, c.err.String())
	}
	return resp
}

func (c *Conn) roundTrip(req request) (resp response, err error) {
	if err := c.enc.Encode(req); err != nil {
		return resp, err
	}
	err = c.dec.Decode(&resp)
	return resp, err
}

// Try runs statements and returns the message of the error, "" if there is none.
func (c *Conn) Try(t *testing.T, sql string) string {
	t.Helper()
	return c.do(t, request{Op: opExec, SQL: sql}).Err
}

// Exec runs statements, which must succeed.
func (c *Conn) Exec(t *testing.T, sqls ...string) {
	t.Helper()
	for _, sql := range sqls {
		if msg := c.Try(t, sql); msg != "" {
			t.Fatalf("%s: %s", sql, msg)
		}
	}
}

// Fails runs statements, which must fail with a message that contains want.
func (c *Conn) Fails(t *testing.T, want, sql string) {
	t.Helper()
	if msg := c.Try(t, sql); msg == "" || !strings.Contains(msg, want) {
		t.Fatalf("%s: error %q, want one with %q", sql, msg, want)
	}
}

// Query returns the rows of a statement: columns are separated by "|", rows by
// newlines.
func (c *Conn) Query(t *testing.T, sql string) string {
	t.Helper()
	resp := c.do(t, request{Op: opQuery, SQL: sql})
	if resp.Err != "" {
		t.Fatalf("%s: %s", sql, resp.Err)
	}
	lines := make([]string, len(resp.Rows))
	for i, row := range resp.Rows {
		lines[i] = strings.Join(row, "|")
	}
	return strings.Join(lines, "\n")
}

// Want checks the rows of a statement.
func (c *Conn) Want(t *testing.T, want, sql string) {
	t.Helper()
	if got := c.Query(t, sql); got != want {
		t.Fatalf("%s: %q, want %q", sql, got, want)
	}
}

// Digest returns a digest of all that the database holds.
func (c *Conn) Digest(t *testing.T) string {
	t.Helper()
	resp := c.do(t, request{Op: opDigest})
	if resp.Err != "" {
		t.Fatalf("digest: %s", resp.Err)
	}
	return resp.Rows[0][0]
}

// Backup copies the database to the one at path with SQLite's backup API, step
// pages at a time, or all at once if step is -1.
func (c *Conn) Backup(t *testing.T, path string, step int) {
	t.Helper()
	if resp := c.do(t, request{Op: opBackup, Path: path, Step: step}); resp.Err != "" {
		t.Fatalf("backup to %s: %s", path, resp.Err)
	}
}

// Start runs statements without waiting for them. The function that it returns
// waits for the end and returns the message of the error; until then nothing else
// may be asked of c.
func (c *Conn) Start(sql string) (wait func() string) {
	var resp response
	var err error
	var wg sync.WaitGroup
	wg.Go(func() { resp, err = c.roundTrip(request{Op: opExec, SQL: sql}) })
	return func() string {
		wg.Wait()
		if err != nil {
			return err.Error()
		}
		return resp.Err
	}
}
