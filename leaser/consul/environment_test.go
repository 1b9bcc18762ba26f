package consul_test

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/consul/api"

	"litefs/internal/servertest"
)

// Over TLS the server's certificate is checked, with the authority that the
// environment names.
func TestTLS(t *testing.T) {
	server := servertest.StartConsul(t)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	proxy := httptest.NewUnstartedServer(&httputil.ReverseProxy{
		Transport: transport,
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: server.Addr}) },
	})
	proxy.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // it tells of the first handshake
	proxy.StartTLS()
	defer proxy.Close()
	cfg := configAt("", "litefs/primary")
	cfg.URL = proxy.URL

	_, err := newLeaser(t, cfg).Acquire(t.Context())
	wantLine(t, err, "cannot reach Consul at "+proxy.URL, "certificate")

	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: proxy.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(api.HTTPCAFile, ca)
	lease := acquire(t, newLeaser(t, cfg))
	if err := lease.Close(); err != nil {
		t.Error(err)
	}
}

// Consul's free edition has no namespaces, so that only what is sent can be seen: all
// requests, and all that a transaction does, are of the same one.
func TestNamespace(t *testing.T) {
	t.Setenv(api.HTTPNamespaceEnvName, "team")
	t.Setenv(api.HTTPPartitionEnvName, "east")
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path)
		if q := r.URL.Query(); q.Get("ns") != "team" || q.Get("partition") != "east" || q.Get("dc") != "dc2" {
			t.Errorf("%s asks %q", r.URL.Path, q)
		}
		switch r.URL.Path {
		case "/v1/session/create":
			answer(w, `{"ID":"01234567-89ab-cdef-0123-456789abcdef"}`)
		case "/v1/txn":
			var ops []struct{ KV api.KVTxnOp }
			if err := json.NewDecoder(r.Body).Decode(&ops); err != nil || len(ops) != 3 {
				t.Errorf("transaction %+v, %v", ops, err)
			}
			for _, op := range ops {
				if op.KV.Namespace != "team" || op.KV.Partition != "east" {
					t.Errorf("part of a transaction: %+v", op.KV)
				}
			}
			answer(w, `{}`)
		default:
			w.Header().Set("X-Consul-Index", "1")
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	cfg := configAt("", "litefs/primary")
	cfg.URL = server.URL + "?dc=dc2"
	acquire(t, newLeaser(t, cfg))
	if want := "[/v1/kv/litefs/primary /v1/kv/litefs/primary/epoch /v1/session/create /v1/txn]"; fmt.Sprint(asked) != want {
		t.Errorf("asked %v, want %s", asked, want)
	}
}

func answer(w http.ResponseWriter, text string) { _, _ = w.Write([]byte(text)) }
