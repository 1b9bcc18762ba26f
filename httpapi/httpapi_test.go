package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"litefs"
	"litefs/httpapi"
)

// start serves the API of an open store on a free loopback port.
func start(t *testing.T, stream http.Handler) (*litefs.Store, string) {
	t.Helper()
	store := litefs.NewStore(t.TempDir(), true)
	if err := store.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	server, err := httpapi.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	server.Serve(httpapi.NewHandler(store, httpapi.Options{
		Logger: logger, Version: "1.2.3", AdvertiseURL: "http://bert:20202", Stream: stream,
	}), logger)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := store.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return store, server.URL()
}

// get returns status and body of a GET.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestInfo(t *testing.T) {
	store, url := start(t, http.NotFoundHandler())
	if err := store.AdoptCluster("c0ffee00c0ffee00c0ffee00"); err != nil {
		t.Fatal(err)
	}
	status, body := get(t, url+"/info")
	if status != http.StatusOK {
		t.Fatalf("status %d: %s", status, body)
	}
	var got httpapi.Info
	decoder := json.NewDecoder(strings.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&got); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	if got.NodeID != store.ID() || got.ClusterID != "c0ffee00c0ffee00c0ffee00" || got.Version != "1.2.3" ||
		got.AdvertiseURL != "http://bert:20202" || got.Role != httpapi.RolePrimary || !got.Candidate || got.Ready {
		t.Errorf("info is %+v", got)
	}
	for _, key := range []string{`"primary": null`, `"databases": {}`, `"milliseconds": 0`} {
		if !strings.Contains(body, key) {
			t.Errorf("no %s in %s", key, body)
		}
	}
}

func TestHealthAndReadiness(t *testing.T) {
	store, url := start(t, http.NotFoundHandler())
	if status, body := get(t, url+"/healthz"); status != http.StatusOK || body != "ok\n" {
		t.Errorf("/healthz: %d %q", status, body)
	}
	if status, body := get(t, url+"/readyz"); status != http.StatusServiceUnavailable || !strings.HasPrefix(body, "not ready: ") {
		t.Errorf("/readyz before the node is ready: %d %q", status, body)
	}
	store.MarkReady()
	if status, body := get(t, url+"/readyz"); status != http.StatusOK || body != "ready\n" {
		t.Errorf("/readyz: %d %q", status, body)
	}
}

func TestOtherPathsAndMethods(t *testing.T) {
	_, url := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, r.Method, " ", r.URL.Path)
	}))
	for _, test := range []struct {
		method, path string
		status       int
		body         string // in it
	}{
		{http.MethodGet, "/", http.StatusNotFound, ""},
		{http.MethodGet, "/debug/pprof/", http.StatusNotFound, ""},
		{http.MethodPost, "/info", http.StatusMethodNotAllowed, ""},
		{http.MethodDelete, "/readyz", http.StatusMethodNotAllowed, ""},
		{http.MethodPost, "/stream", http.StatusOK, "POST /stream"},
		{http.MethodPost, "/difference?session=1", http.StatusOK, "POST /difference"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), test.method, url+test.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != test.status || !strings.Contains(string(body), test.body) {
			t.Errorf("%s %s: %d %q %v, want %d with %q", test.method, test.path, resp.StatusCode, body, err, test.status, test.body)
		}
	}
}

// A body is not read, however long it is said to be.
func TestBodyIsNotRead(t *testing.T) {
	_, url := start(t, http.NotFoundHandler())
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK || !resp.Close {
		t.Errorf("status %d, connection closed: %v; want 200 and the connection closed", resp.StatusCode, resp.Close)
	}
	resp.Body.Close()
}

// What is still being answered when the time to stop is up is cut off.
func TestShutdownCutsOff(t *testing.T) {
	server, err := httpapi.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	entered, left := make(chan struct{}), make(chan struct{})
	server.Serve(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		close(left)
	}), slog.New(slog.DiscardHandler))
	conn, err := net.Dial("tcp", strings.TrimPrefix(server.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST /stream HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	select {
	case <-left:
	case <-time.After(5 * time.Second):
		t.Error("the request is still being answered")
	}
}

func TestListen(t *testing.T) {
	server, err := httpapi.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("http://127.0.0.1:%d", server.Port()); server.URL() != want {
		t.Errorf("URL is %q, want %q", server.URL(), want)
	}
	if _, err := httpapi.Listen(strings.TrimPrefix(server.URL(), "http://")); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("a second listener on the port: %v", err)
	}
	if err := server.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown before Serve: %v", err)
	}
	if _, err := httpapi.Listen("no port"); err == nil {
		t.Error("an address without a port is taken")
	}
	everywhere, err := httpapi.Listen(":0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = everywhere.Shutdown(t.Context()) }()
	if want := fmt.Sprintf("http://localhost:%d", everywhere.Port()); everywhere.URL() != want {
		t.Errorf("URL is %q, want %q", everywhere.URL(), want)
	}
}
