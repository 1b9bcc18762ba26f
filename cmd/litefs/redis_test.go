package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"litefs/internal/servertest"
)

// startWithRedis starts a node below base whose primary is elected with the Redis server
// at addr.
func startWithRedis(t *testing.T, base, addr string) *daemon {
	t.Helper()
	return startMountIn(t, base, "--lease-type", "redis", "--lease-redis-url", "redis://"+addr,
		"--lease-hostname", "localhost", "--lease-reconnect-delay", "100ms")
}

// The guide: of two nodes one is elected, the other replicates it, and takes its place
// when it is stopped.
func TestRedis(t *testing.T) {
	server := servertest.StartRedis(t)
	baseA, baseB := t.TempDir(), t.TempDir()
	a := startWithRedis(t, baseA, server.Addr)
	a.waitFor(t, "initializing redis: key=litefs/primary url=redis://"+server.Addr+" advertise-url=http://localhost:")
	a.waitFor(t, "primary lease acquired, advertising as http://localhost:")
	b := startWithRedis(t, baseB, server.Addr)
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
	a = startWithRedis(t, baseA, server.Addr)
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

// A primary goes on from the epoch that it knows when Redis has forgotten it.
func TestRedisForgets(t *testing.T) {
	base := t.TempDir()
	for _, want := range []string{"epoch=1 ", "epoch=2 ", "epoch=3 "} {
		server := servertest.StartRedis(t)
		d := startWithRedis(t, base, server.Addr)
		if line := d.waitFor(t, "primary lease acquired"); !strings.Contains(line, want) {
			t.Errorf("log: %s, want %s", line, want)
		}
		d.waitFor(t, "LiteFS mounted to")
		d.stop(t, 0)
		server.Kill()
	}
}

// What is wrong with the URL or the server for good is said before anything is mounted,
// and without the password.
func TestRedisRefused(t *testing.T) {
	evicting := servertest.StartRedis(t, "--maxmemory-policy", "volatile-lru").Addr
	locked := servertest.StartRedis(t, "--requirepass", "right").Addr
	for name, tt := range map[string]struct{ url, want string }{
		"URL":      {"redis+sentinel://:s3cret@localhost", "lease.redis: redis URL: must name the master after the hosts"},
		"eviction": {"redis://" + evicting, "lease.redis: check redis: redis " + evicting + " may evict the lease when its memory is full: set maxmemory-policy to noeviction, it is volatile-lru"},
		"password": {"redis://:s3cret@" + locked, "lease.redis: check redis: redis " + locked + " denies access (WRONGPASS"},
	} {
		t.Run(name, func(t *testing.T) {
			d := startMount(t, "--lease-type", "redis", "--lease-redis-url", tt.url)
			d.wait(t, exitUsage)
			if log := strings.Join(d.log, "\n"); !strings.Contains(log, tt.want) || strings.Contains(log, "s3cret") || strings.Contains(log, "mounted") {
				t.Errorf("log:\n%s\nwant %q", log, tt.want)
			}
		})
	}
}

// A node whose Redis cannot be reached says so, and waits for it.
func TestRedisUnreachable(t *testing.T) {
	d := startMount(t, "--lease-type", "redis", "--lease-redis-url", "redis://:s3cret@127.0.0.1:1")
	d.waitFor(t, "redis 127.0.0.1:1 cannot be reached")
	d.waitFor(t, "LiteFS mounted to")
	d.stop(t, 0)
	if log := strings.Join(d.log, "\n"); strings.Contains(log, "s3cret") {
		t.Errorf("log:\n%s", log)
	}
}
