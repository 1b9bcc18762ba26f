package redis_test

import (
	"context"
	"testing"
	"time"

	"litefs"
	"litefs/internal/servertest"
	"litefs/leaser/redis"
	"litefs/ltx"
)

// Parts of the scripts, by which the proxy knows them.
const (
	acquireRequest  = "or {0, lease}"
	takeOverRequest = "or {0, ''}"
	renewRequest    = "and redis.call('PEXPIRE', KEYS[1], ARGV[3])"
	keepRequest     = "'kept-epoch', ARGV[3]"
	releaseRequest  = "redis.call('DEL', KEYS[1])"
)

// An acquisition whose answer was lost is found again by the next one, and is not taken
// for somebody else's meanwhile.
func TestAcquireAnswerLost(t *testing.T) {
	server := servertest.StartRedis(t)
	p := startProxy(t, server.Addr)
	a, b := open(t, p.url(), nodeA), open(t, "redis://"+server.Addr, nodeB)
	p.cutAfter(acquireRequest)
	_, err := a.Acquire(t.Context())
	wantErr(t, "Acquire without an answer", err, redis.ErrUnreachable)
	_, err = b.Acquire(t.Context())
	wantErr(t, "Acquire after another node's that was executed", err, litefs.ErrPrimaryExists)
	if info, err := b.PrimaryInfo(t.Context()); err != nil || info != nodeA {
		t.Errorf("PrimaryInfo on another node: %+v, %v", info, err)
	}
	_, err = a.PrimaryInfo(t.Context())
	wantErr(t, "PrimaryInfo of who does not know yet", err, litefs.ErrNoPrimary)

	<-time.After(100 * time.Millisecond) // of the TTL
	before := time.Now()
	lease := acquire(t, a)
	if lease.Epoch() != 1 || lease.RenewedAt().Before(before) {
		t.Errorf("epoch %d, renewed at %v; want 1 and not before %v", lease.Epoch(), lease.RenewedAt(), before)
	}
	if left := connect(t, server.Addr).PTTL(t.Context(), "litefs/primary").Val(); left < testTTL-50*time.Millisecond {
		t.Errorf("the lease lasts for %v, the TTL is to begin anew", left)
	}
	if err := lease.Renew(t.Context()); err != nil {
		t.Errorf("Renew: %v", err)
	}
	_, err = a.Acquire(t.Context())
	wantErr(t, "Acquire of who knows that it has the lease", err, litefs.ErrPrimaryExists)
	if info, err := a.PrimaryInfo(t.Context()); err != nil || info != nodeA {
		t.Errorf("PrimaryInfo on the primary: %+v, %v", info, err)
	}
	if err := lease.Close(); err != nil {
		t.Error(err)
	}
	if next := acquire(t, a); next.Epoch() != 2 || next.Token() == lease.Token() {
		t.Errorf("the next lease has epoch %d", next.Epoch())
	}
}

// An acquisition whose answer was lost, and whose lease lapsed and went to another node,
// is of no use any more.
func TestAcquireAnswerLostAndLapsed(t *testing.T) {
	server := servertest.StartRedis(t)
	p := startProxy(t, server.Addr)
	a, b := open(t, p.url(), nodeA), open(t, "redis://"+server.Addr, nodeB)
	p.cutAfter(acquireRequest)
	_, err := a.Acquire(t.Context())
	wantErr(t, "Acquire without an answer", err, redis.ErrUnreachable)
	expire(t, connect(t, server.Addr), "litefs/primary")
	if lease := acquire(t, b); lease.Epoch() != 2 {
		t.Errorf("epoch %d, want 2", lease.Epoch())
	}
	_, err = a.Acquire(t.Context())
	wantErr(t, "Acquire after that", err, litefs.ErrPrimaryExists)
	if info, err := a.PrimaryInfo(t.Context()); err != nil || info != nodeB {
		t.Errorf("PrimaryInfo after that: %+v, %v", info, err)
	}
}

// The same goes for a takeover, whether it is tried again or the lease is acquired.
func TestTakeOverAnswerLost(t *testing.T) {
	server := servertest.StartRedis(t)
	for name, again := range map[string]func(b *redis.Leaser, token string) (litefs.Lease, error){
		"TakeOver": func(b *redis.Leaser, token string) (litefs.Lease, error) { return b.TakeOver(t.Context(), token) },
		"Acquire":  func(b *redis.Leaser, _ string) (litefs.Lease, error) { return b.Acquire(t.Context()) },
	} {
		t.Run(name, func(t *testing.T) {
			p := startProxy(t, server.Addr)
			a, b := open(t, "redis://"+server.Addr, nodeA, key(name)), open(t, p.url(), nodeB, key(name))
			old := acquire(t, a)
			p.cutAfter(takeOverRequest)
			_, err := b.TakeOver(t.Context(), old.Token())
			wantErr(t, "TakeOver without an answer", err, redis.ErrUnreachable)
			wantErr(t, "Renew of the lease that was taken over", old.Renew(t.Context()), litefs.ErrLeaseExpired)
			_, err = a.TakeOver(t.Context(), old.Token())
			wantErr(t, "TakeOver with the token of the lease before", err, litefs.ErrLeaseExpired)
			lease, err := again(b, old.Token())
			if err != nil || lease.Epoch() != 2 {
				t.Fatalf("again: %+v, %v; want epoch 2", lease, err)
			}
			if err := lease.Renew(t.Context()); err != nil {
				t.Errorf("Renew: %v", err)
			}
		})
	}
}

// A lease does not count a renewal of which it does not know that it took place, and
// what is done twice is done once.
func TestLeaseAnswerLost(t *testing.T) {
	server := servertest.StartRedis(t)
	p := startProxy(t, server.Addr)
	a, b := open(t, p.url(), nodeA), open(t, "redis://"+server.Addr, nodeB)
	lease := acquire(t, a)
	renewedAt := lease.RenewedAt()
	p.cutAfter(renewRequest)
	wantErr(t, "Renew without an answer", lease.Renew(t.Context()), redis.ErrUnreachable)
	if !lease.RenewedAt().Equal(renewedAt) {
		t.Errorf("renewed at %v after a renewal without an answer, %v before", lease.RenewedAt(), renewedAt)
	}
	if err := lease.Renew(t.Context()); err != nil || !lease.RenewedAt().After(renewedAt) {
		t.Errorf("Renew after that: %v, renewed at %v", err, lease.RenewedAt())
	}
	positions := map[string]ltx.Pos{"data.db": {TXID: 1, PostApplyChecksum: 1 << 63}}
	p.cutAfter(keepRequest)
	wantErr(t, "Keep without an answer", lease.Keep(t.Context(), positions), redis.ErrUnreachable)
	if err := lease.Keep(t.Context(), positions); err != nil {
		t.Errorf("Keep after that: %v", err)
	}
	if record, err := b.Record(t.Context()); err != nil || record.Epoch != 1 || record.Positions["data.db"].TXID != 1 {
		t.Errorf("Record: %+v, %v", record, err)
	}
	p.cutAfter(releaseRequest)
	wantErr(t, "Close without an answer", lease.Close(), redis.ErrUnreachable)
	next := acquire(t, b)
	if err := lease.Close(); err != nil {
		t.Errorf("Close after that: %v", err)
	}
	if err := next.Renew(t.Context()); err != nil {
		t.Errorf("Renew of the next holder: %v", err)
	}
}

// The TTL counts from before a command is sent, however long its way back.
func TestRenewedAtIsBeforeTheCommand(t *testing.T) {
	server := servertest.StartRedis(t)
	p := startProxy(t, server.Addr)
	a := open(t, p.url(), nodeA)
	const delay = 300 * time.Millisecond
	p.setDelay(delay)
	began := time.Now()
	lease := acquire(t, a)
	if took, at := time.Since(began), time.Since(lease.RenewedAt()); took < delay || at < delay {
		t.Errorf("acquired %v ago after %v, want at least %v", at, took, delay)
	}
	if err := lease.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if at := time.Since(lease.RenewedAt()); at < delay {
		t.Errorf("renewed %v ago, want at least %v", at, delay)
	}
}

// A server that does not answer is given up after the call timeout, and leaves no
// connection behind on which a late answer could be taken for another one's.
func TestCallTimeout(t *testing.T) {
	server := servertest.StartRedis(t)
	p := startProxy(t, server.Addr)
	a := open(t, p.url(), nodeA, ttl(time.Minute), func(c *redis.Config) { c.CallTimeout = 500 * time.Millisecond })
	lease := acquire(t, a)
	p.setDelay(time.Second)
	began := time.Now()
	wantErr(t, "Renew that takes too long", lease.Renew(t.Context()), redis.ErrUnreachable)
	if took := time.Since(began); took > 900*time.Millisecond {
		t.Errorf("given up after %v, want 500ms", took)
	}
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began = time.Now()
	wantErr(t, "Renew that takes longer than its context", lease.Renew(short), context.DeadlineExceeded)
	if took := time.Since(began); took > 400*time.Millisecond {
		t.Errorf("given up after %v, want 100ms", took)
	}
	p.setDelay(0)
	if info, err := a.PrimaryInfo(t.Context()); err != nil || info != nodeA {
		t.Errorf("PrimaryInfo after that: %+v, %v", info, err)
	}
	if err := lease.Renew(t.Context()); err != nil {
		t.Errorf("Renew after that: %v", err)
	}
}
