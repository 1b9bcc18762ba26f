package static_test

import (
	"errors"
	"testing"
	"time"

	"litefs"
	"litefs/leaser/leasertest"
	"litefs/leaser/static"
)

var info = litefs.PrimaryInfo{Hostname: "bert", AdvertiseURL: "http://bert:20202"}

func TestLeaserOnPrimary(t *testing.T) {
	leaser := static.NewLeaser(true, info.Hostname, info.AdvertiseURL)
	if !leaser.IsPrimary() || leaser.AdvertiseURL() != info.AdvertiseURL {
		t.Errorf("IsPrimary is %v, AdvertiseURL %q", leaser.IsPrimary(), leaser.AdvertiseURL())
	}
	if _, err := leaser.PrimaryInfo(t.Context()); !errors.Is(err, litefs.ErrNoPrimary) {
		t.Errorf("PrimaryInfo on the primary itself: %v, want ErrNoPrimary", err)
	}
	lease, err := leaser.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if end := lease.RenewedAt().Add(lease.TTL()); end.Before(time.Now().AddDate(100, 0, 0)) {
		t.Errorf("the lease ends at %v, want that far in the future", end)
	}
	if !lease.RenewedAt().Equal(time.Unix(0, 0)) {
		t.Errorf("RenewedAt is %v, want the Unix epoch", lease.RenewedAt())
	}
	err = errors.Join(lease.Renew(t.Context()), lease.Keep(t.Context(), nil), lease.Close(), leaser.Close())
	if err != nil {
		t.Error(err)
	}
}

func TestLeaserOnReplica(t *testing.T) {
	leaser := static.NewLeaser(false, info.Hostname, info.AdvertiseURL)
	if leaser.IsPrimary() || leaser.AdvertiseURL() != "" {
		t.Errorf("IsPrimary is %v, AdvertiseURL %q; want false and none", leaser.IsPrimary(), leaser.AdvertiseURL())
	}
	if _, err := leaser.Acquire(t.Context()); !errors.Is(err, litefs.ErrPrimaryExists) {
		t.Errorf("Acquire on a replica: %v, want ErrPrimaryExists", err)
	}
	if got, err := leaser.PrimaryInfo(t.Context()); err != nil || got != info {
		t.Errorf("PrimaryInfo is %+v, %v; want %+v", got, err, info)
	}
	if _, err := leaser.TakeOver(t.Context(), static.Lease{}.Token()); !errors.Is(err, litefs.ErrLeaseExpired) {
		t.Errorf("TakeOver of the fixed primary's lease: %v, want ErrLeaseExpired", err)
	}
	if id, err := leaser.FoundCluster(t.Context(), "mine"); err != nil || id != "mine" {
		t.Errorf("FoundCluster is %q, %v; want what was given", id, err)
	}
}

// What of the contract makes sense for a lease that never changes hands. The other
// cases begin with a lease that is free, have it expire or pass it on.
func TestContract(t *testing.T) {
	for _, name := range []string{"Exclusive", "PrimaryInfo", "RecordOfNew", "AwaitContext"} {
		t.Run(name, func(t *testing.T) {
			leasertest.Cases[name](t, leasertest.Cluster{
				Open: func(_ *testing.T, node litefs.PrimaryInfo) litefs.Leaser {
					return static.NewLeaser(node.Hostname == "a", "a", "http://a:20202")
				},
			})
		})
	}
}
