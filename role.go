package litefs

import (
	"context"
)

// ReplicaWrites is what happens to a program that writes to a WAL-mode database
// on a replica.
type ReplicaWrites string

const (
	// ReplicaWritesWait has the writer wait, up to its busy timeout, as for any
	// other writer. It goes on if the node is made the primary meanwhile.
	ReplicaWritesWait ReplicaWrites = "wait"
	// ReplicaWritesReadonly has the writer told at once that the database is
	// read-only. Its connection stays so until it is opened again.
	ReplicaWritesReadonly ReplicaWrites = "readonly"
)

// PrimaryInfo says where the primary is.
type PrimaryInfo struct {
	Hostname     string `json:"hostname"`
	AdvertiseURL string `json:"advertise-url"`
}

// PrimaryInfo returns where the primary is. It is nil on the primary itself, and
// while the primary is not known.
func (s *Store) PrimaryInfo() *PrimaryInfo { return nil }

// BecomePrimary has the node take writes.
func (s *Store) BecomePrimary(ctx context.Context) error { return ctx.Err() }

// BecomeReplica has the node refuse writes.
func (s *Store) BecomeReplica(ctx context.Context, info *PrimaryInfo) error { return ctx.Err() }
