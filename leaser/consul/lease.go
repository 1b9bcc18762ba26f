package consul

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"

	"litefs"
	"litefs/ltx"
)

// Lease is the right to be the primary, as a session in Consul that has locked the key
// of the lease.
type Lease struct {
	leaser  *Leaser
	session string
	epoch   uint64
	value   []byte // of the key

	mu        sync.Mutex // guards what follows
	renewedAt time.Time
}

var _ litefs.Lease = (*Lease)(nil)

// Epoch implements litefs.Lease.
func (l *Lease) Epoch() uint64 { return l.epoch }

// TTL implements litefs.Lease.
func (l *Lease) TTL() time.Duration { return l.leaser.cfg.TTL }

// Token implements litefs.Lease. It is the ID of the session.
func (l *Lease) Token() string { return l.session }

// RenewedAt implements litefs.Lease.
func (l *Lease) RenewedAt() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.renewedAt
}

// Renew implements litefs.Lease. The lock is looked at after the session has been
// renewed, for a session outlives its lock when the lease is taken over, or when an
// operator unlocks or deletes the key.
func (l *Lease) Renew(ctx context.Context) error {
	at := time.Now()
	c := l.leaser.client
	alive, err := c.renewSession(ctx, l.session)
	if err != nil {
		return fmt.Errorf("renew lease: %w", err)
	}
	if !alive {
		return litefs.ErrLeaseExpired
	}
	locked, err := l.locked(ctx)
	if err != nil {
		return fmt.Errorf("renew lease: %w", err)
	}
	if !locked {
		return litefs.ErrLeaseExpired
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if at.After(l.renewedAt) {
		l.renewedAt = at
	}
	return nil
}

// locked reports whether it is this lease that is held.
func (l *Lease) locked(ctx context.Context) (bool, error) {
	pair, err := l.leaser.client.get(ctx, l.leaser.key)
	return pair != nil && pair.Session == l.session, err
}

// Keep implements litefs.Lease. Consul bounds the size of a value, to 512 KiB unless
// configured, which is enough for the positions of some thousand databases.
func (l *Lease) Keep(ctx context.Context, positions map[string]ltx.Pos) error {
	value, err := json.Marshal(kept{l.epoch, positions})
	if err != nil {
		return fmt.Errorf("encode positions: %w", err)
	}
	err = l.leaser.client.txn(ctx,
		&api.KVTxnOp{Verb: api.KVCheckSession, Key: l.leaser.key, Session: l.session},
		&api.KVTxnOp{Verb: api.KVSet, Key: l.leaser.positionsKey(), Value: value},
	)
	if isConflict(err) { // it has but one condition
		return litefs.ErrLeaseExpired
	}
	if err != nil {
		return fmt.Errorf("keep positions: %w", err)
	}
	return nil
}

// Close implements litefs.Lease. If Consul cannot be reached, the lease ends by itself
// up to two TTLs later.
func (l *Lease) Close() error {
	if err := l.giveBack(context.Background()); err != nil {
		return fmt.Errorf("release lease: %w", err)
	}
	return nil
}

// giveBack unlocks the key, if this lease has it locked, and then ends the session;
// in this order no lock-delay follows. It takes no longer than one request may.
func (l *Lease) giveBack(ctx context.Context) error {
	c := l.leaser.client
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	unlockErr := c.txn(ctx, &api.KVTxnOp{Verb: api.KVUnlock, Key: l.leaser.key, Session: l.session, Value: l.value})
	if isConflict(unlockErr) { // it is not locked, or by somebody else
		unlockErr = nil
	}
	return cmp.Or(unlockErr, c.destroySession(ctx, l.session))
}
