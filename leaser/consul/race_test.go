package consul_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"litefs"
	"litefs/internal/servertest"
)

// wantGrants is how many leases are looked at.
const wantGrants = 60

// Many nodes take, hand over and give back the lease while an operator deletes one of
// the keys: no epoch is given twice, and what comes later has a greater one.
func TestEpochGrowsInRace(t *testing.T) {
	server := servertest.StartConsul(t)
	client := admin(t, server.Addr, "")
	for _, suffix := range []string{"", "/epoch"} {
		t.Run("loss of KEY"+suffix, func(t *testing.T) {
			leaser := newLeaser(t, configAt(server.Addr, "race"+suffix+"/primary"))
			stop := make(chan struct{})
			var operator, nodes sync.WaitGroup
			operator.Go(func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(3 * time.Millisecond):
						if _, err := client.KV().Delete(leaser.Key()+suffix, nil); err != nil {
							t.Error(err)
						}
					}
				}
			})
			var log grants
			for range 4 {
				nodes.Go(func() {
					for began := time.Now(); log.count() < wantGrants && time.Since(began) < 30*time.Second; {
						takeTurn(t, leaser, &log)
					}
				})
			}
			nodes.Wait()
			close(stop)
			operator.Wait()
			log.check(t)
		})
	}
}

// takeTurn acquires the lease if it is free, hands it over to itself, and gives it back.
func takeTurn(t *testing.T, leaser litefs.Leaser, log *grants) {
	t.Helper()
	asked := time.Now()
	lease, err := leaser.Acquire(t.Context())
	if err != nil {
		// A refusal for another reason is possible here, and may come at any time.
		return
	}
	log.add(asked, lease)
	asked = time.Now()
	next, err := leaser.TakeOver(t.Context(), lease.Token())
	switch {
	case err == nil:
		log.add(asked, next)
		err = next.Close()
	case errors.Is(err, litefs.ErrLeaseExpired), strings.Contains(err.Error(), "index is stale"):
		err = nil // the operator has come between
	}
	if err := errors.Join(err, lease.Close()); err != nil {
		t.Errorf("take over, close: %v", err)
	}
}

// grants are the leases that were given.
type grants struct {
	mu  sync.Mutex
	all []grant
}

type grant struct {
	asked, given time.Time
	epoch        uint64
}

func (g *grants) add(asked time.Time, lease litefs.Lease) {
	given := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all = append(g.all, grant{asked, given, lease.Epoch()})
}

func (g *grants) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.all)
}

func (g *grants) check(t *testing.T) {
	t.Helper()
	if len(g.all) < wantGrants {
		t.Errorf("only %d leases were given", len(g.all))
	}
	for i, a := range g.all {
		for _, b := range g.all[:i] {
			if a.epoch == b.epoch || a.given.Before(b.asked) && a.epoch > b.epoch || b.given.Before(a.asked) && b.epoch > a.epoch {
				t.Errorf("epoch %d from %v to %v, and %d from %v to %v", a.epoch, a.asked, a.given, b.epoch, b.asked, b.given)
			}
		}
	}
}

// A lease is used by several goroutines at once.
func TestLeaseInRace(t *testing.T) {
	server := servertest.StartConsul(t)
	lease := acquire(t, newLeaser(t, configAt(server.Addr, "litefs/primary")))
	var calls sync.WaitGroup
	for range 4 {
		calls.Go(func() {
			last := lease.RenewedAt()
			for range 5 {
				if err := errors.Join(lease.Renew(t.Context()), lease.Keep(t.Context(), nil)); err != nil {
					t.Error(err)
				}
				at := lease.RenewedAt()
				if at.Before(last) {
					t.Errorf("RenewedAt goes back from %v to %v", last, at)
				}
				last = at
			}
		})
	}
	calls.Wait()
	if err := lease.Close(); err != nil {
		t.Error(err)
	}
}
