package litefs_test

import (
	"testing"
	"testing/synctest"
	"time"

	"litefs"
)

func TestReady(t *testing.T) {
	store := newLeaseStore(t, false)
	select {
	case <-store.ReadyCh():
		t.Error("the channel of a new store is closed")
	default:
	}
	if store.Ready() {
		t.Error("a new store is ready")
	}
	store.MarkReady()
	store.MarkReady()
	<-store.ReadyCh()
	if !store.Ready() {
		t.Error("not ready after MarkReady")
	}
}

// On a replica the lag grows while nothing is heard of the primary.
func TestLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newLeaseStore(t, true)
		store.SetLag(litefs.Lag{Time: time.Second})
		if got := store.Lag(); got != (litefs.Lag{}) {
			t.Errorf("on the primary: %+v, want nothing", got)
		}
		store = newLeaseStore(t, true)
		if err := store.BecomeReplica(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if got := store.Lag(); got != (litefs.Lag{Time: litefs.LagUnknown}) {
			t.Errorf("before the first report: %+v, want an unknown time", got)
		}
		store.SetLag(litefs.Lag{Time: 20 * time.Millisecond, Transactions: 3, Bytes: 4096})
		time.Sleep(5 * time.Second)
		if got, want := store.Lag(), (litefs.Lag{Time: 5020 * time.Millisecond, Transactions: 3, Bytes: 4096}); got != want {
			t.Errorf("5 s after a report: %+v, want %+v", got, want)
		}
		time.Sleep(1000 * time.Hour)
		if got := store.Lag().Time; got != litefs.LagUnknown {
			t.Errorf("after a long time: %v, want %v at most", got, litefs.LagUnknown)
		}
	})
}
