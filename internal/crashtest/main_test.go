package crashtest

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
)

// roleEnv makes this test binary a process that uses SQLite on a mount. SQLite
// must not run in a process that also checks the mount: a hang would take both.
const roleEnv = "LITEFS_CRASHTEST_ROLE"

// Flags of the test binary.
var (
	rounds = flag.Int("rounds", 6, "kills per test")
	seed   = flag.Uint64("seed", 0, "seed of the random choices; 0 takes one from the clock")
)

// roles are what this binary can be besides a test.
var roles = map[string]func(config []byte, in io.Reader, out io.Writer) error{
	"writer": runWriter,
	"reader": runReader,
	"stuck":  runStuck,
	"watch":  runWatch,
}

func TestMain(m *testing.M) {
	name := os.Getenv(roleEnv)
	if name == "" {
		os.Exit(m.Run())
	}
	if err := roles[name]([]byte(os.Args[1]), os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		os.Exit(1)
	}
}

// roleCommand returns a command that runs this binary in a role.
func roleCommand(t *testing.T, role string, config any) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	arg, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, string(arg))
	cmd.Env = append(os.Environ(), roleEnv+"="+role, "GORACE=atexit_sleep_ms=0")
	return cmd
}
