package torturetest

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

const (
	// startTimeout is how long a node may take to mount.
	startTimeout = 30 * time.Second
	// endTimeout is how long a node may take to be gone, once it was told to stop, or
	// was killed and its successor has cleared what it was waiting for.
	endTimeout = 20 * time.Second
)

// counted are the lines of a node's log that are worth a figure.
var counted = map[string]string{
	"difference sent":                        "differences sent",
	"database brought in line":               "differences applied",
	"taking up a transfer that broke off":    "transfers taken up again",
	"captured by comparing the whole":        "captures by comparing the whole database",
	"msg=\"stream connected\" node=":         "sessions",
	"applying again what a crash has cut":    "applies that a crash had cut short",
	"ending the mount of a process that was": "nodes that hung when they were killed",
}

// alarming are lines that must not be in a node's log.
var alarming = []string{"level=ERROR", "panic:", "fatal error:", "WARNING: DATA RACE"}

// node is a litefs command that is killed and started again over the same
// directories.
type node struct {
	t       *testing.T
	name    string
	command string // path of the program
	mnt     string
	dir     string // data directory
	ledger  *ledger
	fail    func(format string, args ...any)

	cmd   *exec.Cmd
	ended chan struct{} // closed once the process of cmd is gone, and its log read
	stuck []chan struct{}
	url   string // where it listens

	mu   sync.Mutex // guards what follows
	life int        // how often it has been started
	up   bool       // it has mounted, and has not been ended
	upAt time.Time  // when it had mounted
	log  *os.File
}

// newNode returns a node that lives below base.
func newNode(t *testing.T, name, command, base string) *node {
	t.Helper()
	n := &node{t: t, name: name, command: command, mnt: filepath.Join(base, name, "mnt"), dir: filepath.Join(base, name, "data")}
	if err := os.Mkdir(filepath.Join(base, name), 0o755); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(base, name, "log"))
	if err != nil {
		t.Fatal(err)
	}
	n.log = log
	t.Cleanup(func() {
		n.kill()
		_ = syscall.Unmount(n.mnt, syscall.MNT_FORCE) // ends what hangs, if anything does
		_ = syscall.Unmount(n.mnt, syscall.MNT_DETACH)
		_ = log.Close()
	})
	return n
}

// alive returns which life of the node this is, and whether it is up.
func (n *node) alive() (life int, up bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.life, n.up
}

// still reports whether the node is up and in the given life.
func (n *node) still(life int) bool {
	now, up := n.alive()
	return up && now == life
}

func (n *node) isUp() bool {
	_, up := n.alive()
	return up
}

// upSince reports whether the node has been up since then.
func (n *node) upSince(then time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.up && n.upAt.Before(then)
}

// path returns the path of a file in the mount.
func (n *node) path(name string) string { return filepath.Join(n.mnt, name) }

// pos returns the position of a database, as text; "" if there is none.
func (n *node) pos(name string) string {
	b, err := os.ReadFile(n.path(name + "-pos"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// start starts the process and waits until it listens.
func (n *node) start(args ...string) {
	n.t.Helper()
	n.cmd = exec.Command(n.command, append([]string{
		"mount", "--fuse-dir", n.mnt, "--data-dir", n.dir, "--log-level", "debug", "--http-addr", "127.0.0.1:0",
		"--data-retention", "1s", "--data-retention-monitor-interval", "100ms", "--data-max-log-size", "128KiB",
	}, args...)...)
	stderr, err := n.cmd.StderrPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	n.write(fmt.Sprintf("=== start %v\n", args))
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	listening, ended := make(chan string, 1), make(chan struct{})
	n.ended = ended
	cmd := n.cmd
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			n.read(lines.Text(), listening)
		}
		if err := cmd.Wait(); n.isUp() {
			n.fail("the %s has ended by itself: %v", n.name, err)
		}
		close(listening)
	}()
	select {
	case url, ok := <-listening:
		if !ok {
			n.t.Fatalf("the %s ended before it had mounted", n.name)
		}
		n.url = url
	case <-time.After(startTimeout):
		n.t.Fatalf("the %s has not mounted", n.name)
	}
	for _, gone := range n.stuck {
		if !within(gone, endTimeout) {
			n.t.Fatalf("a %s that was killed is not gone", n.name)
		}
	}
	n.stuck = nil
	n.mu.Lock()
	defer n.mu.Unlock()
	n.life++
	n.up, n.upAt = true, time.Now()
}

// read takes note of a line of the log.
func (n *node) read(line string, listening chan<- string) {
	n.write(line + "\n")
	if _, url, ok := strings.Cut(line, "http server listening on: "); ok {
		select {
		case listening <- strings.TrimSuffix(url, `"`):
		default:
		}
	}
	for text, what := range counted {
		if strings.Contains(line, text) {
			n.ledger.count(what, 1)
		}
	}
	for _, text := range alarming {
		if strings.Contains(line, text) {
			n.fail("log of the %s: %s", n.name, line)
		}
	}
}

func (n *node) write(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, _ = n.log.WriteString(text) // it is only for people
}

// end notes that the node is not up any more and signals the process.
func (n *node) end(sig syscall.Signal) {
	n.mu.Lock()
	n.up = false
	n.mu.Unlock()
	_ = n.cmd.Process.Signal(sig) // it may have ended
}

// kill ends the process at once. A process that was just then waiting for its own
// mount is not gone before the next start ends that.
func (n *node) kill() {
	if n.cmd == nil {
		return
	}
	n.end(syscall.SIGKILL)
	n.write("=== killed\n")
	if !within(n.ended, time.Second) {
		n.stuck = append(n.stuck, n.ended)
	}
	n.cmd = nil
}

// stop has the process end in order.
func (n *node) stop() {
	n.t.Helper()
	n.end(syscall.SIGTERM)
	if !within(n.ended, endTimeout) {
		n.t.Fatalf("the %s does not stop", n.name)
	}
	if code := n.cmd.ProcessState.ExitCode(); code != 0 {
		n.t.Errorf("the %s ended with code %d", n.name, code)
	}
	n.cmd = nil
}

// check checks what the node, which has stopped, has left on disk.
func (n *node) check() {
	n.t.Helper()
	mounttest.CheckTail(n.t, n.dir)
	for _, folder := range []string{"diverged", "damaged"} {
		aside, err := filepath.Glob(filepath.Join(n.dir, "dbs", "*", folder, "*"))
		if err != nil || len(aside) > 0 {
			n.t.Errorf("the %s has set aside %q, %v", n.name, aside, err)
		}
	}
}

// within reports whether a channel is closed within a time.
func within(done <-chan struct{}, d time.Duration) bool {
	select {
	case <-done:
		return true
	case <-time.After(d):
		return false
	}
}

// stacks returns where the threads of a process are, for one that hangs.
func stacks(pid int) string {
	var b bytes.Buffer
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	for _, task := range tasks {
		stat, _ := os.ReadFile(filepath.Join(task, "stat"))
		stack, _ := os.ReadFile(filepath.Join(task, "stack"))
		fmt.Fprintf(&b, "%s\n%s", stat, stack)
	}
	return b.String()
}
