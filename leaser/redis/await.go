package redis

import (
	"context"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// Await implements litefs.Leaser. It learns of what a node does from the channel, which
// takes a connection of its own, and of a lease that lapses by waiting for that time.
// Of what else there may be, such as a key that somebody deletes or a message
// that is lost, it learns within a tenth of the TTL.
func (l *Leaser) Await(ctx context.Context, epoch uint64) error {
	messages, stop := l.subscribe(ctx)
	defer stop()
	for {
		h, err := l.look(ctx, "await change of lease")
		if err != nil {
			return err
		}
		if h.epoch != epoch {
			return nil
		}
		timer := time.NewTimer(l.nextLook(h))
		select {
		case <-messages:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// nextLook returns after how long to look at the lease again.
func (l *Leaser) nextLook(h holder) time.Duration {
	interval := l.config.TTL / 10
	if h.left > 0 && h.left < interval {
		return h.left + time.Millisecond // which is rounded down
	}
	return interval
}

// subscribe returns the messages of the channel, none of which is missed from now on
// while the connection lasts, and what ends it. Without the right to subscribe there are
// none; any other error is that of looking at the lease as well.
func (l *Leaser) subscribe(ctx context.Context) (messages <-chan *goredis.Message, stop func()) {
	ctx, cancel := context.WithTimeout(ctx, l.config.CallTimeout)
	defer cancel()
	subscription := l.client.Subscribe(ctx, l.channel)
	stop = func() { _ = subscription.Close() } // nothing was written
	if _, err := subscription.ReceiveTimeout(ctx, l.config.CallTimeout); err != nil {
		return nil, stop
	}
	return subscription.Channel(goredis.WithChannelHealthCheckInterval(0)), stop
}
