package main

import (
	"fmt"

	"litefs"
	"litefs/configs"
	"litefs/leaser/consul"
	"litefs/leaser/static"
)

// newLeaser returns the lease that the configuration asks for.
func (n *node) newLeaser() (litefs.Leaser, error) {
	cfg := n.cfg.Lease
	// The primary's on a static replica, and this node's elsewhere.
	advertiseURL := n.ownURL(cfg.AdvertiseURL)
	switch cfg.Type {
	case configs.LeaseStatic:
		return static.NewLeaser(cfg.Static.Primary, cfg.Hostname, advertiseURL), nil
	case configs.LeaseConsul:
		return n.newConsulLeaser(advertiseURL)
	default:
		return nil, &configError{fmt.Errorf("lease.type %q is not built into this program", cfg.Type)}
	}
}

func (n *node) newConsulLeaser(advertiseURL string) (litefs.Leaser, error) {
	cfg := n.cfg.Lease
	leaser, err := consul.NewLeaser(consul.Config{
		URL:          cfg.Consul.URL,
		Key:          cfg.Consul.Key,
		TTL:          cfg.Consul.TTL,
		LockDelay:    cfg.Consul.LockDelay,
		Hostname:     cfg.Hostname,
		AdvertiseURL: advertiseURL,
		MinEpoch:     n.store.Epoch,
	})
	if err != nil {
		return nil, &configError{fmt.Errorf("lease.consul: %w", err)}
	}
	// Scripts wait for this line, which is that of LiteFS.
	n.logger.Info("initializing consul: key=" + leaser.Key() + " url=" + leaser.URL() + " advertise-url=" + advertiseURL) //nolint:sloglint // see above
	return leaser, nil
}
