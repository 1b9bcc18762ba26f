package torturetest

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"litefs/internal/sqlitetest"
)

// roleEnv makes this test binary a process that uses SQLite on a mount.
const roleEnv = "LITEFS_TORTURETEST_ROLE"

// Flags of the test binary.
var (
	duration = flag.Duration("duration", 12*time.Second, "how long to go on")
	seed     = flag.Uint64("seed", 0, "seed of the random choices; 0 takes one from the clock")
)

// roles are what this binary can be besides a test.
var roles = map[string]func(config []byte, in io.Reader, out io.Writer) error{
	"writer": runWriter,
	"reader": runReader,
}

func TestMain(m *testing.M) {
	name := os.Getenv(roleEnv)
	switch {
	case sqlitetest.Child():
	case name == "":
		os.Exit(m.Run())
	default:
		if err := roles[name]([]byte(os.Args[1]), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, name+":", err)
			os.Exit(1)
		}
	}
}

// program is a process in a role. It is asked on its standard input and answers on
// its standard output; it ends when its input does.
type program struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out io.Reader
}

func startProgram(t *testing.T, role string, config any) *program {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	arg, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	p := &program{cmd: exec.Command(exe, string(arg))}
	p.cmd.Env = append(os.Environ(), roleEnv+"="+role, "GORACE=atexit_sleep_ms=0")
	if testing.CoverMode() != "" { // else the process complains when it ends
		p.cmd.Env = append(p.cmd.Env, "GOCOVERDIR="+t.TempDir())
	}
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if p.out, err = p.cmd.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill() }) // if the test ends early
	return p
}
