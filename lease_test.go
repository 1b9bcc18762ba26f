package litefs_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"litefs"
	"litefs/internal/fsx/memfs"
	"litefs/leaser/leasertest"
	"litefs/leaser/static"
)

const leaseTTL = 10 * time.Second

// leaseNode is a store without databases in a lease loop.
type leaseNode struct {
	*litefs.Store
	info   litefs.PrimaryInfo
	client *follower
	log    lockedBuffer
	stop   func() error // ends the loop and returns its error; may be called twice
}

// lockedBuffer is a log that is read while it grows.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// follower is a client whose connection lasts until it is broken.
type follower struct {
	mu       sync.Mutex
	followed []litefs.PrimaryInfo
	refuse   error // ends every connection at once
	store    *litefs.Store
	broken   chan error
}

func (f *follower) Follow(ctx context.Context, primary litefs.PrimaryInfo) error {
	f.mu.Lock()
	f.followed = append(f.followed, primary)
	refuse := f.refuse
	f.mu.Unlock()
	if refuse != nil {
		return refuse
	}
	if err := f.store.NoteMember(); err != nil { // it has caught up
		return err
	}
	select {
	case err := <-f.broken:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *follower) calls() []litefs.PrimaryInfo {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.followed
}

// newLeaseStore returns a store that is not open: the role of one without databases
// changes all the same, and nothing in it waits for anything but the clock.
func newLeaseStore(t *testing.T, candidate bool) *litefs.Store {
	t.Helper()
	disk := memfs.New()
	if err := disk.MkdirAll("/data", 0o777); err != nil {
		t.Fatal(err)
	}
	store := litefs.NewStore("/data", candidate)
	store.FS = disk
	return store
}

// runLease starts the lease loop of a store.
func runLease(t *testing.T, store *litefs.Store, leaser litefs.Leaser, client *follower) *leaseNode {
	t.Helper()
	n := &leaseNode{Store: store, client: client}
	client.store = store
	store.Logger = slog.New(slog.NewTextHandler(&n.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	var err error
	go func() {
		defer close(done)
		err = store.RunLease(ctx, leaser, client)
	}()
	n.stop = func() error {
		cancel()
		<-done
		return err
	}
	t.Cleanup(func() { _ = n.stop() })
	return n
}

// startLeaseNode runs a candidate of that name on a lease in memory.
func startLeaseNode(t *testing.T, mem *leasertest.Mem, hostname string) *leaseNode {
	t.Helper()
	info := litefs.PrimaryInfo{Hostname: hostname, AdvertiseURL: "http://" + hostname + ":20202"}
	n := runLease(t, newLeaseStore(t, true), mem.Node(info), &follower{broken: make(chan error)})
	n.info = info
	synctest.Wait()
	return n
}

func wantRole(t *testing.T, n *leaseNode, primary bool) {
	t.Helper()
	if n.IsPrimary() != primary {
		t.Fatalf("%s is the primary: %v, want %v; its log:\n%s", n.info.Hostname, n.IsPrimary(), primary, n.log.String())
	}
}

func wantLog(t *testing.T, n *leaseNode, line string) {
	t.Helper()
	if !strings.Contains(n.log.String(), line) {
		t.Errorf("no %q in the log:\n%s", line, n.log.String())
	}
}

func TestRunLeasePrimary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := &leasertest.Mem{TTL: leaseTTL}
		a := startLeaseNode(t, mem, "a")
		wantRole(t, a, true)
		wantLog(t, a, "primary lease acquired, advertising as http://a:20202")
		if !a.Ready() || a.Epoch() != 1 || len(a.ClusterID()) != litefs.IDLength || a.Lag() != (litefs.Lag{}) {
			t.Errorf("ready %v, epoch %d, cluster %q, lag %v", a.Ready(), a.Epoch(), a.ClusterID(), a.Lag())
		}
		time.Sleep(20 * leaseTTL) // it renews
		wantRole(t, a, true)
		if a.Epoch() != 1 {
			t.Errorf("epoch became %d", a.Epoch())
		}
		if err := a.stop(); err != nil {
			t.Errorf("RunLease: %v", err)
		}
		wantRole(t, a, false)
		wantLog(t, a, "exiting primary, destroying lease")
		if _, err := mem.Node(a.info).Acquire(t.Context()); err != nil {
			t.Errorf("the lease was not given back: %v", err)
		}
	})
}

func TestRunLeaseReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := &leasertest.Mem{TTL: leaseTTL}
		a := startLeaseNode(t, mem, "a")
		b := startLeaseNode(t, mem, "b")
		wantRole(t, b, false)
		wantLog(t, b, "existing primary found (http://a:20202), connecting as replica")
		if info := b.PrimaryInfo(); info == nil || *info != a.info {
			t.Errorf("PrimaryInfo of the replica is %v, want %v", info, a.info)
		}
		if b.Ready() {
			t.Error("the replica is ready before it has caught up")
		}
		// The primary leaves; the connection ends with that. No time passes.
		if err := a.stop(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		b.client.broken <- errors.New("end of stream")
		synctest.Wait()
		wantRole(t, b, true)
		if took := time.Since(began); took != 0 || b.PrimaryInfo() != nil {
			t.Errorf("takeover took %v, PrimaryInfo is %v", took, b.PrimaryInfo())
		}
	})
}

// A primary that steps down ends its connections before it gives the lease back. Its
// successor does not wait for its own ReconnectDelay.
func TestRunLeaseHandover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := &leasertest.Mem{TTL: leaseTTL}
		a := startLeaseNode(t, mem, "a")
		b := startLeaseNode(t, mem, "b")
		b.client.broken <- errors.New("end of stream")
		time.Sleep(50 * time.Millisecond)
		if err := a.stop(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
		synctest.Wait()
		wantRole(t, b, true)
	})
}

// A node that is no candidate asks for no lease, whether it is free or not.
func TestRunLeaseNoCandidate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := &leasertest.Mem{TTL: leaseTTL}
		n := runLease(t, newLeaseStore(t, false), mem.Node(litefs.PrimaryInfo{Hostname: "c"}), &follower{broken: make(chan error)})
		time.Sleep(time.Minute)
		wantRole(t, n, false)
		if calls := n.client.calls(); len(calls) != 0 || n.PrimaryInfo() != nil || n.Ready() {
			t.Errorf("followed %v, primary %v, ready %v; want nothing", calls, n.PrimaryInfo(), n.Ready())
		}
		if got := strings.Count(n.log.String(), "level=WARN"); got != 1 {
			t.Errorf("%d warnings in a minute without a primary, want 1:\n%s", got, n.log.String())
		}
		a := startLeaseNode(t, mem, "a")
		time.Sleep(n.ReconnectDelay)
		synctest.Wait()
		if calls := n.client.calls(); len(calls) != 1 || calls[0] != a.info {
			t.Errorf("followed %v, want %v", calls, a.info)
		}
	})
}

func TestRunLeaseReconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newLeaseStore(t, false)
		store.ReconnectDelay = 2 * time.Second
		n := runLease(t, store, static.NewLeaser(false, "a", "http://a:20202"), &follower{refuse: errors.New("connection refused")})
		time.Sleep(21 * time.Second)
		synctest.Wait()
		if got := len(n.client.calls()); got < 10 || got > 12 {
			t.Errorf("%d connections in 21 s with a delay of 2 s, want 11", got)
		}
		if got := strings.Count(n.log.String(), "level=WARN"); got != 1 {
			t.Errorf("%d warnings for one cause, want 1:\n%s", got, n.log.String())
		}
		if info := n.PrimaryInfo(); info == nil || info.Hostname != "a" {
			t.Errorf("PrimaryInfo is %v while the primary is away", info)
		}
	})
}

// A primary that goes of its own accord has StepDown take part while it still holds
// the lease; one that has lost the lease does not.
func TestRunLeaseStepDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := &leasertest.Mem{TTL: leaseTTL}
		other := mem.Node(litefs.PrimaryInfo{Hostname: "other"})
		store, calls := newLeaseStore(t, true), 0
		store.StepDown = func(ctx context.Context, demote func(context.Context) error) error {
			calls++
			err := demote(ctx)
			if store.IsPrimary() {
				t.Error("still the primary after demote")
			}
			if _, err := other.Acquire(ctx); !errors.Is(err, litefs.ErrPrimaryExists) {
				t.Errorf("Acquire while the primary steps down: %v, want ErrPrimaryExists", err)
			}
			return err
		}
		n := runLease(t, store, mem.Node(litefs.PrimaryInfo{Hostname: "a"}), &follower{broken: make(chan error)})
		synctest.Wait()
		mem.Expire()
		time.Sleep(leaseTTL)
		wantRole(t, n, true)
		if n.Epoch() != 2 || calls != 0 {
			t.Errorf("epoch %d, StepDown called %d times after the loss of the lease; want 2 and none", n.Epoch(), calls)
		}
		if err := n.stop(); err != nil || calls != 1 {
			t.Errorf("RunLease returned %v, StepDown was called %d times, want once", err, calls)
		}
		if _, err := other.Acquire(t.Context()); err != nil {
			t.Errorf("Acquire after the primary has gone: %v", err)
		}
	})
}

// Whatever becomes of the lease store, there are never two primaries, and the loss
// is noticed before the lease can be anybody else's.
func TestRunLeaseNeverTwoPrimaries(t *testing.T) {
	for name, test := range map[string]struct {
		outage time.Duration // of the lease store for a; -1: the lease expires there
		keeps  bool          // a is the primary throughout
	}{
		"short outage": {outage: leaseTTL / 2, keeps: true},
		"long outage":  {outage: 2 * leaseTTL},
		"expired":      {outage: -1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mem := &leasertest.Mem{TTL: leaseTTL}
				a := startLeaseNode(t, mem, "a")
				b := startLeaseNode(t, mem, "b")
				time.Sleep(leaseTTL / 4) // between two renewals
				if test.outage < 0 {
					mem.Expire()
				} else {
					mem.SetDown(errors.New("connection refused"))
				}
				lost := false
				for began := time.Now(); time.Since(began) < 4*leaseTTL; time.Sleep(10 * time.Millisecond) {
					synctest.Wait()
					if a.IsPrimary() && b.IsPrimary() {
						t.Fatalf("two primaries after %v", time.Since(began))
					}
					lost = lost || !a.IsPrimary()
					if test.outage > 0 && time.Since(began) >= test.outage {
						mem.SetDown(nil)
					}
				}
				if lost == test.keeps {
					t.Errorf("lost the role: %v, want %v; log:\n%s", lost, !test.keeps, a.log.String())
				}
				if a.IsPrimary() == b.IsPrimary() {
					t.Errorf("primaries at the end: a %v, b %v; want one", a.IsPrimary(), b.IsPrimary())
				}
				if a.IsPrimary() && !test.keeps && a.Epoch() == 1 {
					t.Error("the role was lost and taken again in the same epoch")
				}
			})
		})
	}
}

// A lease store that begins anew hands out epochs that were in use before. They are
// refused until they are new.
func TestRunLeaseStaleEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := &leasertest.Mem{TTL: leaseTTL}
		store := newLeaseStore(t, true)
		if err := store.BecomeReplica(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if err := store.SeeEpoch(4); err != nil {
			t.Fatal(err)
		}
		n := runLease(t, store, mem.Node(litefs.PrimaryInfo{Hostname: "a"}), &follower{broken: make(chan error)})
		synctest.Wait()
		wantRole(t, n, false)
		wantLog(t, n, "was the lease store emptied?")
		time.Sleep(10 * n.ReconnectDelay)
		wantRole(t, n, true)
		if n.Epoch() != 4 {
			t.Errorf("leads in epoch %d, want 4", n.Epoch())
		}
	})
}

func TestRunLeaseStatic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := runLease(t, newLeaseStore(t, true), static.NewLeaser(true, "a", "http://a:20202"), &follower{})
		time.Sleep(10 * 365 * 24 * time.Hour)
		wantRole(t, n, true)
		if n.Epoch() != 0 || !n.Ready() {
			t.Errorf("epoch %d, ready %v", n.Epoch(), n.Ready())
		}
		if err := n.stop(); err != nil {
			t.Error(err)
		}
	})
}
