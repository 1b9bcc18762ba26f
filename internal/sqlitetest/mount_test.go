package sqlitetest_test

import (
	"runtime/metrics"
	"sync"
	"testing"
	"time"

	"litefs"
	"litefs/internal/mounttest"
	"litefs/internal/sqlitetest"
)

// maxHeapBytes is what a node may use while large transactions are captured. The
// race detector and the encoders account for most of it.
const maxHeapBytes = 96 << 20

// TestMount runs the whole suite; in a short run, each case in one combination.
func TestMount(t *testing.T) {
	runMount(t, mounttest.Options{}, func(c sqlitetest.Case, combination sqlitetest.Combination) bool {
		return sqlitetest.Long() || sample(c, combination, 0)
	})
}

// TestMountNoPassthrough runs the suite as on a kernel that passes no files
// through.
func TestMountNoPassthrough(t *testing.T) {
	runMount(t, mounttest.Options{NoPassthrough: true}, func(c sqlitetest.Case, combination sqlitetest.Combination) bool {
		return onePageSize(c, combination) && (sqlitetest.Long() || sample(c, combination, 1))
	})
}

// TestMountBackgroundCheckpoint runs the suite with a peer that checkpoints.
func TestMountBackgroundCheckpoint(t *testing.T) {
	if !sqlitetest.Long() {
		t.Skip("takes minutes; LITEFS_TEST_LONG=1, as make torture sets it, runs it")
	}
	configure := func(s *litefs.Store) { s.BackgroundCheckpoint = true }
	for name, noPassthrough := range map[string]bool{"Passthrough": false, "NoPassthrough": true} {
		t.Run(name, func(t *testing.T) {
			runMount(t, mounttest.Options{NoPassthrough: noPassthrough, Configure: configure}, func(c sqlitetest.Case, combination sqlitetest.Combination) bool {
				return combination.Mode == sqlitetest.WAL && !c.Slow && onePageSize(c, combination)
			})
		})
	}
}

// onePageSize selects one page size of each case.
func onePageSize(c sqlitetest.Case, combination sqlitetest.Combination) bool {
	return combination.PageSize == 4096 || len(c.PageSizes) == 1
}

// sample selects one of the combinations of a case, in such a way that the cases
// together have all journal modes; another turn selects another mode.
func sample(c sqlitetest.Case, combination sqlitetest.Combination, turn int) bool {
	for _, letter := range c.Name {
		turn += int(letter)
	}
	modes := c.Modes
	if modes == nil {
		modes = sqlitetest.Modes()
	}
	return combination.Mode == modes[turn%len(modes)] && onePageSize(c, combination)
}

// runMount runs the combinations that use selects, each on a node of its own.
func runMount(t *testing.T, options mounttest.Options, use func(sqlitetest.Case, sqlitetest.Combination) bool) {
	t.Helper()
	configure := options.Configure
	sqlitetest.Run(t, func(t *testing.T, c sqlitetest.Case, combination sqlitetest.Combination) *sqlitetest.Env {
		t.Helper()
		if !use(c, combination) {
			return nil
		}
		options.Configure = func(s *litefs.Store) {
			s.StrictVerify = !c.Slow // to verify each capture of those would take longer than all else
			if configure != nil {
				configure(s)
			}
		}
		node := mounttest.Start(t, options)
		if c.Slow {
			boundHeap(t)
		}
		return &sqlitetest.Env{Dir: node.Dir(), Mount: node}
	})
}

// boundHeap fails the test if the heap of this process, which serves the mount,
// grows beyond maxHeapBytes before the test ends.
func boundHeap(t *testing.T) {
	t.Helper()
	stop := make(chan struct{})
	peak := uint64(0)
	var sampler sync.WaitGroup
	sampler.Go(func() {
		heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		ticker := time.NewTicker(10 * time.Millisecond)
		defer ticker.Stop()
		for {
			metrics.Read(heap)
			peak = max(peak, heap[0].Value.Uint64())
			select {
			case <-stop:
				return
			case <-ticker.C:
			}
		}
	})
	t.Cleanup(func() {
		close(stop)
		sampler.Wait()
		t.Logf("heap: at most %d MiB", peak>>20)
		if peak > maxHeapBytes {
			t.Errorf("heap has grown to %d MiB, limit %d", peak>>20, maxHeapBytes>>20)
		}
	})
}
