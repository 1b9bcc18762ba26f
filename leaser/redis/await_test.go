package redis_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"litefs/internal/servertest"
	"litefs/leaser/redis"
)

// longTTL is one with which polling alone would be noticed: it takes 30 seconds.
const longTTL = 5 * time.Minute

// await has leaser wait for a change since epoch and returns when it hears of changes.
func await(t *testing.T, leaser *redis.Leaser, epoch uint64, client *goredis.Client) <-chan error {
	t.Helper()
	const channel = "{litefs/primary}:changed"
	before := client.PubSubNumSub(t.Context(), channel).Val()[channel]
	changed := make(chan error, 1)
	go func() { changed <- leaser.Await(t.Context(), epoch) }()
	eventually(t, "Await has subscribed", func() error {
		if client.PubSubNumSub(t.Context(), channel).Val()[channel] == before {
			return errors.New("it has not")
		}
		return nil
	})
	return changed
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
	addr := servertest.StartRedis(t).Addr
	client := connect(t, addr)
	a, b := open(t, "redis://"+addr, nodeA, ttl(longTTL)), open(t, "redis://"+addr, nodeB, ttl(longTTL))
	const soon = 5 * time.Second
	changed := await(t, b, 0, client)
	lease := acquire(t, a)
	wantWithin(t, "an acquisition", changed, soon)
	changed = await(t, b, 1, client)
	next, err := a.TakeOver(t.Context(), lease.Token())
	if err != nil {
		t.Fatal(err)
	}
	wantWithin(t, "a takeover", changed, soon)
	changed = await(t, b, 2, client)
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
	const channel = "{litefs/primary}:changed"
	eventually(t, "Await has subscribed anew", func() error {
		if n := client.PubSubNumSub(t.Context(), channel).Val()[channel]; n != 1 || p.accepted() < 3 {
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
