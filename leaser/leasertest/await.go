//nolint:thelper // the cases are tests, and failures are to name their lines
package leasertest

import (
	"context"
	"errors"
	"testing"
	"time"

	"litefs"
)

// awaitAcquire: who waits for a primary learns that there is one.
func awaitAcquire(t *testing.T, c Cluster) {
	a, b := c.Open(t, nodeA), c.Open(t, nodeB)
	first := acquire(t, a) // for its TTL
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	changed := await(t, b, 0, first.TTL())
	acquire(t, a)
	wantChange(t, changed, first.TTL())
}

// awaitTakeOver: who waits for the end of a primary learns that it has a successor.
func awaitTakeOver(t *testing.T, c Cluster) {
	a, b := c.Open(t, nodeA), c.Open(t, nodeB)
	lease := acquire(t, a)
	changed := await(t, b, lease.Epoch(), lease.TTL())
	if _, err := a.TakeOver(t.Context(), lease.Token()); err != nil {
		t.Fatalf("TakeOver: %v", err)
	}
	wantChange(t, changed, lease.TTL())
}

// awaitClose: who waits for the end of a primary learns that it has given up.
func awaitClose(t *testing.T, c Cluster) {
	a, b := c.Open(t, nodeA), c.Open(t, nodeB)
	lease := acquire(t, a)
	changed := await(t, b, lease.Epoch(), lease.TTL())
	if err := lease.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	wantChange(t, changed, lease.TTL())
}

// awaitExpiry: who waits for the end of a primary learns that its lease has lapsed.
func awaitExpiry(t *testing.T, c Cluster) {
	a, b := c.Open(t, nodeA), c.Open(t, nodeB)
	lease := acquire(t, a)
	changed := await(t, b, lease.Epoch(), lease.TTL())
	c.Expire(t)
	wantChange(t, changed, lease.TTL())
}

// awaitPast: what has happened before is not waited for.
func awaitPast(t *testing.T, c Cluster) {
	a, b := c.Open(t, nodeA), c.Open(t, nodeB)
	past := func(what string, epoch uint64, ttl time.Duration) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), ttl/2)
		defer cancel()
		if err := b.Await(ctx, epoch); err != nil {
			t.Errorf("Await %s: %v", what, err)
		}
	}
	first := acquire(t, a)
	past("a primary that there is", 0, first.TTL())
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	past("the end of a lease that was given back", first.Epoch(), first.TTL())
	acquire(t, a)
	past("the end of the lease before", first.Epoch(), first.TTL())
}

// awaitContext: while the lease stays with its holder, Await waits for its context.
func awaitContext(t *testing.T, c Cluster) {
	a, b := c.Open(t, nodeA), c.Open(t, nodeB)
	lease := acquire(t, a)
	ctx, cancel := context.WithTimeout(t.Context(), min(lease.TTL(), 2*time.Second)/4)
	defer cancel()
	tooEarly := 0
	err := b.Await(ctx, lease.Epoch())
	for ; err == nil; err = b.Await(ctx, lease.Epoch()) {
		if tooEarly++; tooEarly > 20 {
			t.Fatal("Await returns over and over while nothing happens")
		}
		if err := lease.Renew(t.Context()); err != nil {
			t.Fatalf("Renew: %v", err)
		}
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Await of a lease that stays: %v, want the error of its context", err)
	}
	done, stop := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		err := b.Await(done, lease.Epoch())
		for err == nil {
			err = b.Await(done, lease.Epoch())
		}
		result <- err
	}()
	stop()
	select {
	case err := <-result:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Await that is told to stop: %v, want the error of its context", err)
		}
	case <-time.After(min(lease.TTL(), 2*time.Second) / 2):
		t.Error("Await does not stop when it is told to")
	}
}

// await has leaser wait for the lease to change since epoch, and returns once it has
// had the time to begin with that.
func await(t *testing.T, leaser litefs.Leaser, epoch uint64, ttl time.Duration) <-chan error {
	t.Helper()
	changed := make(chan error, 1)
	go func() { changed <- leaser.Await(t.Context(), epoch) }()
	<-time.After(ttl / 20)
	return changed
}

// wantChange checks that Await returns well before a TTL has passed.
func wantChange(t *testing.T, changed <-chan error, ttl time.Duration) {
	t.Helper()
	began := time.Now()
	select {
	case err := <-changed:
		if err != nil {
			t.Errorf("Await: %v", err)
		}
	case <-time.After(ttl / 2):
		t.Errorf("Await still waits %v after the change, half a TTL", time.Since(began))
	}
}
