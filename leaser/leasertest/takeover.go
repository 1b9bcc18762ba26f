//nolint:thelper // the cases are tests, and failures are to name their lines
package leasertest

import (
	"errors"
	"sync"
	"testing"

	"litefs"
)

// takeOver: the lease passes to who has its token, with a greater epoch, and is gone
// for who had it.
func takeOver(t *testing.T, c Cluster) {
	a, b := c.Open(t, nodeA), c.Open(t, nodeB)
	old := acquire(t, a)
	lease, err := b.TakeOver(t.Context(), old.Token())
	if err != nil {
		t.Fatalf("TakeOver: %v", err)
	}
	if lease.Epoch() <= old.Epoch() || lease.Token() == old.Token() {
		t.Errorf("epoch %d and token %q after %d and %q; want a greater and another",
			lease.Epoch(), lease.Token(), old.Epoch(), old.Token())
	}
	wantHeld(t, a)
	wantPrimary(t, a, nodeB)
	wantLost(t, old)
	if err := old.Close(); err != nil {
		t.Errorf("Close of a lease that was taken over: %v", err)
	}
	if err := lease.Renew(t.Context()); err != nil {
		t.Errorf("Renew after the former holder has closed its lease: %v", err)
	}
	wantHeld(t, a)
	wantPrimary(t, a, nodeB)
	c.Expire(t)
	if next := acquire(t, a); next.Epoch() <= lease.Epoch() {
		t.Errorf("epoch %d after %d that was taken over", next.Epoch(), lease.Epoch())
	}
}

// takeOverNeedsToken: only the token of the lease as it is held now will do.
func takeOverNeedsToken(t *testing.T, c Cluster) {
	a, b := c.Open(t, nodeA), c.Open(t, nodeB)
	refused := func(what, token string) {
		t.Helper()
		if _, err := b.TakeOver(t.Context(), token); !errors.Is(err, litefs.ErrLeaseExpired) {
			t.Errorf("TakeOver with %s: %v, want ErrLeaseExpired", what, err)
		}
	}
	refused("no token of a lease that nobody ever held", "")
	refused("a token of a lease that nobody ever held", "1-0")
	first := acquire(t, a)
	refused("no token", "")
	refused("part of the token", first.Token()[:len(first.Token())-1])
	refused("more than the token", first.Token()+"0")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	refused("the token of a lease that was given back", first.Token())
	second := acquire(t, a)
	refused("the token of the lease before", first.Token())
	if err := second.Renew(t.Context()); err != nil {
		t.Errorf("Renew after refusals: %v", err)
	}
	wantPrimary(t, b, nodeA)
	c.Expire(t)
	refused("the token of a lease that has expired", second.Token())
	if _, err := b.PrimaryInfo(t.Context()); !errors.Is(err, litefs.ErrNoPrimary) {
		t.Errorf("PrimaryInfo after refusals: %v, want ErrNoPrimary", err)
	}
}

// takeOverOnce: of several who have the token one gets the lease.
func takeOverOnce(t *testing.T, c Cluster) {
	const nodes = 4
	old := acquire(t, c.Open(t, nodeA))
	var (
		taking sync.WaitGroup
		errs   = make([]error, nodes)
	)
	for i := range nodes {
		b := c.Open(t, nodeB)
		taking.Go(func() { _, errs[i] = b.TakeOver(t.Context(), old.Token()) })
	}
	taking.Wait()
	taken := 0
	for _, err := range errs {
		switch {
		case err == nil:
			taken++
		case !errors.Is(err, litefs.ErrLeaseExpired):
			t.Errorf("TakeOver: %v, want a lease or ErrLeaseExpired", err)
		}
	}
	if taken != 1 {
		t.Errorf("the lease was taken over %d times, want once", taken)
	}
}

// wantLost checks that a lease is of no use any more.
func wantLost(t *testing.T, lease litefs.Lease) {
	t.Helper()
	if err := lease.Renew(t.Context()); !errors.Is(err, litefs.ErrLeaseExpired) {
		t.Errorf("Renew of a lease that is lost: %v, want ErrLeaseExpired", err)
	}
	if err := lease.Keep(t.Context(), nil); !errors.Is(err, litefs.ErrLeaseExpired) {
		t.Errorf("Keep with a lease that is lost: %v, want ErrLeaseExpired", err)
	}
}
