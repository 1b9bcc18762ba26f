package redis

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

// Schemes of a URL, each of which may have an s after "redis".
const (
	schemeSingle   = "redis"
	schemeSentinel = "redis+sentinel"
	schemeCluster  = "redis+cluster"
)

// Ports that servers listen on unless told otherwise.
const (
	serverPort   = "6379"
	sentinelPort = "26379"
)

// Query parameters.
const (
	sentinelUsername = "sentinel_username"
	sentinelPassword = "sentinel_password"
)

// parseURL parses the URL of Config. No error quotes anything of what may be a password,
// misplaced as it may be.
func parseURL(text string) (*goredis.UniversalOptions, error) {
	scheme, rest, found := strings.Cut(text, "://")
	if !found {
		return nil, errors.New("is none, must be such as redis://host:6379")
	}
	options := &goredis.UniversalOptions{}
	if plain, secure := strings.CutPrefix(scheme, "rediss"); secure {
		scheme = "redis" + plain
		options.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if !slices.Contains([]string{schemeSingle, schemeSentinel, schemeCluster}, scheme) {
		return nil, errors.New("must begin with redis://, rediss://, redis+sentinel:// or redis+cluster://")
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, path, _ := strings.Cut(rest, "/")
	credentials, hosts, found := cutLast(authority, "@")
	if !found {
		credentials, hosts = "", authority
	}
	if err := parseCredentials(options, credentials); err != nil {
		return nil, err
	}
	if err := parseHosts(options, scheme, hosts); err != nil {
		return nil, err
	}
	if err := parsePath(options, scheme, path); err != nil {
		return nil, err
	}
	return options, parseQuery(options, scheme, query)
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

func parseCredentials(options *goredis.UniversalOptions, text string) (err error) {
	if text == "" {
		return nil
	}
	user, password, found := strings.Cut(text, ":")
	if !found || password == "" {
		return errors.New("has a user without a password; a password alone is written as :password@")
	}
	var userErr error
	options.Username, userErr = url.PathUnescape(user)
	options.Password, err = url.PathUnescape(password)
	if err != nil || userErr != nil {
		return errors.New("a % in user or password is not followed by two hex digits, write %25")
	}
	return nil
}

func parseHosts(options *goredis.UniversalOptions, scheme, list string) error {
	port := serverPort
	if scheme == schemeSentinel {
		port = sentinelPort
	}
	for i, host := range strings.Split(list, ",") {
		addr, ok := parseHost(host, port)
		if !ok {
			return fmt.Errorf("host %d is not host or host:port with a port from 1 to 65535; "+
				"characters such as / ? # @ in a password must be percent-encoded", i+1)
		}
		options.Addrs = append(options.Addrs, addr)
	}
	if scheme == schemeSingle && len(options.Addrs) > 1 {
		return errors.New("names several hosts; begin it with redis+sentinel:// or redis+cluster:// if they are such")
	}
	return nil
}

func parseHost(text, defaultPort string) (addr string, ok bool) {
	u, err := url.Parse("//" + text)
	if err != nil || u.Host != text || u.Hostname() == "" || strings.Contains(u.Hostname(), ":") && text[0] != '[' {
		return "", false
	}
	port := u.Port()
	if port == "" && !strings.HasSuffix(text, ":") {
		port = defaultPort
	}
	number, err := strconv.ParseUint(port, 10, 16)
	return net.JoinHostPort(u.Hostname(), port), err == nil && number > 0
}

func parsePath(options *goredis.UniversalOptions, scheme, path string) (err error) {
	database := path
	switch scheme {
	case schemeSentinel:
		options.MasterName, database, _ = strings.Cut(path, "/")
		if options.MasterName == "" {
			return errors.New("must name the master after the hosts, such as redis+sentinel://host/mymaster")
		}
	case schemeCluster:
		options.IsClusterMode = true
		if database != "" && database != "0" {
			return errors.New("must not name a database: a Redis Cluster has none but 0")
		}
	}
	if database == "" {
		return nil
	}
	if options.DB, err = strconv.Atoi(database); err != nil || options.DB < 0 {
		return errors.New("has a database that is not a number from 0")
	}
	return nil
}

func parseQuery(options *goredis.UniversalOptions, scheme, query string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return errors.New("has a query that is not well formed")
	}
	for name := range values {
		if scheme != schemeSentinel || name != sentinelUsername && name != sentinelPassword {
			return fmt.Errorf("has a query parameter other than %s and %s of redis+sentinel://", sentinelUsername, sentinelPassword)
		}
	}
	options.SentinelUsername = values.Get(sentinelUsername)
	options.SentinelPassword = values.Get(sentinelPassword)
	return nil
}
