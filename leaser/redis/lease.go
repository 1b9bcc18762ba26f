package redis

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"litefs"
	"litefs/ltx"
)

// Lease is a lease in Redis.
type Lease struct {
	leaser *Leaser
	token  string
	epoch  uint64

	mu        sync.Mutex
	renewedAt time.Time // guarded by mu
}

var _ litefs.Lease = (*Lease)(nil)

// Epoch implements litefs.Lease.
func (l *Lease) Epoch() uint64 { return l.epoch }

// TTL returns that of the configuration.
func (l *Lease) TTL() time.Duration { return l.leaser.config.TTL }

// Token implements litefs.Lease.
func (l *Lease) Token() string { return l.token }

// RenewedAt returns when the last renewal that succeeded was sent.
func (l *Lease) RenewedAt() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.renewedAt
}

// Renew implements litefs.Lease.
func (l *Lease) Renew(ctx context.Context) error {
	sentAt := time.Now()
	err := l.run(ctx, "renew lease", renewScript, l.leaser.expiry())
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if sentAt.After(l.renewedAt) {
		l.renewedAt = sentAt
	}
	return nil
}

// Keep implements litefs.Lease.
func (l *Lease) Keep(ctx context.Context, positions map[string]ltx.Pos) error {
	data, err := json.Marshal(positions)
	if err != nil {
		return fmt.Errorf("encode positions: %w", err)
	}
	return l.run(ctx, "keep positions", keepScript, l.epoch, data)
}

// Close implements litefs.Lease.
func (l *Lease) Close() error {
	return l.leaser.do(context.Background(), "delete lease", func(ctx context.Context) error {
		return l.leaser.eval(ctx, releaseScript, l.token).Err()
	})
}

// run runs a script that does something as long as the lease is held.
func (l *Lease) run(ctx context.Context, what, script string, args ...any) error {
	held := false
	err := l.leaser.do(ctx, what, func(ctx context.Context) (err error) {
		held, err = l.leaser.eval(ctx, script, append([]any{l.token}, args...)...).Bool()
		return err
	})
	if err != nil {
		return err
	}
	if !held {
		return litefs.ErrLeaseExpired
	}
	return nil
}
