package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"litefs"
	"litefs/configs"
	"litefs/leaser/consul"
	"litefs/leaser/redis"
	"litefs/leaser/static"
)

// newLeaser returns the lease that the configuration asks for.
func (n *node) newLeaser(ctx context.Context) (litefs.Leaser, error) {
	cfg := n.cfg.Lease
	// The primary's on a static replica, and this node's elsewhere.
	advertiseURL := n.ownURL(cfg.AdvertiseURL)
	switch cfg.Type {
	case configs.LeaseStatic:
		return static.NewLeaser(cfg.Static.Primary, cfg.Hostname, advertiseURL), nil
	case configs.LeaseConsul:
		return n.newConsulLeaser(advertiseURL)
	case configs.LeaseRedis:
		return n.newRedisLeaser(ctx, advertiseURL)
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

// newRedisLeaser returns the lease in Redis. A server that is away now may be there later,
// and reads go on without it; one that can never be the right one is refused.
func (n *node) newRedisLeaser(ctx context.Context, advertiseURL string) (litefs.Leaser, error) {
	cfg := n.cfg.Lease
	leaser, err := redis.NewLeaser(redis.Config{
		URL:          cfg.Redis.URL,
		Key:          cfg.Redis.Key,
		TTL:          cfg.Redis.TTL,
		Hostname:     cfg.Hostname,
		AdvertiseURL: advertiseURL,
		MinEpoch:     n.store.Epoch,
		Logger:       n.logger,
	})
	if err != nil {
		return nil, &configError{fmt.Errorf("lease.redis: %w", err)}
	}
	n.logger.Info("initializing redis: key=" + cfg.Redis.Key + " url=" + leaser.URL() + " advertise-url=" + advertiseURL) //nolint:sloglint // as for Consul
	err = leaser.Check(ctx)
	switch {
	case err == nil || ctx.Err() != nil:
	case errors.Is(err, redis.ErrUnreachable) || errors.Is(err, redis.ErrUnusable):
		n.logger.Warn("lease cannot be asked for, trying again", slog.Any("error", err))
	default:
		return nil, &configError{fmt.Errorf("lease.redis: %w", errors.Join(err, leaser.Close()))}
	}
	return leaser, nil
}
