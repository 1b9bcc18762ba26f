package consul_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
	"go.uber.org/goleak"

	"litefs"
	"litefs/leaser/consul"
	"litefs/ltx"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ttl leaves a busy machine the time to do what a case does within half of it.
const ttl = 2 * time.Second

// configAt returns the configuration of a node whose Consul is at addr.
func configAt(addr, key string) consul.Config {
	return consul.Config{
		URL:          "http://" + addr,
		Key:          key,
		TTL:          ttl,
		Hostname:     "bert",
		AdvertiseURL: "http://bert:20202",
		CallTimeout:  10 * time.Second,
		MinEpoch:     func() uint64 { return 0 },
	}
}

func newLeaser(t *testing.T, cfg consul.Config) *consul.Leaser {
	t.Helper()
	leaser, err := consul.NewLeaser(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := leaser.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return leaser
}

func acquire(t *testing.T, leaser litefs.Leaser) *consul.Lease {
	t.Helper()
	lease, err := leaser.Acquire(t.Context())
	if err != nil {
		t.Fatalf("Acquire: %v", err)
	}
	return lease.(*consul.Lease)
}

// admin is a client of the tests' own. Its idle connections end with the test.
func admin(t *testing.T, addr, token string) *api.Client {
	t.Helper()
	cfg := api.DefaultConfig()
	cfg.Address, cfg.Token = addr, token
	client, err := api.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cfg.Transport.CloseIdleConnections)
	return client
}

func getKey(t *testing.T, client *api.Client, key string) *api.KVPair {
	t.Helper()
	pair, _, err := client.KV().Get(key, nil)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func putKey(t *testing.T, client *api.Client, key, value string) {
	t.Helper()
	if _, err := client.KV().Put(&api.KVPair{Key: key, Value: []byte(value)}, nil); err != nil {
		t.Fatal(err)
	}
}

func deleteKey(t *testing.T, client *api.Client, key string) {
	t.Helper()
	if _, err := client.KV().Delete(key, nil); err != nil {
		t.Fatal(err)
	}
}

// expire ends the session that has key locked, as the end of its TTL does, and
// returns once the lock-delay is over.
func expire(t *testing.T, client *api.Client, key string) {
	t.Helper()
	pair := getKey(t, client, key)
	if pair == nil || pair.Session == "" {
		t.Fatalf("nobody holds %s", key)
	}
	if _, err := client.Session().Destroy(pair.Session, nil); err != nil {
		t.Fatal(err)
	}
	probe, _, err := client.Session().CreateNoChecks(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	lock := &api.KVPair{Key: key, Value: pair.Value, Session: probe}
	for deadline := time.Now().Add(10 * time.Second); ; <-time.After(time.Millisecond) {
		ok, _, err := client.KV().Acquire(lock, nil)
		if err != nil || !ok && time.Now().After(deadline) {
			t.Fatalf("the lock-delay does not end: %v", err)
		}
		if ok {
			break
		}
	}
	if ok, _, err := client.KV().Release(lock, nil); err != nil || !ok {
		t.Fatalf("release: %v, %v", ok, err)
	}
	if _, err := client.Session().Destroy(probe, nil); err != nil {
		t.Fatal(err)
	}
}

// proxy stands between a leaser and Consul. It writes down what is asked, and can lose
// the answer.
type proxy struct {
	addr string

	mu    sync.Mutex // guards what follows
	to    string
	asked []string
	lose  string // part of the request whose answer is lost, for once

	sessionAt time.Time // when the last request about a session came
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	p := &proxy{to: to}
	transport := &http.Transport{}
	server := httptest.NewServer(&httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			p.mu.Lock()
			defer p.mu.Unlock()
			r.SetURL(&url.URL{Scheme: "http", Host: p.to})
			if strings.HasPrefix(r.In.URL.Path, "/v1/session/") {
				p.sessionAt = time.Now()
			}
		},
		ModifyResponse: func(r *http.Response) error {
			p.mu.Lock()
			defer p.mu.Unlock()
			request := r.Request.Method + " " + r.Request.URL.Path
			p.asked = append(p.asked, request)
			if p.lose != "" && strings.Contains(request, p.lose) {
				p.lose = ""
				panic(http.ErrAbortHandler) // Consul has done it; the connection breaks
			}
			return nil
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	})
	t.Cleanup(func() {
		server.Close()
		transport.CloseIdleConnections()
	})
	p.addr = server.Listener.Addr().String()
	return p
}

// lastSession returns when the last request about a session came.
func (p *proxy) lastSession() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sessionAt
}

// turnTo has the proxy send what comes to another server.
func (p *proxy) turnTo(to string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.to = to
}

// loseAnswer has the next answer to a request with the given path be lost.
func (p *proxy) loseAnswer(path string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lose = path
}

// requests returns what has been asked since the last call.
func (p *proxy) requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	asked := p.asked
	p.asked = nil
	return asked
}

// manyPositions returns the positions of n databases.
func manyPositions(n int) map[string]ltx.Pos {
	positions := map[string]ltx.Pos{}
	for i := range n {
		positions[fmt.Sprintf("%06d.db", i)] = ltx.Pos{TXID: 1, PostApplyChecksum: 1 << 63}
	}
	return positions
}
