package stream

import "errors"

// Errors with which a node refuses another, or breaks off with it.
var (
	// ErrVersion is returned when the nodes have no protocol version in common.
	ErrVersion = errors.New("no protocol version in common")
	// ErrClusterMismatch is returned when the nodes belong to different clusters.
	ErrClusterMismatch = errors.New("node belongs to another cluster")
	// ErrSelf is returned when a node has connected to itself.
	ErrSelf = errors.New("node follows itself")
	// ErrStaleEpoch is returned when the primary's epoch is older than the newest
	// that the replica has seen.
	ErrStaleEpoch = errors.New("epoch of the primary is stale")
	// ErrNotPrimary is returned when the node that was asked is not the primary.
	ErrNotPrimary = errors.New("node is not the primary")
	// ErrPeerSilent is returned when the other side has sent nothing for three
	// heartbeats.
	ErrPeerSilent = errors.New("peer is silent")
	// ErrBadFrame is returned for bytes that no node sends.
	ErrBadFrame = errors.New("bad frame")
)
