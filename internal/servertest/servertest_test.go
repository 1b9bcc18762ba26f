package servertest_test

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/redis/go-redis/v9"

	"litefs/internal/servertest"
)

func TestStartConsul(t *testing.T) {
	server := servertest.StartConsul(t)
	client, err := api.NewClient(&api.Config{Address: server.Addr})
	if err != nil {
		t.Fatal(err)
	}

	// A session of one second is what the election tests rely on.
	session, _, err := client.Session().Create(&api.SessionEntry{TTL: "1s", LockDelay: time.Millisecond}, nil)
	if err != nil {
		t.Fatal(err)
	}
	acquired, _, err := client.KV().Acquire(&api.KVPair{Key: "k", Value: []byte("v"), Session: session}, nil)
	if err != nil || !acquired {
		t.Fatalf("acquire: %v, %v", acquired, err)
	}
	pair, _, err := client.KV().Get("k", nil)
	if err != nil || pair == nil || pair.Session != session || pair.LockIndex != 1 {
		t.Fatalf("get: %+v, %v", pair, err)
	}

	server.Kill()
	assertGone(t, server.Addr)
}

func TestStartRedis(t *testing.T) {
	server := servertest.StartRedis(t, "--maxmemory-policy", "allkeys-lru")
	client := redis.NewClient(&redis.Options{Addr: server.Addr})
	t.Cleanup(func() { client.Close() })

	if set, err := client.SetNX(t.Context(), "k", "v", time.Minute).Result(); err != nil || !set {
		t.Fatalf("set: %v, %v", set, err)
	}
	config, err := client.ConfigGet(t.Context(), "maxmemory-policy").Result()
	if err != nil || config["maxmemory-policy"] != "allkeys-lru" {
		t.Fatalf("config: %v, %v", config, err)
	}

	server.Kill()
	assertGone(t, server.Addr)
}

// Two servers of a kind do not get in each other's way.
func TestServersAreIndependent(t *testing.T) {
	a, b := servertest.StartRedis(t), servertest.StartRedis(t)
	a.Kill()
	client := redis.NewClient(&redis.Options{Addr: b.Addr})
	t.Cleanup(func() { client.Close() })
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Fatalf("second server, after the first was killed: %v", err)
	}
}

func assertGone(t *testing.T, addr string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err == nil {
		conn.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("dial %s after the kill: %v, want connection refused", addr, err)
	}
}
