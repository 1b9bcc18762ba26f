package redis

import (
	"context"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	poolSize = 4 // connections for calls; they are few and short
	// maxRedirects is how often a call is sent elsewhere in a Redis Cluster, which
	// includes that it is sent again.
	maxRedirects = 3
)

// newClient returns a client for the servers in options. It has no more background
// activity than following a master takes.
//
// Except in a Redis Cluster, where redirection and repetition are one, it sends nothing
// twice: the callers know better when to try again, and until when.
func newClient(options *goredis.UniversalOptions, timeout time.Duration) goredis.UniversalClient {
	goredis.SetLogger(discard{})
	options.MaxRetries = -1
	options.MaxRedirects = maxRedirects
	options.DialerRetries = 1
	options.DialTimeout = timeout
	options.ReadTimeout = timeout
	options.WriteTimeout = timeout
	options.PoolTimeout = timeout
	options.ContextTimeoutEnabled = true
	options.PoolSize = poolSize
	options.PipelinePoolSize = -1
	options.DisableIdentity = true
	options.Protocol = 2 // nothing here needs more, and every server has it
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	if !options.IsClusterMode {
		return goredis.NewUniversalClient(options)
	}
	cluster := options.Cluster()
	cluster.DisableRoutingPolicies = true // a script goes where its keys are
	return goredis.NewClusterClient(cluster)
}

// discard is the client library's logger, of which there is one in a process. What it
// logs comes back as an error too.
type discard struct{}

func (discard) Printf(context.Context, string, ...any) {}
