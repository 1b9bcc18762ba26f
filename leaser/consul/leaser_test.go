package consul_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"litefs"
	"litefs/internal/servertest"
	"litefs/leaser/consul"
	"litefs/leaser/leasertest"
)

func TestContract(t *testing.T) {
	server := servertest.StartConsul(t)
	client := admin(t, server.Addr, "")
	for name, run := range leasertest.Cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of it is waiting
			key := "contract/" + name
			run(t, leasertest.Cluster{
				Open: func(t *testing.T, info litefs.PrimaryInfo) litefs.Leaser {
					t.Helper()
					cfg := configAt(server.Addr, key)
					cfg.Hostname, cfg.AdvertiseURL = info.Hostname, info.AdvertiseURL
					return newLeaser(t, cfg)
				},
				Expire: func(t *testing.T) {
					t.Helper()
					expire(t, client, key)
				},
			})
		})
	}
}

// What the keys look like is a format: nodes of different versions share it.
func TestKeys(t *testing.T) {
	server := servertest.StartConsul(t)
	client := admin(t, server.Addr, "")
	cfg := configAt(server.Addr, "some where/primary")
	cfg.URL += "/tenant%201/"
	leaser := newLeaser(t, cfg)
	const key = "tenant 1/some where/primary"
	if leaser.Key() != key {
		t.Errorf("key is %q, want %q", leaser.Key(), key)
	}
	lease := acquire(t, leaser)
	if err := lease.Keep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := leaser.FoundCluster(t.Context(), "c0ffee"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		key:                `{"hostname":"bert","advertise-url":"http://bert:20202","epoch":1}`,
		key + "/epoch":     "1",
		key + "/cluster":   "c0ffee",
		key + "/positions": `{"epoch":1,"positions":null}`,
	} {
		if pair := getKey(t, client, name); pair == nil || string(pair.Value) != want {
			t.Errorf("%q is %+v, want %s", name, pair, want)
		}
	}
	if err := lease.Close(); err != nil {
		t.Fatal(err)
	}
	if pair := getKey(t, client, key); pair == nil || pair.Session != "" || !strings.Contains(string(pair.Value), `"epoch":1`) {
		t.Errorf("after Close the key is %+v, want it unlocked and with the last epoch", pair)
	}
	if sessions, _, err := client.Session().List(nil); err != nil || len(sessions) != 0 {
		t.Errorf("sessions that are left: %+v, %v", sessions, err)
	}
}

// A lease that is given back costs no lock-delay: the key is unlocked before the
// session ends.
func TestCloseCostsNoLockDelay(t *testing.T) {
	server := servertest.StartConsul(t)
	p := newProxy(t, server.Addr)
	cfg := configAt(p.addr, "litefs/primary")
	cfg.LockDelay = time.Minute
	a, b := newLeaser(t, cfg), newLeaser(t, cfg)
	lease := acquire(t, a)
	p.requests()
	if err := lease.Close(); err != nil {
		t.Fatal(err)
	}
	want := []string{"PUT /v1/txn", "PUT /v1/session/destroy/" + lease.Token()}
	if got := p.requests(); !slices.Equal(got, want) {
		t.Errorf("Close asks %q, want %q", got, want)
	}
	acquire(t, b)
}

// A lease that was not given back has a lock-delay. Nobody is told of its end, so
// that Await returns by itself.
func TestLockDelay(t *testing.T) {
	server := servertest.StartConsul(t)
	client := admin(t, server.Addr, "")
	cfg := configAt(server.Addr, "litefs/primary")
	cfg.LockDelay = time.Second
	leaser := newLeaser(t, cfg)
	lease := acquire(t, leaser)
	if _, err := client.Session().Destroy(lease.Token(), nil); err != nil {
		t.Fatal(err)
	}
	ended := time.Now()
	if _, err := leaser.Acquire(t.Context()); !errors.Is(err, litefs.ErrPrimaryExists) {
		t.Errorf("Acquire within the lock-delay: %v, want ErrPrimaryExists", err)
	}
	if sessions, _, err := client.Session().List(nil); err != nil || len(sessions) != 0 {
		t.Errorf("sessions that are left: %+v, %v", sessions, err)
	}
	for {
		if err := leaser.Await(t.Context(), 0); err != nil {
			t.Fatalf("Await: %v", err)
		}
		_, err := leaser.Acquire(t.Context())
		if err == nil {
			break
		}
		if !errors.Is(err, litefs.ErrPrimaryExists) || time.Since(ended) > 20*time.Second {
			t.Fatalf("Acquire %v after the lease has ended: %v", time.Since(ended), err)
		}
	}
	if took := time.Since(ended); took < cfg.LockDelay {
		t.Errorf("acquired after %v, before the end of the lock-delay", took)
	}
}

// A takeover has no lock-delay either, whatever becomes of the old session.
func TestTakeOverCostsNoLockDelay(t *testing.T) {
	server := servertest.StartConsul(t)
	client := admin(t, server.Addr, "")
	cfg := configAt(server.Addr, "litefs/primary")
	cfg.LockDelay = time.Minute
	a, b := newLeaser(t, cfg), newLeaser(t, cfg)
	old := acquire(t, a)
	before := getKey(t, client, a.Key())
	taken, err := b.TakeOver(t.Context(), old.Token())
	if err != nil {
		t.Fatal(err)
	}
	after := getKey(t, client, a.Key())
	if after.Session != taken.Token() || after.LockIndex != before.LockIndex+1 || taken.Epoch() <= old.Epoch() {
		t.Errorf("the key was %+v and is %+v; want it locked once more, by %s", before, after, taken.Token())
	}
	if err := old.Close(); err != nil {
		t.Errorf("Close of the lease that was taken over: %v", err)
	}
	if err := taken.Renew(t.Context()); err != nil {
		t.Errorf("Renew after the old lease was closed: %v", err)
	}
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	acquire(t, a)
}

// The epoch grows whichever of the keys is lost, and when.
func TestEpochSurvivesLossOfKeys(t *testing.T) {
	server := servertest.StartConsul(t)
	client := admin(t, server.Addr, "")
	cfg := configAt(server.Addr, "litefs/primary")
	var seen uint64
	cfg.MinEpoch = func() uint64 { return seen }
	leaser := newLeaser(t, cfg)
	epochKey := leaser.Key() + "/epoch"
	for _, lost := range [][]string{{}, {leaser.Key()}, {epochKey}, {}, {leaser.Key(), epochKey}} {
		for _, held := range []bool{true, false} {
			lease := acquire(t, leaser)
			if lease.Epoch() <= seen {
				t.Errorf("epoch %d after %d, with %q lost", lease.Epoch(), seen, lost)
			}
			if len(lost) < 2 {
				seen = 0 // Consul's part alone must do
			}
			for _, key := range lost {
				if held {
					deleteKey(t, client, key)
				}
			}
			if err := lease.Close(); err != nil {
				t.Fatal(err)
			}
			for _, key := range lost {
				deleteKey(t, client, key)
			}
			next := acquire(t, leaser)
			if len(lost) < 2 && next.Epoch() <= lease.Epoch() {
				t.Errorf("epoch %d after %d, with %q lost", next.Epoch(), lease.Epoch(), lost)
			}
			seen = max(seen, next.Epoch(), lease.Epoch())
			if err := next.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Consul in development mode comes back without its data. The lease is gone, and the
// next has a greater epoch all the same.
func TestConsulLosesItsData(t *testing.T) {
	first := servertest.StartConsul(t)
	p := newProxy(t, first.Addr)
	cfg := configAt(p.addr, "litefs/primary")
	var seen uint64
	cfg.MinEpoch = func() uint64 { return seen }
	leaser := newLeaser(t, cfg)
	for range 3 {
		lease := acquire(t, leaser)
		seen = lease.Epoch()
		if err := lease.Close(); err != nil {
			t.Fatal(err)
		}
	}
	lease := acquire(t, leaser)
	seen = lease.Epoch()
	changed := make(chan error, 1)
	go func() { changed <- leaser.Await(t.Context(), seen) }()

	first.Kill()
	if err := <-changed; err == nil {
		t.Error("Await returns no error when Consul dies")
	}
	if err := lease.Renew(t.Context()); err == nil || errors.Is(err, litefs.ErrLeaseExpired) {
		t.Errorf("Renew without Consul: %v, want an error that lets it be tried again", err)
	}
	p.turnTo(servertest.StartConsul(t).Addr)
	if err := lease.Renew(t.Context()); !errors.Is(err, litefs.ErrLeaseExpired) {
		t.Errorf("Renew after Consul lost its data: %v, want ErrLeaseExpired", err)
	}
	if err := lease.Keep(t.Context(), nil); !errors.Is(err, litefs.ErrLeaseExpired) {
		t.Errorf("Keep after Consul lost its data: %v, want ErrLeaseExpired", err)
	}
	if err := leaser.Await(t.Context(), seen); err != nil {
		t.Errorf("Await after Consul lost its data: %v", err)
	}
	if err := lease.Close(); err != nil {
		t.Errorf("Close of a lease that Consul has forgotten: %v", err)
	}
	if next := acquire(t, leaser); next.Epoch() <= seen {
		t.Errorf("epoch %d after %d", next.Epoch(), seen)
	}
}

// The answer to an Acquire or a TakeOver is lost after Consul has done it: the lease is
// given back, and free at once.
func TestLostAnswer(t *testing.T) {
	server := servertest.StartConsul(t)
	client := admin(t, server.Addr, "")
	p := newProxy(t, server.Addr)
	cfg := configAt(p.addr, "litefs/primary")
	cfg.LockDelay = time.Minute
	a, b := newLeaser(t, cfg), newLeaser(t, cfg)

	p.loseAnswer("/v1/txn")
	if _, err := a.Acquire(t.Context()); err == nil || !strings.Contains(err.Error(), "cannot reach Consul") {
		t.Fatalf("Acquire without an answer: %v", err)
	}
	if pair := getKey(t, client, a.Key()); pair == nil || pair.LockIndex != 1 || pair.Session != "" {
		t.Errorf("the key is %+v, want it locked once and unlocked again", pair)
	}
	lease := acquire(t, b)

	p.loseAnswer("/v1/txn")
	if _, err := a.TakeOver(t.Context(), lease.Token()); err == nil || errors.Is(err, litefs.ErrLeaseExpired) {
		t.Fatalf("TakeOver without an answer: %v", err)
	}
	if err := lease.Renew(t.Context()); !errors.Is(err, litefs.ErrLeaseExpired) {
		t.Errorf("Renew of a lease that was taken over: %v, want ErrLeaseExpired", err)
	}
	if next := acquire(t, b); next.Epoch() != lease.Epoch()+2 {
		t.Errorf("epoch %d, want %d: the one between was in use", next.Epoch(), lease.Epoch()+2)
	}
}

// The lease counts from before the request that begins its TTL, if that succeeds.
func TestRenewedAt(t *testing.T) {
	server := servertest.StartConsul(t)
	p := newProxy(t, server.Addr)
	leaser := newLeaser(t, configAt(p.addr, "litefs/primary"))
	before := time.Now()
	lease := acquire(t, leaser)
	if at := lease.RenewedAt(); at.Before(before) || at.After(p.lastSession()) {
		t.Errorf("RenewedAt is %v, want between %v and %v", at, before, p.lastSession())
	}
	first := lease.RenewedAt()
	p.loseAnswer("/v1/session/renew")
	if err := lease.Renew(t.Context()); err == nil || errors.Is(err, litefs.ErrLeaseExpired) {
		t.Fatalf("Renew without an answer: %v", err)
	}
	if !lease.RenewedAt().Equal(first) {
		t.Error("a renewal that failed counts")
	}
	p.loseAnswer("/v1/kv/")
	if err := lease.Renew(t.Context()); (err == nil) != lease.RenewedAt().After(first) { // a GET may be sent again
		t.Errorf("Renew: %v, RenewedAt %v, was %v", err, lease.RenewedAt(), first)
	}
	if err := lease.Renew(t.Context()); err != nil || !lease.RenewedAt().After(first) || lease.RenewedAt().After(p.lastSession()) {
		t.Errorf("Renew: %v, RenewedAt %v, want it between %v and %v", err, lease.RenewedAt(), first, p.lastSession())
	}
}

// Who unlocks or deletes the key by hand ends the lease; its holder finds out.
func TestKeyIsTakenAway(t *testing.T) {
	server := servertest.StartConsul(t)
	client := admin(t, server.Addr, "")
	leaser := newLeaser(t, configAt(server.Addr, "litefs/primary"))
	for name, take := range map[string]func(*consul.Lease){
		"unlocked": func(lease *consul.Lease) {
			pair := getKey(t, client, leaser.Key())
			if ok, _, err := client.KV().Release(pair, nil); err != nil || !ok {
				t.Fatalf("release %s: %v, %v", lease.Token(), ok, err)
			}
		},
		"deleted": func(*consul.Lease) { deleteKey(t, client, leaser.Key()) },
	} {
		lease := acquire(t, leaser)
		take(lease)
		if err := lease.Renew(t.Context()); !errors.Is(err, litefs.ErrLeaseExpired) {
			t.Errorf("Renew after the key was %s: %v, want ErrLeaseExpired", name, err)
		}
		if err := lease.Close(); err != nil {
			t.Errorf("Close after the key was %s: %v", name, err)
		}
	}
}

// A lease is asked for all the time while another node has it; that writes nothing.
func TestRefusalWritesNothing(t *testing.T) {
	server := servertest.StartConsul(t)
	p := newProxy(t, server.Addr)
	leaser := newLeaser(t, configAt(p.addr, "litefs/primary"))
	acquire(t, leaser)
	p.requests()
	if _, err := leaser.Acquire(t.Context()); !errors.Is(err, litefs.ErrPrimaryExists) {
		t.Fatalf("Acquire: %v", err)
	}
	if got := p.requests(); fmt.Sprint(got) != "[GET /v1/kv/litefs/primary]" {
		t.Errorf("it asks %q, want to read the key and no more", got)
	}
}
