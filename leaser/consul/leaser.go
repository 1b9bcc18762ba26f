package consul

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/hashicorp/consul/api"

	"litefs"
)

// minLockDelay is the shortest that the api package sends; it takes 0 for 15s.
const minLockDelay = time.Millisecond

// Leaser is the lease of a cluster as one node sees it.
type Leaser struct {
	cfg    Config
	key    string // the whole name
	client *client
}

var _ litefs.Leaser = (*Leaser)(nil)

// NewLeaser returns the leaser of a node. It asks Consul nothing yet; an error is one
// of the configuration.
func NewLeaser(cfg Config) (*Leaser, error) {
	where, err := parseURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	key, err := joinKey(where.prefix, cfg.Key)
	if err != nil {
		return nil, err
	}
	c, err := newClient(where, cfg.callTimeout())
	if err != nil {
		return nil, fmt.Errorf("prepare client of Consul at %s: %w", where, err)
	}
	cfg.LockDelay = max(cfg.LockDelay, minLockDelay)
	return &Leaser{cfg: cfg, key: key, client: c}, nil
}

// Close implements litefs.Leaser.
func (l *Leaser) Close() error {
	l.client.close()
	return nil
}

// Key returns the whole name of the key of the lease.
func (l *Leaser) Key() string { return l.key }

// URL returns where Consul is asked, without path and token.
func (l *Leaser) URL() string { return l.client.where.String() }

// AdvertiseURL implements litefs.Leaser.
func (l *Leaser) AdvertiseURL() string { return l.cfg.AdvertiseURL }

// PrimaryInfo implements litefs.Leaser.
func (l *Leaser) PrimaryInfo(ctx context.Context) (litefs.PrimaryInfo, error) {
	last, err := l.lastHolder(ctx)
	if err != nil {
		return litefs.PrimaryInfo{}, fmt.Errorf("read primary: %w", err)
	}
	if last.session == "" {
		return litefs.PrimaryInfo{}, litefs.ErrNoPrimary
	}
	return last.value.PrimaryInfo, nil
}

// Acquire implements litefs.Leaser. While the lock-delay keeps a lease that nobody
// holds from being acquired, the error is litefs.ErrPrimaryExists as well.
func (l *Leaser) Acquire(ctx context.Context) (litefs.Lease, error) {
	lease, err := l.takeFrom(ctx, "")
	switch {
	case err == nil:
		return lease, nil
	case errors.Is(err, errChanged):
		return nil, litefs.ErrPrimaryExists
	default:
		return nil, fmt.Errorf("acquire lease: %w", err)
	}
}

// TakeOver implements litefs.Leaser.
func (l *Leaser) TakeOver(ctx context.Context, token string) (litefs.Lease, error) {
	if token == "" {
		return nil, litefs.ErrLeaseExpired
	}
	lease, err := l.takeFrom(ctx, token)
	switch {
	case err == nil:
		return lease, nil
	case errors.Is(err, errChanged):
		return nil, litefs.ErrLeaseExpired
	default:
		return nil, fmt.Errorf("take lease over: %w", err)
	}
}

// errChanged is returned by takeFrom if the lease is not held by whom it was to be
// taken from.
var errChanged = errors.New("lease is held by somebody else")

// takeFrom takes the lease from the session that holds it; "" is nobody.
func (l *Leaser) takeFrom(ctx context.Context, session string) (*Lease, error) {
	last, err := l.lastHolder(ctx)
	if err != nil {
		return nil, err
	}
	if last.session != session {
		return nil, errChanged // found out without a write
	}
	count, err := l.readEpoch(ctx)
	if err != nil {
		return nil, err
	}
	lease := &Lease{leaser: l, epoch: 1 + max(last.value.Epoch, count.epoch, l.cfg.MinEpoch())}
	if lease.value, err = l.encodeHolder(lease.epoch); err != nil {
		return nil, err
	}
	lease.renewedAt = time.Now()
	lease.session, err = l.client.createSession(ctx, api.SessionEntry{
		Name:      "litefs " + l.key,
		TTL:       l.cfg.TTL.String(),
		LockDelay: l.cfg.LockDelay,
		Behavior:  api.SessionBehaviorRelease,
	})
	if err != nil {
		return nil, err
	}
	if err := l.client.txn(ctx, l.changeHands(last, count, lease)...); err != nil {
		// The answer may be all that was lost. If this fails too, the session ends
		// by itself; what is to be told is the first error.
		_ = lease.giveBack(context.WithoutCancel(ctx))
		return nil, l.whyRefused(ctx, session, err)
	}
	return lease, nil
}

// changeHands returns the transaction that makes lease the one that is held; see the
// package comment.
func (l *Leaser) changeHands(last holder, count counter, lease *Lease) []*api.KVTxnOp {
	ops := []*api.KVTxnOp{{Verb: api.KVCheckIndex, Key: l.key, Index: last.index}}
	if last.index == 0 {
		ops[0] = &api.KVTxnOp{Verb: api.KVCheckNotExists, Key: l.key}
	}
	if last.session != "" {
		ops = append(ops, &api.KVTxnOp{Verb: api.KVUnlock, Key: l.key, Session: last.session})
	}
	return append(ops,
		&api.KVTxnOp{Verb: api.KVLock, Key: l.key, Session: lease.session, Value: lease.value},
		&api.KVTxnOp{Verb: api.KVCAS, Key: l.epochKey(), Index: count.index, Value: strconv.AppendUint(nil, lease.epoch, 10)},
	)
}

// whyRefused returns the reason for err, which the transaction of changeHands ended
// with when the lease was to be taken from session.
func (l *Leaser) whyRefused(ctx context.Context, session string, err error) error {
	var conflict *conflictError
	if !errors.As(err, &conflict) {
		return err
	}
	now, readErr := l.lastHolder(ctx)
	switch {
	case readErr != nil:
		return readErr
	case now.session != session || conflict.delayed():
		return errChanged
	default: // somebody has had it meanwhile, most probably
		return fmt.Errorf("Consul at %s refuses it: %s", l.client.where, redact(quote(err))) //nolint:staticcheck // it is a name
	}
}

// holderValue is the value of the key of the lease.
type holderValue struct {
	litefs.PrimaryInfo

	Epoch uint64 `json:"epoch"`
}

// holder is the last holder of the lease. It is the zero value if there was none.
type holder struct {
	value   holderValue
	session string // empty if nobody holds the lease now
	index   uint64 // the ModifyIndex of the key
}

func (l *Leaser) encodeHolder(epoch uint64) ([]byte, error) {
	info := litefs.PrimaryInfo{Hostname: l.cfg.Hostname, AdvertiseURL: l.cfg.AdvertiseURL}
	return json.Marshal(holderValue{info, epoch})
}

// lastHolder reads the key of the lease.
func (l *Leaser) lastHolder(ctx context.Context) (holder, error) {
	pair, err := l.client.get(ctx, l.key)
	if err != nil {
		return holder{}, err
	}
	return l.decodeHolder(pair)
}

func (l *Leaser) decodeHolder(pair *api.KVPair) (holder, error) {
	if pair == nil {
		return holder{}, nil
	}
	h := holder{session: pair.Session, index: pair.ModifyIndex}
	if err := json.Unmarshal(pair.Value, &h.value); err != nil || !isEpoch(h.value.Epoch) {
		return holder{}, l.client.foreignError(l.key)
	}
	return h, nil
}

// counter is the key that has the epoch of the last holder, the zero value if there
// is no such key.
type counter struct{ epoch, index uint64 }

func (l *Leaser) epochKey() string { return l.key + "/epoch" }

func (l *Leaser) readEpoch(ctx context.Context) (counter, error) {
	pair, err := l.client.get(ctx, l.epochKey())
	if err != nil || pair == nil {
		return counter{}, err
	}
	epoch, err := strconv.ParseUint(string(pair.Value), 10, 64)
	if err != nil || !isEpoch(epoch) {
		return counter{}, l.client.foreignError(l.epochKey())
	}
	return counter{epoch, pair.ModifyIndex}, nil
}

// isEpoch reports whether n can be the epoch of a lease, with others to follow.
func isEpoch(n uint64) bool { return n > 0 && n < math.MaxInt64 }
