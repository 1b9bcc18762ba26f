//nolint:thelper // the cases are tests, and failures are to name their lines
package leasertest

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"litefs"
	"litefs/ltx"
)

// Positions with names that an encoding may stumble over.
var (
	positions = map[string]ltx.Pos{
		"data.db":           {TXID: 7, PostApplyChecksum: 1<<63 | 0xabcdef},
		"dir/é \"x\" #1.db": {TXID: 1<<53 + 1, PostApplyChecksum: 1<<64 - 1},
	}
	laterPositions = map[string]ltx.Pos{"data.db": {TXID: 8, PostApplyChecksum: 1<<63 | 1}}
)

// recordOfNew: of a new cluster nothing is known.
func recordOfNew(t *testing.T, c Cluster) {
	wantRecord(t, c.Open(t, nodeA), litefs.Record{})
}

// recordOutlivesLease: what a holder has kept is there for all who come after it, and
// is replaced as a whole by what one of them keeps.
func recordOutlivesLease(t *testing.T, c Cluster) {
	a, b := c.Open(t, nodeA), c.Open(t, nodeB)
	first := acquire(t, a)
	wantRecord(t, b, litefs.Record{})
	keep(t, first, positions)
	want := litefs.Record{Epoch: first.Epoch(), Positions: positions}
	wantRecord(t, b, want)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	wantRecord(t, b, want)

	second := acquire(t, b)
	wantRecord(t, a, want)
	keep(t, second, laterPositions)
	if err := second.Renew(t.Context()); err != nil {
		t.Errorf("Renew after Keep: %v", err)
	}
	want = litefs.Record{Epoch: second.Epoch(), Positions: laterPositions}
	wantRecord(t, a, want)
	c.Expire(t)
	wantRecord(t, a, want)

	third := acquire(t, a)
	keep(t, third, nil)
	wantRecord(t, b, litefs.Record{Epoch: third.Epoch()})
}

// keepAfterLoss: who has lost the lease changes nothing, whether somebody else has it
// by then or not.
func keepAfterLoss(t *testing.T, c Cluster) {
	a, b := c.Open(t, nodeA), c.Open(t, nodeB)
	old := acquire(t, a)
	keep(t, old, positions)
	want := litefs.Record{Epoch: old.Epoch(), Positions: positions}
	c.Expire(t)
	wantLost(t, old)
	wantRecord(t, b, want)
	lease := acquire(t, b)
	wantLost(t, old)
	wantRecord(t, b, want)
	keep(t, lease, laterPositions)
	wantLost(t, old)
	want = litefs.Record{Epoch: lease.Epoch(), Positions: laterPositions}
	wantRecord(t, b, want)
	if err := lease.Close(); err != nil {
		t.Fatal(err)
	}
	wantLost(t, lease)
	wantRecord(t, b, want)
}

// foundCluster: of many who found the cluster at once one does, and all learn of it.
// It is independent of the lease.
func foundCluster(t *testing.T, c Cluster) {
	const nodes = 8
	var (
		founding sync.WaitGroup
		ids      = make([]string, nodes)
		errs     = make([]error, nodes)
	)
	for i := range nodes {
		leaser := c.Open(t, nodeA)
		founding.Go(func() { ids[i], errs[i] = leaser.FoundCluster(t.Context(), fmt.Sprintf("LFSC%016X", i)) })
	}
	founding.Wait()
	for i, err := range errs {
		if err != nil || ids[i] != ids[0] {
			t.Errorf("FoundCluster is %q on node %d, %v; want %q as on the first", ids[i], i, err, ids[0])
		}
	}
	if !slices.Contains([]string{
		"LFSC0000000000000000", "LFSC0000000000000001", "LFSC0000000000000002", "LFSC0000000000000003",
		"LFSC0000000000000004", "LFSC0000000000000005", "LFSC0000000000000006", "LFSC0000000000000007",
	}, ids[0]) {
		t.Errorf("FoundCluster is %q, which nobody has asked for", ids[0])
	}
	a, b := c.Open(t, nodeA), c.Open(t, nodeB)
	if got, err := b.FoundCluster(t.Context(), "LFSCFFFFFFFFFFFFFFFF"); err != nil || got != ids[0] {
		t.Errorf("FoundCluster of one who comes later is %q, %v; want %q", got, err, ids[0])
	}
	wantRecord(t, b, litefs.Record{ClusterID: ids[0]})
	lease := acquire(t, a)
	keep(t, lease, positions)
	wantRecord(t, b, litefs.Record{ClusterID: ids[0], Epoch: lease.Epoch(), Positions: positions})
	c.Expire(t)
	if got, err := b.FoundCluster(t.Context(), "LFSCFFFFFFFFFFFFFFFF"); err != nil || got != ids[0] {
		t.Errorf("FoundCluster after a lease has ended is %q, %v; want %q", got, err, ids[0])
	}
}

func keep(t *testing.T, lease litefs.Lease, positions map[string]ltx.Pos) {
	t.Helper()
	if err := lease.Keep(t.Context(), positions); err != nil {
		t.Fatalf("Keep: %v", err)
	}
}

func wantRecord(t *testing.T, leaser litefs.Leaser, want litefs.Record) {
	t.Helper()
	got, err := leaser.Record(t.Context())
	if err != nil {
		t.Fatalf("Record: %v", err)
	}
	if got.ClusterID != want.ClusterID || got.Epoch != want.Epoch || !maps.Equal(got.Positions, want.Positions) {
		t.Errorf("Record is %+v, want %+v", got, want)
	}
}
