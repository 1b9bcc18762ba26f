package redis_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"litefs"
	"litefs/internal/servertest"
	"litefs/leaser/redis"
)

// withUser returns the arguments for a server that knows a user.
func withUser(rules string) []string { return append([]string{"--user"}, strings.Fields(rules)...) }

// Whatever is wrong with a server, one line says what, where and what to do, without a
// password.
func TestErrors(t *testing.T) {
	const password = "hunter2"
	plain := servertest.StartRedis(t).Addr
	client := connect(t, plain)
	command(t, client, "SET", "text", "somebody else's")
	command(t, client, "LPUSH", "list", "somebody else's")
	command(t, client, "SET", "{damaged}:cluster", "somebody else's")
	command(t, client, "HSET", "{newer}:cluster", "last-epoch", "9007199254740991")
	replica := servertest.StartRedis(t, append([]string{"--replicaof"}, strings.Split(plain, ":")...)...).Addr
	locked := servertest.StartRedis(t, append(withUser("few on >"+password+" ~other &* +@all"), "--requirepass", password)...).Addr
	full := servertest.StartRedis(t, "--maxmemory", "1").Addr
	silent, err := net.Listen("tcp", "127.0.0.1:0") // connections stay in its backlog
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	sentinelURL := "redis+sentinel://" + watch(t, plain) + "/mymaster"
	clusterURL, _ := startCluster(t)
	_, onCluster, _ := strings.Cut(clusterURL, ",")

	for _, tt := range []struct {
		name, url, key string
		want           error
		text           string
	}{
		{"nobody listens", "redis://127.0.0.1:1", "k", redis.ErrUnreachable, "redis 127.0.0.1:1 cannot be reached: dial tcp 127.0.0.1:1: connect: connection refused: start it, or correct the URL"},
		{"no such host", "redis://no-such-host.invalid", "k", redis.ErrUnreachable, "redis no-such-host.invalid:6379 cannot be reached: dial tcp: lookup no-such-host.invalid"},
		{"silence", "redis://" + silent.Addr().String(), "k", redis.ErrUnreachable, "redis " + silent.Addr().String() + " cannot be reached: "},
		{"no Sentinel", "redis+sentinel://127.0.0.1:1,127.0.0.1:2/m", "k", redis.ErrUnreachable, "redis 127.0.0.1:1,127.0.0.1:2 cannot be reached: redis: all sentinels"},
		{"a server for a Sentinel", "redis+sentinel://" + plain + "/m", "k", redis.ErrWrongServer, "): it is no Sentinel, use redis://"},
		{"no such master", sentinelURL + "x", "k", redis.ErrWrongServer, "): the Sentinels know no master of that name"},
		{"no cluster node", "redis+cluster://127.0.0.1:1", "k", redis.ErrUnreachable, "redis 127.0.0.1:1 cannot be reached: "},
		{"no TLS", "rediss://" + plain, "k", redis.ErrUnreachable, "redis " + plain + " cannot be reached: "},
		{"no password given", "redis://" + locked, "k", redis.ErrDenied, "redis " + locked + " denies access (NOAUTH Authentication required.): add the password to the URL, as redis://:password@host"},
		{"wrong password", "redis://:x" + password + "@" + locked, "k", redis.ErrDenied, "redis " + locked + " denies access (WRONGPASS invalid username-password pair or user is disabled.): correct user and password in the URL"},
		{"wrong user", "redis://x:" + password + "@" + locked, "k", redis.ErrDenied, "WRONGPASS"},
		{"no rights to the key", "redis://few:" + password + "@" + locked, "k", redis.ErrDenied, "(NOPERM this user has no permissions to access one of the keys used as arguments): allow the user the commands and keys that docs/redis.md lists"},
		{"no such database", "redis://" + plain + "/99", "k", redis.ErrWrongServer, "DB index is out of range): it does not have that database"},
		{"replica", "redis://" + replica, "k", redis.ErrReadOnly, "redis " + replica + " is a read-only replica: put its master in the URL, or use redis+sentinel://"},
		{"another's text", "redis://" + plain, "text", redis.ErrForeignValue, "redis " + plain + `, key "text": holds a value that does not belong to a lease: it does not begin with an epoch and 32 digits: choose another key, or delete that one`},
		{"another's list", "redis://" + plain, "list", redis.ErrForeignValue, `, key "list": holds a value that does not belong to a lease (WRONGTYPE Operation against a key holding the wrong kind of value): choose another key, or delete that one`},
		{"another's hash", "redis://" + plain, "damaged", redis.ErrForeignValue, `key "damaged": holds a value that does not belong to a lease (WRONGTYPE`},
		{"no epoch left", "redis://" + plain, "newer", redis.ErrUnusable, "(EPOCH there is none after 9007199254740991): the epoch of a node or of the key's :cluster hash is damaged"},
		{"full memory", "redis://" + full, "k", redis.ErrUnusable, "redis " + full + " is not usable (OOM command not allowed when used memory > 'maxmemory'"},
		{"a cluster's node alone", "redis://" + onCluster, "foo", redis.ErrWrongServer, "redis " + onCluster + " is not what the URL says (MOVED "},
		{"no cluster", "redis+cluster://" + plain, "k", redis.ErrWrongServer, "it is no part of a Redis Cluster, use redis://"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			leaser := open(t, tt.url, nodeA, key(tt.key), func(c *redis.Config) { c.CallTimeout = 2 * time.Second })
			err := leaser.Check(t.Context())
			if err == nil { // what shows only when a node wants to lead
				_, err = leaser.Acquire(t.Context())
			}
			if !errors.Is(err, tt.want) {
				t.Fatalf("%v, want %v", err, tt.want)
			}
			if text := err.Error(); !strings.Contains(text, tt.text) || strings.Contains(text, "\n") || strings.Contains(text, password) {
				t.Errorf("%v\nwant one line with %q and no password", err, tt.text)
			}
			if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, litefs.ErrPrimaryExists) {
				t.Errorf("%v is taken for another error", err)
			}
		})
	}
}

// A server that may evict the lease is refused, at first and when a node wants to lead,
// whether it tells so or only INFO does.
func TestEviction(t *testing.T) {
	for _, policy := range []string{"allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"} {
		t.Run(policy, func(t *testing.T) {
			args := []string{"--maxmemory-policy", policy}
			if strings.HasSuffix(policy, "-lru") {
				args = append(args, "--rename-command", "CONFIG", "")
			}
			addr := servertest.StartRedis(t, args...).Addr
			leaser := open(t, "redis://"+addr, nodeA)
			err := leaser.Check(t.Context())
			wantErr(t, "Check", err, redis.ErrEviction)
			want := "check redis: redis " + addr + " may evict the lease when its memory is full: set maxmemory-policy to noeviction, it is " + policy
			if err == nil || err.Error() != want {
				t.Errorf("Check: %v, want %s", err, want)
			}
			_, err = leaser.Acquire(t.Context())
			wantErr(t, "Acquire", err, redis.ErrEviction)
			if n := connect(t, addr).Exists(t.Context(), "litefs/primary").Val(); n != 0 {
				t.Error("Acquire has taken the lease all the same")
			}
		})
	}
}

// The policy may change while the server runs.
func TestEvictionLater(t *testing.T) {
	addr := servertest.StartRedis(t).Addr
	client := connect(t, addr)
	leaser := open(t, "redis://"+addr, nodeA)
	if err := leaser.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	command(t, client, "CONFIG", "SET", "maxmemory-policy", "volatile-ttl")
	_, err := leaser.Acquire(t.Context())
	wantErr(t, "Acquire", err, redis.ErrEviction)
	command(t, client, "CONFIG", "SET", "maxmemory-policy", "noeviction")
	acquire(t, leaser)
}

// Of a server that does not tell its policy the log warns, once.
func TestEvictionUnknown(t *testing.T) {
	addr := servertest.StartRedis(t, withUser("default on nopass ~* &* +@all -config -info")...).Addr
	var log bytes.Buffer
	leaser := open(t, "redis://"+addr, nodeA, func(c *redis.Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	if err := leaser.Check(t.Context()); err != nil {
		t.Fatalf("Check: %v", err)
	}
	acquire(t, leaser)
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "level=WARN") || !strings.Contains(got, "it may evict the lease") || !strings.Contains(got, addr) {
		t.Errorf("log: %q, want one warning", got)
	}
}

// rights are those that the guide lists.
const rights = "litefs on >secret resetchannels ~litefs/primary ~{litefs/primary}:* &{litefs/primary}:changed -@all " +
	"+eval +get +set +del +pexpire +pttl +hget +hset +hsetnx +hmget +publish +subscribe +info +config|get"

// The rights that the guide lists are enough.
func TestRights(t *testing.T) {
	addr := servertest.StartRedis(t, withUser(rights)...).Addr
	url := "redis://litefs:secret@" + addr
	admin := connect(t, addr)
	var log bytes.Buffer
	a := open(t, url, nodeA, ttl(time.Minute), func(c *redis.Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	b := open(t, url, nodeB, ttl(time.Minute))
	if err := a.Check(t.Context()); err != nil {
		t.Fatalf("Check: %v", err)
	}
	changed := make(chan error, 1)
	go func() { changed <- b.Await(t.Context(), 0) }()
	eventually(t, "the other node has subscribed", func() error {
		if n := subscribers(t, admin); n != 1 {
			return fmt.Errorf("%d have", n)
		}
		return nil
	})
	lease := acquire(t, a)
	if err := <-changed; err != nil {
		t.Errorf("Await: %v", err)
	}
	id, err := a.FoundCluster(t.Context(), "id")
	err = errors.Join(err, lease.Keep(t.Context(), nil), lease.Renew(t.Context()))
	if err != nil || id != "id" {
		t.Errorf("%q, %v", id, err)
	}
	if _, err := b.Record(t.Context()); err != nil {
		t.Errorf("Record: %v", err)
	}
	next, err := b.TakeOver(t.Context(), lease.Token())
	if err != nil {
		t.Fatalf("TakeOver: %v", err)
	}
	if err := next.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if log.Len() > 0 {
		t.Errorf("log: %s", &log)
	}
}

// So are those for another database, and for a Redis Cluster.
func TestRightsElsewhere(t *testing.T) {
	single := servertest.StartRedis(t, withUser(rights+" +select")...).Addr
	url, server := startCluster(t)
	hosts := strings.TrimPrefix(url, "redis+cluster://")
	err := server.(*goredis.ClusterClient).ForEachMaster(t.Context(), func(ctx context.Context, node *goredis.Client) error {
		args := []any{"ACL", "SETUSER"}
		for _, rule := range strings.Fields(rights + " +cluster|slots") {
			args = append(args, rule)
		}
		return node.Do(ctx, args...).Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{"redis://litefs:secret@" + single + "/1", "redis+cluster://litefs:secret@" + hosts} {
		leaser := open(t, url, nodeA)
		if err := leaser.Check(t.Context()); err != nil {
			t.Errorf("Check: %v", err)
		}
		if err := acquire(t, leaser).Renew(t.Context()); err != nil {
			t.Errorf("Renew: %v", err)
		}
	}
}
