package redis_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"litefs"
	"litefs/internal/servertest"
	"litefs/leaser/redis"
	"litefs/ltx"
)

var positions = map[string]ltx.Pos{"data.db": {TXID: 7, PostApplyChecksum: 1 << 63}}

// A server that saves what it has done is none the worse for a crash.
func TestRestartWithData(t *testing.T) {
	persistent := []string{"--appendonly", "yes", "--appendfsync", "always", "--dir", t.TempDir()}
	first := servertest.StartRedis(t, persistent...)
	p := startProxy(t, first.Addr)
	a, b := open(t, p.url(), nodeA, ttl(time.Minute)), open(t, p.url(), nodeB, ttl(time.Minute))
	lease := acquire(t, a)
	if err := lease.Keep(t.Context(), positions); err != nil {
		t.Fatal(err)
	}
	if _, err := a.FoundCluster(t.Context(), "id"); err != nil {
		t.Fatal(err)
	}
	first.Kill()
	wantErr(t, "Renew while the server is down", lease.Renew(t.Context()), redis.ErrUnreachable)
	_, err := b.Acquire(t.Context())
	wantErr(t, "Acquire while the server is down", err, redis.ErrUnreachable)
	wantErr(t, "Await while the server is down", b.Await(t.Context(), 1), redis.ErrUnreachable)

	p.setTarget(servertest.StartRedis(t, persistent...).Addr)
	_, err = b.Acquire(t.Context())
	wantErr(t, "Acquire after the restart", err, litefs.ErrPrimaryExists)
	if info, err := b.PrimaryInfo(t.Context()); err != nil || info != nodeA {
		t.Errorf("PrimaryInfo after the restart: %+v, %v", info, err)
	}
	if err := lease.Renew(t.Context()); err != nil {
		t.Errorf("Renew after the restart: %v", err)
	}
	record, err := b.Record(t.Context())
	if err != nil || record.ClusterID != "id" || record.Epoch != 1 || record.Positions["data.db"] != positions["data.db"] {
		t.Errorf("Record after the restart: %+v, %v", record, err)
	}
	if err := lease.Close(); err != nil {
		t.Fatal(err)
	}
	if next := acquire(t, b); next.Epoch() != 2 {
		t.Errorf("epoch %d after the restart, want 2", next.Epoch())
	}
}

// After a server has lost its data, whoever knows of an epoch goes on from there.
func TestRestartWithoutData(t *testing.T) {
	first := servertest.StartRedis(t)
	p := startProxy(t, first.Addr)
	var seen uint64
	a, b := open(t, p.url(), nodeA), open(t, p.url(), nodeB, func(c *redis.Config) { c.MinEpoch = func() uint64 { return seen } })
	for range 3 {
		if err := acquire(t, a).Close(); err != nil {
			t.Fatal(err)
		}
	}
	lease := acquire(t, a)
	if err := lease.Keep(t.Context(), positions); err != nil {
		t.Fatal(err)
	}
	first.Kill()
	p.setTarget(servertest.StartRedis(t).Addr)

	wantErr(t, "Renew", lease.Renew(t.Context()), litefs.ErrLeaseExpired)
	wantErr(t, "Keep", lease.Keep(t.Context(), positions), litefs.ErrLeaseExpired)
	if record, err := b.Record(t.Context()); err != nil || record.ClusterID != "" || record.Epoch != 0 || record.Positions != nil {
		t.Errorf("Record: %+v, %v; want the zero Record", record, err)
	}
	seen = lease.Epoch()
	next := acquire(t, b)
	if next.Epoch() != 5 {
		t.Errorf("epoch %d, want 5 after %d", next.Epoch(), lease.Epoch())
	}
	if err := lease.Close(); err != nil {
		t.Errorf("Close of the lease that was lost: %v", err)
	}
	if err := next.Close(); err != nil {
		t.Fatal(err)
	}
	if again := acquire(t, a); again.Epoch() != 6 {
		t.Errorf("epoch %d, want 6 on a node that has seen none", again.Epoch())
	}
}

// An epoch is greater than what the node has seen, than all before, and than that of the
// record, whichever way the lease is obtained.
func TestMinEpoch(t *testing.T) {
	addr := servertest.StartRedis(t).Addr
	client := connect(t, addr)
	url := "redis://" + addr
	lease := acquire(t, open(t, url, nodeA, minEpoch(41)))
	if lease.Epoch() != 42 {
		t.Errorf("epoch %d, want 42", lease.Epoch())
	}
	next, err := open(t, url, nodeB, minEpoch(99)).TakeOver(t.Context(), lease.Token())
	if err != nil || next.Epoch() != 100 {
		t.Fatalf("TakeOver: %+v, %v; want epoch 100", next, err)
	}
	if err := errors.Join(next.Keep(t.Context(), positions), next.Close()); err != nil {
		t.Fatal(err)
	}
	command(t, client, "HDEL", "{litefs/primary}:cluster", "last-epoch")
	if lease := acquire(t, open(t, url, nodeA, minEpoch(7))); lease.Epoch() != 101 {
		t.Errorf("epoch %d, want 101 after that of the record", lease.Epoch())
	}
	const last = 1<<53 - 1
	if lease := acquire(t, open(t, url, nodeA, key("late"), minEpoch(last-1))); lease.Epoch() != last {
		t.Errorf("epoch %d, want %d", lease.Epoch(), uint64(last))
	}
	for _, tooLate := range []uint64{last, last + 1, 1<<64 - 1} {
		if lease, err := open(t, url, nodeA, key("too late"), minEpoch(tooLate)).Acquire(t.Context()); err == nil {
			t.Errorf("epoch %d after %d", lease.Epoch(), tooLate)
		}
	}
}

// Clusters with different keys know nothing of each other, whatever the keys.
func TestKeys(t *testing.T) {
	url := "redis://" + servertest.StartRedis(t).Addr
	keys := []string{"litefs/primary", "litefs/primary2", "é x:cluster", "*"}
	for i, name := range keys {
		leaser := open(t, url, nodeA, key(name))
		if _, err := leaser.PrimaryInfo(t.Context()); !errors.Is(err, litefs.ErrNoPrimary) {
			t.Errorf("%s: PrimaryInfo before anybody leads: %v", name, err)
		}
		if record, err := leaser.Record(t.Context()); err != nil || record.ClusterID != "" {
			t.Errorf("%s: Record before anybody leads: %+v, %v", name, record, err)
		}
		for range i {
			if err := acquire(t, leaser).Close(); err != nil {
				t.Fatal(err)
			}
		}
		lease := acquire(t, leaser)
		if lease.Epoch() != uint64(i+1) {
			t.Errorf("%s: epoch %d, want %d", name, lease.Epoch(), i+1)
		}
		if id, err := leaser.FoundCluster(t.Context(), name); err != nil || id != name {
			t.Errorf("%s: FoundCluster: %q, %v", name, id, err)
		}
	}
	if _, err := open(t, url, nodeA).FoundCluster(t.Context(), ""); err == nil {
		t.Error("FoundCluster takes an empty identifier")
	}
}

// Through Sentinel a node goes on with the replica that is promoted, and the epoch does.
func TestSentinelFailover(t *testing.T) {
	master := servertest.StartRedis(t)
	replica := servertest.StartRedis(t, append([]string{"--replicaof"}, strings.Split(master.Addr, ":")...)...).Addr
	client := connect(t, replica)
	eventually(t, "the replica has the master's data", func() error {
		if info := client.Info(t.Context(), "replication").Val(); !strings.Contains(info, "master_link_status:up") {
			return errors.New(info)
		}
		return nil
	})
	sentinel := watch(t, master.Addr)
	watcher := connect(t, sentinel)
	eventually(t, "the Sentinel knows the replica", func() error {
		replicas, err := watcher.Do(t.Context(), "SENTINEL", "REPLICAS", "mymaster").Slice()
		if err == nil && len(replicas) != 1 {
			err = fmt.Errorf("it knows %d", len(replicas))
		}
		return err
	})
	url := "redis+sentinel://" + sentinel + "/mymaster"
	a, b := open(t, url, nodeA, ttl(time.Minute)), open(t, url, nodeB, ttl(time.Minute))
	lease := acquire(t, a)
	if err := lease.Keep(t.Context(), positions); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the replica has the record", func() error { return client.HGet(t.Context(), "{litefs/primary}:cluster", "positions").Err() })
	master.Kill()
	eventually(t, "the lease is renewed on the replica", func() error { return lease.Renew(t.Context()) })
	_, err := b.Acquire(t.Context())
	wantErr(t, "Acquire after the failover", err, litefs.ErrPrimaryExists)
	next, err := b.TakeOver(t.Context(), lease.Token())
	if err != nil || next.Epoch() != 2 {
		t.Errorf("TakeOver after the failover: %+v, %v; want epoch 2", next, err)
	}
}
