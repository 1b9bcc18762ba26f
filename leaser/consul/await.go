package consul

import (
	"context"
	"fmt"
	"time"
)

const (
	// awaitTime is how long Consul is asked to hold one query back.
	awaitTime = 30 * time.Second
	// minFreeWait is the least time between two looks at a lease that nobody holds.
	minFreeWait = time.Second
)

// Await implements litefs.Leaser by a query that Consul answers once the key of the
// lease changes. Nothing changes when the lock-delay ends, so with epoch 0 it returns
// after LockDelay at the latest, or after a second if that is less.
func (l *Leaser) Await(ctx context.Context, epoch uint64) error {
	wait := awaitTime
	if epoch == 0 {
		wait = min(wait, max(l.cfg.LockDelay, minFreeWait))
	}
	var index uint64 // 0 asks for the present state
	for {
		pair, at, err := l.client.getAfter(ctx, l.key, index, wait)
		if err != nil {
			return fmt.Errorf("await change of the lease: %w", err)
		}
		h, err := l.decodeHolder(pair)
		if err != nil {
			return fmt.Errorf("await change of the lease: %w", err)
		}
		now := h.value.Epoch
		if h.session == "" {
			now = 0
		}
		if now != epoch || epoch == 0 && index != 0 {
			return nil
		}
		if at < index { // Consul counts anew, having lost its data
			at = 0
		}
		index = at
	}
}
