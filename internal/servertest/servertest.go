// Package servertest starts real lease servers for tests: Consul and Redis,
// each a process of its own on free loopback ports with its data in the test's
// temporary directory.
//
// Each Start function returns once the server answers and registers a cleanup
// that stops the process and waits for it. A test that needs a server to die
// earlier calls Kill; the cleanup then finds nothing left to do.
package servertest

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"
)

const (
	readyTimeout = 20 * time.Second
	stopTimeout  = 10 * time.Second
	pollInterval = 10 * time.Millisecond
)

// process is one running server.
type process struct {
	cmd    *exec.Cmd
	output *lockedBuffer
	exited chan struct{} // closed once Wait has returned
}

// start runs cmd and has it stopped when the test ends.
func start(tb testing.TB, cmd *exec.Cmd) *process {
	tb.Helper()
	p := &process{cmd: cmd, output: &lockedBuffer{}, exited: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.output, p.output
	if err := cmd.Start(); err != nil {
		tb.Fatalf("start %s: %v", cmd.Path, err)
	}
	go func() {
		defer close(p.exited)
		_ = cmd.Wait() // the exit status of a server that is told to stop says nothing
	}()
	tb.Cleanup(func() { p.stop(tb) })
	return p
}

// Kill ends the server the way a crash does and waits until it is gone.
func (p *process) Kill() {
	_ = p.cmd.Process.Kill() // fails only when the process has ended already
	<-p.exited
}

// stop asks the server to end and insists when it does not.
func (p *process) stop(tb testing.TB) {
	tb.Helper()
	if err := p.cmd.Process.Signal(os.Interrupt); errors.Is(err, os.ErrProcessDone) {
		<-p.exited
		return
	}
	select {
	case <-p.exited:
	case <-time.After(stopTimeout):
		p.Kill()
		tb.Errorf("%s ignored the interrupt for %v; its output:\n%s", p.cmd.Path, stopTimeout, p.output)
	}
}

// waitReady asks ready until it has no error left to report.
func (p *process) waitReady(tb testing.TB, ready func() error) {
	tb.Helper()
	deadline := time.After(readyTimeout)
	for {
		err := ready()
		if err == nil {
			return
		}
		select {
		case <-p.exited:
			tb.Fatalf("%s ended before it was ready; its output:\n%s", p.cmd.Path, p.output)
		case <-deadline:
			tb.Fatalf("%s is not ready after %v: %v; its output:\n%s", p.cmd.Path, readyTimeout, err, p.output)
		case <-time.After(pollInterval):
		}
	}
}

// freePorts returns n different loopback TCP ports that nothing listens on.
func freePorts(tb testing.TB, n int) []int {
	tb.Helper()
	ports := make([]int, n)
	for i := range ports {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatalf("find a free port: %v", err)
		}
		defer ln.Close() // all stay open until the last is chosen, so that they differ
		ports[i] = ln.Addr().(*net.TCPAddr).Port
	}
	return ports
}

// lockedBuffer collects a server's output while the test may read it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
