package leasertest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"litefs"
)

// Mem is a lease store in memory. Its clock is the time package's, so that a test in
// a testing/synctest bubble waits for no TTL.
type Mem struct {
	TTL time.Duration // of every lease

	mu      sync.Mutex // guards what follows
	down    error
	holder  litefs.PrimaryInfo
	epoch   uint64
	expires time.Time
}

// Node returns a node's leaser.
func (m *Mem) Node(info litefs.PrimaryInfo) litefs.Leaser { return &memLeaser{m, info} }

// Expire has the lease lapse.
func (m *Mem) Expire() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expires = time.Time{}
}

// SetDown has every call fail with err, as if the lease store could not be reached;
// nil brings it back. Time goes on meanwhile.
func (m *Mem) SetDown(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = err
}

// usableLocked returns why a call cannot be answered.
func (m *Mem) usableLocked(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return m.down
}

func (m *Mem) heldLocked() bool { return time.Now().Before(m.expires) }

type memLeaser struct {
	mem  *Mem
	info litefs.PrimaryInfo
}

func (l *memLeaser) Close() error { return nil }

func (l *memLeaser) AdvertiseURL() string { return l.info.AdvertiseURL }

func (l *memLeaser) Acquire(ctx context.Context) (litefs.Lease, error) {
	m := l.mem
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usableLocked(ctx); err != nil {
		return nil, fmt.Errorf("acquire lease: %w", err)
	}
	if m.heldLocked() {
		return nil, litefs.ErrPrimaryExists
	}
	m.epoch++
	m.holder = l.info
	now := time.Now()
	m.expires = now.Add(m.TTL)
	return &memLease{mem: m, epoch: m.epoch, renewedAt: now}, nil
}

func (l *memLeaser) PrimaryInfo(ctx context.Context) (litefs.PrimaryInfo, error) {
	m := l.mem
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usableLocked(ctx); err != nil {
		return litefs.PrimaryInfo{}, fmt.Errorf("read primary: %w", err)
	}
	if !m.heldLocked() {
		return litefs.PrimaryInfo{}, litefs.ErrNoPrimary
	}
	return m.holder, nil
}

type memLease struct {
	mem       *Mem
	epoch     uint64
	renewedAt time.Time // guarded by mem.mu
}

func (l *memLease) Epoch() uint64 { return l.epoch }

func (l *memLease) TTL() time.Duration { return l.mem.TTL }

func (l *memLease) RenewedAt() time.Time {
	l.mem.mu.Lock()
	defer l.mem.mu.Unlock()
	return l.renewedAt
}

func (l *memLease) Renew(ctx context.Context) error {
	m := l.mem
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usableLocked(ctx); err != nil {
		return fmt.Errorf("renew lease: %w", err)
	}
	if m.epoch != l.epoch || !m.heldLocked() {
		return litefs.ErrLeaseExpired
	}
	l.renewedAt = time.Now()
	m.expires = l.renewedAt.Add(m.TTL)
	return nil
}

func (l *memLease) Close() error {
	m := l.mem
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down != nil {
		return fmt.Errorf("delete lease: %w", m.down)
	}
	if m.epoch == l.epoch {
		m.expires = time.Time{}
	}
	return nil
}
