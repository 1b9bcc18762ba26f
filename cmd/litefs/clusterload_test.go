package main

import (
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// transfers is SQL that moves amounts between rows, n transactions of it. The sum
// over all rows stays 1000 in each.
func transfers(n int) string {
	var script strings.Builder
	for i := range n {
		fmt.Fprintf(&script, `BEGIN IMMEDIATE; UPDATE t SET x = x - %[1]d WHERE id = %[2]d; UPDATE t SET x = x + %[1]d, pad = randomblob(%[4]d) WHERE id = %[3]d; COMMIT;`,
			i%7+1, i%10+1, (i*3+5)%10+1, i*37%3000)
	}
	return script.String()
}

// shell runs SQL in a sqlite3 of its own that waits for locks.
func shell(path, sql string) (string, error) {
	out, err := exec.Command("sqlite3", "-cmd", ".timeout 10000", path, sql).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// Writers in every journal mode at once, readers on the replica that must never see
// half a transaction, and a replica that is killed in the middle.
func TestReplicaUnderLoad(t *testing.T) {
	primary, url := startPrimary(t, t.TempDir())
	base := t.TempDir()
	replica := startReplica(t, base, url)
	replica.waitFor(t, "LiteFS mounted to")
	names := []string{"wal.db", "delete.db", "truncate.db", "persist.db"}
	for _, name := range names {
		sqlite(t, primary.path(name), "PRAGMA journal_mode="+strings.TrimSuffix(name, ".db")+`;
			CREATE TABLE t (id INTEGER PRIMARY KEY, x INT, pad BLOB);
			WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10) INSERT INTO t SELECT i, 100, NULL FROM n`)
		settle(t, primary, replica, name)
	}
	var (
		work  sync.WaitGroup
		stop  atomic.Bool
		reads atomic.Int64
		down  atomic.Bool // the replica is, and a reader may fail
	)
	for _, name := range names {
		mode := strings.TrimSuffix(name, ".db")
		work.Go(func() {
			for !stop.Load() {
				if out, err := shell(primary.path(name), "PRAGMA journal_mode="+mode+";"+transfers(20)); err != nil {
					t.Errorf("write to %s: %v: %.300s", name, err, out)
					return
				}
			}
		})
		work.Go(func() {
			for !stop.Load() {
				before := down.Load()
				out, err := shell(replica.path(name), "SELECT sum(x), count(*) FROM t")
				switch {
				case err == nil && out == "1000|10":
					reads.Add(1)
				case before || down.Load():
					time.Sleep(10 * time.Millisecond)
				default:
					t.Errorf("read of %s on the replica: %q, %v", name, out, err)
					return
				}
			}
		})
	}
	time.Sleep(1500 * time.Millisecond)
	down.Store(true)
	if err := replica.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	replica.drain()
	again := startReplica(t, base, url)
	again.waitFor(t, "LiteFS mounted to")
	time.Sleep(500 * time.Millisecond) // for programs that still have files of the old mount open
	down.Store(false)
	time.Sleep(1500 * time.Millisecond)
	stop.Store(true)
	work.Wait()
	for _, name := range names {
		settle(t, primary, again, name)
	}
	if reads.Load() < 20 {
		t.Errorf("only %d reads succeeded", reads.Load())
	}
	t.Logf("%d reads, positions %v", reads.Load(), getInfo(t, url).Databases)
	again.stop(t, 0)
	primary.stop(t, 0)
}
