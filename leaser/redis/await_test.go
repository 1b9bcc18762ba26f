package redis_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"litefs/internal/servertest"
	"litefs/leaser/redis"
)

// longTTL is one with which polling alone would be noticed: it takes 30 seconds.
const longTTL = 5 * time.Minute

// await has leaser wait for a change since epoch and returns when it hears of changes.
func await(t *testing.T, leaser *redis.Leaser, epoch uint64, server goredis.UniversalClient) <-chan error {
	t.Helper()
	before := subscribers(t, server)
	changed := make(chan error, 1)
	go func() { changed <- leaser.Await(t.Context(), epoch) }()
	eventually(t, "Await has subscribed", func() error {
		if subscribers(t, server) == before {
			return errors.New("it has not")
		}
		return nil
	})
	return changed
}

// subscribers returns how many subscriptions there are.
func subscribers(t *testing.T, server goredis.UniversalClient) int64 {
	t.Helper()
	const channel = "{litefs/primary}:changed"
	var n atomic.Int64
	count := func(ctx context.Context, node *goredis.Client) error {
		n.Add(node.PubSubNumSub(ctx, channel).Val()[channel])
		return nil
	}
	switch server := server.(type) {
	case *goredis.ClusterClient:
		_ = server.ForEachMaster(t.Context(), count) // which has no errors
	case *goredis.Client:
		_ = count(t.Context(), server) // which has none
	}
	return n.Load()
}

// wantWithin checks that Await returns soon.
func wantWithin(t *testing.T, what string, changed <-chan error, d time.Duration) {
	t.Helper()
	select {
	case err := <-changed:
		if err != nil {
			t.Errorf("Await of %s: %v", what, err)
		}
	case <-time.After(d):
		t.Errorf("Await of %s does not return within %v", what, d)
	}
}

// What a node does to the lease is heard of at once.
func TestAwaitHears(t *testing.T) {
	t.Run("single", func(t *testing.T) { awaitHears(t, startSingle) })
	t.Run("sentinel", func(t *testing.T) { awaitHears(t, startSentinel) })
	t.Run("cluster", func(t *testing.T) { awaitHears(t, startCluster) })
}

func awaitHears(t *testing.T, start func(t *testing.T) (string, goredis.UniversalClient)) {
	t.Helper()
	url, server := start(t)
	a, b := open(t, url, nodeA, ttl(longTTL)), open(t, url, nodeB, ttl(longTTL))
	const soon = 5 * time.Second
	changed := await(t, b, 0, server)
	lease := acquire(t, a)
	wantWithin(t, "an acquisition", changed, soon)
	changed = await(t, b, 1, server)
	next, err := a.TakeOver(t.Context(), lease.Token())
	if err != nil {
		t.Fatal(err)
	}
	wantWithin(t, "a takeover", changed, soon)
	changed = await(t, b, 2, server)
	if err := next.Close(); err != nil {
		t.Fatal(err)
	}
	wantWithin(t, "the end of a lease", changed, soon)
}

// A lease that lapses is noticed when it does.
func TestAwaitLapse(t *testing.T) {
	addr := servertest.StartRedis(t).Addr
	a, b := open(t, "redis://"+addr, nodeA, ttl(1500*time.Millisecond)), open(t, "redis://"+addr, nodeB, ttl(longTTL))
	lease := acquire(t, a)
	changed := await(t, b, 1, connect(t, addr))
	wantWithin(t, "the end of a TTL", changed, 5*time.Second)
	if early := time.Until(lease.RenewedAt().Add(lease.TTL())); early > 0 {
		t.Errorf("Await returned %v before the end of the TTL", early)
	}
}

// A connection that breaks does not end Await: it subscribes anew.
func TestAwaitReconnects(t *testing.T) {
	addr := servertest.StartRedis(t).Addr
	client := connect(t, addr)
	p := startProxy(t, addr)
	a, b := open(t, "redis://"+addr, nodeA, ttl(longTTL)), open(t, p.url(), nodeB, ttl(longTTL))
	changed := await(t, b, 0, client)
	p.drop()
	eventually(t, "Await has subscribed anew", func() error {
		if n := subscribers(t, client); n != 1 || p.accepted() < 3 {
			return fmt.Errorf("%d subscriptions, %d connections", n, p.accepted())
		}
		return nil
	})
	acquire(t, a)
	wantWithin(t, "an acquisition", changed, 5*time.Second)
}

// Without the right to subscribe, or messages, polling finds a change in time.
func TestAwaitPolls(t *testing.T) {
	addr := servertest.StartRedis(t, withUser("deaf on nopass resetchannels ~* +@all")...).Addr
	a := open(t, "redis://"+addr, nodeA)
	b := open(t, "redis://deaf:x@"+addr, nodeB)
	for range 2 { // neither may the second publish
		changed := make(chan error, 1)
		go func() { changed <- b.Await(t.Context(), 0) }()
		<-time.After(testTTL / 20)
		lease := acquire(t, a)
		wantWithin(t, "an acquisition", changed, testTTL/2)
		if err := lease.Close(); err != nil {
			t.Fatal(err)
		}
		a, b = b, a
	}
}
