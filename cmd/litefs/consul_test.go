package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"litefs/internal/servertest"
)

// startElected starts a node below base whose primary is elected with the Consul at
// addr.
func startElected(t *testing.T, base, addr string) *daemon {
	t.Helper()
	return startMountIn(t, base, "--lease-type", "consul", "--lease-consul-url", "http://"+addr,
		"--lease-hostname", "localhost", "--lease-reconnect-delay", "100ms")
}

// The tutorial of LiteFS: of two nodes one is elected, the other replicates it, and
// takes its place when it is stopped.
func TestConsul(t *testing.T) {
	server := servertest.StartConsul(t)
	baseA, baseB := t.TempDir(), t.TempDir()
	a := startElected(t, baseA, server.Addr)
	a.waitFor(t, "initializing consul: key=litefs/primary url=http://"+server.Addr+" advertise-url=http://localhost:")
	a.waitFor(t, "primary lease acquired, advertising as http://localhost:")
	b := startElected(t, baseB, server.Addr)
	b.waitFor(t, "existing primary found (http://localhost:")
	b.waitFor(t, "LiteFS mounted to")

	sqlite(t, a.path("data.db"), `CREATE TABLE movies (title TEXT, rating INT); INSERT INTO movies VALUES ('The Jerk', 10)`)
	settle(t, a, b, "data.db")
	const insert = "INSERT INTO movies VALUES ('Chairman of the Board', 1)"
	if out, err := exec.Command("sqlite3", b.path("data.db"), insert).CombinedOutput(); err == nil || !strings.Contains(string(out), "readonly") {
		t.Errorf("a write on the replica: %v, %s", err, out)
	}

	a.stop(t, 0)
	b.waitFor(t, "primary lease acquired")
	sqlite(t, b.path("data.db"), insert)
	a = startElected(t, baseA, server.Addr)
	a.waitFor(t, "existing primary found (http://localhost:")
	a.waitFor(t, "LiteFS mounted to")
	settle(t, b, a, "data.db")
	if got := sqlite(t, a.path("data.db"), "SELECT title FROM movies"); got != "The Jerk\nChairman of the Board" {
		t.Errorf("the former primary reads %q", got)
	}
	for _, base := range []string{baseA, baseB} {
		state, err := os.ReadFile(filepath.Join(base, "data", "cluster"))
		if err != nil || !strings.Contains(string(state), `"epoch":2`) {
			t.Errorf("cluster file %s, %v; want the epoch of the second lease in it", state, err)
		}
	}
}

// What is wrong with the URL is said before anything is mounted, and without the token.
func TestConsulBadURL(t *testing.T) {
	d := startMount(t, "--lease-type", "consul", "--lease-consul-url", "http://:s3cret@localhost:8500?dc=a&what=s3cret")
	d.wait(t, exitUsage)
	log := strings.Join(d.log, "\n")
	if !strings.Contains(log, "lease.consul: the URL of Consul at http://localhost:8500 has an unknown parameter") || strings.Contains(log, "s3cret") {
		t.Errorf("log:\n%s", log)
	}
}

// A node whose Consul cannot be reached says so, and waits for it.
func TestConsulUnreachable(t *testing.T) {
	d := startMount(t, "--lease-type", "consul", "--lease-consul-url", "http://127.0.0.1:1")
	d.waitFor(t, "cannot reach Consul at http://127.0.0.1:1")
	d.waitFor(t, "LiteFS mounted to")
	d.stop(t, 0)
}
