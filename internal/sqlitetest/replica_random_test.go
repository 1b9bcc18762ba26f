package sqlitetest_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"litefs/internal/mounttest"
	"litefs/internal/sqlitetest"
)

// TestReplicaRandom has readers check a replica while all that SQLite can do arrives.
func TestReplicaRandom(t *testing.T) {
	eachPassthrough(t, func(t *testing.T, options mounttest.Options) {
		t.Helper()
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		p := startPair(t, options)
		r := &randomSQL{Rand: rand.New(rand.NewPCG(seed, 0)), env: env(t, p.primary)}
		r.create(t)
		p.ship(t, "db")
		stop := startReaders(t, p.replica)
		steps := 250
		if sqlitetest.Long() {
			steps = 5000
		}
		for range steps {
			r.step(t)
			if r.IntN(3) > 0 {
				p.ship(t, "db")
			}
		}
		p.ship(t, "db")
		stop()
		if want, got := r.conn.Digest(t), env(t, p.replica).Connect(t, "db").Digest(t); got != want {
			t.Errorf("replica holds %s, primary %s", got, want)
		}
	})
}

// startReaders has programs look at the database again and again, with connections
// that stay and with new ones. The function that it returns stops them.
func startReaders(t *testing.T, node *mounttest.Node) (stop func()) {
	t.Helper()
	done := make(chan struct{})
	var readers sync.WaitGroup
	checks := 0
	conns := []*sqlitetest.Conn{env(t, node).Connect(t, "db", "_busy_timeout=20000"), env(t, node).Connect(t, "db", "_busy_timeout=20000")}
	for i, c := range conns {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				// What a reader finds wrong it reports with an error.
				msg := c.Start("CREATE TEMP TABLE IF NOT EXISTS ok (x CHECK (x = 'ok')); INSERT INTO ok SELECT integrity_check FROM pragma_integrity_check")()
				if msg != "" && !strings.Contains(msg, "locked") {
					t.Errorf("reader %d: %s", i, msg)
					return
				}
				if i == 0 && msg == "" {
					checks++
				}
			}
		})
	}
	return func() {
		t.Helper()
		close(done)
		readers.Wait()
		t.Logf("%d checks", checks)
		if checks == 0 {
			t.Error("nothing was checked")
		}
		for _, c := range conns {
			c.Close(t)
		}
	}
}

// randomSQL is a program that does to a database whatever comes to its mind.
type randomSQL struct {
	*rand.Rand
	env  *sqlitetest.Env
	conn *sqlitetest.Conn
}

func (r *randomSQL) create(t *testing.T) {
	t.Helper()
	r.conn = r.env.Connect(t, "db")
	r.conn.Exec(t, "PRAGMA journal_mode = wal", "CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, x)", "CREATE INDEX IF NOT EXISTS i ON t (x)")
}

func (r *randomSQL) step(t *testing.T) {
	t.Helper()
	switch n := r.IntN(100); {
	case n < 45:
		r.conn.Exec(t, fmt.Sprintf("INSERT INTO t (x) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) SELECT randomblob(%d) FROM n", 1+r.IntN(40), 1+r.IntN(3000)))
	case n < 60:
		r.conn.Exec(t, fmt.Sprintf("UPDATE t SET x = randomblob(200) WHERE id %% %d = 0", 2+r.IntN(9)))
	case n < 75:
		r.conn.Exec(t, fmt.Sprintf("DELETE FROM t WHERE id %% %d = 0", 2+r.IntN(9)))
	case n < 80:
		r.conn.Exec(t, "VACUUM")
	case n < 84:
		r.conn.Exec(t, "BEGIN; DELETE FROM t; ROLLBACK")
	case n < 94:
		r.mode(t, []string{"delete", "truncate", "persist", "wal", "wal"}[r.IntN(5)])
	case n < 97:
		r.mode(t, "delete")
		r.conn.Exec(t, fmt.Sprintf("PRAGMA page_size = %d", 512<<r.IntN(8)), "VACUUM")
	case n < 99:
		r.conn.Exec(t, "PRAGMA wal_checkpoint(TRUNCATE)")
	default:
		r.conn.Close(t)
		r.create(t)
	}
}

// mode changes the journal mode. To leave WAL mode takes a checkpoint, for which
// SQLite does not wait while another one is at work, that of the node itself say.
func (r *randomSQL) mode(t *testing.T, mode string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; {
		msg := r.conn.Try(t, "PRAGMA journal_mode = "+mode)
		if msg == "" {
			return
		}
		if !strings.Contains(msg, "locked") || time.Now().After(end) {
			t.Fatalf("journal_mode = %s: %s", mode, msg)
		}
	}
}
