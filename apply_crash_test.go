package litefs_test

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"testing"

	"litefs"
	"litefs/internal/fsx/faultfs"
)

// applyScenarios are what a replica that is not mounted may be stopped in.
var applyScenarios = map[string]func(r *replicaRun){
	"one by one": func(r *replicaRun) {
		for range 4 {
			r.primary.commit()
			r.follow()
		}
	},
	"merged": func(r *replicaRun) {
		r.primary.commit()
		r.follow()
		for range 3 {
			r.primary.commit()
		}
		r.follow()
	},
	"drop": func(r *replicaRun) {
		r.primary.commit()
		r.follow()
		r.primary.drop()
		r.follow()
		p, err := newPager(r.primary.store, 5)
		r.must(err)
		r.primary.pager = p
		r.primary.commit()
		r.follow()
	},
	"restart": func(r *replicaRun) {
		r.primary.commit()
		r.follow()
		r.restart()
		r.primary.commit()
		r.follow()
	},
	"another history": func(r *replicaRun) {
		r.primary.commit()
		r.follow()
		r.promote()
		r.commit()
		r.commit()
		r.commit()
		r.demote()
		r.primary.commit()
		r.difference()
		r.primary.commit()
		r.follow()
	},
	"snapshot": func(r *replicaRun) {
		r.primary.commit()
		r.follow()
		r.primary.commit()
		r.snapshot()
	},
}

// replicaRun is a crashRun of a replica, whose primary runs on a disk of its own.
type replicaRun struct {
	*crashRun
	primary *crashRun
}

func startReplicaRun(t *testing.T) *replicaRun {
	t.Helper()
	r := &replicaRun{newCrashRun(t), newCrashRun(t)}
	r.primary.open()
	r.restart()
	return r
}

// restart starts the replica, after it has stopped in order if it runs.
func (r *replicaRun) restart() {
	r.t.Helper()
	if r.store != nil {
		r.must(r.store.Close())
	}
	r.store = newCrashStore(r.fs)
	r.must(r.store.Open(r.t.Context()))
	r.demote()
}

func (r *replicaRun) demote() {
	r.t.Helper()
	if r.pager != nil {
		r.must(r.pager.close())
		r.pager = nil
	}
	r.must(r.store.BecomeReplica(r.t.Context(), nil))
}

func (r *replicaRun) promote() {
	r.t.Helper()
	r.must(r.store.BecomePrimary(r.t.Context()))
	p, err := newPager(r.store, 77)
	r.must(err)
	r.pager = p
}

// dbs returns the database on both nodes.
func (r *replicaRun) dbs() (src, dst *litefs.DB) {
	r.t.Helper()
	dst, err := r.store.CreateDBIfNotExists("db")
	r.must(err)
	return r.primary.store.DB("db"), dst
}

// expect notes what the replica is about to hold.
func (r *replicaRun) expect() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.states = append(r.states, r.primary.states[len(r.primary.states)-1])
}

// follow applies what the replica lacks, as one.
func (r *replicaRun) follow() {
	r.t.Helper()
	r.expect()
	r.must(r.tryFollow())
	r.acknowledge(true)
}

func (r *replicaRun) tryFollow() error {
	src, dst := r.dbs()
	var files []*litefs.ReceivedLTX
	for pos := dst.Pos(); pos != src.Pos(); {
		f, err := src.OpenLTXAfter(pos)
		if errors.Is(err, litefs.ErrLTXNotFound) { // it has been made anew
			var b bytes.Buffer
			if _, err := src.WriteSnapshotTo(r.t.Context(), &b); err != nil {
				return err
			}
			received, err := dst.ReceiveLTX(r.t.Context(), &b)
			if err != nil {
				return err
			}
			files = append(files, received)
			break
		}
		if err != nil {
			return err
		}
		received, err := dst.ReceiveLTX(r.t.Context(), f)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
		files = append(files, received)
		pos.TXID, pos.PostApplyChecksum = received.Header().MaxTXID, received.Trailer().PostApplyChecksum
	}
	return dst.ApplyLTX(r.t.Context(), files...)
}

// difference has the replica give up what it has of its own.
func (r *replicaRun) difference() {
	r.t.Helper()
	r.expect()
	src, dst := r.dbs()
	var sums, diff bytes.Buffer
	base, err := dst.WritePageSums(r.t.Context(), &sums)
	r.must(err)
	_, err = src.WriteDifferenceTo(r.t.Context(), &diff, base, &sums)
	r.must(err)
	r.applyDifference(&diff)
}

func (r *replicaRun) applyDifference(b *bytes.Buffer) {
	r.t.Helper()
	_, dst := r.dbs()
	received, err := dst.ReceiveLTX(r.t.Context(), b)
	r.must(err)
	r.must(dst.ApplyDifference(r.t.Context(), received))
	r.acknowledge(true)
}

// snapshot gives the replica a snapshot in place of what it has.
func (r *replicaRun) snapshot() {
	r.t.Helper()
	r.expect()
	src, _ := r.dbs()
	var b bytes.Buffer
	_, err := src.WriteSnapshotTo(r.t.Context(), &b)
	r.must(err)
	r.applyDifference(&b)
}

func (r *replicaRun) finish() {
	r.t.Helper()
	r.primary.close()
	r.must(r.store.Close())
	r.stop("the end")
}

// A replica that is not mounted starts, wherever it was stopped, with a database
// that it has had, not older than what it has acknowledged.
func TestCrashEveryStepOfApply(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(applyScenarios)) {
		t.Run(name, func(t *testing.T) {
			r := startReplicaRun(t)
			applyScenarios[name](r)
			r.finish()
			recoveries := 0
			for i, s := range r.stops {
				for kind, disk := range s.disks(2) {
					if err := s.judge(t, disk, s.acknowledged(kind)); err != nil {
						t.Errorf("%s at %s: %v", kind, s.at, err)
					}
				}
				if first := []string{"kill", "power", "power/0"}[i%3]; long || i%4 == 0 {
					recoveries += s.crashRecovery(t, s.disks(1)[first], first, uint64(i))
				}
			}
			if len(r.stops) < 10 || recoveries < 20 {
				t.Errorf("only %d steps, and %d of recoveries, were reached", len(r.stops), recoveries)
			}
		})
	}
}

// TestFailEveryStepOfApply has the disk fail at each step of an apply, once. The
// replica is then at its old position, or is brought to the new one by the next
// apply; it is never anywhere else.
func TestFailEveryStepOfApply(t *testing.T) {
	failed := errors.New("no luck")
	for k := 0; ; k++ {
		r := startReplicaRun(t)
		r.primary.commit()
		r.follow()
		r.primary.commit()
		r.expect()
		n := 0
		r.fs = faultfs.New(r.disk, func(faultfs.Op) error {
			if n++; n == k+1 {
				return failed
			}
			return nil
		})
		// The store has its disk for life: start it again with the one that fails.
		r.must(r.store.Close())
		n = -1 << 30
		r.restart()
		n = 0
		err := r.tryFollow()
		reached := n > k
		n = -1 << 30
		if reached && err != nil && !errors.Is(err, failed) {
			t.Fatalf("step %d: %v", k, err)
		}
		for range 2 { // the first may only bring to an end what was begun
			if _, dst := r.dbs(); dst.Pos() == r.primary.store.DB("db").Pos() {
				break
			}
			if err := r.tryFollow(); err != nil && !errors.Is(err, litefs.ErrPosMismatch) {
				t.Fatalf("after step %d: %v", k, err)
			}
		}
		src, dst := r.dbs()
		if dst.Pos() != src.Pos() {
			t.Fatalf("after step %d the replica is at %s, the primary at %s", k, dst.Pos(), src.Pos())
		}
		if _, err := dst.Verify(t.Context()); err != nil {
			t.Fatalf("after step %d: %v", k, err)
		}
		r.finish()
		if !reached {
			if k < 10 {
				t.Fatalf("only %d steps", k)
			}
			return
		}
	}
}
