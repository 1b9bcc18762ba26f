package litefs

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"litefs/internal/fsx"
)

// Errors of nodes that do not belong together.
var (
	// ErrClusterMismatch is returned for a node of another cluster.
	ErrClusterMismatch = errors.New("node belongs to another cluster")
	// ErrStaleEpoch is returned for a primary whose lease is older than one that
	// is known: another node has led since, or leads now.
	ErrStaleEpoch = errors.New("epoch of the primary is out of date")
)

// clusterFileLimit bounds the size of the file in bytes.
const clusterFileLimit = 4096

// cluster is what a node remembers of the cluster that it belongs to. It is kept
// in the file "cluster" of the data directory, as one JSON object:
//
//	{"cluster-id":"c0ffee00c0ffee00c0ffee00","epoch":7,"member":true}
type cluster struct {
	mu    sync.Mutex // guards what follows, and the file
	state clusterState
}

// clusterState is the content of the file.
type clusterState struct {
	// ID is IDLength hexadecimal digits, or empty before the node is a part of
	// any cluster.
	ID string `json:"cluster-id"`
	// Epoch is the newest epoch of a lease that the node has seen.
	Epoch uint64 `json:"epoch"`
	// Member is set once the node has had all that the cluster had: it has led, or
	// caught up with a primary.
	Member bool `json:"member,omitempty"`
}

// ClusterID returns the identifier of the cluster: IDLength hexadecimal digits.
// The first primary of a cluster makes it, and every other node adopts it. It is
// empty on a node that has not been the primary nor met one.
func (s *Store) ClusterID() string {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	return s.cluster.state.ID
}

// Epoch returns the newest epoch of a lease that the node has seen. On the primary
// it is that of its own lease.
func (s *Store) Epoch() uint64 {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	return s.cluster.state.Epoch
}

// SeeEpoch takes note of the epoch of a primary that this node hears of, durably.
// It returns ErrStaleEpoch, and must then be heeded by whoever was about to follow
// that primary, if a newer one is known. On a node that leads itself a newer epoch
// is not noted, and ErrStaleEpoch says that this node must not lead any more.
func (s *Store) SeeEpoch(epoch uint64) error {
	leads := s.IsPrimary()
	return s.updateCluster(func(state *clusterState) error {
		switch {
		case epoch < state.Epoch:
			return fmt.Errorf("%w: %d, the newest known is %d", ErrStaleEpoch, epoch, state.Epoch)
		case epoch > state.Epoch && leads:
			return fmt.Errorf("%w: this node leads in epoch %d, another in %d", ErrStaleEpoch, state.Epoch, epoch)
		}
		state.Epoch = epoch
		return nil
	})
}

// AdoptCluster makes the node a member of the cluster with the given identifier,
// durably. It returns ErrClusterMismatch if it is one of another cluster already.
func (s *Store) AdoptCluster(id string) error {
	if !isID(id) {
		return fmt.Errorf("adopt cluster ID %q: want %d hexadecimal digits", id, IDLength)
	}
	return s.updateCluster(func(state *clusterState) error {
		if state.ID != "" && state.ID != id {
			return fmt.Errorf("%w: this node is of %s, the other of %s", ErrClusterMismatch, state.ID, id)
		}
		state.ID = id
		return nil
	})
}

// NoteMember takes note that the node has all that the cluster has had, durably.
func (s *Store) NoteMember() error {
	return s.updateCluster(func(state *clusterState) error {
		state.Member = true
		return nil
	})
}

// lead takes note of a lease of the node's own, and founds a cluster if the node
// is of none. A lease without an epoch goes on in the newest that is known.
func (s *Store) lead(epoch uint64) error {
	return s.updateCluster(func(state *clusterState) error {
		if epoch != 0 && epoch < state.Epoch {
			return fmt.Errorf("%w: the lease has %d, the newest known is %d; was the lease store emptied?",
				ErrStaleEpoch, epoch, state.Epoch)
		}
		if state.ID == "" {
			state.ID = newID()
		}
		state.Epoch, state.Member = max(state.Epoch, epoch), true
		return nil
	})
}

// updateCluster has change alter the state, and returns once the new one is
// durable. After an error it is what it was.
func (s *Store) updateCluster(change func(*clusterState) error) error {
	s.cluster.mu.Lock()
	defer s.cluster.mu.Unlock()
	state := s.cluster.state
	if err := change(&state); err != nil || state == s.cluster.state {
		return err
	}
	data, err := json.Marshal(state)
	if err != nil {
		return err
	}
	if err := fsx.WriteFileAtomic(s.FS, s.clusterPath(), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("save cluster ID and epoch: %w", err)
	}
	s.cluster.state = state
	return nil
}

// loadCluster reads the file, which is not there before the node is a part of a
// cluster. A damaged one is an error and not set aside: without it a former
// primary would found a second cluster, and a replica follow a stale primary.
func (s *Store) loadCluster() error {
	data, err := fsx.ReadFile(s.FS, s.clusterPath(), clusterFileLimit)
	if isNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	var state clusterState
	err = json.Unmarshal(data, &state)
	switch {
	case err != nil:
	case state == clusterState{}:
		err = errors.New("neither cluster-id nor epoch in it")
	case state.ID != "" && !isID(state.ID):
		err = fmt.Errorf("cluster-id is %q, want %d hexadecimal digits", state.ID, IDLength)
	}
	if err != nil {
		return fmt.Errorf("file %q is damaged: %w; write the cluster-id of another node into it, or remove it on a replica to have it join its primary's cluster", s.clusterPath(), err)
	}
	s.cluster.state = state
	return nil
}

func (s *Store) clusterPath() string { return filepath.Join(s.path, "cluster") }
