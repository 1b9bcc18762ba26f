// Package leasertest is the contract that every litefs.Leaser passes, and a lease in
// memory for tests of what uses one.
//
// A backend's own test opens a Cluster on a real lease store and runs Cases:
//
//	for name, run := range leasertest.Cases {
//		t.Run(name, func(t *testing.T) { run(t, newCluster(t)) })
//	}
//
// It leaves out the cases that cannot apply to it, each by name and with the reason.
//
//nolint:thelper // the cases are tests, and failures are to name their lines
package leasertest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"litefs"
)

// Cluster is one lease, which no node holds at first, as several nodes see it.
type Cluster struct {
	// Open returns the leaser of a node, which the cluster closes when t ends.
	// Calls with the same info are two processes of the same configuration.
	Open func(t *testing.T, info litefs.PrimaryInfo) litefs.Leaser
	// Expire has the lease that is held lapse, as if its TTL had passed without a
	// renewal, and returns once it can be acquired.
	Expire func(t *testing.T)
}

// Cases is the contract. It is a map and not one function so that a backend can wrap
// each case, or leave one out.
var Cases = map[string]func(*testing.T, Cluster){
	"AcquireFree":         acquireFree,
	"Exclusive":           exclusive,
	"ExclusiveInRace":     exclusiveInRace,
	"PrimaryInfo":         primaryInfo,
	"CloseGivesBack":      closeGivesBack,
	"RenewKeeps":          renewKeeps,
	"LapsesAfterTTL":      lapsesAfterTTL,
	"LossIsDetected":      lossIsDetected,
	"LoserLeavesNewAlone": loserLeavesNewAlone,
	"EpochGrows":          epochGrows,
	"ContextDone":         contextDone,

	"TakeOver":           takeOver,
	"TakeOverNeedsToken": takeOverNeedsToken,
	"TakeOverOnce":       takeOverOnce,

	"RecordOfNew":         recordOfNew,
	"RecordOutlivesLease": recordOutlivesLease,
	"KeepAfterLoss":       keepAfterLoss,
	"FoundCluster":        foundCluster,

	"AwaitAcquire":  awaitAcquire,
	"AwaitTakeOver": awaitTakeOver,
	"AwaitClose":    awaitClose,
	"AwaitExpiry":   awaitExpiry,
	"AwaitPast":     awaitPast,
	"AwaitContext":  awaitContext,
}

var (
	nodeA = litefs.PrimaryInfo{Hostname: "a", AdvertiseURL: "http://a:20202"}
	nodeB = litefs.PrimaryInfo{Hostname: "b", AdvertiseURL: "http://b:20202"}
)

// acquireFree: the first who asks gets a lease with all that belongs to it.
func acquireFree(t *testing.T, c Cluster) {
	a := c.Open(t, nodeA)
	if _, err := a.PrimaryInfo(t.Context()); !errors.Is(err, litefs.ErrNoPrimary) {
		t.Errorf("PrimaryInfo of a free lease: %v, want ErrNoPrimary", err)
	}
	if got := a.AdvertiseURL(); got != nodeA.AdvertiseURL {
		t.Errorf("AdvertiseURL is %q, want %q", got, nodeA.AdvertiseURL)
	}
	before := time.Now()
	lease := acquire(t, a)
	if at := lease.RenewedAt(); at.Before(before) || at.After(time.Now()) {
		t.Errorf("RenewedAt is %v, want it between %v and %v", at, before, time.Now())
	}
	if lease.TTL() <= 0 || lease.Epoch() == 0 {
		t.Errorf("TTL is %v, epoch %d; want both positive", lease.TTL(), lease.Epoch())
	}
}

// exclusive: a lease that is held can be acquired by nobody.
func exclusive(t *testing.T, c Cluster) {
	a, b := c.Open(t, nodeA), c.Open(t, nodeB)
	lease := acquire(t, a)
	wantHeld(t, b)
	if err := lease.Renew(t.Context()); err != nil {
		t.Errorf("Renew after another node has asked: %v", err)
	}
	wantHeld(t, b)
}

// exclusiveInRace: of many who ask at once, one gets the lease.
func exclusiveInRace(t *testing.T, c Cluster) {
	const nodes = 8
	leasers := make([]litefs.Leaser, nodes)
	for i := range leasers {
		leasers[i] = c.Open(t, nodeA)
	}
	var (
		asking sync.WaitGroup
		start  = make(chan struct{})
		errs   = make([]error, nodes)
	)
	for i, leaser := range leasers {
		asking.Go(func() {
			<-start
			_, errs[i] = leaser.Acquire(t.Context())
		})
	}
	close(start)
	asking.Wait()
	holders := 0
	for _, err := range errs {
		switch {
		case err == nil:
			holders++
		case !errors.Is(err, litefs.ErrPrimaryExists):
			t.Errorf("Acquire: %v, want a lease or ErrPrimaryExists", err)
		}
	}
	if holders != 1 {
		t.Errorf("%d nodes hold the lease, want 1", holders)
	}
}

// primaryInfo: everybody learns who holds the lease.
func primaryInfo(t *testing.T, c Cluster) {
	a, b := c.Open(t, nodeA), c.Open(t, nodeB)
	acquire(t, a)
	wantPrimary(t, b, nodeA)
}

// closeGivesBack: after Close the lease is free at once, and gone for who had it.
func closeGivesBack(t *testing.T, c Cluster) {
	a, b := c.Open(t, nodeA), c.Open(t, nodeB)
	lease := acquire(t, a)
	for range 2 { // the second time there is nothing left to do
		if err := lease.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
	}
	if _, err := b.PrimaryInfo(t.Context()); !errors.Is(err, litefs.ErrNoPrimary) {
		t.Errorf("PrimaryInfo after Close: %v, want ErrNoPrimary", err)
	}
	if err := lease.Renew(t.Context()); !errors.Is(err, litefs.ErrLeaseExpired) {
		t.Errorf("Renew after Close: %v, want ErrLeaseExpired", err)
	}
	acquire(t, b)
	wantPrimary(t, a, nodeB)
}

// renewKeeps: a lease that is renewed in time outlasts its TTL.
func renewKeeps(t *testing.T, c Cluster) {
	a, b := c.Open(t, nodeA), c.Open(t, nodeB)
	lease := acquire(t, a)
	for range 7 {
		<-time.After(lease.TTL() / 3)
		before := time.Now()
		if err := lease.Renew(t.Context()); err != nil {
			t.Fatalf("Renew: %v", err)
		}
		if at := lease.RenewedAt(); at.Before(before) || at.After(time.Now()) {
			t.Errorf("RenewedAt is %v, want it between %v and %v", at, before, time.Now())
		}
		wantHeld(t, b)
	}
}

// lapsesAfterTTL: a lease that is not renewed becomes free by itself, and not before
// its holder thinks so.
func lapsesAfterTTL(t *testing.T, c Cluster) {
	a, b := c.Open(t, nodeA), c.Open(t, nodeB)
	lease := acquire(t, a)
	if err := lease.Renew(t.Context()); err != nil {
		t.Fatalf("Renew: %v", err)
	}
	end := lease.RenewedAt().Add(lease.TTL())
	for giveUp := end.Add(3 * lease.TTL()); ; <-time.After(lease.TTL() / 50) {
		_, err := b.Acquire(t.Context())
		now := time.Now() // after the lease store has answered
		switch {
		case err == nil && now.Before(end):
			t.Fatalf("acquired %v before the end of the other's TTL", end.Sub(now))
		case err == nil:
			return
		case !errors.Is(err, litefs.ErrPrimaryExists):
			t.Fatalf("Acquire: %v", err)
		case now.After(giveUp):
			t.Fatalf("still held %v after the end of its TTL", now.Sub(end))
		}
	}
}

// lossIsDetected: who has lost the lease learns it from Renew, whether somebody else
// has it by then or not.
func lossIsDetected(t *testing.T, c Cluster) {
	a, b := c.Open(t, nodeA), c.Open(t, nodeB)
	lease := acquire(t, a)
	c.Expire(t)
	if err := lease.Renew(t.Context()); !errors.Is(err, litefs.ErrLeaseExpired) {
		t.Errorf("Renew after the lease has expired: %v, want ErrLeaseExpired", err)
	}
	if _, err := b.PrimaryInfo(t.Context()); !errors.Is(err, litefs.ErrNoPrimary) {
		t.Errorf("PrimaryInfo after the lease has expired: %v, want ErrNoPrimary", err)
	}
	acquire(t, b)
	if err := lease.Renew(t.Context()); !errors.Is(err, litefs.ErrLeaseExpired) {
		t.Errorf("Renew while another node holds the lease: %v, want ErrLeaseExpired", err)
	}
}

// loserLeavesNewAlone: a former holder can take nothing from the present one.
func loserLeavesNewAlone(t *testing.T, c Cluster) {
	a, b := c.Open(t, nodeA), c.Open(t, nodeB)
	old := acquire(t, a)
	c.Expire(t)
	lease := acquire(t, b)
	if err := old.Close(); err != nil {
		t.Errorf("Close of a lease that is lost: %v", err)
	}
	if err := lease.Renew(t.Context()); err != nil {
		t.Errorf("Renew after the former holder has closed its lease: %v", err)
	}
	wantHeld(t, a)
	wantPrimary(t, a, nodeB)
}

// epochGrows: each holder has a greater epoch than all before, however they lost it.
func epochGrows(t *testing.T, c Cluster) {
	a, b := c.Open(t, nodeA), c.Open(t, nodeB)
	var last uint64
	for i, leaser := range []litefs.Leaser{a, b, a, a, b, b} {
		lease := acquire(t, leaser)
		if lease.Epoch() <= last {
			t.Errorf("holder %d has epoch %d, the one before it had %d", i, lease.Epoch(), last)
		}
		last = lease.Epoch()
		if err := lease.Renew(t.Context()); err != nil || lease.Epoch() != last {
			t.Errorf("Renew: %v, epoch %d became %d", err, last, lease.Epoch())
		}
		if i%2 == 0 {
			c.Expire(t)
		} else if err := lease.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// contextDone: a call that is told to stop fails and leaves nothing behind.
func contextDone(t *testing.T, c Cluster) {
	a, b := c.Open(t, nodeA), c.Open(t, nodeB)
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Acquire(done); err == nil {
		t.Error("Acquire succeeds with a context that is done")
	}
	if _, err := a.PrimaryInfo(done); err == nil || errors.Is(err, litefs.ErrNoPrimary) {
		t.Errorf("PrimaryInfo with a context that is done: %v, want its error", err)
	}
	if _, err := a.Record(done); err == nil {
		t.Error("Record succeeds with a context that is done")
	}
	if _, err := a.FoundCluster(done, "id"); err == nil {
		t.Error("FoundCluster succeeds with a context that is done")
	}
	lease := acquire(t, b)
	if _, err := a.TakeOver(done, lease.Token()); err == nil || errors.Is(err, litefs.ErrLeaseExpired) {
		t.Errorf("TakeOver with a context that is done: %v, want its error", err)
	}
	if err := lease.Keep(done, nil); err == nil || errors.Is(err, litefs.ErrLeaseExpired) {
		t.Errorf("Keep with a context that is done: %v, want its error", err)
	}
	if err := lease.Renew(done); err == nil || errors.Is(err, litefs.ErrLeaseExpired) {
		t.Errorf("Renew with a context that is done: %v, want its error", err)
	}
	if err := lease.Renew(t.Context()); err != nil {
		t.Errorf("Renew after one that was stopped: %v", err)
	}
}

func acquire(t *testing.T, leaser litefs.Leaser) litefs.Lease {
	t.Helper()
	lease, err := leaser.Acquire(t.Context())
	if err != nil {
		t.Fatalf("Acquire: %v", err)
	}
	return lease
}

func wantHeld(t *testing.T, leaser litefs.Leaser) {
	t.Helper()
	if _, err := leaser.Acquire(t.Context()); !errors.Is(err, litefs.ErrPrimaryExists) {
		t.Errorf("Acquire while another node holds the lease: %v, want ErrPrimaryExists", err)
	}
}

func wantPrimary(t *testing.T, leaser litefs.Leaser, want litefs.PrimaryInfo) {
	t.Helper()
	if got, err := leaser.PrimaryInfo(t.Context()); err != nil || got != want {
		t.Errorf("PrimaryInfo is %+v, %v; want %+v", got, err, want)
	}
}
