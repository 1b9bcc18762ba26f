package configs

import (
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// directory demands an absolute path.
func (p *problems) directory(key, path string) {
	switch {
	case path == "":
		p.add(key, "", "is required")
	case !filepath.IsAbs(path):
		p.add(key, path, "must be an absolute path")
	case strings.ContainsRune(path, 0):
		p.add(key, path, "must not contain a zero byte")
	}
}

// listenAddr demands host:port; the host may be empty and the port 0.
func (p *problems) listenAddr(key, addr string) {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		p.add(key, addr, `must be host:port or :port with a port from 0 to 65535, such as ":20202"`)
	}
}

// url demands a URL with one of the schemes and a host. It returns nil if there
// is a problem with it.
func (p *problems) url(key, text string, schemes ...string) *url.URL {
	example := schemes[0] + "://host:port"
	if text == "" {
		p.add(key, "", "is required, a URL such as %s", example)
		return nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil: // err is left out, it may quote a password
		p.add(key, text, "is not a URL, must be one such as %s", example)
	case !slices.Contains(schemes, u.Scheme):
		p.add(key, text, "must begin with %s://", strings.Join(schemes, ":// or "))
	case u.Hostname() == "":
		p.add(key, text, "names no host, must be a URL such as %s", example)
	case strings.HasSuffix(u.Host, ":") || u.Port() != "" && !isPort(u.Port()):
		p.add(key, text, "must have a port from 1 to 65535, or none")
	default:
		return u
	}
	return nil
}

// firstHost returns the URL without all hosts but the first: Sentinels and the nodes of
// a Redis Cluster are named in one URL, separated by commas.
func firstHost(text string) string {
	scheme, rest, found := strings.Cut(text, "://")
	if !found || !strings.HasSuffix(scheme, "+sentinel") && !strings.HasSuffix(scheme, "+cluster") {
		return text
	}
	end := len(rest)
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		end = i
	}
	begin := strings.LastIndex(rest[:end], "@") + 1
	first, _, _ := strings.Cut(rest[begin:end], ",")
	return scheme + "://" + rest[:begin] + first + rest[end:]
}

func isPort(text string) bool {
	port, err := strconv.ParseUint(text, 10, 16)
	return err == nil && port > 0
}

// advertiseURL demands a URL that other nodes can add a path to.
func (p *problems) advertiseURL(key, text string) {
	u := p.url(key, text, "http", "https")
	if u != nil && (u.User != nil || u.RawQuery != "" || u.Fragment != "") {
		p.add(key, text, "must have no user, query or fragment, such as http://host:20202")
	}
}

// leaseKey demands a name that both stores take.
func (p *problems) leaseKey(key, name string) {
	if name == "" || strings.HasPrefix(name, "/") {
		p.add(key, name, "must be a name that does not begin with a slash, such as litefs/primary")
	}
}
