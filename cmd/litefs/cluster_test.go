package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"litefs/httpapi"
)

// settleTimeout is how long a replica may take to have what the primary has.
const settleTimeout = 20 * time.Second

var listenLine = regexp.MustCompile(`http server listening on: (http://[0-9.:]+)`)

// startPrimary starts a primary below base and returns it with its URL.
func startPrimary(t *testing.T, base string, args ...string) (*daemon, string) {
	t.Helper()
	d := startMountIn(t, base, append([]string{"--lease-hostname", "bert"}, args...)...)
	d.waitFor(t, "primary lease acquired")
	return d, d.url(t)
}

// startReplica starts a replica below base of the primary at url.
func startReplica(t *testing.T, base, url string, args ...string) *daemon {
	t.Helper()
	return startMountIn(t, base, append([]string{
		"--lease-static-primary=false", "--lease-hostname", "bert", "--lease-advertise-url", url, "--lease-reconnect-delay", "100ms",
	}, args...)...)
}

// startPair starts a primary and a replica of it.
func startPair(t *testing.T) (primary, replica *daemon) {
	t.Helper()
	primary, url := startPrimary(t, t.TempDir())
	replica = startReplica(t, t.TempDir(), url)
	replica.waitFor(t, "LiteFS mounted to")
	return primary, replica
}

// url waits until the daemon listens and returns its URL.
func (d *daemon) url(t *testing.T) string {
	t.Helper()
	return listenLine.FindStringSubmatch(d.waitFor(t, "http server listening on"))[1]
}

func (d *daemon) path(name string) string { return filepath.Join(d.dir, name) }

// pos returns the position of a database, "" if there is none.
func (d *daemon) pos(name string) string {
	pos, err := os.ReadFile(d.path(name + "-pos"))
	if err != nil {
		return ""
	}
	return string(pos)
}

// eventually waits until ok reports true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(settleTimeout); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", settleTimeout, what)
		}
	}
}

// settle waits until the replica has the primary's position in a database, and
// compares what SQLite reads on both.
func settle(t *testing.T, primary, replica *daemon, name string) {
	t.Helper()
	want := primary.pos(name)
	eventually(t, name+" on the replica is at the primary's position "+want, func() bool {
		return replica.pos(name) == want
	})
	if a, b := sqlite(t, primary.path(name), ".dump"), sqlite(t, replica.path(name), ".dump"); a != b {
		t.Errorf("at position %s %s holds\n%.1000s\non the primary and\n%.1000s\non the replica", want, name, a, b)
	}
	if got := sqlite(t, replica.path(name), "PRAGMA integrity_check"); got != "ok" {
		t.Errorf("integrity of %s on the replica: %s", name, got)
	}
}

func getInfo(t *testing.T, url string) httpapi.Info {
	t.Helper()
	resp, err := http.Get(url + "/info")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var info httpapi.Info
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&info); err != nil {
		t.Fatal(err)
	}
	return info
}

// What the README shows: rows written on the primary are read on the replica, which
// refuses writes, knows its primary, and says how far it is behind.
func TestReplica(t *testing.T) {
	primary, primaryURL := startPrimary(t, t.TempDir())
	replica := startReplica(t, t.TempDir(), primaryURL)
	replica.waitFor(t, "existing primary found ("+primaryURL+"), connecting as replica")
	replicaURL := replica.url(t)
	sqlite(t, primary.path("data.db"), `CREATE TABLE movies (title TEXT, rating INT)`)
	sqlite(t, primary.path("data.db"), `INSERT INTO movies VALUES ('The Jerk', 10); INSERT INTO movies VALUES ('Election', 9)`)
	settle(t, primary, replica, "data.db")
	if got := sqlite(t, replica.path("data.db"), "SELECT * FROM movies"); got != "The Jerk|10\nElection|9" {
		t.Errorf("the replica reads %q", got)
	}
	out, err := exec.Command("sqlite3", replica.path("data.db"), "INSERT INTO movies VALUES ('Chairman of the Board', 1)").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "attempt to write a readonly database") {
		t.Errorf("a write on the replica: %v, %s", err, out)
	}
	if got, err := os.ReadFile(replica.path(".primary")); err != nil || string(got) != "bert\n" {
		t.Errorf(".primary on the replica: %q, %v", got, err)
	}
	if _, err := os.Stat(primary.path(".primary")); !os.IsNotExist(err) {
		t.Errorf(".primary on the primary: %v, want that it does not exist", err)
	}
	if lag, err := os.ReadFile(primary.path(".lag")); err != nil || string(lag) != "0\n" {
		t.Errorf(".lag on the primary: %q, %v", lag, err)
	}
	lag, err := os.ReadFile(replica.path(".lag"))
	if ms, perr := time.ParseDuration(strings.TrimSpace(string(lag)) + "ms"); err != nil || perr != nil || ms <= 0 || ms > settleTimeout {
		t.Errorf(".lag on the replica: %q, %v", lag, err)
	}
	a, b := getInfo(t, primaryURL), getInfo(t, replicaURL)
	if a.Role != httpapi.RolePrimary || a.Primary != nil || !a.Ready || a.ClusterID == "" {
		t.Errorf("/info of the primary: %+v", a)
	}
	if b.Role != httpapi.RoleReplica || b.Primary == nil || b.Primary.AdvertiseURL != primaryURL || !b.Ready || b.ClusterID != a.ClusterID || b.NodeID == a.NodeID {
		t.Errorf("/info of the replica: %+v", b)
	}
	if pos := strings.TrimSpace(primary.pos("data.db")); a.Databases["data.db"].Pos != pos || b.Databases["data.db"].Pos != pos {
		t.Errorf("/info has positions %v and %v, want %s", a.Databases, b.Databases, pos)
	}
	replica.stop(t, 0)
	primary.stop(t, 0)
	if log := strings.Join(primary.log, "\n"); !strings.Contains(log, "exiting primary, destroying lease") {
		t.Errorf("the primary's log:\n%s", log)
	}
}

// Every journal mode, switches between them, VACUUM to another page size, and a
// database that is dropped and made again.
func TestReplicaJournalModes(t *testing.T) {
	primary, replica := startPair(t)
	const rows = `WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 2000)
		INSERT INTO t SELECT NULL, hex(randomblob(100)) FROM n;`
	for _, mode := range []string{"delete", "truncate", "persist", "wal"} {
		t.Run(mode, func(t *testing.T) {
			name := mode + ".db"
			sqlite(t, primary.path(name), "PRAGMA journal_mode="+mode+"; CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT);"+rows)
			settle(t, primary, replica, name)
			sqlite(t, primary.path(name), "PRAGMA journal_mode="+mode+"; DELETE FROM t WHERE id > 1; VACUUM; UPDATE t SET x = 'one'")
			settle(t, primary, replica, name)
			sqlite(t, primary.path(name), "PRAGMA journal_mode="+mode+";"+rows+"BEGIN; UPDATE t SET x = 'gone'; ROLLBACK; DELETE FROM t WHERE id % 3 = 0")
			settle(t, primary, replica, name)
		})
	}
	t.Run("switch", func(t *testing.T) {
		for _, mode := range []string{"delete", "wal", "persist", "wal", "truncate"} {
			sqlite(t, primary.path("switch.db"), "PRAGMA journal_mode="+mode+"; CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, x TEXT);"+rows)
			settle(t, primary, replica, "switch.db")
		}
	})
	t.Run("page size", func(t *testing.T) {
		sqlite(t, primary.path("delete.db"), "PRAGMA journal_mode=delete; PRAGMA page_size=512; VACUUM")
		settle(t, primary, replica, "delete.db")
	})
	t.Run("drop", func(t *testing.T) {
		if err := os.Remove(primary.path("persist.db")); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the dropped database is gone from the replica", func() bool {
			_, err := os.Stat(replica.path("persist.db"))
			return os.IsNotExist(err)
		})
		sqlite(t, primary.path("persist.db"), "CREATE TABLE again(x); INSERT INTO again VALUES (1)")
		settle(t, primary, replica, "persist.db")
	})
}

// A replica that was away is brought up to date by the log, whichever way it went.
func TestReplicaRestarts(t *testing.T) {
	primary, url := startPrimary(t, t.TempDir())
	base := t.TempDir()
	sqlite(t, primary.path("data.db"), "PRAGMA journal_mode=wal; CREATE TABLE t(x)")
	for round, end := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGTERM} {
		replica := startReplica(t, base, url)
		replica.waitFor(t, "LiteFS mounted to")
		sqlite(t, primary.path("data.db"), "INSERT INTO t VALUES ('while it is there')")
		settle(t, primary, replica, "data.db")
		if round > 0 {
			if n := sqlite(t, replica.path("data.db"), "SELECT count(*) FROM t"); n == "1" {
				t.Errorf("%s rows in round %d", n, round)
			}
		}
		if err := replica.cmd.Process.Signal(end); err != nil {
			t.Fatal(err)
		}
		replica.drain()
		if log := strings.Join(replica.log, "\n"); round > 0 && strings.Contains(log, "page difference") {
			t.Errorf("the log did not serve the replica in round %d:\n%s", round, log)
		}
		sqlite(t, primary.path("data.db"), "INSERT INTO t VALUES ('while it is away')")
	}
}

// drain reads the log to its end and waits for the process.
func (d *daemon) drain() {
	for line := range d.lines {
		d.log = append(d.log, line)
	}
	_ = d.cmd.Wait() // whatever ended it
}

// A primary that is killed or stopped comes back on the same address; the replica
// serves reads meanwhile, says that it is behind, and finds it again.
func TestPrimaryRestarts(t *testing.T) {
	base := t.TempDir()
	primary, url := startPrimary(t, base)
	addr := strings.TrimPrefix(url, "http://")
	replica := startReplica(t, t.TempDir(), url)
	replica.waitFor(t, "LiteFS mounted to")
	sqlite(t, primary.path("data.db"), "PRAGMA journal_mode=wal; CREATE TABLE t(x)")
	for _, end := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		settle(t, primary, replica, "data.db")
		if err := primary.cmd.Process.Signal(end); err != nil {
			t.Fatal(err)
		}
		primary.drain()
		replica.waitFor(t, "disconnected from primary, retrying")
		before := sqlite(t, replica.path("data.db"), "SELECT count(*) FROM t")
		primary, _ = startPrimary(t, base, "--http-addr", addr)
		sqlite(t, primary.path("data.db"), "INSERT INTO t VALUES (1)")
		settle(t, primary, replica, "data.db")
		if after := sqlite(t, replica.path("data.db"), "SELECT count(*) FROM t"); after == before {
			t.Errorf("%s rows before and after", after)
		}
	}
}

// A primary that is told to stop in the middle of a stream of commits goes when its
// replica has every one that was acknowledged, and does not take long. That holds for
// a writer that gives up on the locks, and for one that waits until the mount is gone.
func TestPrimaryStopsWithoutLoss(t *testing.T) {
	for name, timeout := range map[string]string{"short busy timeout": "100", "long busy timeout": "10000"} {
		t.Run(name, func(t *testing.T) { stopWithoutLoss(t, timeout) })
	}
}

func stopWithoutLoss(t *testing.T, busyTimeout string) {
	t.Helper()
	primary, replica := startPair(t)
	db := primary.path("data.db")
	sqlite(t, db, "PRAGMA journal_mode=wal; CREATE TABLE t (id INTEGER PRIMARY KEY)")
	writer := exec.Command("sqlite3", "-cmd", ".timeout "+busyTimeout, "-cmd", ".bail on", db)
	stdin, err := writer.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := writer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		for i := 1; ; i++ {
			if _, err := fmt.Fprintf(stdin, "INSERT INTO t VALUES (%d); SELECT %d;\n", i, i); err != nil {
				return // the shell has ended
			}
		}
	}()
	acknowledged := 0
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		n, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Fatalf("the shell printed %q", lines.Text())
		}
		if acknowledged = n; n == 500 {
			if err := primary.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = writer.Wait() // with the error of the first write that was refused
	began := time.Now()
	primary.wait(t, 0)
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the primary took %v to stop", took)
	}
	rows := sqlite(t, replica.path("data.db"), "SELECT count(*), max(id) FROM t")
	if want := fmt.Sprintf("%d|%d", acknowledged, acknowledged); rows != want {
		t.Errorf("the replica has %s rows, %s were acknowledged; log of the primary:\n%s", rows, want, strings.Join(primary.log, "\n"))
	}
	if acknowledged < 500 {
		t.Errorf("only %d commits were made", acknowledged)
	}
}

// A command that is told to stop can still write, and its replica gets that too.
func TestPrimaryCommandWritesLast(t *testing.T) {
	base := t.TempDir()
	primary, url := startPrimary(t, base, "--", "sh", "-c", `sqlite3 "$0" "CREATE TABLE t(x)"
		trap 'sqlite3 "$0" "INSERT INTO t VALUES (42)"; exit 3' TERM
		echo "the command is rea""dy" >&2
		while :; do sleep 0.05; done`, filepath.Join(base, "db", "data.db"))
	primary.waitFor(t, "the command is ready")
	replica := startReplica(t, t.TempDir(), url)
	replica.waitFor(t, "LiteFS mounted to")
	settle(t, primary, replica, "data.db")
	primary.stop(t, 3)
	if got := sqlite(t, replica.path("data.db"), "SELECT x FROM t"); got != "42" {
		t.Errorf("the replica has %q, want the row that was written last", got)
	}
	var shutdown []string
	for _, line := range primary.log {
		for _, text := range []string{"stream disconnected", "exiting primary, destroying lease"} {
			if strings.Contains(line, text) {
				shutdown = append(shutdown, text)
			}
		}
	}
	if len(shutdown) != 2 {
		t.Errorf("the primary's log:\n%s", strings.Join(primary.log, "\n"))
	}
}

// The commands of a replica run once it has caught up, and not before.
func TestReplicaRunsCommandWhenReady(t *testing.T) {
	base := t.TempDir()
	primary, url := startPrimary(t, base)
	addr := strings.TrimPrefix(url, "http://")
	sqlite(t, primary.path("data.db"), "CREATE TABLE t(x); INSERT INTO t VALUES (42)")
	primary.stop(t, 0)
	replicaBase := t.TempDir()
	replica := startReplica(t, replicaBase, url, "--", "sqlite3", filepath.Join(replicaBase, "db", "data.db"), "SELECT 'read ' || x FROM t")
	replica.waitFor(t, "waiting to connect to cluster")
	replicaURL := "" // printed before
	for _, line := range replica.log {
		if m := listenLine.FindStringSubmatch(line); m != nil {
			replicaURL = m[1]
		}
	}
	if resp, err := http.Get(replicaURL + "/readyz"); err != nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("/readyz of a replica that has not caught up: %v, %v", resp, err)
	} else {
		resp.Body.Close()
	}
	if resp, err := http.Get(replicaURL + "/healthz"); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("/healthz of a replica that has not caught up: %v, %v", resp, err)
	} else {
		resp.Body.Close()
	}
	startPrimary(t, base, "--http-addr", addr)
	replica.waitFor(t, "connected to cluster, ready")
	replica.wait(t, 0)
}

// A replica that waits for its primary stops when it is told to.
func TestReplicaStopsWithoutPrimary(t *testing.T) {
	replica := startReplica(t, t.TempDir(), "http://127.0.0.1:1", "--", "false")
	replica.waitFor(t, "waiting to connect to cluster")
	replica.stop(t, 0)
	if log := strings.Join(replica.log, "\n"); strings.Contains(log, "started a command") {
		t.Errorf("the command was run:\n%s", log)
	}
}

// A node with content of its own is brought in line with the primary, and what it had
// is set aside.
func TestReplicaThatHasDiverged(t *testing.T) {
	base := t.TempDir()
	former, _ := startPrimary(t, base)
	sqlite(t, former.path("data.db"), "CREATE TABLE t(x); INSERT INTO t VALUES ('mine')")
	former.stop(t, 0)
	if err := os.Remove(filepath.Join(base, "data", "cluster")); err != nil { // else it is refused
		t.Fatal(err)
	}
	primary, url := startPrimary(t, t.TempDir())
	sqlite(t, primary.path("data.db"), "CREATE TABLE t(x); INSERT INTO t VALUES ('yours')")
	replica := startReplica(t, base, url)
	replica.waitFor(t, "LiteFS mounted to")
	settle(t, primary, replica, "data.db")
	copies, err := filepath.Glob(filepath.Join(base, "data", "dbs", "data.db", "diverged", "*", "database"))
	if err != nil || len(copies) != 1 {
		t.Fatalf("copies that were set aside: %v, %v; want one", copies, err)
	}
	if got := sqlite(t, copies[0], "SELECT x FROM t"); got != "mine" {
		t.Errorf("the copy that was set aside holds %q, want what the node had", got)
	}
}

// Two nodes that were primaries of their own do not mix.
func TestReplicaOfAnotherCluster(t *testing.T) {
	base := t.TempDir()
	former, _ := startPrimary(t, base)
	sqlite(t, former.path("data.db"), "CREATE TABLE t(x); INSERT INTO t VALUES ('mine')")
	pos := former.pos("data.db")
	former.stop(t, 0)
	_, url := startPrimary(t, t.TempDir())
	replica := startReplica(t, base, url)
	replica.waitFor(t, "another cluster")
	if got := replica.pos("data.db"); got != pos {
		t.Errorf("position is %q, want %q as before", got, pos)
	}
	replica.stop(t, 0)
}
