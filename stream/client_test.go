package stream

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"litefs"
	"litefs/ltx"
)

// A replica that comes late, is there, and comes back has what the primary has.
func TestFollow(t *testing.T) {
	n := newPrimary(t, calm)
	a, b := newSource(t, n.store, "a"), newSource(t, n.store, "b")
	a.commit("CREATE TABLE t(x)")
	a.commit("INSERT INTO t VALUES (zeroblob(100000))")
	b.commit("CREATE TABLE t(x)")

	replica := newReplica(t)
	f := follow(t, replica, n.info())
	f.reaches(t, a.db)
	f.reaches(t, b.db)
	select {
	case <-replica.ReadyCh():
	case <-time.After(wait):
		t.Fatal("replica is not ready")
	}
	for i := range 20 {
		a.commit(fmt.Sprintf("INSERT INTO t VALUES (%d)", i))
		b.commit("INSERT INTO t VALUES (randomblob(10000))")
	}
	c := newSource(t, n.store, "c")
	c.commit("CREATE TABLE t(x)")
	for _, src := range []*source{a, b, c} {
		f.reaches(t, src.db)
		same(t, replica, src.db)
	}

	f.stop()
	if err := f.result(t); err == nil {
		t.Error("Follow has returned nil")
	}
	before := logLength(t, replica.DB("a"))
	for range 100 { // more than one batch
		a.commit("INSERT INTO t VALUES (randomblob(5000))")
	}
	b.commit("DELETE FROM t", "VACUUM")
	f = follow(t, replica, n.info())
	for _, src := range []*source{a, b, c} {
		f.reaches(t, src.db)
		same(t, replica, src.db)
	}
	if n := logLength(t, replica.DB("a")) - before; n < 1 || n > 50 {
		t.Errorf("100 files were applied as %d, want them to be merged", n)
	}
}

// logLength returns the number of files in the log of a database.
func logLength(t *testing.T, db *litefs.DB) int {
	t.Helper()
	entries, err := os.ReadDir(db.LTXDir())
	must(t, err)
	return len(entries)
}

// lagReaches waits until the lag is as wanted.
func lagReaches(t *testing.T, store *litefs.Store, want func(litefs.Lag) bool) {
	t.Helper()
	timeout := time.After(wait)
	for !want(store.Lag()) {
		select {
		case <-time.After(time.Millisecond):
		case <-timeout:
			t.Fatalf("lag is %+v", store.Lag())
		}
	}
}

// The lag is small while the primary is heard of and followed, and grows when not.
func TestFollowLag(t *testing.T) {
	n := newPrimary(t, 500*time.Millisecond)
	src := newSource(t, n.store, "db")
	src.commit("CREATE TABLE t(x)")
	replica := newReplica(t)
	f := follow(t, replica, n.info())
	f.reaches(t, src.db)
	lagReaches(t, replica, func(lag litefs.Lag) bool {
		return lag.Time < 1500*time.Millisecond && lag.Transactions == 0 && lag.Bytes == 0
	})
	f.stop()
	lagReaches(t, replica, func(lag litefs.Lag) bool { return lag.Time > 1600*time.Millisecond })
}

// When the log does not go back far enough, just the pages that differ are sent.
func TestFollowDifference(t *testing.T) {
	n := newPrimary(t, calm)
	src := newSource(t, n.store, "db")
	src.commit("CREATE TABLE t(x)", "INSERT INTO t VALUES (randomblob(1000000))")
	replica := newReplica(t)
	f := follow(t, replica, n.info())
	f.reaches(t, src.db)
	f.stop()
	f.result(t) //nolint:errcheck // it was stopped
	n.store.MaxLogSizeBytes = 1
	for range 5 {
		src.commit("INSERT INTO t VALUES (1)")
		n.store.EnforceRetention(t.Context())
	}
	if h := src.db.History(replica.DB("db").Pos()); h != litefs.HistoryUnknown {
		t.Fatalf("history is %s", h)
	}
	f = follow(t, replica, n.info())
	f.reaches(t, src.db)
	same(t, replica, src.db)
	src.commit("INSERT INTO t VALUES (2)")
	f.reaches(t, src.db)
	same(t, replica, src.db)
	if copies, err := replica.Diverged(); err != nil || len(copies) > 0 {
		t.Errorf("set aside: %v, error %v", copies, err)
	}
}

// What a node has that its primary has not is set aside, and then it is as the
// primary's: a database that went another way, and one that the primary never had.
func TestFollowDiverged(t *testing.T) {
	n := newPrimary(t, calm)
	src := newSource(t, n.store, "db")
	src.commit("CREATE TABLE t(x)")
	src.commit("INSERT INTO t VALUES (1)")

	replica := openStore(t, t.TempDir())
	other, own := newSource(t, replica, "db"), newSource(t, replica, "own")
	other.commit("CREATE TABLE u(x)")
	other.commit("INSERT INTO u VALUES (1)")
	other.commit("INSERT INTO u VALUES (2)")
	own.commit("CREATE TABLE v(x)")
	must(t, replica.BecomeReplica(t.Context(), nil))

	f := follow(t, replica, n.info())
	f.reaches(t, src.db)
	same(t, replica, src.db)
	timeout := time.After(wait)
	for {
		pos, moved := own.db.Moved()
		if isEmpty(pos) {
			break
		}
		select {
		case <-moved:
		case <-timeout:
			t.Fatalf("database that the primary does not have is at %s", pos)
		}
	}
	copies, err := replica.Diverged()
	must(t, err)
	names := map[string]bool{}
	for _, c := range copies {
		names[c.Database] = true
	}
	if len(copies) != 2 || !names["db"] || !names["own"] {
		t.Errorf("set aside: %+v", copies)
	}
	src.commit("INSERT INTO t VALUES (2)")
	f.reaches(t, src.db)
	same(t, replica, src.db)
	select {
	case <-replica.ReadyCh():
	case <-time.After(wait):
		t.Fatal("replica is not ready")
	}

	// The name is free again.
	again := newSource(t, n.store, "own")
	again.commit("CREATE TABLE w(x)")
	f.reaches(t, again.db)
	same(t, replica, again.db)
}

// A new replica is sent a snapshot and not all of the log.
func TestFollowNew(t *testing.T) {
	n := newPrimary(t, calm)
	src := newSource(t, n.store, "db")
	src.commit("CREATE TABLE t(x)")
	for range 10 {
		src.commit("INSERT INTO t VALUES (1)")
	}
	p := connect(t, n, encoded(t, hello(nil)))
	p.next()
	f, _ := p.until()
	if diff, ok := f.(*DifferenceStreamFrame); !ok || diff.Name != "db" || diff.Diverged {
		t.Errorf("frame is %+v, want a difference", f)
	}
	replica := newReplica(t)
	follow(t, replica, n.info()).reaches(t, src.db)
	same(t, replica, src.db)
	if f, err := replica.DB("db").OpenLTXAfter(ltx.Pos{}); err != nil || f.Header().MaxTXID != src.db.TXID() {
		t.Errorf("log of the replica does not begin with a snapshot: %+v, error %v", f, err)
	} else {
		must(t, f.Close())
	}
}

// Many replicas, and a database that vanishes.
func TestFollowMany(t *testing.T) {
	n := newPrimary(t, calm)
	src := newSource(t, n.store, "db")
	src.commit("CREATE TABLE t(x)")
	var all []*following
	for range 3 {
		all = append(all, follow(t, newReplica(t), n.info()))
	}
	for range 30 {
		src.commit("INSERT INTO t VALUES (randomblob(3000))")
	}
	for _, f := range all {
		f.reaches(t, src.db)
		same(t, f.store, src.db)
	}
	must(t, src.db.RemoveDatabase())
	if !isEmpty(src.db.Pos()) {
		t.Fatalf("dropped database is at %s", src.db.Pos())
	}
	for _, f := range all {
		f.reaches(t, src.db)
		if db := f.store.DB("db"); db.Exists(litefs.FileTypeDatabase) {
			t.Error("replica still has the dropped database")
		}
	}
}

func TestPeerErrorText(t *testing.T) {
	err := &PeerError{Code: "closed", Message: "bye"}
	if got := err.Error(); !strings.Contains(got, "closed") || !strings.Contains(got, "bye") {
		t.Error(got)
	}
}

// A transfer that takes long is spoken of, and no more often than it should be.
func TestProgress(t *testing.T) {
	var log strings.Builder
	p := newProgress(strings.NewReader("0123456789"), slog.New(slog.NewTextHandler(&log, nil)), "receiving", 10)
	b := make([]byte, 5)
	if n, err := p.Read(b); n != 5 || err != nil || log.Len() > 0 {
		t.Errorf("%d bytes, error %v, log %q", n, err, log.String())
	}
	p.next = time.Now()
	for range 5 {
		if _, err := p.Read(b[:1]); err != nil {
			t.Error(err)
		}
	}
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "msg=receiving bytes=6") || !strings.Contains(got, "total=10") {
		t.Errorf("log is %q", got)
	}
}
