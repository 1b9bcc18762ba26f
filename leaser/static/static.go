// Package static is the lease of a cluster whose primary is fixed by configuration.
//
// There is no lease store. The primary holds its lease for ever and no other node
// ever gets it, so that nothing but the configuration keeps two nodes from both
// being the primary.
package static

import (
	"context"
	"math"
	"time"

	"litefs"
	"litefs/ltx"
)

// Leaser hands out the lease of a fixed primary: to it, and to nobody else.
type Leaser struct {
	isPrimary bool
	info      litefs.PrimaryInfo
}

var _ litefs.Leaser = (*Leaser)(nil)

// NewLeaser returns the leaser of one node. hostname and advertiseURL are those of
// the primary, whether this node is it or not.
func NewLeaser(isPrimary bool, hostname, advertiseURL string) *Leaser {
	return &Leaser{isPrimary, litefs.PrimaryInfo{Hostname: hostname, AdvertiseURL: advertiseURL}}
}

// Close does nothing.
func (l *Leaser) Close() error { return nil }

// IsPrimary reports whether this node is the primary.
func (l *Leaser) IsPrimary() bool { return l.isPrimary }

// AdvertiseURL returns the URL of the primary on the primary, and "" elsewhere.
func (l *Leaser) AdvertiseURL() string {
	if l.isPrimary {
		return l.info.AdvertiseURL
	}
	return ""
}

// Acquire returns the lease on the primary, and litefs.ErrPrimaryExists elsewhere.
func (l *Leaser) Acquire(ctx context.Context) (litefs.Lease, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !l.isPrimary {
		return nil, litefs.ErrPrimaryExists
	}
	return Lease{}, nil
}

// PrimaryInfo returns what is known of the primary. On the primary itself it is
// litefs.ErrNoPrimary.
func (l *Leaser) PrimaryInfo(ctx context.Context) (litefs.PrimaryInfo, error) {
	if err := ctx.Err(); err != nil {
		return litefs.PrimaryInfo{}, err
	}
	if l.isPrimary {
		return litefs.PrimaryInfo{}, litefs.ErrNoPrimary
	}
	return l.info, nil
}

// TakeOver returns litefs.ErrLeaseExpired: the lease does not pass on.
func (l *Leaser) TakeOver(ctx context.Context, _ string) (litefs.Lease, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return nil, litefs.ErrLeaseExpired
}

// Record returns the zero Record: there is nowhere to keep one.
func (l *Leaser) Record(ctx context.Context) (litefs.Record, error) {
	return litefs.Record{}, ctx.Err()
}

// FoundCluster returns id: who the primary is was settled beforehand, and no other
// node founds the cluster.
func (l *Leaser) FoundCluster(ctx context.Context, id string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	return id, nil
}

// Await returns the error of ctx once that is done: nothing else ever changes.
func (l *Leaser) Await(ctx context.Context, _ uint64) error {
	<-ctx.Done()
	return ctx.Err()
}

// Lease is the lease of a fixed primary. It never ends.
type Lease struct{}

var _ litefs.Lease = Lease{}

// Epoch returns 0: there are no holders to tell apart.
func (Lease) Epoch() uint64 { return 0 }

// RenewedAt returns the Unix epoch.
func (Lease) RenewedAt() time.Time { return time.Unix(0, 0).UTC() }

// TTL returns the longest time there is, about 292 years.
func (Lease) TTL() time.Duration { return math.MaxInt64 }

// Renew does nothing.
func (Lease) Renew(context.Context) error { return nil }

// Token returns "": the lease cannot be taken over.
func (Lease) Token() string { return "" }

// Keep does nothing.
func (Lease) Keep(context.Context, map[string]ltx.Pos) error { return nil }

// Close does nothing.
func (Lease) Close() error { return nil }
