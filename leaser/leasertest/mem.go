package leasertest

import (
	"context"
	"fmt"
	"maps"
	"math"
	"sync"
	"time"

	"litefs"
	"litefs/ltx"
)

// Mem is a lease store in memory. Its clock is the time package's, so that a test in
// a testing/synctest bubble waits for no TTL.
type Mem struct {
	TTL time.Duration // of every lease

	mu      sync.Mutex // guards what follows
	down    error
	holder  litefs.PrimaryInfo
	epoch   uint64 // of the last who held the lease
	expires time.Time
	record  litefs.Record
	changed chan struct{} // closed with the next change, nil if nobody waits for it
}

// Node returns a node's leaser.
func (m *Mem) Node(info litefs.PrimaryInfo) litefs.Leaser { return &memLeaser{m, info} }

// Expire has the lease lapse.
func (m *Mem) Expire() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expires = time.Time{}
	m.notifyLocked()
}

// SetDown has every call fail with err, as if the lease store could not be reached;
// nil brings it back. Time goes on meanwhile.
func (m *Mem) SetDown(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = err
	m.notifyLocked()
}

// usableLocked returns why a call cannot be answered.
func (m *Mem) usableLocked(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return m.down
}

func (m *Mem) heldLocked() bool { return time.Now().Before(m.expires) }

// grantLocked makes node the next holder.
func (m *Mem) grantLocked(node litefs.PrimaryInfo) *memLease {
	m.epoch++
	m.holder = node
	now := time.Now()
	m.expires = now.Add(m.TTL)
	m.notifyLocked()
	return &memLease{mem: m, epoch: m.epoch, renewedAt: now}
}

// changedLocked returns a channel that is closed with the next change.
func (m *Mem) changedLocked() <-chan struct{} {
	if m.changed == nil {
		m.changed = make(chan struct{})
	}
	return m.changed
}

func (m *Mem) notifyLocked() {
	if m.changed != nil {
		close(m.changed)
		m.changed = nil
	}
}

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
	return m.grantLocked(l.info), nil
}

func (l *memLeaser) TakeOver(ctx context.Context, token string) (litefs.Lease, error) {
	m := l.mem
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usableLocked(ctx); err != nil {
		return nil, fmt.Errorf("take lease over: %w", err)
	}
	if !m.heldLocked() || token != memToken(m.epoch) {
		return nil, litefs.ErrLeaseExpired
	}
	return m.grantLocked(l.info), nil
}

func (l *memLeaser) Record(ctx context.Context) (litefs.Record, error) {
	m := l.mem
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usableLocked(ctx); err != nil {
		return litefs.Record{}, fmt.Errorf("read record: %w", err)
	}
	record := m.record
	record.Positions = maps.Clone(record.Positions)
	return record, nil
}

func (l *memLeaser) FoundCluster(ctx context.Context, id string) (string, error) {
	m := l.mem
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usableLocked(ctx); err != nil {
		return "", fmt.Errorf("found cluster: %w", err)
	}
	if m.record.ClusterID == "" {
		m.record.ClusterID = id
	}
	return m.record.ClusterID, nil
}

func (l *memLeaser) Await(ctx context.Context, epoch uint64) error {
	for {
		changed, expiry, err := l.mem.watch(ctx, epoch)
		if changed == nil {
			return err
		}
		timer := time.NewTimer(expiry)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// watch returns what is closed when the lease may have another holder than that of
// epoch, and after how long it lapses; nil if it has one already, or on an error.
func (m *Mem) watch(ctx context.Context, epoch uint64) (<-chan struct{}, time.Duration, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usableLocked(ctx); err != nil {
		return nil, 0, fmt.Errorf("await change of lease: %w", err)
	}
	if !m.heldLocked() {
		if epoch == 0 {
			return m.changedLocked(), math.MaxInt64, nil
		}
		return nil, 0, nil
	}
	if epoch != m.epoch {
		return nil, 0, nil
	}
	return m.changedLocked(), time.Until(m.expires), nil
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

func memToken(epoch uint64) string { return fmt.Sprintf("mem-%d", epoch) }

func (l *memLease) Token() string { return memToken(l.epoch) }

func (l *memLease) Keep(ctx context.Context, positions map[string]ltx.Pos) error {
	m := l.mem
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.usableLocked(ctx); err != nil {
		return fmt.Errorf("keep positions: %w", err)
	}
	if m.epoch != l.epoch || !m.heldLocked() {
		return litefs.ErrLeaseExpired
	}
	m.record.Epoch, m.record.Positions = l.epoch, maps.Clone(positions)
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
		m.notifyLocked()
	}
	return nil
}
