package vfs_test

import (
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"litefs"
	"litefs/internal/fsx"
	"litefs/internal/fsx/faultfs"
	"litefs/internal/mounttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sqlite runs the sqlite3 shell on a database, in a process of its own.
func sqlite(t *testing.T, path, script string) string {
	t.Helper()
	out, err := exec.Command("sqlite3", "-batch", "-bail", path, script).CombinedOutput()
	if err != nil {
		t.Fatalf("sqlite3 %q: %v: %s", script, err, out)
	}
	return strings.TrimSpace(string(out))
}

// disk is the disk of a node: it notes each step and can fail it.
type disk struct {
	mu    sync.Mutex
	steps []faultfs.Op
	fail  func(faultfs.Op) error // nil fails nothing
}

// startOnDisk mounts a node whose disk is watched.
func startOnDisk(t *testing.T) (*mounttest.Node, *disk) {
	t.Helper()
	d := &disk{}
	node := mounttest.Start(t, mounttest.Options{Configure: func(s *litefs.Store) {
		s.FS = faultfs.New(fsx.OS{}, d.step)
	}})
	return node, d
}

func (d *disk) step(op faultfs.Op) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.steps = append(d.steps, op)
	if d.fail == nil {
		return nil
	}
	return d.fail(op)
}

// setFail has steps fail from now on.
func (d *disk) setFail(fail func(faultfs.Op) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = fail
}

// during returns the steps made while fn ran, as "kind path".
func (d *disk) during(fn func()) []string {
	d.mu.Lock()
	before := len(d.steps)
	d.mu.Unlock()
	fn()
	d.mu.Lock()
	defer d.mu.Unlock()
	var steps []string
	for _, op := range d.steps[before:] {
		steps = append(steps, op.Kind+" "+op.Name)
	}
	return steps
}

// create makes a file in the mount and closes it when the test ends.
func create(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
