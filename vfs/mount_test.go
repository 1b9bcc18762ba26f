package vfs_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"litefs"
	"litefs/internal/mounttest"
	"litefs/vfs"
)

// sqliteFails runs the sqlite3 shell, which must fail, and returns what it says.
func sqliteFails(t *testing.T, path, script string) string {
	t.Helper()
	out, err := exec.Command("sqlite3", "-batch", "-bail", path, script).CombinedOutput()
	if err == nil {
		t.Fatalf("sqlite3 %q succeeded: %s", script, out)
	}
	return string(out)
}

// TestDeadMount has a mount that a killed process left cleared at the start, and
// what was committed be there.
func TestDeadMount(t *testing.T) {
	p := mounttest.StartProcess(t, mounttest.Build(t), mounttest.Options{})
	sqlite(t, p.Path("db"), "CREATE TABLE t (x); INSERT INTO t VALUES (1)")
	pos := mounttest.ReadPos(t, p.Path("db"))
	p.Kill()
	var st syscall.Statfs_t
	if err := syscall.Statfs(p.Dir(), &st); !errors.Is(err, syscall.ENOTCONN) {
		t.Fatalf("statfs of the dead mount: %v, want ENOTCONN", err)
	}
	node := mounttest.Start(t, mounttest.Options{Dir: p.Dir(), DataDir: p.DataDir()})
	if !node.Logged("clearing a dead mount") {
		t.Error("the log does not speak of the dead mount")
	}
	if got := node.Pos(t, "db"); got != pos {
		t.Errorf("position %s, want %s", got, pos)
	}
	if got := sqlite(t, p.Path("db"), "INSERT INTO t VALUES (2); SELECT count(*) FROM t"); got != "2" {
		t.Errorf("%s rows, want 2", got)
	}
}

// TestOpenWhileMounting has programs open a database while it is being mounted, and
// keep it open. They must not keep others from it.
func TestOpenWhileMounting(t *testing.T) {
	p := mounttest.StartProcess(t, mounttest.Build(t), mounttest.Options{}, "--http-addr", "127.0.0.1:0")
	sqlite(t, p.Path("db"), "PRAGMA journal_mode = wal; CREATE TABLE t (x)")
	stop := make(chan struct{})
	var programs sync.WaitGroup
	for range 3 {
		programs.Go(func() {
			for {
				select {
				case <-stop:
					return
				default: // it fails while nothing is mounted
					_ = exec.Command("sqlite3", "-readonly", p.Path("db"), "SELECT * FROM t", ".shell sleep 0.2").Run()
				}
			}
		})
	}
	for range 15 {
		p.Kill()
		p.Restart(t, "--http-addr", "127.0.0.1:0")
		sqlite(t, p.Path("db"), "PRAGMA busy_timeout = 10000; INSERT INTO t VALUES (1)")
	}
	close(stop)
	programs.Wait()
	p.Kill()
	p.Restart(t, "--http-addr", "127.0.0.1:0") // nobody holds the WAL of an earlier mount any more, which goes now
	if got := sqlite(t, p.Path("db"), "SELECT count(*) FROM t"); got != "15" {
		t.Errorf("%s rows, want 15", got)
	}
}

// TestCommitWhileStopping has programs open a database and commit while the node stops
// and waits in vain for another one to close its files. What they were told is
// committed is there after the next start.
func TestCommitWhileStopping(t *testing.T) {
	p := mounttest.StartProcess(t, mounttest.Build(t), mounttest.Options{}, "--http-addr", "127.0.0.1:0")
	sqlite(t, p.Path("other"), "CREATE TABLE t (x)")
	sqlite(t, p.Path("db"), "PRAGMA journal_mode = wal; CREATE TABLE t (x)")
	var commits atomic.Int64
	for range 3 {
		holder := exec.Command("sqlite3", "-readonly", p.Path("other"), "SELECT * FROM t", ".shell sleep 4")
		if err := holder.Start(); err != nil {
			t.Fatal(err)
		}
		before := commits.Load()
		stop := make(chan struct{})
		var writers sync.WaitGroup
		for range 3 {
			writers.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if exec.Command("sqlite3", "-batch", "-bail", "file:"+p.Path("db")+"?mode=rw", "PRAGMA busy_timeout = 200; INSERT INTO t VALUES (1)").Run() == nil {
						commits.Add(1)
					}
				}
			})
		}
		for commits.Load() == before {
			time.Sleep(time.Millisecond)
		}
		p.Stop(t)
		close(stop)
		writers.Wait()
		_ = holder.Wait() // the mount has gone
		p.Restart(t, "--http-addr", "127.0.0.1:0")
		if got := sqlite(t, p.Path("db"), "SELECT count(*) FROM t"); got != strconv.FormatInt(commits.Load(), 10) {
			t.Fatalf("%s rows, %d commits were acknowledged", got, commits.Load())
		}
	}
}

// TestProcess starts and stops the command, again and again.
func TestProcess(t *testing.T) {
	p := mounttest.StartProcess(t, mounttest.Build(t), mounttest.Options{NoPassthrough: true})
	for range 3 {
		sqlite(t, p.Path("db"), "PRAGMA journal_mode = wal; CREATE TABLE IF NOT EXISTS t (x); INSERT INTO t VALUES (1)")
		pos := mounttest.ReadPos(t, p.Path("db"))
		p.Stop(t)
		if entries, err := os.ReadDir(p.Dir()); err != nil || len(entries) > 0 {
			t.Fatalf("mount point after the stop: %v, %v", entries, err)
		}
		p.Restart(t)
		if got := mounttest.ReadPos(t, p.Path("db")); got != pos || pos.TXID == 0 {
			t.Fatalf("position %s, want %s", got, pos)
		}
	}
}

func TestDataDirInUse(t *testing.T) {
	node := mounttest.Start(t, mounttest.Options{})
	other := litefs.NewStore(node.DataDir(), true)
	if err := other.Open(t.Context()); !errors.Is(err, litefs.ErrDataDirLocked) {
		t.Errorf("error %v, want %v", err, litefs.ErrDataDirLocked)
	}
	sqlite(t, node.Path("db"), "CREATE TABLE t (x)")
	node.Restart(t)
	if got := node.Pos(t, "db"); got.TXID != 1 {
		t.Errorf("position %s after the restart", got)
	}
}

// TestMountPointMissing has the mount point made, and a file in its place
// refused.
func TestMountPointMissing(t *testing.T) {
	node := mounttest.Start(t, mounttest.Options{Dir: filepath.Join(t.TempDir(), "a", "b")})
	if _, err := os.Stat(node.Path(".lag")); err != nil {
		t.Error(err)
	}
	store := litefs.NewStore(t.TempDir(), true)
	if err := store.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := touch(file); err != nil {
		t.Fatal(err)
	}
	if fsys, err := vfs.Mount(store, vfs.Options{Dir: file}); err == nil {
		t.Error("mounted on a file")
		_ = fsys.Unmount(t.Context())
	}
}

// TestUnmountBusy detaches a mount that a program does not let go of, and names
// the program.
func TestUnmountBusy(t *testing.T) {
	node := mounttest.Start(t, mounttest.Options{})
	sqlite(t, node.Path("db"), "CREATE TABLE t (x)")
	shell := exec.Command("sqlite3", "-batch", node.Path("db"))
	in, err := shell.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := shell.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = shell.Wait() }() // its mount is gone
	defer in.Close()
	if _, err := in.Write([]byte("BEGIN; SELECT 'open' FROM sqlite_schema;\n")); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 5)
	if _, err := out.Read(answer); err != nil || !strings.HasPrefix(string(answer), "open") {
		t.Fatalf("%q, %v", answer, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := node.FS.Unmount(ctx); err != nil {
		t.Fatal(err)
	}
	if !node.Logged("command=sqlite3") {
		t.Error("the log does not name the program")
	}
	if entries, err := os.ReadDir(node.Dir()); err != nil || len(entries) > 0 {
		t.Errorf("mount point holds %v, %v", entries, err)
	}
}

// TestConnectionIsNotInherited has a program that the node starts not keep the
// mount alive when the node is killed.
func TestConnectionIsNotInherited(t *testing.T) {
	mounttest.Start(t, mounttest.Options{})
	out, err := exec.Command("ls", "-l", "/proc/self/fd").Output()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(out), "/dev/fuse") {
		t.Errorf("open files of a program:\n%s", out)
	}
}
