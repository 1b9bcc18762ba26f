// Package mounttest runs a mounted node for a test and checks, when the test
// ends, that what the node has left on disk is consistent.
//
// A Node lives in the test process, so that coverage is measured and faults can
// be injected. The test process may use ordinary file operations on the mount,
// but must not run SQLite on it: a lock that SQLite waits for while the process
// collects garbage would stop the process for ever. SQLite runs in processes of
// its own. A Process is the built litefs command, for tests that kill it.
//
// The consistency check (Check) uses nothing of the code under test but the LTX
// header: the public ltx tool and the sqlite3 shell are the judges.
package mounttest

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"litefs"
	"litefs/ltx"
	"litefs/vfs"
)

// unmountGrace is how long Stop waits for programs to close their files.
const unmountGrace = 5 * time.Second

// Options are the settings of a node. The zero value is a new node.
type Options struct {
	Dir           string // mount point; a temporary directory if empty
	DataDir       string // a temporary directory if empty
	NoPassthrough bool   // serve WAL and wal-index by ordinary requests
	NoLeakCheck   bool   // the goroutines of another node of the test come and go
	// Configure, if not nil, changes the store before it is opened.
	Configure func(*litefs.Store)
}

// Node is a store that is mounted by the test process.
type Node struct {
	Store *litefs.Store
	FS    *vfs.FileSystem
	Log   *Log

	options Options
	running bool
}

// Start mounts a node. The LTX log is kept whole and every capture is verified
// against the database, unless options say otherwise. When the test ends, the
// node is stopped and its data directory checked; a goroutine that it leaves
// running or a mount that stays fails the test.
func Start(tb testing.TB, options Options) *Node {
	tb.Helper()
	options = options.withDirs(tb)
	leaks := goleak.IgnoreCurrent()
	n := &Node{Log: newLog(tb), options: options}
	n.start(tb)
	tb.Cleanup(func() {
		n.Stop(tb)
		if !options.NoLeakCheck {
			goleak.VerifyNone(tb, leaks)
		}
		Check(tb, options.DataDir)
	})
	return n
}

func (o Options) withDirs(tb testing.TB) Options {
	tb.Helper()
	if o.Dir == "" {
		o.Dir = filepath.Join(tb.TempDir(), "mnt")
	}
	if o.DataDir == "" {
		o.DataDir = tb.TempDir()
	}
	return o
}

func (n *Node) start(tb testing.TB) {
	tb.Helper()
	store := litefs.NewStore(n.options.DataDir, true)
	store.Logger = n.Log.Logger()
	store.RetentionDuration = 0
	store.RetentionMonitorInterval = 0
	store.MaxLogSizeBytes = 0
	store.StrictVerify = true
	if n.options.Configure != nil {
		n.options.Configure(store)
	}
	if err := store.Open(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	fsys, err := vfs.Mount(store, vfs.Options{Dir: n.options.Dir, Passthrough: !n.options.NoPassthrough})
	if err != nil {
		_ = store.Close()
		tb.Fatal(err)
	}
	if !n.options.NoPassthrough && !fsys.Passthrough() {
		tb.Log("the kernel does not pass files through")
	}
	n.Store, n.FS, n.running = store, fsys, true
}

// Stop unmounts and closes the node, once. Programs that still hold files of the
// mount open have a few seconds to close them.
func (n *Node) Stop(tb testing.TB) {
	tb.Helper()
	if !n.running {
		return
	}
	n.running = false
	for _, db := range n.Store.DBs() {
		if err := db.Alarm(); err != nil {
			tb.Errorf("capture of %q stands still: %v", db.Name(), err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), unmountGrace)
	defer cancel()
	n.Store.Detach()
	if mounted(tb, n.options.Dir) { // a test may have unmounted it
		if err := n.FS.Unmount(ctx); err != nil {
			tb.Errorf("unmount: %v", err)
		}
	}
	n.FS.Wait()
	if err := n.Store.Close(); err != nil {
		tb.Errorf("close store: %v", err)
	}
	if mounted(tb, n.options.Dir) {
		tb.Errorf("%s is still mounted", n.options.Dir)
	}
}

// Restart stops the node and starts it again over the same directories.
func (n *Node) Restart(tb testing.TB) {
	tb.Helper()
	n.Stop(tb)
	n.start(tb)
}

// Dir returns the mount point.
func (n *Node) Dir() string { return n.options.Dir }

// DataDir returns the data directory.
func (n *Node) DataDir() string { return n.options.DataDir }

// Path returns the path of a file in the mount.
func (n *Node) Path(name string) string { return filepath.Join(n.options.Dir, name) }

// Logged reports whether the node has logged text.
func (n *Node) Logged(text string) bool { return n.Log.Contains(text) }

// Pos returns the position of a database as a program sees it, from NAME-pos;
// zero if there is no such database.
func (n *Node) Pos(tb testing.TB, name string) ltx.Pos {
	tb.Helper()
	return ReadPos(tb, n.Path(name))
}

// ReadPos returns the position of the database at path in a mount; zero if there
// is no such database.
func ReadPos(tb testing.TB, path string) ltx.Pos {
	tb.Helper()
	b, err := os.ReadFile(path + "-pos")
	if os.IsNotExist(err) {
		return ltx.Pos{}
	}
	if err != nil {
		tb.Fatal(err)
	}
	pos, err := ltx.ParsePos(strings.TrimSuffix(string(b), "\n"))
	if err != nil {
		tb.Fatal(err)
	}
	return pos
}

// mounted reports whether something is mounted on dir. It does not touch dir.
func mounted(tb testing.TB, dir string) bool {
	tb.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		// The fifth field is the mount point; see proc_pid_mountinfo(5).
		if fields := strings.Fields(line); len(fields) > 4 && fields[4] == dir {
			return true
		}
	}
	return false
}
