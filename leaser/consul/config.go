package consul

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Config configures a Leaser.
type Config struct {
	// URL is where Consul answers: http or https, host and port. Its path is put in
	// front of Key. It may hold an ACL token as the password or as the parameter
	// token, and a data center as the parameter dc. For what it does not hold, the
	// variables that the consul command reads are heeded: CONSUL_HTTP_TOKEN,
	// CONSUL_HTTP_TOKEN_FILE, CONSUL_HTTP_AUTH, CONSUL_CACERT, CONSUL_CAPATH,
	// CONSUL_CLIENT_CERT, CONSUL_CLIENT_KEY, CONSUL_TLS_SERVER_NAME,
	// CONSUL_HTTP_SSL_VERIFY, CONSUL_NAMESPACE and CONSUL_PARTITION.
	URL string
	// Key names the lease, the same on all nodes of a cluster and only there.
	Key string
	// TTL is how long a lease lasts without renewal. Consul demands at least its
	// session_ttl_min, 10s unless configured, and at most 24h.
	TTL time.Duration
	// LockDelay is how long nobody gets a lease that has ended without being given
	// back; at most 60s. Consul has no delay of 0, for which 1ms is taken.
	LockDelay time.Duration
	// Hostname and AdvertiseURL are what others learn of this node while it is the
	// primary.
	Hostname     string
	AdvertiseURL string
	// CallTimeout bounds every request to Consul. 0 stands for a quarter of TTL, at
	// least 1s and at most 5s.
	CallTimeout time.Duration
	// MinEpoch returns the newest epoch that this node has seen. Its next lease has a
	// greater one.
	MinEpoch func() uint64
}

// callTimeout returns CallTimeout or what it stands for.
func (c Config) callTimeout() time.Duration {
	if c.CallTimeout > 0 {
		return c.CallTimeout
	}
	return min(max(c.TTL/4, time.Second), 5*time.Second)
}

// endpoint is what a URL says.
type endpoint struct {
	scheme, host string
	prefix       string // of every key: the path without slashes at its ends
	token        string
	datacenter   string
}

// String names the endpoint to people. It has no secret in it.
func (e endpoint) String() string { return e.scheme + "://" + e.host }

// parseURL reads Config.URL. Its errors quote nothing of it that may be a secret.
func parseURL(text string) (endpoint, error) {
	const want = "want http://HOST:8500, with an ACL token http://:TOKEN@HOST:8500"
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || !slices.Contains([]string{"http", "https"}, u.Scheme) {
		return endpoint{}, errors.New("the URL of Consul is not one: " + want)
	}
	e := endpoint{scheme: u.Scheme, host: u.Host, prefix: strings.Trim(u.Path, "/")}
	if u.User != nil {
		token, set := u.User.Password()
		if !set {
			return endpoint{}, fmt.Errorf("the URL of Consul at %s has a user name and no password: %s", e, want)
		}
		e.token = token
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil || u.Fragment != "" {
		return endpoint{}, fmt.Errorf("the URL of Consul at %s ends in what is no query: %s", e, want)
	}
	for name, values := range query {
		switch value := values[0]; {
		case len(values) > 1 || value == "":
			return endpoint{}, fmt.Errorf("the URL of Consul at %s must give the parameter %s one value", e, name)
		case name == "dc":
			e.datacenter = value
		case name == "token" && e.token == "":
			e.token = value
		case name == "token":
			return endpoint{}, fmt.Errorf("the URL of Consul at %s has a token twice: %s", e, want)
		default:
			return endpoint{}, fmt.Errorf("the URL of Consul at %s has an unknown parameter: want token or dc", e)
		}
	}
	return e, nil
}

// joinKey returns the name of the key below a prefix. The names of paths that servers
// and proxies rewrite are refused: they would come to mean different keys.
func joinKey(prefix, key string) (string, error) {
	joined := key
	if prefix != "" {
		joined = prefix + "/" + key
	}
	for part := range strings.SplitSeq(joined, "/") {
		if part == "" || part == "." || part == ".." {
			return "", fmt.Errorf("%q cannot be a key in Consul: it has a slash at an end or two together, or a "+
				"part . or ..; want a name such as litefs/primary", joined)
		}
	}
	return joined, nil
}
