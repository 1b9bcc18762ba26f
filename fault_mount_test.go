package litefs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"litefs"
	"litefs/internal/fsx"
	"litefs/internal/fsx/faultfs"
	"litefs/internal/mounttest"
)

// faultyDisk fails steps of a mounted node for as long as it is told to.
type faultyDisk struct {
	mu   sync.Mutex
	fail func(op faultfs.Op) error
	hits int
}

func (d *faultyDisk) before(op faultfs.Op) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail == nil {
		return nil
	}
	err := d.fail(op)
	if err != nil {
		d.hits++
	}
	return err
}

// set has steps fail as fail says, none if it is nil, and returns how many have
// failed since the last call.
func (d *faultyDisk) set(fail func(op faultfs.Op) error) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = fail
	hits := d.hits
	d.hits = 0
	return hits
}

// shortFS fails writes to the log half way through.
type shortFS struct {
	fsx.FS
	disk *faultyDisk
}

// OpenFile implements fsx.FS.
func (s shortFS) OpenFile(name string, flag int, perm fs.FileMode) (fsx.File, error) {
	f, err := s.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return shortFile{f, s.disk, name}, nil
}

type shortFile struct {
	fsx.File
	disk *faultyDisk
	name string
}

// Write implements fsx.File.
func (f shortFile) Write(p []byte) (int, error) {
	if err := f.disk.before(faultfs.Op{Kind: "short", Name: f.name}); err != nil {
		n, _ := f.File.Write(p[:len(p)/2]) // the error is err
		return n, err
	}
	return f.File.Write(p)
}

// faultNode is a mounted node on a faulty disk, and a program that uses it.
type faultNode struct {
	t    *testing.T
	node *mounttest.Node
	disk *faultyDisk
	conn *sqlite
	rows int // that were acknowledged
}

func newFaultNode(t *testing.T, mode string, passthrough bool) *faultNode {
	t.Helper()
	n := &faultNode{t: t, disk: &faultyDisk{}}
	n.node = mounttest.Start(t, mounttest.Options{NoPassthrough: !passthrough, Configure: func(store *litefs.Store) {
		store.FS = shortFS{faultfs.New(fsx.OS{}, n.disk.before), n.disk}
	}})
	n.conn = startSQLite(t, n.node.Path("db"))
	n.conn.expect(t, mode, "PRAGMA journal_mode = "+mode)
	n.conn.expect(t, "", "PRAGMA synchronous = FULL", "CREATE TABLE t (x)")
	n.insert("")
	return n
}

// insert inserts a row; want is the part of an error that must come, if any.
func (n *faultNode) insert(want string) {
	n.t.Helper()
	got := n.conn.exec(n.t, "INSERT INTO t VALUES (randomblob(3000))")
	switch {
	case want == "" && got == "":
		n.rows++
	case want == "" || !strings.Contains(got, want):
		n.t.Fatalf("insert answered %q, want %q", got, want)
	}
}

// read checks that the database can be read and has what was acknowledged.
func (n *faultNode) read() {
	n.t.Helper()
	n.conn.expect(n.t, strconv.Itoa(n.rows), "SELECT count(*) FROM t")
}

// checkpoint runs a checkpoint and returns the message of its error, if any.
func (n *faultNode) checkpoint() string {
	n.t.Helper()
	got := n.conn.exec(n.t, "PRAGMA wal_checkpoint(TRUNCATE)")
	if strings.Contains(got, "expected 3 destination arguments") { // its three columns: no error
		return ""
	}
	return got
}

func (n *faultNode) db() *litefs.DB { return n.node.Store.DB("db") }

// eventually waits until ok, for a few times the interval at which capture looks
// for itself.
func (n *faultNode) eventually(what string, ok func() bool) {
	n.t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			n.t.Fatalf("%s has not come about; alarm: %v", what, n.db().Alarm())
		}
	}
}

// alarms returns how often the alarm has been raised.
func (n *faultNode) alarms() int {
	return strings.Count(n.node.Log.String(), "capture stands still")
}

func (n *faultNode) alarmed() bool { return n.db().Alarm() != nil }

// settled reports whether all that was acknowledged is in the log.
func (n *faultNode) settled() bool {
	if n.alarmed() {
		return false
	}
	_, err := n.db().Verify(n.t.Context())
	return err == nil
}

// failing makes steps of a kind on files in a folder, or of a name, fail.
func failing(kind, part string, err error) func(faultfs.Op) error {
	return func(op faultfs.Op) error {
		if op.Kind == kind && strings.Contains(op.Name+"\n", part) {
			return err
		}
		return nil
	}
}

// logFaults are ways in which the log cannot be written.
func logFaults() map[string]func(faultfs.Op) error {
	faults := make(map[string]func(faultfs.Op) error)
	for _, err := range []syscall.Errno{syscall.ENOSPC, syscall.EIO} {
		for _, kind := range []string{"create", "write", "short", "rename"} {
			faults[fmt.Sprintf("%s %s", kind, errnoName(err))] = failing(kind, "/ltx/", err)
		}
	}
	return faults
}

func errnoName(err syscall.Errno) string {
	if err == syscall.ENOSPC {
		return "ENOSPC"
	}
	return "EIO"
}

// In the rollback journal modes a commit whose piece of the log cannot be written
// is an error, and SQLite rolls back. In none of them is anything lost, and all is
// well again with the next commit.
func TestFaultOfLogUnderJournal(t *testing.T) {
	faults := logFaults()
	faults["sync ENOSPC"] = failing("sync", "/ltx/", syscall.ENOSPC)
	faults["sync EIO"] = failing("sync", "/ltx/", syscall.EIO)
	for _, mode := range []string{"delete", "truncate", "persist"} {
		n := newFaultNode(t, mode, mode != "truncate")
		defer n.node.Store.Unsubscribe(n.node.Store.Subscribe()) // so that each commit is a file
		for name, fail := range faults {
			before, alarms := n.db().Pos(), n.alarms()
			n.disk.set(fail)
			n.insert("disk")
			if n.alarms() == alarms { // it ends with the rollback
				t.Errorf("%s, %s: no alarm", mode, name)
			}
			if pos := n.db().Pos(); pos != before {
				t.Errorf("%s, %s: position moved from %s to %s", mode, name, before, pos)
			}
			n.read()
			if n.disk.set(nil) == 0 {
				t.Errorf("%s, %s: nothing has failed", mode, name)
			}
			n.insert("")
			n.read()
			if n.alarmed() {
				t.Errorf("%s, %s: alarm after recovery: %v", mode, name, n.db().Alarm())
			}
		}
		n.conn.expect(t, "ok", "PRAGMA integrity_check")
	}
}

// In WAL mode a commit does not wait for the log. The WAL keeps what the log
// lacks, a checkpoint fails, and capture goes on by itself when it can.
func TestFaultOfLogUnderWAL(t *testing.T) {
	for _, passthrough := range []bool{true, false} {
		n := newFaultNode(t, "wal", passthrough)
		for name, fail := range logFaults() {
			if !passthrough && strings.Contains(name, "EIO") {
				continue // each takes a second, until capture looks again
			}
			before := n.node.Pos(t, "db") // which captures the last insert
			n.disk.set(fail)
			n.insert("")
			n.eventually(name+": the alarm", n.alarmed)
			n.insert("")
			n.read()
			if got := n.checkpoint(); !strings.Contains(got, "disk") {
				t.Errorf("%s: checkpoint answered %q, want an error", name, got)
			}
			if pos := n.db().Pos(); pos != before {
				t.Errorf("%s: position moved from %s to %s", name, before, pos)
			}
			n.read()
			n.disk.set(nil)
			n.eventually(name+": capture", n.settled)
			if pos := n.db().Pos(); pos.TXID < before.TXID+1 {
				t.Errorf("%s: position is still %s", name, pos)
			}
			if got := n.checkpoint(); got != "" {
				t.Errorf("%s: checkpoint answered %q", name, got)
			}
			n.insert("")
		}
		n.conn.expect(t, "ok", "PRAGMA integrity_check")
	}
}

// The database file cannot be written or synced, or the log not synced, when
// SQLite runs a checkpoint: it keeps the WAL.
func TestFaultOfCheckpoint(t *testing.T) {
	for name, fail := range map[string]func(faultfs.Op) error{
		"write database":  failing("write", "/database\n", syscall.EIO),
		"full database":   failing("write", "/database\n", syscall.ENOSPC),
		"sync database":   failing("sync", "/database\n", syscall.EIO),
		"sync log":        failing("sync", "/ltx/", syscall.EIO),
		"sync log folder": failing("syncdir", "/ltx\n", syscall.EIO),
		"truncate WAL":    failing("truncate", "/database-wal\n", syscall.EIO),
	} {
		n := newFaultNode(t, "wal", true)
		n.insert("")
		n.disk.set(fail)
		if got := n.checkpoint(); !strings.Contains(got, "disk") {
			t.Errorf("%s: checkpoint answered %q, want an error", name, got)
		}
		n.read()
		n.insert("")
		if n.disk.set(nil) == 0 {
			t.Errorf("%s: nothing has failed", name)
		}
		if got := n.checkpoint(); got != "" {
			t.Errorf("%s: checkpoint answered %q", name, got)
		}
		n.insert("")
		n.eventually(name+": capture", n.settled)
		n.read()
		n.conn.expect(t, "ok", "PRAGMA integrity_check")
	}
}

// SQLite's own files cannot be written: it reports that and rolls back, or, while
// it cannot even do that, whoever comes next does.
func TestFaultOfDatabase(t *testing.T) {
	for name, fail := range map[string]func(faultfs.Op) error{
		"write":          failing("write", "/database\n", syscall.EIO),
		"full":           failing("write", "/database\n", syscall.ENOSPC),
		"sync":           failing("sync", "/database\n", syscall.EIO),
		"remove journal": failing("truncate", "/database-journal\n", syscall.EIO),
		"create journal": failing("create", "/database-journal\n", syscall.ENOSPC),
	} {
		n := newFaultNode(t, "delete", true)
		if name == "create journal" { // of other rights than the one before, which could be used again
			if err := os.Chmod(n.node.Path("db"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		n.disk.set(fail)
		got := n.conn.exec(t, "INSERT INTO t VALUES (randomblob(3000))")
		if !strings.Contains(got, "disk") && !strings.Contains(got, "unable to open") {
			t.Errorf("%s: insert answered %q, want an error", name, got)
		}
		if n.disk.set(nil) == 0 {
			t.Errorf("%s: nothing has failed", name)
		}
		n.read()
		n.insert("")
		n.read()
		if !n.settled() {
			t.Errorf("%s: alarm: %v", name, n.db().Alarm())
		}
		n.conn.expect(t, "ok", "PRAGMA integrity_check")
	}
}

// The disk of the data directory is full: SQLite says so, what was committed can
// be read, and all works again when there is room.
func TestFullDisk(t *testing.T) {
	for _, mode := range []string{"delete", "wal"} {
		t.Run(mode, func(t *testing.T) {
			dir := t.TempDir()
			if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=6m"); err != nil {
				t.Skipf("cannot mount a tmpfs: %v", err)
			}
			t.Cleanup(func() {
				if err := syscall.Unmount(dir, 0); err != nil {
					t.Errorf("unmount: %v", err)
				}
			})
			n := &faultNode{t: t}
			n.node = mounttest.Start(t, mounttest.Options{DataDir: filepath.Join(dir, "data")})
			n.conn = startSQLite(t, n.node.Path("db"))
			n.conn.expect(t, mode, "PRAGMA journal_mode = "+mode)
			n.conn.expect(t, "", "CREATE TABLE t (x)")
			n.insert("")
			fill(t, filepath.Join(dir, "filler"))
			for failed := false; !failed; {
				got := n.conn.exec(t, "INSERT INTO t VALUES (randomblob(3000))")
				if failed = got != ""; !failed {
					n.rows++
				} else if !strings.Contains(got, "disk") {
					t.Errorf("insert answered %q, want that the disk is full", got)
				}
				if n.rows > 1000 {
					t.Fatal("the disk does not get full")
				}
			}
			n.read()
			if err := os.Remove(filepath.Join(dir, "filler")); err != nil {
				t.Fatal(err)
			}
			n.insert("")
			n.eventually("capture", n.settled)
			n.read()
			n.conn.expect(t, "ok", "PRAGMA integrity_check")
		})
	}
}

// fill writes a file until there is no room left but for a few pages.
func fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	size := int64(0)
	for err == nil {
		var n int
		n, err = f.Write(make([]byte, 4096))
		size += int64(n)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(size-64<<10), f.Close()); err != nil {
		t.Fatal(err)
	}
}
