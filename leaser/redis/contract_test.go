package redis_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"litefs"
	"litefs/internal/servertest"
	"litefs/leaser/leasertest"
)

// The contract holds on a single server, through Sentinel and on a Redis Cluster.
func TestContract(t *testing.T) {
	for _, kind := range []struct {
		name  string
		start func(t *testing.T) (url string, server goredis.UniversalClient)
	}{
		{"single", startSingle},
		{"sentinel", startSentinel},
		{"cluster", startCluster},
	} {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			url, server := kind.start(t)
			for name, run := range leasertest.Cases {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					run(t, leasertest.Cluster{
						Open: func(t *testing.T, info litefs.PrimaryInfo) litefs.Leaser {
							t.Helper()
							return open(t, url, info, key(name))
						},
						Expire: func(t *testing.T) {
							t.Helper()
							expire(t, server, name)
						},
					})
				})
			}
		})
	}
}

// expire has a key lapse, which Redis tells nobody.
func expire(t *testing.T, client goredis.UniversalClient, key string) {
	t.Helper()
	if gone, err := client.PExpire(t.Context(), key, 0).Result(); err != nil || !gone {
		t.Fatalf("expire %s: %v, %v", key, gone, err)
	}
}

func startSingle(t *testing.T) (url string, server goredis.UniversalClient) {
	t.Helper()
	addr := servertest.StartRedis(t).Addr
	return "redis://" + addr, connect(t, addr)
}

// startCluster starts a Redis Cluster of two nodes. The URL names the first, and one that
// is down.
func startCluster(t *testing.T) (url string, server goredis.UniversalClient) {
	t.Helper()
	var addrs []string
	for _, slots := range [][2]int{{0, 8191}, {8192, 16383}} {
		bus := freePort(t)
		addr := servertest.StartRedis(t, "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(bus)).Addr
		client := connect(t, addr)
		command(t, client, "CLUSTER", "ADDSLOTSRANGE", slots[0], slots[1])
		if addrs = append(addrs, addr); len(addrs) == 2 {
			host, port, _ := net.SplitHostPort(addr)
			command(t, connect(t, addrs[0]), "CLUSTER", "MEET", host, port, bus)
		}
	}
	for _, addr := range addrs {
		client := connect(t, addr)
		eventually(t, "the cluster is up", func() error {
			info, err := client.ClusterInfo(t.Context()).Result()
			if err == nil && !strings.Contains(info, "cluster_state:ok") {
				err = errors.New(info)
			}
			return err
		})
	}
	cluster := goredis.NewClusterClient(&goredis.ClusterOptions{Addrs: addrs[:1]})
	t.Cleanup(func() { cluster.Close() })
	return fmt.Sprintf("redis+cluster://127.0.0.1:1,%s", addrs[0]), cluster
}

// startSentinel starts a server and a Sentinel that watches it.
func startSentinel(t *testing.T) (url string, server goredis.UniversalClient) {
	t.Helper()
	addr := servertest.StartRedis(t).Addr
	server = goredis.NewClient(&goredis.Options{Addr: addr, DB: 1})
	t.Cleanup(func() { server.Close() })
	return "redis+sentinel://127.0.0.1:1," + watch(t, addr) + "/mymaster/1", server
}

// watch starts a Sentinel for the master at addr, and returns its address.
func watch(t *testing.T, addr string) string {
	t.Helper()
	host, masterPort, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	config := filepath.Join(t.TempDir(), "sentinel.conf")
	err = os.WriteFile(config, fmt.Appendf(nil, `bind 127.0.0.1
port %d
sentinel monitor mymaster %s %s 1
sentinel down-after-milliseconds mymaster 500
sentinel failover-timeout mymaster 3000
`, port, host, masterPort), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("redis-server", config, "--sentinel")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	})
	sentinel := fmt.Sprintf("127.0.0.1:%d", port)
	client := connect(t, sentinel)
	eventually(t, "the Sentinel answers", func() error { return client.Ping(t.Context()).Err() })
	return sentinel
}

func freePort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

// eventually waits until check has no error left to report.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatalf("never: %s: %v", what, err)
}
