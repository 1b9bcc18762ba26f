package main

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"litefs/internal/servertest"
)

// failoverKills is how often the primary is killed for each lease store.
const failoverKills = 50

// The time from the end of a primary to the first commit on its successor, for each lease
// store. Reads on the survivor never fail meanwhile, and nothing that was on both nodes
// is lost.
func TestFailoverTimes(t *testing.T) {
	if os.Getenv("LITEFS_TEST_LONG") == "" {
		t.Skip("takes ten minutes; set LITEFS_TEST_LONG=1")
	}
	for name, lease := range map[string]func(*testing.T) []string{
		"redis": func(t *testing.T) []string {
			t.Helper()
			return []string{"--lease-type", "redis", "--lease-redis-url", "redis://" + servertest.StartRedis(t).Addr, "--lease-redis-ttl", "2s"}
		},
		"consul": func(t *testing.T) []string {
			t.Helper()
			return []string{"--lease-type", "consul", "--lease-consul-url", "http://" + servertest.StartConsul(t).Addr, "--lease-consul-ttl", "1s"}
		},
	} {
		t.Run(name, func(t *testing.T) { measureFailover(t, lease(t)) })
	}
}

func measureFailover(t *testing.T, lease []string) {
	t.Helper()
	args := append(lease, "--lease-hostname", "localhost", "--lease-reconnect-delay", "100ms")
	bases := []string{t.TempDir(), t.TempDir()}
	primary := startMountIn(t, bases[0], args...)
	primary.waitFor(t, "LiteFS mounted to")
	sqlite(t, primary.path("db"), "PRAGMA journal_mode = wal; CREATE TABLE t (i INTEGER PRIMARY KEY)")
	replica := startMountIn(t, bases[1], args...)
	replica.waitFor(t, "LiteFS mounted to")
	var times []time.Duration
	for kill := range failoverKills {
		sqlite(t, primary.path("db"), "INSERT INTO t VALUES (NULL)")
		settle(t, primary, replica, "db")
		time.Sleep(500 * time.Millisecond) // so that what the replica has is kept
		took := failOver(t, primary, replica)
		times = append(times, took)
		if took > time.Minute {
			t.Fatalf("kill %d: no primary after %v", kill, took)
		}
		primary, replica = replica, startMountIn(t, bases[kill%2], args...)
		replica.waitFor(t, "existing primary found")
		replica.waitFor(t, "LiteFS mounted to")
	}
	settle(t, primary, replica, "db")
	if got := sqlite(t, primary.path("db"), "SELECT count(*) FROM t"); got != "100" {
		t.Errorf("%s rows after %d failovers, want two each", got, failoverKills)
	}
	slices.Sort(times)
	t.Logf("%d kills: p50 %v, p99 %v, max %v", len(times), times[len(times)/2], times[len(times)*99/100], times[len(times)-1])
	replica.stop(t, 0)
	primary.stop(t, 0)
}

// failOver kills the primary and returns how long it takes until the survivor commits.
func failOver(t *testing.T, primary, survivor *daemon) time.Duration {
	t.Helper()
	stop := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			// On any disk a program that is the last to close a WAL locks others out for a moment.
			if out, err := exec.Command("sqlite3", "-cmd", ".timeout 2000", survivor.path("db"), "SELECT count(*) FROM t").CombinedOutput(); err != nil {
				t.Errorf("read on the survivor: %v, %s", err, out)
				return
			}
		}
	})
	defer reader.Wait()
	defer close(stop)
	killed := time.Now()
	if err := primary.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for time.Since(killed) < time.Minute {
		out, err := exec.Command("sqlite3", survivor.path("db"), "PRAGMA busy_timeout = 200; INSERT INTO t VALUES (NULL)").CombinedOutput()
		if err == nil {
			break
		}
		if text := string(out); !strings.Contains(text, "locked") && !strings.Contains(text, "readonly") {
			t.Fatalf("write on the survivor: %v, %s", err, text)
		}
	}
	took := time.Since(killed)
	primary.drain()
	return took
}
