package litefs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"litefs/ltx"
)

const (
	// leaseCallTimeout bounds one question to the lease store.
	leaseCallTimeout = 10 * time.Second
	// demotionTimeout bounds how long a primary that steps down waits for writers to
	// let go of their locks, and for replicas to have everything, before it goes on
	// without.
	demotionTimeout = 2 * time.Second
	// handoverPause is how long after the end of a connection the lease is asked for
	// a second time: a primary that steps down ends its connections first.
	handoverPause = 100 * time.Millisecond
	// maxReported bounds what leaseLoop remembers of what it has reported.
	maxReported = 100
)

// RunLease is the loop that gives the node its role, until ctx is done: the
// primary while it holds the lease, which only a candidate asks for, and else a
// replica that follows the primary by means of client. What fails is reported and
// tried again after ReconnectDelay.
//
// The node is a replica whenever RunLease waits for something, and when it has
// returned. A primary stops taking writes while its lease still has a part of its
// TTL left, so that its successor finds no other primary at work; when ctx is done
// it gives the lease back. The error is that of giving it back.
func (s *Store) RunLease(ctx context.Context, leaser Leaser, client Client) error {
	l := &leaseLoop{store: s, leaser: leaser, client: client, reported: make(map[string]bool)}
	for err := s.BecomeReplica(ctx, nil); err != nil && ctx.Err() == nil; err = s.BecomeReplica(ctx, nil) {
		l.report(ctx, slog.LevelError, "cannot begin as a replica", err)
		_ = sleep(ctx, s.ReconnectDelay) // the loop looks at ctx
	}
	for ctx.Err() == nil {
		lease, err := l.acquire(ctx)
		switch {
		case err == nil:
			err = l.lead(ctx, lease)
			if ctx.Err() != nil {
				return err
			}
			l.report(ctx, slog.LevelWarn, "not the primary any more", err)
			l.endedAt = time.Now()
		case !errors.Is(err, ErrPrimaryExists) && ctx.Err() == nil:
			l.report(ctx, slog.LevelWarn, "lease cannot be acquired", err)
		}
		l.follow(ctx)
	}
	return nil
}

// leaseLoop is the state of one RunLease.
type leaseLoop struct {
	store  *Store
	leaser Leaser
	client Client

	kept      map[string]ltx.Pos // positions in the record of the cluster, while the node leads
	noPrimary bool               // nobody held the lease when it was asked for last
	endedAt   time.Time          // when the last attempt to lead or to follow ended
	hurry     bool               // it was a connection that ended, and the lease may be free soon
	reported  map[string]bool    // what was reported since one succeeded
}

// acquire asks for the lease, on a candidate that may lead.
func (l *leaseLoop) acquire(ctx context.Context) (Lease, error) {
	if !l.store.candidate {
		return nil, ErrPrimaryExists
	}
	ctx, cancel := context.WithTimeout(ctx, leaseCallTimeout)
	defer cancel()
	if _, err := l.eligible(ctx); err != nil {
		return nil, err
	}
	lease, err := l.leaser.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	return l.confirm(ctx, lease)
}

// eligible returns the record of the cluster, of which the node may be the primary.
func (l *leaseLoop) eligible(ctx context.Context) (Record, error) {
	record, err := l.leaser.Record(ctx)
	if err == nil {
		err = l.store.mayLead(record)
	}
	return record, err
}

// confirm looks at the record again, now that nobody else changes it, founds the
// cluster if there is none, and puts the new epoch on record: from then on there may be
// data that a node without any lacks. A node that must not lead gives the lease back.
func (l *leaseLoop) confirm(ctx context.Context, lease Lease) (Lease, error) {
	record, err := l.eligible(ctx)
	if err == nil {
		err = l.foundCluster(ctx)
	}
	if err == nil {
		err = l.store.lead(lease.Epoch())
	}
	if err == nil {
		l.kept = record.Positions
		err = lease.Keep(ctx, l.kept)
	}
	if err != nil {
		return nil, errors.Join(err, lease.Close())
	}
	return lease, nil
}

// foundCluster has the node and the lease store agree on the cluster.
func (l *leaseLoop) foundCluster(ctx context.Context) error {
	id := l.store.ClusterID()
	if id == "" {
		id = newID()
	}
	id, err := l.leaser.FoundCluster(ctx, id)
	if err != nil {
		return err
	}
	return l.store.AdoptCluster(id)
}

// lead is the primary for as long as the lease lasts. It returns why it ended; if
// ctx is done, the error of giving the lease back.
func (l *leaseLoop) lead(ctx context.Context, lease Lease) error {
	err := l.promote(ctx, lease)
	if err == nil {
		// Scripts wait for this line, which is that of LiteFS.
		l.store.Logger.Info("primary lease acquired, advertising as "+l.leaser.AdvertiseURL(), //nolint:sloglint // see above
			slog.Uint64("epoch", l.store.Epoch()), slog.String("cluster", l.store.ClusterID()))
		clear(l.reported)
		err = l.holdAndKeep(ctx, lease)
	}
	stepDown := l.store.BecomeReplica
	if ctx.Err() != nil {
		l.store.Logger.Info("exiting primary, destroying lease")
		stepDown, err = l.stepDown, nil
	}
	demotion, cancel := context.WithTimeout(context.WithoutCancel(ctx), demotionTimeout)
	defer cancel()
	if demoteErr := stepDown(demotion, nil); demoteErr != nil {
		l.store.Logger.Warn("a transaction does not end; stepping down all the same", slog.Any("error", demoteErr))
	} else if ctx.Err() != nil {
		// Who takes the lease next must have all that there is.
		keeping, cancel := context.WithTimeout(context.WithoutCancel(ctx), demotionTimeout)
		defer cancel()
		l.keep(keeping, lease, l.store.PosMap())
	}
	if closeErr := lease.Close(); closeErr != nil {
		err = errors.Join(err, fmt.Errorf("give lease back: %w", closeErr))
	}
	return err
}

// stepDown gives the role up while the lease is still held, which is the time to send
// the replicas what they lack.
func (l *leaseLoop) stepDown(ctx context.Context, info *PrimaryInfo) error {
	demote := func(ctx context.Context) error { return l.store.BecomeReplica(ctx, info) }
	if l.store.StepDown == nil {
		return demote(ctx)
	}
	return l.store.StepDown(ctx, demote)
}

// promote makes the node the primary, unless that takes longer than the lease lasts.
func (l *leaseLoop) promote(ctx context.Context, lease Lease) error {
	ctx, cancel := context.WithDeadline(ctx, stepDownAt(lease))
	defer cancel()
	if err := l.store.BecomePrimary(ctx); err != nil {
		return fmt.Errorf("become the primary: %w", err)
	}
	l.store.MarkReady()
	return nil
}

// holdAndKeep holds the lease, and keeps beside it what replicas have, until the lease
// is lost or ctx is done.
func (l *leaseLoop) holdAndKeep(ctx context.Context, lease Lease) error {
	ctx, cancel := context.WithCancel(ctx)
	var keeper sync.WaitGroup
	keeper.Go(func() { l.keepPositions(ctx, lease) })
	err := l.hold(ctx, lease)
	cancel()
	keeper.Wait()
	return err
}

// hold renews the lease until it is lost or ctx is done, and returns why it ended.
func (l *leaseLoop) hold(ctx context.Context, lease Lease) error {
	for next := renewAt(lease); ; {
		if err := l.awaitRenewal(ctx, lease, next); err != nil {
			return err
		}
		err := renew(ctx, lease)
		if err == nil {
			next = renewAt(lease)
			continue
		}
		if errors.Is(err, ErrLeaseExpired) || ctx.Err() != nil {
			return err
		}
		l.report(ctx, slog.LevelWarn, "lease cannot be renewed, trying again", err)
		next = time.Now().Add(min(lease.TTL()/20, time.Second))
		if end := stepDownAt(lease); !next.Before(end) {
			_ = sleep(ctx, time.Until(end)) // the role ends one way or the other
			return fmt.Errorf("%w: %w", ErrLeaseExpired, err)
		}
	}
}

func renew(ctx context.Context, lease Lease) error {
	deadline := time.Now().Add(leaseCallTimeout)
	if last := stepDownAt(lease); last.Before(deadline) {
		deadline = last
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	return lease.Renew(ctx)
}

// renewAt returns when a lease is to be renewed next: a third into its TTL, so that
// there is time to try again.
func renewAt(lease Lease) time.Time {
	at := lease.RenewedAt().Add(lease.TTL() / 3)
	if soonest := time.Now().Add(lease.TTL() / 100); at.Before(soonest) {
		return soonest
	}
	return at
}

// stepDownAt returns when a primary whose lease could not be renewed must begin to
// step down. What is left of the TTL is for that, and for clocks that run unevenly.
func stepDownAt(lease Lease) time.Time {
	ttl := lease.TTL()
	return lease.RenewedAt().Add(ttl - ttl/5)
}

// follow is a replica of the primary that there is, until the connection ends. It
// does nothing but wait if the last attempt has only just ended: the lease may be
// free by then.
func (l *leaseLoop) follow(ctx context.Context) {
	if pause := l.store.ReconnectDelay - time.Since(l.endedAt); pause > 0 {
		if l.hurry {
			pause = min(pause, handoverPause)
		}
		l.hurry = false
		l.awaitChange(ctx, pause)
		return
	}
	defer func() { l.endedAt = time.Now() }()
	info, err := l.primaryInfo(ctx)
	l.noPrimary = errors.Is(err, ErrNoPrimary)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		l.report(ctx, slog.LevelWarn, "no primary to follow", err)
	}
	if err != nil && !errors.Is(err, ErrNoPrimary) {
		return // the one that was known may well be there
	}
	if info != nil && info.AdvertiseURL == l.leaser.AdvertiseURL() {
		l.report(ctx, slog.LevelInfo, "the lease is held in this node's own name, by an earlier run; waiting until it expires", nil)
		info = nil
	}
	if err := l.store.BecomeReplica(ctx, info); err != nil {
		l.report(ctx, slog.LevelError, "cannot become a replica", err)
		return
	}
	if info == nil {
		return
	}
	// Scripts wait for this line, which is that of LiteFS.
	l.report(ctx, slog.LevelInfo, "existing primary found ("+info.AdvertiseURL+"), connecting as replica", nil)
	began := time.Now()
	err = l.followWhile(ctx, *info)
	l.hurry = true
	if time.Since(began) > l.store.ReconnectDelay {
		clear(l.reported)
	}
	if ctx.Err() == nil {
		l.report(ctx, slog.LevelWarn, "disconnected from primary, retrying", err)
	}
}

// primaryInfo asks who the primary is. The info is nil if there is an error.
func (l *leaseLoop) primaryInfo(ctx context.Context) (*PrimaryInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, leaseCallTimeout)
	defer cancel()
	info, err := l.leaser.PrimaryInfo(ctx)
	if err != nil {
		return nil, err
	}
	return &info, nil
}

// report logs what has happened. What has been reported before, as it is with every
// attempt while a primary is away, is for debugging only.
func (l *leaseLoop) report(ctx context.Context, level slog.Level, msg string, err error) {
	var attrs []slog.Attr
	if err != nil {
		attrs = append(attrs, slog.Any("error", err))
	}
	key := fmt.Sprint(msg, err)
	if l.reported[key] {
		level = slog.LevelDebug
	}
	if len(l.reported) >= maxReported {
		clear(l.reported)
	}
	l.reported[key] = true
	l.store.Logger.LogAttrs(ctx, level, msg, attrs...) //nolint:sloglint // the callers' messages are constant
}

// sleep waits, and returns the error of ctx if that is done first.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
