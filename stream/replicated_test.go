package stream

import (
	"testing"
	"time"

	"litefs/ltx"
)

// What replicas have applied is known to the primary, also when they are gone again, and
// forgotten when it leads anew.
func TestReplicated(t *testing.T) {
	n := newPrimary(t, calm)
	src := newSource(t, n.store, "db")
	src.commit("CREATE TABLE t(x)")
	if got := n.server.Replicated(); len(got) != 0 {
		t.Errorf("without a replica: %v", got)
	}
	replica := newReplica(t)
	f := follow(t, replica, n.info())
	f.reaches(t, src.db)
	known := func(want ltx.Pos) {
		t.Helper()
		for timeout := time.After(wait); n.server.Replicated()["db"] != want; {
			select {
			case <-time.After(time.Millisecond):
			case <-timeout:
				t.Fatalf("replicas are known to have %v, want %s", n.server.Replicated(), want)
			}
		}
	}
	known(src.db.Pos())
	src.commit("INSERT INTO t VALUES (1)")
	known(src.db.Pos())
	f.stop()
	f.result(t) //nolint:errcheck // it was stopped
	src.commit("INSERT INTO t VALUES (2)")
	before := replica.DB("db").Pos()
	known(before)
	f = follow(t, replica, n.info())
	f.reaches(t, src.db)
	known(src.db.Pos())
	f.stop()
	f.result(t)                      //nolint:errcheck // it was stopped
	f = follow(t, replica, n.info()) // with all that there is
	known(src.db.Pos())
	f.stop()
	f.result(t) //nolint:errcheck // it was stopped
}
