package sqlitetest_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"litefs"
	"litefs/internal/mounttest"
	"litefs/internal/sqlitetest"
	"litefs/ltx"
)

// pair is a primary and a replica, both mounted, and what goes from one to the
// other without a network.
type pair struct {
	primary, replica *mounttest.Node
	early            atomic.Bool // the replica is one before it is mounted
}

func startPair(t *testing.T, options mounttest.Options) *pair {
	t.Helper()
	configure := options.Configure
	options.NoLeakCheck = true
	options.Configure = func(s *litefs.Store) {
		s.BackgroundCheckpoint = true
		if configure != nil {
			configure(s)
		}
	}
	p := &pair{primary: mounttest.Start(t, options)}
	both := options.Configure
	options.Configure = func(s *litefs.Store) {
		both(s)
		if p.early.Load() {
			if err := s.BecomeReplica(t.Context(), nil); err != nil {
				t.Error(err)
			}
		}
	}
	p.replica = mounttest.Start(t, options)
	if err := p.replica.Store.BecomeReplica(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	return p
}

// env returns where SQLite finds the databases of a node.
func env(t *testing.T, node *mounttest.Node) *sqlitetest.Env {
	t.Helper()
	return &sqlitetest.Env{T: t, Dir: node.Dir(), Mount: node}
}

// ship brings a database of the replica to where the primary's is, by files of the
// log or, where those do not fit, by the difference.
func (p *pair) ship(t *testing.T, name string) {
	t.Helper()
	src := p.primary.Store.DB(name)
	if err := src.Gate(); err != nil {
		t.Fatal(err)
	}
	dst, err := p.replica.Store.CreateDBIfNotExists(name)
	if err != nil {
		t.Fatal(err)
	}
	var files []*litefs.ReceivedLTX
	for pos := dst.Pos(); pos != src.Pos(); {
		file, err := src.OpenLTXAfter(pos)
		if errors.Is(err, litefs.ErrLTXNotFound) {
			p.apply(t, dst, files)
			files = nil
			p.shipDifference(t, name)
			pos = dst.Pos()
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		received, err := dst.ReceiveLTX(t.Context(), file)
		if err := errors.Join(err, file.Close()); err != nil {
			t.Fatal(err)
		}
		files = append(files, received)
		pos = ltx.Pos{TXID: received.Header().MaxTXID, PostApplyChecksum: received.Trailer().PostApplyChecksum}
	}
	p.apply(t, dst, files)
	if dst.Pos() != src.Pos() {
		t.Fatalf("replica is at %s, primary at %s", dst.Pos(), src.Pos())
	}
}

func (p *pair) apply(t *testing.T, dst *litefs.DB, files []*litefs.ReceivedLTX) {
	t.Helper()
	if err := dst.ApplyLTX(t.Context(), files...); err != nil {
		t.Fatal(err)
	}
}

// shipDifference brings the replica in line page by page.
func (p *pair) shipDifference(t *testing.T, name string) {
	t.Helper()
	src, dst := p.primary.Store.DB(name), p.replica.Store.DB(name)
	var sums, diff bytes.Buffer
	base, err := dst.WritePageSums(t.Context(), &sums)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := src.WriteDifferenceTo(t.Context(), &diff, base, &sums); err != nil {
		t.Fatal(err)
	}
	received, err := dst.ReceiveLTX(t.Context(), &diff)
	if err != nil {
		t.Fatal(err)
	}
	if err := dst.ApplyDifference(t.Context(), received); err != nil {
		t.Fatal(err)
	}
}

// eachPassthrough runs a test with and without passthrough.
func eachPassthrough(t *testing.T, run func(t *testing.T, options mounttest.Options)) {
	t.Helper()
	for _, off := range []bool{false, true} {
		t.Run(fmt.Sprintf("passthrough=%t", !off), func(t *testing.T) { run(t, mounttest.Options{NoPassthrough: off}) })
	}
}

// TestReplicaSnapshot has a reader keep what it sees while transactions arrive, and
// see the newest in its next transaction.
func TestReplicaSnapshot(t *testing.T) {
	eachPassthrough(t, func(t *testing.T, options mounttest.Options) {
		t.Helper()
		p := startPair(t, options)
		writer := env(t, p.primary).Connect(t, "db")
		writer.Want(t, "wal", "PRAGMA journal_mode = wal")
		writer.Exec(t, "CREATE TABLE t (id INTEGER PRIMARY KEY, x)", "INSERT INTO t (x) VALUES (zeroblob(3000))")
		p.ship(t, "db")
		reader, other := env(t, p.replica).Connect(t, "db"), env(t, p.replica).Connect(t, "db")
		reader.Exec(t, "BEGIN")
		reader.Want(t, "1", "SELECT count(*) FROM t")
		for i := range 150 {
			writer.Exec(t, "INSERT INTO t (x) VALUES (randomblob(9000))")
			p.ship(t, "db")
			if i%50 == 0 {
				reader.Want(t, "1", "SELECT count(*) FROM t")
				other.Want(t, fmt.Sprint(i+2), "SELECT count(*) FROM t")
			}
		}
		reader.Want(t, "1", "SELECT count(*) FROM t")
		reader.Exec(t, "COMMIT")
		reader.Want(t, "151", "SELECT count(*) FROM t")
		reader.Want(t, "ok", "PRAGMA integrity_check")
		for range 200 { // now nothing keeps the WAL from being restarted
			writer.Exec(t, "UPDATE t SET x = randomblob(9000) WHERE id = abs(random()) % 150")
			p.ship(t, "db")
		}
		if info, err := os.Stat(p.replica.Path("db-wal")); err != nil || info.Size() > 10<<20 {
			t.Errorf("WAL: %v, %v; want it bounded", info.Size(), err)
		}
		if reader.Digest(t) != writer.Digest(t) {
			t.Error("replica does not hold what the primary does")
		}
	})
}

// TestReplicaRefusesWrites has programs on a replica told that they cannot write.
func TestReplicaRefusesWrites(t *testing.T) {
	eachPassthrough(t, func(t *testing.T, options mounttest.Options) {
		t.Helper()
		const readonly = "attempt to write a readonly database"
		for _, mode := range []string{"delete", "truncate", "persist", "wal"} {
			t.Run(mode, func(t *testing.T) {
				options.Configure = func(s *litefs.Store) { s.ReplicaWrites = litefs.ReplicaWritesReadonly }
				p := startPair(t, options)
				writer := env(t, p.primary).Connect(t, "db")
				writer.Exec(t, "PRAGMA journal_mode = "+mode, "CREATE TABLE t (x)", "INSERT INTO t VALUES (1)")
				p.ship(t, "db")
				c := env(t, p.replica).Connect(t, "db")
				c.Want(t, "1", "SELECT count(*) FROM t")
				c.Exec(t, "PRAGMA journal_mode = "+mode)
				c.Fails(t, readonly, "INSERT INTO t VALUES (2)")
				c.Want(t, "1", "SELECT count(*) FROM t")
				for _, script := range []string{
					"rm db", "rm -f db db-wal && test ! -e db", "echo x >> db", ": > db", "touch new", "sqlite3 new 'CREATE TABLE t (x)'",
				} {
					cmd := exec.Command("sh", "-c", "cd "+p.replica.Dir()+" && "+script)
					if out, err := cmd.CombinedOutput(); err == nil {
						t.Errorf("%s: a program changes the files of a replica: %s", script, out)
					}
				}
				writer.Exec(t, "INSERT INTO t VALUES (2)")
				p.ship(t, "db")
				c.Want(t, "2", "SELECT count(*) FROM t")
			})
		}
	})
}

// TestReplicaWritesWait has a writer wait for the lock, and go on once its node is
// the primary.
func TestReplicaWritesWait(t *testing.T) {
	eachPassthrough(t, func(t *testing.T, options mounttest.Options) {
		t.Helper()
		p := startPair(t, options)
		writer := env(t, p.primary).Connect(t, "db")
		writer.Exec(t, "PRAGMA journal_mode = wal", "CREATE TABLE t (x)", "INSERT INTO t VALUES (1)")
		p.ship(t, "db")
		c := env(t, p.replica).Connect(t, "db", "_busy_timeout=20000")
		c.Want(t, "1", "SELECT count(*) FROM t")
		done := c.Start("INSERT INTO t VALUES (2)")
		before := p.replica.Store.DB("db").Pos()
		if err := p.replica.Store.BecomePrimary(t.Context()); err != nil {
			t.Fatal(err)
		}
		if msg := done(); msg != "" {
			t.Fatal(msg)
		}
		c.Want(t, "2", "SELECT count(*) FROM t")
		if pos := p.replica.Pos(t, "db"); pos.TXID != before.TXID+1 {
			t.Errorf("position %s after %s and one transaction", pos, before)
		}
	})
}

// TestRolesChange has two nodes change places again and again, with connections
// open on both.
func TestRolesChange(t *testing.T) {
	eachPassthrough(t, func(t *testing.T, options mounttest.Options) {
		t.Helper()
		for _, modes := range [][]string{{"delete"}, {"persist"}, {"wal"}, {"wal", "delete", "wal", "persist", "truncate"}} {
			t.Run(strings.Join(modes, ","), func(t *testing.T) {
				p := startPair(t, options)
				a := env(t, p.primary).Connect(t, "db", "_busy_timeout=50")
				a.Exec(t, "PRAGMA journal_mode = "+modes[0], "CREATE TABLE t (x)")
				p.ship(t, "db")
				b := env(t, p.replica).Connect(t, "db", "_busy_timeout=50")
				for i := range 12 {
					a.Exec(t, "PRAGMA journal_mode = "+modes[i%len(modes)], "INSERT INTO t VALUES (randomblob(5000))")
					p.ship(t, "db")
					b.Want(t, fmt.Sprint(i+1), "SELECT count(*) FROM t")
					if err := p.primary.Store.BecomeReplica(t.Context(), nil); err != nil {
						t.Fatal(err)
					}
					if msg := a.Try(t, "INSERT INTO t VALUES (0)"); msg == "" {
						t.Fatal("a node that has stepped down takes writes")
					}
					if err := p.replica.Store.BecomePrimary(t.Context()); err != nil {
						t.Fatal(err)
					}
					a, b = b, a
					p.primary, p.replica = p.replica, p.primary
				}
				if a.Digest(t) != b.Digest(t) {
					t.Error("the nodes differ")
				}
			})
		}
	})
}

// TestReplicaDrop has a database vanish and come back on the replica.
func TestReplicaDrop(t *testing.T) {
	eachPassthrough(t, func(t *testing.T, options mounttest.Options) {
		t.Helper()
		p := startPair(t, options)
		for i, mode := range []string{"wal", "delete", "wal", "wal"} {
			if _, err := os.Stat(p.replica.Path("db")); !os.IsNotExist(err) {
				t.Fatalf("database on the replica: %v", err)
			}
			c := env(t, p.primary).Connect(t, "db")
			c.Exec(t, "PRAGMA journal_mode = "+mode, "CREATE TABLE t (x)", fmt.Sprintf("INSERT INTO t VALUES (%d)", i))
			p.ship(t, "db")
			reader := env(t, p.replica).Connect(t, "db")
			reader.Want(t, fmt.Sprint(i), "SELECT x FROM t")
			c.Close(t)
			env(t, p.primary).Remove(t, "db")
			p.ship(t, "db")
			reader.Close(t)
		}
		entries, err := os.ReadDir(p.replica.Dir())
		if err != nil || len(entries) > 2 {
			t.Errorf("%v, %v are left of a database that was dropped", entries, err)
		}
	})
}

// restart starts the replica again. early has it be one before it is mounted, and a
// program open the database at once.
func (p *pair) restart(t *testing.T, early bool) {
	t.Helper()
	p.early.Store(early)
	p.replica.Restart(t)
	if early {
		c := env(t, p.replica).Connect(t, "db", "_busy_timeout=50")
		if msg := c.Try(t, "CREATE TABLE u (x)"); msg == "" {
			t.Error("a replica takes a write before it has its locks")
		}
		c.Close(t)
		return
	}
	if err := p.replica.Store.BecomeReplica(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

// TestReplicaRestart has a replica stop and start in the middle, and programs wait
// to open its databases until it has taken its locks.
func TestReplicaRestart(t *testing.T) {
	eachPassthrough(t, func(t *testing.T, options mounttest.Options) {
		t.Helper()
		for _, mode := range []string{"wal", "delete"} {
			p := startPair(t, options)
			writer := env(t, p.primary).Connect(t, "db")
			writer.Exec(t, "PRAGMA journal_mode = "+mode, "CREATE TABLE t (x)")
			for i := range 4 {
				writer.Exec(t, "INSERT INTO t VALUES (randomblob(100000))")
				p.ship(t, "db")
				before := p.replica.Store.DB("db").Pos()
				early := i%2 == 0
				p.restart(t, early)
				if pos := p.replica.Store.DB("db").Pos(); pos != before {
					t.Fatalf("position %s after a restart at %s", pos, before)
				}
				writer.Exec(t, "DELETE FROM t WHERE rowid % 3 = 0")
				p.ship(t, "db")
				c := env(t, p.replica).Connect(t, "db")
				c.Want(t, writer.Query(t, "SELECT count(*) FROM t"), "SELECT count(*) FROM t")
				c.Want(t, "ok", "PRAGMA integrity_check")
				c.Close(t)
			}
			writer.Close(t)
		}
	})
}
