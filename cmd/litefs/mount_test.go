package main

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// daemon is a running `litefs mount`.
type daemon struct {
	cmd   *exec.Cmd
	dir   string // the mount
	lines chan string
	log   []string
}

// startMount runs `litefs mount` with args in new directories.
func startMount(t *testing.T, args ...string) *daemon {
	t.Helper()
	return startMountIn(t, t.TempDir(), args...)
}

// startMountIn runs `litefs mount` with mount and data directory below base, on a
// free loopback port unless args have another.
func startMountIn(t *testing.T, base string, args ...string) *daemon {
	t.Helper()
	d := &daemon{dir: filepath.Join(base, "db"), lines: make(chan string, 1000)}
	d.cmd = exec.Command(binary, append([]string{
		"mount", "--fuse-dir", d.dir, "--data-dir", filepath.Join(base, "data"), "--http-addr", "127.0.0.1:0",
	}, args...)...)
	d.cmd.Env = []string{"HOME=" + base, "PATH=" + os.Getenv("PATH")}
	stderr, err := d.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go d.readLog(stderr)
	t.Cleanup(func() {
		if d.cmd.ProcessState == nil {
			_ = d.cmd.Process.Kill()
			_ = d.cmd.Wait()
			_ = syscall.Unmount(d.dir, syscall.MNT_DETACH)
		}
	})
	return d
}

func (d *daemon) readLog(r io.Reader) {
	defer close(d.lines)
	for scanner := bufio.NewScanner(r); scanner.Scan(); {
		d.lines <- scanner.Text()
	}
}

// waitFor reads the log until a line contains text, and returns that line.
func (d *daemon) waitFor(t *testing.T, text string) string {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		select {
		case line, ok := <-d.lines:
			d.log = append(d.log, line)
			if strings.Contains(line, text) {
				return line
			}
			if !ok {
				t.Fatalf("the daemon ended without %q in its log:\n%s", text, strings.Join(d.log, "\n"))
			}
		case <-timeout:
			t.Fatalf("no %q in the log:\n%s", text, strings.Join(d.log, "\n"))
		}
	}
}

// stop sends SIGTERM and checks that the daemon ends in time, with code, and
// leaves nothing mounted.
func (d *daemon) stop(t *testing.T, code int) {
	t.Helper()
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	d.wait(t, code)
}

func (d *daemon) wait(t *testing.T, code int) {
	t.Helper()
	for line := range d.lines { // until the daemon closes its end
		d.log = append(d.log, line)
	}
	_ = d.cmd.Wait() // the code is checked
	if got := d.cmd.ProcessState.ExitCode(); got != code {
		t.Errorf("exit code %d, want %d; log:\n%s", got, code, strings.Join(d.log, "\n"))
	}
	if mounts, err := os.ReadFile("/proc/self/mounts"); err != nil || strings.Contains(string(mounts), d.dir+" ") {
		t.Errorf("still mounted (%v)", err)
	}
}

func sqlite(t *testing.T, path, sql string) string {
	t.Helper()
	out, err := exec.Command("sqlite3", path, sql).CombinedOutput()
	if err != nil {
		t.Fatalf("sqlite3 %q: %v: %s", sql, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestMount(t *testing.T) {
	d := startMount(t, "--lease-advertise-url", "http://bert:20202", "--lease-static-primary", "--log-level", "debug")
	d.waitFor(t, "primary lease acquired, advertising as http://bert:20202")
	d.waitFor(t, "LiteFS mounted to: "+d.dir)
	db := filepath.Join(d.dir, "data.db")
	sqlite(t, db, `CREATE TABLE movies (title TEXT, rating INT); INSERT INTO movies VALUES ('The Jerk', 10)`)
	if got := sqlite(t, db, "SELECT * FROM movies"); got != "The Jerk|10" {
		t.Errorf("read back %q", got)
	}
	pos, err := os.ReadFile(db + "-pos")
	if err != nil || !strings.HasPrefix(string(pos), "0000000000000002/") {
		t.Errorf("position %q, %v, want transaction 2", pos, err)
	}
	d.stop(t, 0)
}

// Programs that hold files open do not keep the daemon from stopping; it says
// who they are.
func TestMountStopsWithOpenFiles(t *testing.T) {
	base := t.TempDir()
	d := startMountIn(t, base)
	d.waitFor(t, "LiteFS mounted to")
	shell := exec.Command("sqlite3", filepath.Join(d.dir, "data.db"))
	stdin, err := shell.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := shell.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = shell.Wait() // it ends with the errors that it gets
		// The files that the program had open are fenced off until the next start.
		again := startMountIn(t, base)
		again.waitFor(t, "LiteFS mounted to")
		again.stop(t, 0)
	})
	if _, err := io.WriteString(stdin, "PRAGMA journal_mode=wal;\nCREATE TABLE t(x);\nBEGIN IMMEDIATE;\nSELECT 'ready';\n"); err != nil {
		t.Fatal(err)
	}
	for scanner := bufio.NewScanner(stdout); scanner.Scan() && scanner.Text() != "ready"; {
	}
	d.stop(t, 0)
	log := strings.Join(d.log, "\n")
	if !strings.Contains(log, "still has files open") || !strings.Contains(log, "pid="+strconv.Itoa(shell.Process.Pid)) {
		t.Errorf("the log does not name process %d:\n%s", shell.Process.Pid, log)
	}
}

func TestMountRunsCommand(t *testing.T) {
	// The command sees a mount that is ready, and its exit code is ours.
	base := t.TempDir()
	db := filepath.Join(base, "db", "data.db")
	d := startMountIn(t, base, "--", "sh", "-c", `sqlite3 "$0" "CREATE TABLE t(x)" && exit 7`, db)
	d.wait(t, 7)
}

func TestMountForwardsSignals(t *testing.T) {
	d := startMount(t, "--", "sh", "-c", `trap 'echo got TERM >&2; exit 3' TERM; echo child is "rea"dy >&2; while :; do sleep 0.05; done`)
	d.waitFor(t, "child is ready")
	d.stop(t, 3)
	if log := strings.Join(d.log, "\n"); !strings.Contains(log, "got TERM") {
		t.Errorf("the command was not told of the signal:\n%s", log)
	}
}

func TestMountExecList(t *testing.T) {
	base := t.TempDir()
	config := filepath.Join(base, "litefs.yml")
	marks := filepath.Join(base, "marks")
	write(t, config, `
exec:
  - cmd: echo one >> `+marks+`
  - cmd: echo two >> `+marks+`; exit 5
  - cmd: echo three >> `+marks+`
`)
	d := startMount(t, "--config", config)
	d.wait(t, 5)
	if got, err := os.ReadFile(marks); err != nil || string(got) != "one\ntwo\n" {
		t.Errorf("commands left %q, %v; want the first two", got, err)
	}
}

// A second daemon on the same data directory is refused, and the first goes on.
func TestMountDataDirInUse(t *testing.T) {
	d := startMount(t)
	d.waitFor(t, "LiteFS mounted to")
	data := filepath.Join(filepath.Dir(d.dir), "data")
	second := runLitefs(t, "mount", "--fuse-dir", filepath.Join(t.TempDir(), "db"), "--data-dir", data)
	if second.code != exitRun || !strings.Contains(second.err, "in use by another process") {
		t.Errorf("second daemon: exit code %d, stderr %q", second.code, second.err)
	}
	sqlite(t, filepath.Join(d.dir, "data.db"), "CREATE TABLE t(x)")
	d.stop(t, 0)
}

// What a killed daemon leaves mounted is cleared by the next one, and commits
// that were acknowledged are there.
func TestMountAfterKill(t *testing.T) {
	base := t.TempDir()
	d := startMountIn(t, base)
	d.waitFor(t, "LiteFS mounted to")
	sqlite(t, filepath.Join(d.dir, "data.db"), "PRAGMA journal_mode=wal; CREATE TABLE t(x); INSERT INTO t VALUES (42)")
	if err := d.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = d.cmd.Wait()
	again := startMountIn(t, base)
	again.waitFor(t, "clearing a dead mount")
	again.waitFor(t, "LiteFS mounted to")
	if got := sqlite(t, filepath.Join(d.dir, "data.db"), "SELECT x FROM t"); got != "42" {
		t.Errorf("read %q after the restart, want 42", got)
	}
	again.stop(t, 0)
}

// A node that has no mount to watch stops like any other.
func TestStopWithoutWatch(t *testing.T) {
	watch, err := watchMount(filepath.Join(t.TempDir(), "missing"))
	if err == nil {
		t.Error("a directory that is not there was watched")
	}
	if err := watch.stop(); err != nil {
		t.Error(err)
	}
}
