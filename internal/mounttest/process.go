package mounttest

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// readyTimeout is how long a started command may take to mount.
const readyTimeout = 30 * time.Second

// Process is a running litefs command.
type Process struct {
	Log *Log

	options Options
	cmd     *exec.Cmd
	logDone sync.WaitGroup
}

// Build builds the litefs command and returns its path. It is meant for one call
// a test binary: the caller keeps the path.
func Build(tb testing.TB) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "litefs")
	if out, err := exec.Command("go", "build", "-o", path, "litefs/cmd/litefs").CombinedOutput(); err != nil {
		tb.Fatalf("build litefs: %v: %s", err, out)
	}
	return path
}

// StartProcess runs the litefs command at path and returns once it has mounted.
// args are added to its command line; options.Configure is not used. When the
// test ends the process is stopped and its data directory checked.
func StartProcess(tb testing.TB, path string, options Options, args ...string) *Process {
	tb.Helper()
	options = options.withDirs(tb)
	p := &Process{Log: newLog(tb), options: options}
	tb.Cleanup(func() {
		p.Stop(tb)
		detach(tb, options.Dir)
		Check(tb, options.DataDir)
	})
	p.start(tb, path, args)
	return p
}

func (p *Process) start(tb testing.TB, path string, args []string) {
	tb.Helper()
	args = append([]string{
		"mount", "--fuse-dir", p.options.Dir, "--data-dir", p.options.DataDir,
		"--log-level", "debug", "--strict-verify",
	}, args...)
	if p.options.NoPassthrough {
		args = append(args, "--fuse-passthrough", "off")
	}
	p.cmd = exec.Command(path, args...)
	out, w, err := os.Pipe()
	if err != nil {
		tb.Fatal(err)
	}
	p.cmd.Stdout, p.cmd.Stderr = w, w
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	_ = w.Close()
	ready := make(chan bool, 1)
	p.logDone.Go(func() { p.readLog(out, ready) })
	select {
	case ok := <-ready:
		if !ok {
			tb.Fatal("litefs ended before it had mounted")
		}
	case <-time.After(readyTimeout):
		tb.Fatal("litefs has not mounted")
	}
}

// readLog copies the output of the process to the log. It sends on ready, which
// has room, whether the process has mounted or ended.
func (p *Process) readLog(out *os.File, ready chan<- bool) {
	defer func() { _ = out.Close() }() // it was only read
	mounted := false
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, maxLogBytes)
	for lines.Scan() {
		_, _ = p.Log.Write(append(lines.Bytes(), '\n')) // never fails
		if !mounted && bytes.Contains(lines.Bytes(), []byte("LiteFS mounted to: ")) {
			mounted = true
			ready <- true
		}
	}
	if !mounted {
		ready <- false
	}
}

// PID returns the number of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Dir returns the mount point.
func (p *Process) Dir() string { return p.options.Dir }

// DataDir returns the data directory.
func (p *Process) DataDir() string { return p.options.DataDir }

// Path returns the path of a file in the mount.
func (p *Process) Path(name string) string { return filepath.Join(p.options.Dir, name) }

// Stop has the process end in order, once, and checks its exit code.
func (p *Process) Stop(tb testing.TB) {
	tb.Helper()
	if err := p.end(syscall.SIGTERM); err != nil {
		tb.Errorf("litefs: %v", err)
	}
}

// Kill ends the process at once. Its mount stays behind, dead, until a new
// process clears it or the test ends.
func (p *Process) Kill() { _ = p.end(syscall.SIGKILL) }

// Restart starts the command again, over the same directories, after Stop or
// Kill.
func (p *Process) Restart(tb testing.TB, args ...string) {
	tb.Helper()
	p.start(tb, p.cmd.Path, args)
}

func (p *Process) end(sig syscall.Signal) error {
	if p.cmd == nil || p.cmd.Process == nil || p.cmd.ProcessState != nil {
		return nil
	}
	_ = p.cmd.Process.Signal(sig) // it may have ended
	err := p.cmd.Wait()
	p.logDone.Wait()
	return err
}

// detach clears a mount that a killed process has left.
func detach(tb testing.TB, dir string) {
	tb.Helper()
	if mounted(tb, dir) {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			tb.Errorf("unmount %s: %v", dir, err)
		}
	}
}
