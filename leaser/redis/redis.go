package redis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"litefs"
)

// minTTL is the least TTL, below which the way to the server and back counts.
const minTTL = 100 * time.Millisecond

// margin is how much longer Redis keeps a lease than its holder counts on it: Redis has
// the time in milliseconds, rounded down, and may have read it some time before it
// executes a command.
const margin = 10 * time.Millisecond

// Config says which lease a node takes part in, and as whom.
type Config struct {
	// URL is that of the Redis server, of the Sentinels or of nodes of a Redis Cluster:
	//
	//	redis://[[user]:password@]host[:port][/database]
	//	redis+sentinel://[[user]:password@]host[:port][,host[:port]...]/master[/database]
	//	redis+cluster://[[user]:password@]host[:port][,host[:port]...]
	//
	// or with rediss instead of redis, for TLS. The port is 6379, or 26379 of a
	// Sentinel, unless it is given, and the database 0. User and password, in which
	// special characters are percent-encoded, are those of the Redis server;
	// those of the Sentinels, if they ask for any, are the query parameters
	// sentinel_username and sentinel_password.
	URL string
	// Key is that of the lease, the same on all nodes of a cluster and only there. It
	// contains no braces.
	Key string
	// TTL is how long the lease lasts without renewal; at least 100ms, of which a
	// fraction of a millisecond is dropped.
	TTL time.Duration
	// CallTimeout bounds each call to Redis, connecting included; 0 is a fifth of the
	// TTL, but not more than 5s. The deadline of a context bounds it too, while a
	// context that is cancelled in the middle of a call does not end it.
	CallTimeout time.Duration
	// Hostname and AdvertiseURL are what the node says of itself while it is the primary.
	Hostname, AdvertiseURL string
	// MinEpoch returns the newest epoch that the node has seen, which is less than
	// 1<<53-1: that of a lease is greater. nil stands for 0.
	MinEpoch func() uint64
	// Logger gets warnings; nil is for none.
	Logger *slog.Logger
}

// Leaser hands out a lease in Redis.
type Leaser struct {
	config   Config
	client   goredis.UniversalClient
	scheme   string   // of the URL
	where    string   // the servers: host:port, separated by commas
	keys     []string // KEYS of the scripts
	channel  string
	info     string // JSON of the node's litefs.PrimaryInfo
	warnOnce sync.Once

	obtaining sync.Mutex // held while a lease is asked for
	mu        sync.Mutex // guards what follows
	nonce     string     // of the next lease, and of those whose grant may have been lost
}

var _ litefs.Leaser = (*Leaser)(nil)

// NewLeaser returns the leaser of one node. It does not connect; see Check. An error
// says what is wrong with the configuration.
func NewLeaser(config Config) (*Leaser, error) {
	config.TTL = config.TTL.Truncate(time.Millisecond)
	switch {
	case config.Key == "" || strings.ContainsAny(config.Key, "{}"):
		return nil, fmt.Errorf("redis key %q: must not be empty nor contain braces, which are added", config.Key)
	case config.TTL < minTTL:
		return nil, fmt.Errorf("redis TTL %v: must be at least %v", config.TTL, minTTL)
	case config.CallTimeout < 0:
		return nil, fmt.Errorf("redis call timeout %v: must not be negative", config.CallTimeout)
	}
	if config.CallTimeout == 0 {
		config.CallTimeout = min(config.TTL/5, 5*time.Second)
	}
	if config.MinEpoch == nil {
		config.MinEpoch = func() uint64 { return 0 }
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	options, err := parseURL(config.URL)
	if err != nil {
		return nil, fmt.Errorf("redis URL: %w", err)
	}
	scheme, _, _ := strings.Cut(config.URL, "://")
	info, err := json.Marshal(litefs.PrimaryInfo{Hostname: config.Hostname, AdvertiseURL: config.AdvertiseURL})
	if err != nil {
		return nil, fmt.Errorf("encode primary info: %w", err)
	}
	return &Leaser{
		config:  config,
		client:  newClient(options, config.CallTimeout),
		scheme:  scheme,
		where:   strings.Join(options.Addrs, ","),
		keys:    []string{config.Key, "{" + config.Key + "}:cluster"},
		channel: "{" + config.Key + "}:changed",
		info:    string(info),
		nonce:   newNonce(),
	}, nil
}

// Close ends the connections.
func (l *Leaser) Close() error {
	if err := l.client.Close(); err != nil {
		return fmt.Errorf("close redis client: %w", err)
	}
	return nil
}

// URL returns where the servers are, without credentials.
func (l *Leaser) URL() string { return l.scheme + "://" + l.where }

// AdvertiseURL returns that of the configuration.
func (l *Leaser) AdvertiseURL() string { return l.config.AdvertiseURL }

// Acquire implements litefs.Leaser. It returns ErrEviction if the server may evict the
// lease.
func (l *Leaser) Acquire(ctx context.Context) (litefs.Lease, error) {
	const what = "acquire lease"
	if err := l.do(ctx, what, l.checkEviction); err != nil {
		return nil, err
	}
	lease, other, err := l.obtain(ctx, what, acquireScript)
	if err != nil || lease != nil {
		return lease, err
	}
	if _, err := parseHolder(other); err != nil {
		return nil, fmt.Errorf("%s: %w", what, l.explain(err))
	}
	return nil, litefs.ErrPrimaryExists
}

// TakeOver implements litefs.Leaser.
func (l *Leaser) TakeOver(ctx context.Context, token string) (litefs.Lease, error) {
	lease, _, err := l.obtain(ctx, "take lease over", takeOverScript, token)
	if err != nil || lease != nil {
		return lease, err
	}
	return nil, litefs.ErrLeaseExpired
}

// PrimaryInfo implements litefs.Leaser. A lease that was granted to this node without
// its learning of it is held by nobody.
func (l *Leaser) PrimaryInfo(ctx context.Context) (litefs.PrimaryInfo, error) {
	h, err := l.look(ctx, "read primary")
	if err != nil {
		return litefs.PrimaryInfo{}, err
	}
	if h.epoch == 0 || h.nonce == l.nextNonce() {
		return litefs.PrimaryInfo{}, litefs.ErrNoPrimary
	}
	return h.info, nil
}

// look returns who holds the lease.
func (l *Leaser) look(ctx context.Context, what string) (h holder, err error) {
	err = l.do(ctx, what, func(ctx context.Context) error {
		answer, err := l.eval(ctx, lookScript).Slice()
		if err != nil {
			return err
		}
		if len(answer) != 2 {
			return errAnswer
		}
		value, _ := answer[0].(string)
		if value == "" {
			return nil
		}
		if h, err = parseHolder(value); err != nil {
			return err
		}
		if left, _ := answer[1].(int64); left > 0 {
			h.left = time.Duration(left) * time.Millisecond
		}
		return nil
	})
	return h, err
}

// Record implements litefs.Leaser.
func (l *Leaser) Record(ctx context.Context) (record litefs.Record, err error) {
	err = l.do(ctx, "read record", func(ctx context.Context) error {
		fields, err := l.client.HMGet(ctx, l.keys[1], fieldClusterID, fieldKeptEpoch, fieldPositions).Result()
		if err != nil {
			return err
		}
		record, err = parseRecord(fields)
		return err
	})
	return record, err
}

// FoundCluster implements litefs.Leaser. An empty id is an error.
func (l *Leaser) FoundCluster(ctx context.Context, id string) (founded string, err error) {
	if id == "" {
		return "", errors.New("found cluster: the identifier is empty")
	}
	err = l.do(ctx, "found cluster", func(ctx context.Context) error {
		if err := l.client.HSetNX(ctx, l.keys[1], fieldClusterID, id).Err(); err != nil {
			return err
		}
		founded, err = l.client.HGet(ctx, l.keys[1], fieldClusterID).Result()
		return err
	})
	return founded, err
}

// expiry returns for how long Redis is to keep the lease, in milliseconds.
func (l *Leaser) expiry() int64 { return (l.config.TTL + margin).Milliseconds() }

// eval runs a script.
func (l *Leaser) eval(ctx context.Context, script string, args ...any) *goredis.Cmd {
	return l.client.Eval(ctx, script, l.keys, append([]any{l.channel}, args...)...)
}

// do makes a call to Redis, bounded in time, and explains its error.
func (l *Leaser) do(ctx context.Context, what string, call func(context.Context) error) error {
	err := ctx.Err()
	if err == nil {
		bounded, cancel := context.WithTimeout(ctx, l.config.CallTimeout)
		defer cancel()
		if err = call(bounded); err == nil {
			return nil
		}
		if ctx.Err() == nil {
			err = l.explain(err)
		} else {
			err = ctx.Err()
		}
	}
	return fmt.Errorf("%s: %w", what, err)
}
