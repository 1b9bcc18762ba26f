package main

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"litefs/internal/servertest"
)

// election is a cluster of nodes that elect their primary with one Redis server.
type election struct {
	t     *testing.T
	redis string
	bases map[string]string  // by name of the node
	nodes map[string]*daemon // those that run
}

func newElection(t *testing.T) *election {
	t.Helper()
	return &election{t, servertest.StartRedis(t).Addr, make(map[string]string), make(map[string]*daemon)}
}

// start starts a node, on the data that it had before.
func (e *election) start(name string, args ...string) *daemon {
	e.t.Helper()
	if e.bases[name] == "" {
		e.bases[name] = e.t.TempDir()
	}
	d := startMountIn(e.t, e.bases[name], append([]string{
		"--lease-type", "redis", "--lease-redis-url", "redis://" + e.redis,
		"--lease-redis-ttl", "1s", "--lease-hostname", "localhost", "--lease-reconnect-delay", "100ms",
	}, args...)...)
	e.nodes[name] = d
	return d
}

// kill ends a node without warning.
func (e *election) kill(name string) {
	e.t.Helper()
	d := e.nodes[name]
	delete(e.nodes, name)
	if err := d.cmd.Process.Kill(); err != nil {
		e.t.Fatal(err)
	}
	d.drain()
}

// stop stops a node in order.
func (e *election) stop(name string) {
	e.t.Helper()
	e.nodes[name].stop(e.t, 0)
	delete(e.nodes, name)
}

// stopAll stops the nodes that run, so that they leave nothing.
func (e *election) stopAll() {
	e.t.Helper()
	for name := range e.nodes {
		e.stop(name)
	}
}

// agree waits until all nodes that run have the database as the primary has it.
func (e *election) agree(primary string) {
	e.t.Helper()
	for name, d := range e.nodes {
		if name != primary {
			settle(e.t, e.nodes[primary], d, "db")
		}
	}
}

// remains checks that a node goes on for some leases without taking the role.
func (e *election) remains(name, because string) {
	e.t.Helper()
	d := e.nodes[name]
	d.waitFor(e.t, because)
	for end := time.After(2500 * time.Millisecond); ; { // more than two TTLs: long enough to have led
		select {
		case line := <-d.lines:
			d.log = append(d.log, line)
			if strings.Contains(line, "primary lease acquired") {
				e.t.Fatalf("node %s leads; log:\n%s", name, strings.Join(d.log, "\n"))
			}
		case <-end:
			return
		}
	}
}

func (e *election) insert(name string, from, to int) {
	e.t.Helper()
	sqlite(e.t, e.nodes[name].path("db"), fmt.Sprintf(
		"WITH RECURSIVE n(i) AS (SELECT %d UNION ALL SELECT i + 1 FROM n WHERE i < %d) INSERT INTO t SELECT i FROM n", from, to))
}

// rows checks what a node reads: the numbers from 1 to n, each once.
func (e *election) rows(name string, n int) {
	e.t.Helper()
	want := fmt.Sprintf("%d|%d|%d", n, n, n*(n+1)/2)
	if got := sqlite(e.t, e.nodes[name].path("db"), "SELECT count(*), max(i), sum(i) FROM t"); got != want {
		e.t.Errorf("node %s has %s, want %s", name, got, want)
	}
}

// begin has node a lead, with one row in WAL mode.
func (e *election) begin() {
	e.t.Helper()
	e.start("a").waitFor(e.t, "primary lease acquired")
	e.nodes["a"].waitFor(e.t, "LiteFS mounted to")
	sqlite(e.t, e.nodes["a"].path("db"), "PRAGMA journal_mode = wal; CREATE TABLE t (i INTEGER)")
	e.insert("a", 1, 1)
}

// A node that has never been in line with the cluster does not lead it, even if it is
// the only one there is.
func TestFailoverEmptyNode(t *testing.T) {
	e := newElection(t)
	defer e.stopAll()
	e.begin()
	e.kill("a")
	e.start("b")
	e.remains("b", "it has never been in line with a primary")
	e.start("a").waitFor(t, "primary lease acquired")
	e.nodes["a"].waitFor(t, "LiteFS mounted to")
	e.nodes["b"].waitFor(t, "existing primary found")
	e.agree("a")
	e.rows("b", 1)
}

// A node that has slept through a hundred transactions does not lead when it is the first
// to wake; one that has them does.
func TestFailoverStaleNode(t *testing.T) {
	e := newElection(t)
	defer e.stopAll()
	e.begin()
	for _, name := range []string{"b", "c"} {
		e.start(name).waitFor(t, "LiteFS mounted to")
	}
	e.agree("a")
	e.stop("b")
	for i := 2; i <= 101; i++ {
		e.insert("a", i, i)
	}
	e.agree("a")
	time.Sleep(time.Second) // what replicas have is put on record several times a second
	e.kill("a")
	e.kill("c")
	e.start("b")
	e.remains("b", `database \"db\" is at`)
	e.start("c").waitFor(t, "primary lease acquired")
	e.nodes["b"].waitFor(t, "existing primary found")
	e.agree("c")
	e.rows("b", 101)
	e.start("a").waitFor(t, "existing primary found")
	e.agree("c")
	e.rows("a", 101)
}

// What a primary has committed while it was alone, and has stopped with in order, is
// waited for: the others do not lead without it.
func TestFailoverWaitsForStopped(t *testing.T) {
	e := newElection(t)
	defer e.stopAll()
	e.begin()
	for _, name := range []string{"b", "c"} {
		e.start(name).waitFor(t, "LiteFS mounted to")
	}
	e.agree("a")
	e.kill("b")
	e.kill("c")
	e.insert("a", 2, 50)
	e.stop("a")
	e.start("b")
	e.start("c")
	e.remains("b", `database \"db\" is at`)
	e.remains("c", `database \"db\" is at`)
	e.start("a").waitFor(t, "primary lease acquired")
	e.nodes["a"].waitFor(t, "LiteFS mounted to")
	e.agree("a")
	for _, name := range []string{"a", "b", "c"} {
		e.rows(name, 50)
	}
}

// A primary that dies is replaced by a node that has what was on record, and comes back
// as its replica.
func TestFailover(t *testing.T) {
	e := newElection(t)
	defer e.stopAll()
	e.begin()
	e.start("b").waitFor(t, "LiteFS mounted to")
	e.agree("a")
	e.kill("a")
	e.nodes["b"].waitFor(t, "primary lease acquired")
	e.insert("b", 2, 2)
	e.start("a").waitFor(t, "existing primary found")
	e.agree("b")
	e.rows("a", 2)
}

// A primary that is killed and is back at once waits for its own lease to expire, and
// does not follow itself.
func TestFailoverToItself(t *testing.T) {
	e := newElection(t)
	defer e.stopAll()
	e.begin()
	e.insert("a", 2, 2)
	addr := strings.TrimPrefix(e.nodes["a"].url(t), "http://")
	e.stop("a")
	e.start("a", "--http-addr", addr).waitFor(t, "primary lease acquired")
	e.kill("a")
	a := e.start("a", "--http-addr", addr)
	a.waitFor(t, "the lease is held in this node's own name")
	a.waitFor(t, "primary lease acquired")
	for _, line := range a.log {
		if strings.Contains(line, "connecting as replica") {
			t.Errorf("node follows itself: %s", line)
		}
	}
	a.waitFor(t, "LiteFS mounted to")
	e.rows("a", 2)
}

// An operator who knows that the data is gone has a node lead without it.
func TestFailoverOverride(t *testing.T) {
	e := newElection(t)
	defer e.stopAll()
	e.begin()
	e.start("b").waitFor(t, "LiteFS mounted to")
	e.agree("a")
	e.kill("b")
	e.insert("a", 2, 9)
	e.stop("a")
	b := e.start("b")
	e.remains("b", `database \"db\" is at`)
	host, port, _ := strings.Cut(e.redis, ":")
	if out, err := exec.Command("redis-cli", "-h", host, "-p", port, "HDEL", "{litefs/primary}:cluster", "positions").CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "1" {
		t.Fatalf("redis-cli: %v, %s", err, out)
	}
	b.waitFor(t, "primary lease acquired")
	e.rows("b", 1)
	e.insert("b", 2, 3)
	a := e.start("a")
	a.waitFor(t, "existing primary found")
	e.agree("b")
	e.rows("a", 3)
	a.waitFor(t, "set aside")
}
