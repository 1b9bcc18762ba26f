package consul_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"litefs"
	"litefs/internal/servertest"
	"litefs/leaser/consul"
)

// wantLine checks that err is one line with all of want in it, and no secret.
func wantLine(t *testing.T, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one with %q", want)
		return
	}
	text := err.Error()
	for _, part := range want {
		if !strings.Contains(text, part) {
			t.Errorf("error is\n%s\nand lacks %q", text, part)
		}
	}
	if strings.Contains(text, "\n") || strings.Contains(text, "s3cret") {
		t.Errorf("error is\n%s\nwhich has a secret in it or is more than a line", text)
	}
}

func TestBadConfig(t *testing.T) {
	t.Setenv(api.HTTPCAFile, "")
	for url, want := range map[string]string{
		"":                              "want http://HOST:8500",
		"localhost:8500":                "want http://HOST:8500",
		"redis://:s3cret@host":          "want http://HOST:8500",
		"http://:s3cret@":               "want http://HOST:8500",
		"http://:s3cret@host:port":      "want http://HOST:8500",
		"http://s3cret@host:1":          "http://host:1 has a user name and no password",
		"http://host:1#s3cret":          "http://host:1 ends in what is no query",
		"http://host:1?token=s3cret;":   "http://host:1 ends in what is no query",
		"http://host:1?s3cret=s3cret":   "http://host:1 has an unknown parameter",
		"http://host:1?token=":          "http://host:1 must give the parameter token one value",
		"http://:s3cret@host?token=abc": "http://host has a token twice",
		"http://host:1/a//b":            `"a//b/litefs/primary" cannot be a key in Consul`,
		"http://host:1/a/../b":          `"a/../b/litefs/primary" cannot be a key in Consul`,
	} {
		cfg := configAt("", "litefs/primary")
		cfg.URL = url
		_, err := consul.NewLeaser(cfg)
		wantLine(t, err, want)
	}
	for _, key := range []string{"", "/a", "a/", "a//b", "./a", "a/.."} {
		_, err := consul.NewLeaser(configAt("host:1", key))
		wantLine(t, err, "cannot be a key in Consul", "such as litefs/primary")
	}
	t.Setenv(api.HTTPCAFile, "/does/not/exist")
	cfg := configAt("", "litefs/primary")
	cfg.URL = "https://:s3cret@host:1"
	_, err := consul.NewLeaser(cfg)
	wantLine(t, err, "https://host:1", "/does/not/exist")
}

// each calls every method of a leaser and of a lease.
func each(ctx context.Context, leaser *consul.Leaser, lease *consul.Lease) map[string]error {
	errs := map[string]error{}
	_, errs["acquire lease"] = leaser.Acquire(ctx)
	_, errs["read primary"] = leaser.PrimaryInfo(ctx)
	_, errs["take lease over"] = leaser.TakeOver(ctx, "a-s3cret")
	_, errs["read record of the cluster"] = leaser.Record(ctx)
	_, errs["found cluster"] = leaser.FoundCluster(ctx, "c0ffee")
	errs["await change of the lease"] = leaser.Await(ctx, 1)
	if lease != nil {
		errs["renew lease"] = lease.Renew(ctx)
		errs["keep positions"] = lease.Keep(ctx, nil)
		errs["release lease"] = lease.Close() //nolint:contextcheck // it has a bound of its own
	}
	return errs
}

func wantEach(t *testing.T, errs map[string]error, want ...string) {
	t.Helper()
	for what, err := range errs {
		wantLine(t, err, append([]string{what + ": "}, want...)...)
		if errors.Is(err, litefs.ErrPrimaryExists) || errors.Is(err, litefs.ErrLeaseExpired) || errors.Is(err, litefs.ErrNoPrimary) {
			t.Errorf("%s: %v says something of the lease", what, err)
		}
		if lease := "a-s3cret"; err != nil && strings.Contains(err.Error(), lease) {
			t.Errorf("%s: %v has the token in it", what, err)
		}
	}
}

func TestUnreachable(t *testing.T) {
	server := servertest.StartConsul(t)
	cfg := configAt(server.Addr, "litefs/primary")
	cfg.URL = "http://:s3cret@" + server.Addr
	leaser := newLeaser(t, configAt(server.Addr, "litefs/primary"))
	lease := acquire(t, leaser)
	server.Kill()
	errs := each(t.Context(), leaser, lease)
	wantEach(t, errs, "cannot reach Consul at http://"+server.Addr, "connection refused", "lease.consul.url")
	for what, err := range errs {
		if strings.Contains(err.Error(), lease.Token()) {
			t.Errorf("%s: %v has the token in it", what, err)
		}
	}
	wantEach(t, each(t.Context(), newLeaser(t, cfg), nil), "cannot reach Consul at http://"+server.Addr)
}

// A server that takes connections and never answers is given up after the timeout,
// and before that when the caller says so.
func TestNoAnswer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	addr := ln.Addr().String()
	cfg := configAt(addr, "litefs/primary")
	cfg.CallTimeout = 10 * time.Millisecond
	leaser := newLeaser(t, cfg)
	for what, call := range map[string]func() error{
		"read primary": func() error { _, err := leaser.PrimaryInfo(t.Context()); return err },
		"acquire":      func() error { _, err := leaser.Acquire(t.Context()); return err },
	} {
		wantLine(t, call(), what, "no answer from Consul at http://"+addr+" within 10ms")
	}

	cfg.CallTimeout = time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	errs := each(ctx, newLeaser(t, cfg), nil)
	wantEach(t, errs, "no answer from Consul at http://"+addr)
	for what, err := range errs {
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v, want the error of the context", what, err)
		}
	}
}

// What answers is not Consul.
func TestNotConsul(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"not found": func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) },
		"a page":    func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>\nhello\n")) },
		"elsewhere": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusMovedPermanently)
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(handler)
			defer server.Close()
			errs := each(t.Context(), newLeaser(t, configAt(server.Listener.Addr().String(), "litefs/primary")), nil)
			wantEach(t, errs, "answer of Consul at "+server.URL+" is not what was expected", "lease.consul.url")
		})
	}
}

// Why Consul, or what stands before it, refuses a request is passed on, but for the
// length of it and the tokens of leases in it.
func TestRefusal(t *testing.T) {
	for answer, want := range map[string]string{
		"No cluster leader":                              " has no leader: see whether most of its servers run",
		strings.Repeat("<p>sorry</p>\n", 100):            " refuses it: 500 Internal Server Error: <p>sorry</p> <p>sorry</p>",
		"session 01234567-89ab-cdef-0123-456789abcdef s": " refuses it: 500 Internal Server Error: session xxxxx s",
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, answer, http.StatusInternalServerError)
		}))
		_, err := newLeaser(t, configAt(server.Listener.Addr().String(), "litefs/primary")).PrimaryInfo(t.Context())
		wantLine(t, err, "Consul at "+server.URL+want)
		if len(err.Error()) > 400 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
		server.Close()
	}
}

// A TTL that Consul does not take is its to refuse: the bound is a setting of its own.
func TestShortTTL(t *testing.T) {
	server := servertest.StartConsul(t)
	cfg := configAt(server.Addr, "litefs/primary")
	cfg.TTL = 999 * time.Millisecond
	_, err := newLeaser(t, cfg).Acquire(t.Context())
	wantLine(t, err, "refuses it: 500", "Invalid Session TTL", "must be between [1s=24h")
}

func TestPermissionDenied(t *testing.T) {
	const management = "11111111-2222-3333-4444-555555555555"
	server := servertest.StartConsul(t, "-hcl", `acl { enabled = true  default_policy = "deny"  tokens {
		initial_management = "`+management+`"  default = "`+management+`"  agent = "`+management+`" } }`)
	client := admin(t, server.Addr, management)
	// leaserWith returns the leaser of a node whose token has the given rules.
	leaserWith := func(t *testing.T, rules string) *consul.Leaser {
		t.Helper()
		name := strings.NewReplacer("/", "-").Replace(t.Name())
		policy, _, err := client.ACL().PolicyCreate(&api.ACLPolicy{Name: name, Rules: rules}, nil)
		if err != nil {
			t.Fatal(err)
		}
		token, _, err := client.ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLTokenPolicyLink{{ID: policy.ID}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		cfg := configAt(server.Addr, "litefs/primary")
		cfg.URL = "http://:" + token.SecretID + "@" + server.Addr
		return newLeaser(t, cfg)
	}
	const advice = "give this node an ACL token, as the password of lease.consul.url"
	const keys, sessions = `key_prefix "litefs/" { policy = "write" }`, ` session_prefix "" { policy = "write" }`

	t.Run("unknown token", func(t *testing.T) {
		cfg := configAt(server.Addr, "litefs/primary")
		cfg.URL += "?token=s3cret"
		wantEach(t, each(t.Context(), newLeaser(t, cfg), nil), "Consul at http://"+server.Addr+" denies it: 403", "ACL not found", advice)
	})
	t.Run("no keys", func(t *testing.T) {
		wantEach(t, each(t.Context(), leaserWith(t, sessions), nil), "denies it", "key:read", advice)
	})
	t.Run("keys to read only", func(t *testing.T) {
		leaser := leaserWith(t, `key_prefix "litefs/" { policy = "read" }`+sessions)
		_, err := leaser.Acquire(t.Context())
		wantLine(t, err, "acquire lease: ", "denies it", "key:write", advice)
		_, err = leaser.FoundCluster(t.Context(), "c0ffee")
		wantLine(t, err, "found cluster: ", "denies it", "key:write", advice)
		if _, err := leaser.PrimaryInfo(t.Context()); !errors.Is(err, litefs.ErrNoPrimary) {
			t.Errorf("PrimaryInfo of who may read: %v", err)
		}
	})
	t.Run("no sessions", func(t *testing.T) {
		_, err := leaserWith(t, keys).Acquire(t.Context())
		wantLine(t, err, "acquire lease: ", "denies it", "session:write", advice)
	})
	t.Run("enough", func(t *testing.T) {
		leaser := leaserWith(t, keys+sessions)
		lease := acquire(t, leaser)
		if _, err := leaser.FoundCluster(t.Context(), "c0ffee"); err != nil {
			t.Error(err)
		}
		if err := errors.Join(lease.Renew(t.Context()), lease.Keep(t.Context(), nil), lease.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Run("token of the environment", func(t *testing.T) {
		t.Setenv(api.HTTPTokenEnvName, "s3cret")
		_, err := newLeaser(t, configAt(server.Addr, "litefs/primary")).PrimaryInfo(t.Context())
		wantLine(t, err, "ACL not found")
		cfg := configAt(server.Addr, "litefs/primary")
		cfg.URL = "http://:" + management + "@" + server.Addr
		if _, err := newLeaser(t, cfg).PrimaryInfo(t.Context()); !errors.Is(err, litefs.ErrNoPrimary) {
			t.Errorf("PrimaryInfo with the token of the URL: %v", err)
		}
	})
}

// A key that something else uses is left alone.
func TestForeignKey(t *testing.T) {
	server := servertest.StartConsul(t)
	client := admin(t, server.Addr, "")
	leaser := newLeaser(t, configAt(server.Addr, "litefs/primary"))
	want := []string{"in Consul at http://" + server.Addr + " holds what no litefs node has written", "lease.consul.key"}
	for _, value := range []string{
		"", "s3cret", `{}`, `"s3cret"`, `{"hostname":"bert","advertise-url":"http://bert:20202"}`, // the last is that of LiteFS
		`{"epoch":-1}`, `{"epoch":9223372036854775807}`,
	} {
		putKey(t, client, leaser.Key(), value)
		_, err := leaser.Acquire(t.Context())
		wantLine(t, err, append(want, `"litefs/primary"`)...)
		_, err = leaser.PrimaryInfo(t.Context())
		wantLine(t, err, append(want, `"litefs/primary"`)...)
		wantLine(t, leaser.Await(t.Context(), 0), append(want, `"litefs/primary"`)...)
		if got := getKey(t, client, leaser.Key()); string(got.Value) != value {
			t.Errorf("the value %q has become %q", value, got.Value)
		}
	}
	deleteKey(t, client, leaser.Key())

	session, _, err := client.Session().CreateNoChecks(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	lock := &api.KVPair{Key: leaser.Key(), Session: session}
	if ok, _, err := client.KV().Acquire(lock, nil); err != nil || !ok {
		t.Fatalf("lock of another program: %v, %v", ok, err)
	}
	_, err = leaser.Acquire(t.Context())
	wantLine(t, err, want...)
	if pair := getKey(t, client, leaser.Key()); pair.Session != session {
		t.Errorf("the other program has lost its lock: %+v", pair)
	}
	deleteKey(t, client, leaser.Key())

	for suffix, call := range map[string]func() error{
		"/epoch":     func() error { _, err := leaser.Acquire(t.Context()); return err },
		"/cluster":   func() error { _, err := leaser.FoundCluster(t.Context(), "c0ffee"); return err },
		"/positions": func() error { _, err := leaser.Record(t.Context()); return err },
	} {
		putKey(t, client, leaser.Key()+suffix, "not\nours s3cret")
		wantLine(t, call(), append(want, "litefs/primary"+suffix)...)
		deleteKey(t, client, leaser.Key()+suffix)
	}
	_, err = leaser.FoundCluster(t.Context(), "")
	wantLine(t, err, "cannot be the identifier of a cluster")
}

// More than Consul takes is refused with Consul's reason, and the lease stays.
func TestKeepTooMuch(t *testing.T) {
	server := servertest.StartConsul(t, "-hcl", `limits { kv_max_value_size = 1000  txn_max_req_len = 1000 }`)
	leaser := newLeaser(t, configAt(server.Addr, "litefs/primary"))
	lease := acquire(t, leaser)
	wantLine(t, lease.Keep(t.Context(), manyPositions(100)), "keep positions: ", "refuses it", "too large", "1000 bytes")
	if err := lease.Renew(t.Context()); err != nil {
		t.Errorf("Renew: %v", err)
	}
}
