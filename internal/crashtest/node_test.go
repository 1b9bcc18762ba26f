package crashtest

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"litefs/internal/mounttest"
)

// endTimeout is how long a killed process may take to be gone. One that waits for
// a file system that nobody serves stays for ever.
const endTimeout = 15 * time.Second

// command returns the path of the litefs command, built once.
var command = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "litefs-crashtest-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "litefs")
	out, err := exec.Command("go", "build", "-o", path, "litefs/cmd/litefs").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("build litefs: %w: %s", err, out)
	}
	return path, err
})

// node is a litefs command that is killed and started again over the same
// directories.
type node struct {
	t        *testing.T
	mnt, dir string
	args     []string
	cmd      *exec.Cmd
	log      bytes.Buffer // of the present process and all before it
	logDone  chan struct{}
	stuck    []*ending // killed, and not gone until the next start
}

func newNode(t *testing.T, passthrough string) *node {
	t.Helper()
	base, err := os.MkdirTemp("", "litefs-crashtest-") //nolint:usetesting // it is kept if the test fails
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, mnt: filepath.Join(base, "mnt"), dir: filepath.Join(base, "data")}
	n.args = []string{
		"mount", "--fuse-dir", n.mnt, "--data-dir", n.dir, "--fuse-passthrough", passthrough,
		"--log-level", "debug", "--data-retention", "0s", "--data-max-log-size", "0", "--http-addr", "127.0.0.1:0",
	}
	t.Cleanup(func() {
		n.kill()
		_ = syscall.Unmount(n.mnt, syscall.MNT_FORCE) // ends what hangs, if anything does
		_ = syscall.Unmount(n.mnt, syscall.MNT_DETACH)
		if !t.Failed() {
			_ = os.RemoveAll(base) // what stays in the directory for temporary files is no fault
		} else if _, err := os.Stat(n.dir); err == nil {
			name := filepath.Join(base, "log")
			t.Logf("data directory kept: %s; log of the node: %s; %v", n.dir, name, os.WriteFile(name, n.log.Bytes(), 0o600))
		}
	})
	return n
}

// launch starts the process and returns a channel that gets a value once it has
// mounted, and is closed when it has ended.
func (n *node) launch() <-chan struct{} {
	n.t.Helper()
	path, err := command()
	if err != nil {
		n.t.Fatal(err)
	}
	n.cmd = exec.Command(path, n.args...)
	stderr, err := n.cmd.StderrPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	ready := make(chan struct{}, 1)
	done := make(chan struct{})
	n.logDone = done
	go func() {
		defer close(done)
		defer close(ready)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			n.log.Write(append(lines.Bytes(), '\n'))
			if strings.Contains(lines.Text(), "LiteFS mounted to: ") {
				ready <- struct{}{}
			}
		}
	}()
	return ready
}

// start starts the process and waits until it has mounted.
func (n *node) start() {
	n.t.Helper()
	select {
	case _, ok := <-n.launch():
		if !ok {
			n.t.Fatal("the node ended before it had mounted")
		}
	case <-time.After(30 * time.Second):
		n.t.Fatal("the node has not mounted")
	}
	for _, e := range n.stuck {
		if !e.within(endTimeout) {
			e.fail(n.t)
		}
	}
	n.stuck = nil
}

// kill ends the process at once. It must be gone then, even if it was just waiting
// for its own mount: its mount is watched.
func (n *node) kill() {
	n.t.Helper()
	if n.cmd == nil {
		return
	}
	e := kill(n.cmd, n.logDone)
	n.cmd = nil
	if !e.within(endTimeout) {
		e.fail(n.t)
	}
}

// killProgram ends a program that uses the mount. It must be gone at once, unless
// the node is stuck.
func (n *node) killProgram(cmd *exec.Cmd, done <-chan struct{}) {
	n.t.Helper()
	e := kill(cmd, done)
	switch {
	case len(n.stuck) > 0:
		n.stuck = append(n.stuck, e)
	case !e.within(endTimeout):
		e.fail(n.t)
	}
}

// stop ends the process in order, and checks what that leaves.
func (n *node) stop() {
	n.t.Helper()
	_ = n.cmd.Process.Signal(syscall.SIGTERM) // Wait tells what became of it
	<-n.logDone
	if err := n.cmd.Wait(); err != nil {
		n.t.Errorf("the node ended with %v", err)
	}
	n.cmd = nil
	mounttest.Check(n.t, n.dir)
	if !n.t.Failed() {
		_ = os.RemoveAll(filepath.Dir(n.dir))
	}
}

// path returns the path of the database in the mount.
func (n *node) path() string { return filepath.Join(n.mnt, "db") }

// check checks the database as it lies on disk, its log, its position, and that
// the mount shows it. Nobody may write meanwhile.
func (n *node) check() {
	n.t.Helper()
	before, err := os.ReadFile(n.path() + "-pos")
	if err != nil {
		n.t.Error(err)
	}
	mounttest.Check(n.t, n.dir)
	mounted, err := os.ReadFile(n.path())
	if err != nil {
		n.t.Error(err)
	}
	backing, err := os.ReadFile(filepath.Join(n.dir, "dbs", "db", "database"))
	if err != nil {
		n.t.Error(err)
	}
	if !bytes.Equal(mounted, backing) {
		n.t.Errorf("the mount shows %d bytes that are not the %d bytes on disk", len(mounted), len(backing))
	}
	last := n.lastLTX()
	if txid, _, _ := strings.Cut(string(before), "/"); !strings.HasSuffix(last, "-"+txid+".ltx") {
		n.t.Errorf("position is %q, the last file of the log %s", before, last)
	}
	if stray, _ := filepath.Glob(filepath.Join(n.dir, "dbs", "db", "damaged", "*")); len(stray) > 0 {
		n.t.Errorf("files were set aside: %q", stray)
	}
}

// lastLTX returns the name of the newest file of the log.
func (n *node) lastLTX() string {
	n.t.Helper()
	names, err := filepath.Glob(filepath.Join(n.dir, "dbs", "db", "ltx", "*.ltx"))
	if err != nil {
		n.t.Fatal(err)
	}
	last := ""
	for _, name := range names {
		if base := filepath.Base(name); last == "" || base[17:] > last[17:] { // by the last transaction
			last = base
		}
	}
	return last
}

// ending is a process that was killed.
type ending struct {
	pid   int
	ended chan struct{} // closed once it is gone
}

// kill kills a process. done, if not nil, is closed once its output has been read.
func kill(cmd *exec.Cmd, done <-chan struct{}) *ending {
	_ = cmd.Process.Kill() // it may have ended
	e := &ending{pid: cmd.Process.Pid, ended: make(chan struct{})}
	go func() {
		defer close(e.ended)
		if done != nil {
			<-done
		}
		_ = cmd.Wait() // it was killed
	}()
	return e
}

func (e *ending) within(d time.Duration) bool {
	select {
	case <-e.ended:
		return true
	case <-time.After(d):
		return false
	}
}

// fail says where the threads of a process that is not gone are.
func (e *ending) fail(t *testing.T) {
	t.Helper()
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", e.pid))
	for _, task := range tasks {
		stat, _ := os.ReadFile(filepath.Join(task, "stat"))
		stack, _ := os.ReadFile(filepath.Join(task, "stack"))
		t.Logf("%s\n%s", bytes.TrimSpace(stat), stack)
	}
	t.Fatalf("process %d was killed and is not gone", e.pid)
}
