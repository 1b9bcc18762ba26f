package servertest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

const consulNode = "test"

// Consul is a running Consul agent in development mode.
type Consul struct {
	*process
	Addr string // host:port of the HTTP API
}

// StartConsul starts `consul agent -dev` with sessions as short as a second. args are
// further arguments, such as "-hcl", `acl { enabled = true }`.
// The binary is the one that scripts/consul.sh builds and caches.
func StartConsul(tb testing.TB, args ...string) *Consul {
	tb.Helper()
	ports := freePorts(tb, 5)
	config := filepath.Join(tb.TempDir(), "consul.json")
	writeJSON(tb, config, map[string]any{
		"disable_update_check": true,
		"session_ttl_min":      "1s",
		"log_level":            "warn",
		"ports": map[string]int{
			"http": ports[0], "server": ports[1], "serf_lan": ports[2],
			"serf_wan": ports[3], "dns": ports[4], "grpc": -1,
		},
	})
	addr := fmt.Sprintf("127.0.0.1:%d", ports[0])
	cmd := exec.Command(consulBinary(tb), append([]string{
		"agent", "-dev", "-bind=127.0.0.1", "-client=127.0.0.1", "-node=" + consulNode, "-config-file=" + config,
	}, args...)...)
	c := &Consul{process: start(tb, cmd), Addr: addr}
	c.waitReady(tb, func() error { return consulRegistered(addr) })
	return c
}

// consulRegistered returns nil once the agent at addr has elected itself and
// registered its node: sessions are refused before that.
func consulRegistered(addr string) error {
	resp, err := http.Get("http://" + addr + "/v1/health/node/" + consulNode)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var checks []struct{ CheckID string }
	if err := json.NewDecoder(resp.Body).Decode(&checks); err != nil {
		return fmt.Errorf("decode health of the node: %s: %w", resp.Status, err)
	}
	if len(checks) == 0 {
		return errors.New("the node is not registered yet")
	}
	return nil
}

// consulBinary returns the path of the Consul server, built if need be.
func consulBinary(tb testing.TB) string {
	tb.Helper()
	_, self, _, ok := runtime.Caller(0)
	if !ok {
		tb.Fatal("the path of this source file is unknown")
	}
	script := filepath.Join(filepath.Dir(self), "../../scripts/consul.sh")
	out, err := exec.Command(script).Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			tb.Fatalf("%s: %v: %s", script, err, exit.Stderr)
		}
		tb.Fatalf("%s: %v", script, err)
	}
	return strings.TrimSpace(string(out))
}

func writeJSON(tb testing.TB, path string, v any) {
	tb.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		tb.Fatal(err)
	}
}
