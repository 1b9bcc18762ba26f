package litefs

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// errLeaseMoved ends a connection to a node that does not hold the lease any more.
var errLeaseMoved = errors.New("another node may hold the lease by now")

// leasePause is the least time between two questions to the lease store that follow
// upon notices of change, so that a store that sends too many is not asked all the time.
const leasePause = 50 * time.Millisecond

// awaitChange waits for as long as given, or until who holds the lease may have changed.
func (l *leaseLoop) awaitChange(ctx context.Context, d time.Duration) {
	begin := time.Now()
	waiting, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	if err := l.leaser.Await(waiting, l.knownEpoch()); err != nil {
		d -= time.Since(begin) // it cannot tell
	} else {
		d = min(d, leasePause) - time.Since(begin)
	}
	if d > 0 {
		_ = sleep(ctx, d) // the caller looks at ctx
	}
}

// awaitRenewal waits until it is time for the next renewal, or until somebody else may
// hold the lease: a lease store may lose a lease that has not expired. The error is that
// of ctx.
func (l *leaseLoop) awaitRenewal(ctx context.Context, lease Lease, next time.Time) error {
	if err := sleep(ctx, min(leasePause, time.Until(next))); err != nil {
		return err
	}
	waiting, cancel := context.WithDeadline(ctx, next)
	defer cancel()
	if err := l.leaser.Await(waiting, lease.Epoch()); err != nil {
		return sleep(ctx, time.Until(next))
	}
	return ctx.Err()
}

// knownEpoch returns the epoch of the primary as far as it is known, 0 if there is none.
func (l *leaseLoop) knownEpoch() uint64 {
	if l.noPrimary {
		return 0
	}
	return l.store.Epoch()
}

// followWhile follows the primary for as long as it holds the lease. One that is cut off
// from the lease store, or stopped in its tracks, does not end the connection by itself.
func (l *leaseLoop) followWhile(ctx context.Context, info PrimaryInfo) error {
	ctx, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		l.watchLease(ctx, info, cancel)
	}()
	err := l.client.Follow(ctx, info)
	if cause := context.Cause(ctx); errors.Is(cause, errLeaseMoved) {
		err = fmt.Errorf("follow %s: %w", info.AdvertiseURL, cause)
	}
	cancel(nil)
	<-watched
	return err
}

// watchLease calls cancel once the holder of the lease is not the one given.
func (l *leaseLoop) watchLease(ctx context.Context, info PrimaryInfo, cancel context.CancelCauseFunc) {
	for ctx.Err() == nil {
		pause := leasePause
		if err := l.leaser.Await(ctx, l.store.Epoch()); err != nil {
			pause = l.store.ReconnectDelay // it cannot tell
		}
		if sleep(ctx, pause) != nil {
			return
		}
		now, err := l.primaryInfo(ctx)
		switch {
		case errors.Is(err, ErrNoPrimary), err == nil && *now != info:
			cancel(errLeaseMoved)
			return
		default: // as before, or not known
		}
	}
}
