package litefs

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"litefs/ltx"
)

// ErrStaleNode is returned for a node that must not lead because the cluster is known to
// have had data that the node has not.
var ErrStaleNode = errors.New("node lacks data of the cluster")

// mayLead reports why the node must not lead a cluster of which the lease store has kept
// a record, or nil. Which node leads decides whose data is the cluster's, so one that
// has less than was known to be on two nodes waits for one that has more:
//
//   - a node of another cluster;
//   - one that has never been in line with the cluster, as one with an empty data
//     directory;
//   - one that lacks a position of the record, or whose history went another way.
func (s *Store) mayLead(record Record) error {
	if record.ClusterID == "" {
		return nil // a new cluster, or a lease store that has lost what it knew
	}
	s.cluster.mu.Lock()
	state := s.cluster.state
	s.cluster.mu.Unlock()
	switch {
	case state.ID != "" && state.ID != record.ClusterID:
		return fmt.Errorf("%w: this node is of %s, the lease is that of %s", ErrClusterMismatch, state.ID, record.ClusterID)
	case !state.Member && record.Epoch != 0:
		return fmt.Errorf("%w: it has never been in line with a primary", ErrStaleNode)
	}
	for _, name := range slices.Sorted(maps.Keys(record.Positions)) {
		if err := s.hasPosition(name, record.Positions[name]); err != nil {
			return err
		}
	}
	return nil
}

// hasPosition reports whether a database is at a position or has come by it.
func (s *Store) hasPosition(name string, pos ltx.Pos) error {
	db := s.DB(name)
	if db == nil {
		return fmt.Errorf("%w: database %q is not here, the cluster has had it at %s", ErrStaleNode, name, pos)
	}
	own := db.Pos()
	if own.TXID < pos.TXID {
		return fmt.Errorf("%w: database %q is at %s, the cluster has had it at %s", ErrStaleNode, name, own, pos)
	}
	if db.History(pos) == HistoryDiverged {
		return fmt.Errorf("%w: database %q is at %s and has never been at %s, where the cluster has had it", ErrStaleNode, name, own, pos)
	}
	return nil
}

// newerPositions returns the later of two positions of each database.
func newerPositions(a, b map[string]ltx.Pos) map[string]ltx.Pos {
	out := make(map[string]ltx.Pos, len(a))
	maps.Copy(out, a)
	for name, pos := range b {
		if pos.TXID >= out[name].TXID {
			out[name] = pos
		}
	}
	return out
}
