package leasertest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"litefs"
	"litefs/leaser/leasertest"
)

// The cases pass on a lease store that is known to be right, and a TTL costs nothing.
func TestMem(t *testing.T) {
	for name, run := range leasertest.Cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mem := &leasertest.Mem{TTL: 10 * time.Second}
				run(t, leasertest.Cluster{
					Open:   func(_ *testing.T, info litefs.PrimaryInfo) litefs.Leaser { return mem.Node(info) },
					Expire: func(*testing.T) { mem.Expire() },
				})
			})
		})
	}
}
