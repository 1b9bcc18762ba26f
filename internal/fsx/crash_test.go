package fsx_test

import (
	"errors"
	"math/rand/v2"
	"testing"

	"litefs/internal/fsx"
	"litefs/internal/fsx/faultfs"
	"litefs/internal/fsx/memfs"
)

// The power is cut before step k, for k = 0, 1, 2, ... until a run ends before
// it, and once more after that. What is found then is the old content or the new,
// and after success the new. Unlike fault injection, this notices a sync that is
// missing or comes too late.
func TestWriteFileAtomicCrashEveryStep(t *testing.T) {
	for seed := range uint64(20) {
		for k := 0; ; k++ {
			disk := memfs.New()
			if err := disk.MkdirAll("/d", 0o777); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(disk.SyncDir("/"), fsx.WriteFileAtomic(disk, "/d/f", []byte("old"), 0o600)); err != nil {
				t.Fatal(err)
			}
			rng := rand.New(rand.NewPCG(seed, uint64(k)))
			if seed == 0 {
				rng = nil
			}
			at, found := "after success", (*memfs.FS)(nil)
			fsys := faultfs.New(disk, func(op faultfs.Op) error {
				if op.N == k {
					at, found = op.String(), disk.Crash(rng)
				}
				return nil
			})
			if err := fsx.WriteFileAtomic(fsys, "/d/f", []byte("newer"), 0o600); err != nil {
				t.Fatal(err)
			}
			done := found == nil
			if done {
				found = disk.Crash(rng)
			}
			got, err := fsx.ReadFile(found, "/d/f", 100)
			if s := string(got); err != nil || s != "newer" && (done || s != "old") {
				t.Errorf("seed %d, crash %s: found %q, %v", seed, at, s, err)
			}
			if done {
				if k < 5 {
					t.Fatalf("only %d steps were reached: the harness is not wired", k)
				}
				break
			}
		}
	}
}
