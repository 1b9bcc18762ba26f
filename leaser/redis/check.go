package redis

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

// Check connects to the server and returns an error if the lease cannot be kept there;
// see ErrUnreachable and the others.
func (l *Leaser) Check(ctx context.Context) error {
	const what = "check redis"
	err := l.do(ctx, what, func(ctx context.Context) error {
		info, err := l.serverInfo(ctx)
		if err == nil && info["role"] == "slave" {
			return fmt.Errorf("%w: put its master in the URL, or use redis+sentinel://", ErrReadOnly)
		}
		return l.checkEviction(ctx)
	})
	if err != nil {
		return err
	}
	_, err = l.look(ctx, what)
	return err
}

// checkEviction returns ErrEviction if the server may evict the lease when its memory is
// full. That it does not say whether it may is a matter for the log.
func (l *Leaser) checkEviction(ctx context.Context) error {
	policy, err := l.evictionPolicy(ctx)
	if err != nil {
		return err
	}
	if policy == "" {
		l.warnOnce.Do(func() {
			l.config.Logger.Warn("redis does not tell its maxmemory-policy; unless that is noeviction, it may evict the lease",
				slog.String("redis", l.where))
		})
		return nil
	}
	if policy != "noeviction" {
		return fmt.Errorf("%w when its memory is full: set maxmemory-policy to noeviction, it is %s", ErrEviction, policy)
	}
	return nil
}

// evictionPolicy returns the server's maxmemory-policy, or "" if the user may not know.
func (l *Leaser) evictionPolicy(ctx context.Context) (string, error) {
	const name = "maxmemory-policy"
	server, err := l.server(ctx)
	if err != nil {
		return "", err
	}
	config, err := server.ConfigGet(ctx, name).Result()
	if err == nil && config[name] != "" {
		return config[name], nil
	}
	if err != nil && !isForbidden(err) {
		return "", err
	}
	info, err := l.serverInfo(ctx)
	if err != nil && !isForbidden(err) {
		return "", err
	}
	return info["maxmemory_policy"], nil
}

// isForbidden reports whether err says that a command is not there or not allowed, which
// is the same to hosted servers.
func isForbidden(err error) bool {
	return isReply(err) && (strings.HasPrefix(err.Error(), "NOPERM") || strings.HasPrefix(err.Error(), "ERR unknown"))
}

// serverInfo returns what INFO says.
func (l *Leaser) serverInfo(ctx context.Context) (map[string]string, error) {
	server, err := l.server(ctx)
	if err != nil {
		return nil, err
	}
	text, err := server.Info(ctx).Result()
	if err != nil {
		return nil, err
	}
	info := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, found := strings.Cut(strings.TrimSpace(line), ":"); found {
			info[name] = value
		}
	}
	return info, nil
}

// server returns what asks the server that the lease is on.
func (l *Leaser) server(ctx context.Context) (goredis.Cmdable, error) {
	if cluster, ok := l.client.(*goredis.ClusterClient); ok {
		return cluster.MasterForKey(ctx, l.config.Key)
	}
	return l.client, nil
}
