package consul

import (
	"context"
	"net/http"
	"time"

	"github.com/hashicorp/consul/api"
)

// maxAnswer bounds what is read of an answer, in bytes. Consul's own bound for a value
// is 512 KiB unless configured.
const maxAnswer = 16 << 20

// client makes the requests to Consul. Each takes at most timeout, and fails with one
// line that says what is wrong, where, and what to do.
type client struct {
	api       *api.Client
	transport *http.Transport
	where     endpoint
	timeout   time.Duration

	// What the environment sets; transactions are not told by the api package.
	namespace, partition string
}

func newClient(e endpoint, timeout time.Duration) (*client, error) {
	cfg := api.DefaultConfig() // with what the environment has
	cfg.Scheme, cfg.Address, cfg.Datacenter = e.scheme, e.host, e.datacenter
	if e.token != "" {
		cfg.Token, cfg.TokenFile = e.token, ""
	}
	httpClient, err := api.NewHttpClient(cfg.Transport, cfg.TLSConfig)
	if err != nil {
		return nil, err
	}
	httpClient.Transport = boundedTransport{cfg.Transport}
	httpClient.CheckRedirect = func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // the token would go along
	}
	cfg.HttpClient = httpClient
	apiClient, err := api.NewClient(cfg)
	if err != nil {
		return nil, err
	}
	return &client{
		api: apiClient, transport: cfg.Transport, where: e, timeout: timeout,
		namespace: cfg.Namespace, partition: cfg.Partition,
	}, nil
}

// boundedTransport reads no more than maxAnswer of an answer.
type boundedTransport struct{ http.RoundTripper }

func (t boundedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.RoundTripper.RoundTrip(req)
	if err == nil {
		resp.Body = http.MaxBytesReader(nil, resp.Body, maxAnswer)
	}
	return resp, err
}

func (c *client) close() { c.transport.CloseIdleConnections() }

// do makes one request within limit.
func (c *client) do(ctx context.Context, limit time.Duration, request func(context.Context) error) error {
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := request(bounded); err != nil {
		return c.explain(ctx, err, limit)
	}
	return nil
}

// get returns a key as it is now, nil if there is none. It asks the leader of Consul's
// servers to make sure that it is the leader still.
func (c *client) get(ctx context.Context, key string) (*api.KVPair, error) {
	pair, _, err := c.query(ctx, c.timeout, key, &api.QueryOptions{RequireConsistent: true})
	return pair, err
}

// getAfter returns a key and its index once the latter is greater than the one given,
// or after wait. An index of 0 waits for nothing.
func (c *client) getAfter(ctx context.Context, key string, index uint64, wait time.Duration) (*api.KVPair, uint64, error) {
	// Consul adds up to a sixteenth, so that not all who wait ask again at once.
	limit := wait + wait/16 + c.timeout
	return c.query(ctx, limit, key, &api.QueryOptions{WaitIndex: index, WaitTime: wait})
}

func (c *client) query(ctx context.Context, limit time.Duration, key string, opts *api.QueryOptions) (*api.KVPair, uint64, error) {
	var (
		pair *api.KVPair
		meta *api.QueryMeta
	)
	err := c.do(ctx, limit, func(ctx context.Context) (err error) {
		pair, meta, err = c.api.KV().Get(key, opts.WithContext(ctx))
		if err == nil && meta.LastIndex == 0 {
			return errNotConsul
		}
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	return pair, meta.LastIndex, nil
}

// txn does all of ops or nothing. If Consul refuses one of them because of the state
// that it found, the error is a *conflictError.
func (c *client) txn(ctx context.Context, ops ...*api.KVTxnOp) error {
	return c.do(ctx, c.timeout, func(ctx context.Context) error {
		txn := make(api.TxnOps, 0, len(ops))
		for _, op := range ops {
			op.Namespace, op.Partition = c.namespace, c.partition
			txn = append(txn, &api.TxnOp{KV: op})
		}
		done, answer, _, err := c.api.Txn().Txn(txn, (&api.QueryOptions{}).WithContext(ctx))
		if err != nil || done {
			return err
		}
		return &conflictError{answer.Errors}
	})
}

// createSession begins a session and returns its ID.
func (c *client) createSession(ctx context.Context, entry api.SessionEntry) (id string, err error) {
	err = c.do(ctx, c.timeout, func(ctx context.Context) error {
		id, _, err = c.api.Session().CreateNoChecks(&entry, (&api.WriteOptions{}).WithContext(ctx))
		if err == nil && id == "" {
			return errNotConsul
		}
		return err
	})
	return id, err
}

// renewSession has the TTL of a session begin anew, and reports whether there still is
// such a session.
func (c *client) renewSession(ctx context.Context, id string) (ok bool, err error) {
	err = c.do(ctx, c.timeout, func(ctx context.Context) error {
		var sessions []*api.SessionEntry
		_, err := c.api.Raw().Write("/v1/session/renew/"+id, nil, &sessions, (&api.WriteOptions{}).WithContext(ctx))
		if isStatus(err, http.StatusNotFound) {
			return nil
		}
		ok = len(sessions) > 0
		return err
	})
	return ok, err
}

// destroySession ends a session, if there is such a one.
func (c *client) destroySession(ctx context.Context, id string) error {
	return c.do(ctx, c.timeout, func(ctx context.Context) error {
		_, err := c.api.Session().Destroy(id, (&api.WriteOptions{}).WithContext(ctx))
		return err
	})
}
