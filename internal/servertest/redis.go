package servertest

import (
	"bufio"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// Redis is a running Redis server without persistence.
type Redis struct {
	*process
	Addr string // host:port
}

// StartRedis starts Debian's redis-server. args are further server options,
// such as "--maxmemory-policy", "allkeys-lru".
func StartRedis(tb testing.TB, args ...string) *Redis {
	tb.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		tb.Fatalf("%v: install it with scripts/setup.sh", err)
	}
	port := freePorts(tb, 1)[0]
	cmd := exec.Command(binary, append([]string{
		"--bind", "127.0.0.1", "--port", strconv.Itoa(port),
		"--dir", tb.TempDir(), "--save", "", "--appendonly", "no",
	}, args...)...)
	r := &Redis{process: start(tb, cmd), Addr: fmt.Sprintf("127.0.0.1:%d", port)}
	r.waitReady(tb, func() error { return redisPing(r.Addr) })
	return r
}

// redisPing returns nil when the server at addr answers PING; a server that
// asks for a password first is ready too.
func redisPing(addr string) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	if line != "+PONG\r\n" && !strings.HasPrefix(line, "-NOAUTH") {
		return fmt.Errorf("answer to PING: %q", line)
	}
	return nil
}
