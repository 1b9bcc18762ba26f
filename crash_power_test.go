package litefs_test

import (
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"litefs"
	"litefs/internal/fsx/faultfs"
	"litefs/internal/fsx/memfs"
)

// long has the tests that stop a machine at every step try more of what may be
// left of it then.
var long = os.Getenv("LITEFS_TEST_LONG") != ""

// crashScenarios are what a machine may be stopped in.
var crashScenarios = map[string]func(r *crashRun){
	"delete":   func(r *crashRun) { runRollback(r, litefs.JournalModeDelete) },
	"truncate": func(r *crashRun) { runRollback(r, litefs.JournalModeTruncate) },
	"persist":  func(r *crashRun) { runRollback(r, litefs.JournalModePersist) },
	"wal full": func(r *crashRun) { runWAL(r, true) },
	"wal":      func(r *crashRun) { runWAL(r, false) },
	"drop": func(r *crashRun) {
		r.open()
		r.commit()
		r.drop()
		p, err := newPager(r.store, 5)
		r.must(err)
		r.pager = p
		r.commit()
	},
	"retention": func(r *crashRun) {
		r.open()
		for range 3 {
			r.commit()
			r.now = r.now.Add(40 * time.Second)
			r.store.EnforceRetention(r.t.Context())
		}
	},
	"restart": func(r *crashRun) {
		r.open()
		r.commit()
		r.close()
		r.open()
		r.commit()
		r.close()
		r.open()
	},
}

func runRollback(r *crashRun, mode litefs.JournalMode) {
	r.open()
	r.pager.mode = mode
	for range 4 {
		r.commit()
	}
	r.must(r.pager.db.GatherLog())
	r.commit()
}

func runWAL(r *crashRun, full bool) {
	r.open()
	r.pager.mode, r.pager.full = litefs.JournalModeWAL, full
	r.commit() // the last under a rollback journal
	for range 3 {
		r.commit()
	}
	r.must(r.pager.checkpoint())
	r.acknowledge(true)
	r.commit() // starts the WAL again
	r.commit()
	r.must(r.pager.truncateWAL())
	r.acknowledge(true)
	r.commit()
	r.must(r.pager.close())
	r.acknowledge(true)
	p, err := newPager(r.store, 3)
	r.must(err)
	r.pager = p
	r.commit()
}

// The machine stops before each step that changes the disk, and after the last:
// the process is killed, or the power is cut and nothing of what was not synced
// survives, or any part of it. Whatever is found then, the node starts with all
// that was acknowledged.
func TestCrashEveryStep(t *testing.T) {
	seeds := 2
	if long {
		seeds = 20
	}
	for _, name := range slices.Sorted(maps.Keys(crashScenarios)) {
		t.Run(name, func(t *testing.T) {
			r := runScenario(t, crashScenarios[name])
			disks := 0
			for _, s := range r.stops {
				for kind, disk := range s.disks(seeds) {
					if err := s.judge(t, disk, s.acknowledged(kind)); err != nil {
						t.Errorf("%s at %s: %v", kind, s.at, err)
					}
					disks++
				}
			}
			if len(r.stops) < 10 {
				t.Errorf("only %d steps were reached: the harness is not wired", len(r.stops))
			}
			t.Logf("%d steps, %d crashes", len(r.stops), disks)
		})
	}
}

// Recovery, too, can be stopped before each of its steps.
func TestCrashEveryStepOfRecovery(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(crashScenarios)) {
		t.Run(name, func(t *testing.T) {
			r := runScenario(t, crashScenarios[name])
			disks := 0
			for i, s := range r.stops {
				first := []string{"kill", "power", "power/0"}[i%3]
				if long || i%4 == 0 {
					disks += s.crashRecovery(t, s.disks(1)[first], first, uint64(i))
				}
			}
			if disks < 50 {
				t.Errorf("only %d crashes of the recovery", disks)
			}
			t.Logf("%d crashes of the recovery", disks)
		})
	}
}

func runScenario(t *testing.T, scenario func(r *crashRun)) *crashRun {
	t.Helper()
	r := newCrashRun(t)
	scenario(r)
	r.close()
	r.stop("the end")
	return r
}

// crashRecovery starts a node on what a stop has left, stops it at each step of
// its recovery, and judges what a second start makes of that. It returns the
// number of crashes.
func (s stop) crashRecovery(t *testing.T, disk *memfs.FS, first string, seed uint64) int {
	t.Helper()
	type second struct {
		at, kind string
		disk     *memfs.FS
	}
	var found []second
	rng := rand.New(rand.NewPCG(seed, 11))
	store := newCrashStore(faultfs.New(disk, func(op faultfs.Op) error {
		switch kind := []string{"kill", "power", "power/rng"}[op.N%3]; kind {
		case "kill":
			found = append(found, second{op.String(), kind, disk.Kill()})
		case "power":
			found = append(found, second{op.String(), kind, disk.Crash(nil)})
		default:
			found = append(found, second{op.String(), kind, disk.Crash(rng)})
		}
		return nil
	}))
	if err := errors.Join(store.Open(t.Context()), store.Close()); err != nil {
		t.Errorf("%s at %s: %v", first, s.at, err)
	}
	for _, f := range found {
		acknowledged := s.durable
		if first == "kill" && f.kind == "kill" {
			acknowledged = s.done
		}
		if err := s.judge(t, f.disk, acknowledged); err != nil {
			t.Errorf("%s at %s, then %s at %s: %v", first, s.at, f.kind, f.at, err)
		}
	}
	return len(found)
}
