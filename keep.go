package litefs

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"time"

	"litefs/ltx"
)

// keepInterval is the least time between two changes of the record of the cluster. What
// replicas have got within it may be missing there when the primary dies.
const keepInterval = 250 * time.Millisecond

// keepPositions keeps the positions that are known to be on another node beside the
// lease, as they change, until ctx is done.
func (l *leaseLoop) keepPositions(ctx context.Context, lease Lease) {
	if l.store.Replicated == nil {
		return
	}
	ticker := time.NewTicker(keepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			l.keep(ctx, lease, newerPositions(l.kept, l.store.Replicated()))
		case <-ctx.Done():
			return
		}
	}
}

// keep keeps positions beside the lease, if they are others than those that are there.
func (l *leaseLoop) keep(ctx context.Context, lease Lease, positions map[string]ltx.Pos) {
	if maps.Equal(positions, l.kept) {
		return
	}
	calling, cancel := context.WithTimeout(ctx, leaseCallTimeout)
	defer cancel()
	if err := lease.Keep(calling, positions); err != nil {
		if !errors.Is(ctx.Err(), context.Canceled) { // the node does not lead any more
			l.store.Logger.Warn("positions cannot be kept beside the lease", slog.Any("error", err))
		}
		return
	}
	l.kept = positions
}
