package litefs_test

import (
	"errors"
	"testing"

	"litefs"
	"litefs/ltx"
)

func TestMayLead(t *testing.T) {
	r := newCrashRun(t)
	r.open()
	r.commit()
	db, first := r.pager.db, r.pager.db.Pos()
	r.commit()
	pos := db.Pos()
	record := func(cluster string, positions map[string]ltx.Pos) litefs.Record {
		return litefs.Record{ClusterID: cluster, Epoch: 3, Positions: positions}
	}
	if err := r.store.MayLead(litefs.Record{}); err != nil {
		t.Errorf("with a lease store that knows nothing: %v", err)
	}
	if err := r.store.MayLead(record(clusterID, nil)); !errors.Is(err, litefs.ErrStaleNode) {
		t.Errorf("before the node was in line with the cluster: %v, want ErrStaleNode", err)
	}
	if err := r.store.MayLead(litefs.Record{ClusterID: clusterID}); err != nil {
		t.Errorf("of a cluster that nobody has led yet: %v", err)
	}
	r.must(errors.Join(r.store.AdoptCluster(clusterID), r.store.NoteMember()))
	for name, test := range map[string]struct {
		record litefs.Record
		want   error
	}{
		"nothing on record":    {record(clusterID, nil), nil},
		"equal":                {record(clusterID, map[string]ltx.Pos{"db": pos}), nil},
		"ahead of the record":  {record(clusterID, map[string]ltx.Pos{"db": first}), nil},
		"behind the record":    {record(clusterID, map[string]ltx.Pos{"db": {TXID: pos.TXID + 1, PostApplyChecksum: pos.PostApplyChecksum}}), litefs.ErrStaleNode},
		"another content":      {record(clusterID, map[string]ltx.Pos{"db": {TXID: pos.TXID, PostApplyChecksum: pos.PostApplyChecksum ^ 1}}), litefs.ErrStaleNode},
		"another history":      {record(clusterID, map[string]ltx.Pos{"db": {TXID: first.TXID, PostApplyChecksum: first.PostApplyChecksum ^ 1}}), litefs.ErrStaleNode},
		"a database is lacked": {record(clusterID, map[string]ltx.Pos{"db": pos, "other": first}), litefs.ErrStaleNode},
		"another cluster":      {record(otherClusterID, nil), litefs.ErrClusterMismatch},
	} {
		if err := r.store.MayLead(test.record); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
	r.close()
}
