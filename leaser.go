package litefs

import (
	"context"
	"errors"
	"time"

	"litefs/ltx"
)

// Errors of a Leaser and of its leases.
var (
	// ErrNoPrimary is returned by PrimaryInfo when no other node holds the lease.
	ErrNoPrimary = errors.New("no primary")
	// ErrPrimaryExists is returned by Acquire when another node holds the lease.
	ErrPrimaryExists = errors.New("primary exists")
	// ErrLeaseExpired is returned by Renew when the lease has expired or somebody
	// else holds it.
	ErrLeaseExpired = errors.New("lease expired")
)

// Leaser hands out the one lease of a cluster, whose holder is the primary.
// Package leaser/leasertest holds the contract that every implementation passes.
// Its methods may be called by several goroutines at once.
type Leaser interface {
	// Close gives free what the leaser itself holds. It ends no lease.
	Close() error
	// AdvertiseURL returns the URL under which this node is reached while it is
	// the primary, or "" if it never is.
	AdvertiseURL() string
	// Acquire takes the lease. It returns ErrPrimaryExists if another node has
	// it, and any other error if the lease store cannot be asked.
	Acquire(ctx context.Context) (Lease, error)
	// PrimaryInfo returns what the holder of the lease has said of itself, or
	// ErrNoPrimary if nobody holds it.
	PrimaryInfo(ctx context.Context) (PrimaryInfo, error)
	// TakeOver takes the lease from the node that holds it and has given its token
	// away: the lease passes in one step, with a greater epoch, and nobody else can
	// have it in between. It returns ErrLeaseExpired if the token is not that of the
	// lease as it is held now.
	TakeOver(ctx context.Context, token string) (Lease, error)
	// Record returns what the holders of the lease have kept beside it, whether
	// anybody holds it now or not. It is the zero value if nothing was ever kept.
	Record(ctx context.Context) (Record, error)
	// FoundCluster makes id the identifier of the cluster unless it has one, and
	// returns the one that it has. Of several nodes that ask at once one wins.
	FoundCluster(ctx context.Context, id string) (string, error)
	// Await returns nil once who holds the lease may have changed since the epoch
	// given (0 is nobody), and the error of ctx when that is done. It may return too
	// early, and returns any other error if it cannot tell.
	Await(ctx context.Context, epoch uint64) error
}

// Record is what the lease store keeps of a cluster beside the lease itself. It
// outlives every lease.
type Record struct {
	// ClusterID is what FoundCluster has settled on, or empty.
	ClusterID string
	// Epoch is that of the holder who has kept the positions.
	Epoch uint64
	// Positions are, by database, those that were known to be on at least one node
	// besides the primary. Who has less must not lead.
	Positions map[string]ltx.Pos
}

// Lease is the right to be the primary until RenewedAt plus TTL. Its methods may
// be called by several goroutines at once.
type Lease interface {
	// Epoch numbers the holders of the lease: each has a greater one than all
	// before it. It is 0 where the holder is fixed by configuration.
	Epoch() uint64
	// RenewedAt returns a time at or before the one from which the lease store
	// counts the TTL, which is when the last renewal was sent.
	RenewedAt() time.Time
	// TTL returns how long the lease lasts without renewal.
	TTL() time.Duration
	// Renew has the TTL begin anew. It returns ErrLeaseExpired if the lease is
	// gone for good; after any other error it may be tried again.
	Renew(ctx context.Context) error
	// Token names the lease for TakeOver. It is a secret.
	Token() string
	// Keep stores positions in the record of the cluster, with the epoch of the lease.
	// It returns ErrLeaseExpired, and has stored nothing, if somebody else holds the
	// lease by now.
	Keep(ctx context.Context, positions map[string]ltx.Pos) error
	// Close gives the lease back, so that another node can take it at once. A
	// lease that is held by somebody else by now is left alone.
	Close() error
}

// Client follows a primary. Package stream implements it.
type Client interface {
	// Follow connects to the primary, brings the databases in line with it and
	// keeps them so. It returns why it ended, which is never nil: the connection
	// broke, the primary refused or stepped down, or ctx is done.
	Follow(ctx context.Context, primary PrimaryInfo) error
}
