package consul_test

import (
	"testing"

	"litefs/internal/servertest"
	"litefs/ltx"
)

// An operator who knows that data is gone takes the positions back that were kept, in
// the words of docs/failover.md. That somebody has led stays known.
func TestPositionsTakenBack(t *testing.T) {
	server := servertest.StartConsul(t)
	client := admin(t, server.Addr, "")
	leaser := newLeaser(t, configAt(server.Addr, "litefs/primary"))
	lease := acquire(t, leaser)
	if err := lease.Keep(t.Context(), map[string]ltx.Pos{"db": {TXID: 7, PostApplyChecksum: ltx.ChecksumFlag | 7}}); err != nil {
		t.Fatal(err)
	}
	if err := lease.Close(); err != nil {
		t.Fatal(err)
	}
	if record, err := leaser.Record(t.Context()); err != nil || record.Positions["db"].TXID != 7 {
		t.Fatalf("record %+v, %v", record, err)
	}
	putKey(t, client, "litefs/primary/positions", `{"epoch":1,"positions":{}}`)
	if record, err := leaser.Record(t.Context()); err != nil || record.Epoch != 1 || len(record.Positions) != 0 {
		t.Errorf("record %+v, %v; want an epoch and no positions", record, err)
	}
	if next := acquire(t, leaser); next.Epoch() <= lease.Epoch() {
		t.Errorf("epoch %d after %d", next.Epoch(), lease.Epoch())
	}
}
