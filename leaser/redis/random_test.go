package redis_test

import (
	"cmp"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"litefs"
	"litefs/internal/servertest"
	"litefs/leaser/redis"
)

// tenure is a time for which a node took itself for the primary.
type tenure struct {
	epoch      uint64
	begin, end time.Time
}

// Whatever happens to the connections, and whether leases are given back or left to
// lapse, no two nodes take themselves for the primary at a time, and epochs only grow.
func TestOneHolderAtATime(t *testing.T) {
	const (
		nodes    = 4
		duration = 4 * time.Second
		shortTTL = 100 * time.Millisecond
	)
	server := servertest.StartRedis(t)
	var (
		running sync.WaitGroup
		mu      sync.Mutex
		all     []tenure
		until   = time.Now().Add(duration)
	)
	for i := range nodes {
		p := startProxy(t, server.Addr)
		leaser := open(t, p.url(), nodeA, ttl(shortTTL))
		random := rand.New(rand.NewPCG(uint64(i), 1))
		running.Go(func() {
			for time.Now().Before(until) {
				disturb(p, random)
				lease, err := leaser.Acquire(t.Context())
				switch {
				case err == nil:
					held := hold(t, lease, p, random)
					mu.Lock()
					all = append(all, held)
					mu.Unlock()
				case !errors.Is(err, litefs.ErrPrimaryExists) && !errors.Is(err, redis.ErrUnreachable):
					t.Errorf("Acquire: %v", err)
				}
				<-time.After(time.Duration(random.Int64N(int64(5 * time.Millisecond))))
			}
		})
	}
	running.Wait()
	slices.SortFunc(all, func(a, b tenure) int { return cmp.Compare(a.epoch, b.epoch) })
	for i, next := range all[1:] {
		last := all[i]
		if next.epoch <= last.epoch || next.begin.Before(last.end) {
			t.Errorf("epoch %d began %v before the end of epoch %d", next.epoch, last.end.Sub(next.begin), last.epoch)
		}
	}
	if t.Logf("%d tenures", len(all)); len(all) < 15 {
		t.Errorf("only %d tenures in %v", len(all), duration)
	}
}

// disturb does one of the things that happen to a connection, or nothing.
func disturb(p *proxy, random *rand.Rand) {
	switch random.IntN(8) {
	case 0:
		p.cutAfter(acquireRequest)
	case 1:
		p.cutAfter(renewRequest)
	case 2:
		p.cutAfter(releaseRequest)
	case 3:
		p.drop()
	case 4:
		p.setDelay(time.Duration(random.Int64N(int64(30 * time.Millisecond))))
	}
}

// hold renews a lease some times, and then gives it back or forgets it.
func hold(t *testing.T, lease litefs.Lease, p *proxy, random *rand.Rand) tenure {
	t.Helper()
	held := tenure{epoch: lease.Epoch(), begin: time.Now()}
	end := func() time.Time { return lease.RenewedAt().Add(lease.TTL()) }
	for range random.IntN(5) {
		<-time.After(time.Duration(random.Int64N(int64(lease.TTL() / 3))))
		disturb(p, random)
		sentAt := time.Now()
		if err := lease.Renew(t.Context()); errors.Is(err, litefs.ErrLeaseExpired) && time.Now().Before(end()) {
			t.Errorf("epoch %d lost %v before its end", held.epoch, time.Until(end()))
		}
		if sentAt.After(end()) {
			break
		}
	}
	if held.end = end(); random.IntN(2) == 0 {
		if now := time.Now(); now.Before(held.end) {
			held.end = now
		}
		_ = lease.Close() // whose answer may be cut
	}
	return held
}
