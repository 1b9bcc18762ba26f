package configs

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
)

// derive fills in the defaults that depend on other keys or on the machine, and
// makes paths absolute. isSet reports whether a key was given by name. All
// errors are problems of the configuration.
func (c *Config) derive(isSet func(name string) bool) error {
	var p problems
	c.derivePaths(&p)
	guardLeaseType(c, isSet, &p)
	c.deriveStatic(isSet, &p)
	if c.Lease.ReplicaWrites == "" {
		c.Lease.ReplicaWrites = ReplicaWritesReadonly
		if c.Lease.Candidate {
			c.Lease.ReplicaWrites = ReplicaWritesWait
		}
	}
	c.deriveNames(&p)
	return p.err()
}

func (c *Config) derivePaths(p *problems) {
	absolute(&c.FUSE.Dir, "fuse.dir", p)
	if c.Data.Dir == "" && c.FUSE.Dir != "" {
		c.Data.Dir = filepath.Join(filepath.Dir(c.FUSE.Dir), "."+filepath.Base(c.FUSE.Dir))
	}
	absolute(&c.Data.Dir, "data.dir", p)
}

func absolute(path *string, key string, p *problems) {
	if *path == "" {
		return
	}
	abs, err := filepath.Abs(*path)
	if err != nil {
		p.add(key, *path, "cannot be made absolute: %v", err)
		return
	}
	*path = abs
}

// guardLeaseType refuses a store URL without a lease type: with the default,
// static, each of the nodes would lead a cluster of its own.
func guardLeaseType(c *Config, isSet func(string) bool, p *problems) {
	if isSet("lease.type") {
		return
	}
	const format = "is of no use without lease.type: %s, which is not set"
	if u := c.Lease.Consul.URL; u != "" {
		p.add("lease.consul.url", u, format, LeaseConsul)
	}
	if u := c.Lease.Redis.URL; u != "" {
		p.add("lease.redis.url", u, format, LeaseRedis)
	}
}

// deriveStatic decides whether a static node is the primary. It does not guess
// where lease.advertise-url may be this node's URL or another's: a replica taken
// for a primary would accept writes that nobody else sees.
func (c *Config) deriveStatic(isSet func(string) bool, p *problems) {
	l := &c.Lease
	if l.Type != LeaseStatic {
		return
	}
	if !isSet("lease.static.primary") {
		l.Static.Primary = l.Candidate && l.AdvertiseURL == ""
		if l.Candidate && l.AdvertiseURL != "" {
			p.add("lease.static.primary", "", "is required where lease.advertise-url is set: "+
				"true if that is this node's URL, false if it is the primary's")
		}
	}
	if !l.Static.Primary {
		l.Candidate = false
	}
}

// deriveNames fills in host names and advertised URLs. On a static replica
// those of the lease are the primary's; on every other node they are its own.
func (c *Config) deriveNames(p *problems) {
	l := &c.Lease
	if l.Type == LeaseStatic && !l.Static.Primary {
		if u, err := url.Parse(l.AdvertiseURL); err == nil && l.Hostname == "" {
			l.Hostname = u.Hostname()
		}
		if c.HTTP.AdvertiseURL == "" {
			c.HTTP.AdvertiseURL = ownURL(c.HTTP.Addr, machineName(p))
		}
		return
	}
	if l.Hostname == "" {
		l.Hostname = machineName(p)
	}
	if c.HTTP.AdvertiseURL == "" {
		c.HTTP.AdvertiseURL = l.AdvertiseURL
	}
	if c.HTTP.AdvertiseURL == "" {
		c.HTTP.AdvertiseURL = ownURL(c.HTTP.Addr, l.Hostname)
	}
	if l.AdvertiseURL == "" {
		l.AdvertiseURL = c.HTTP.AdvertiseURL
	}
}

func machineName(p *problems) string {
	name, err := os.Hostname()
	if err == nil && name == "" {
		err = errors.New("it is empty")
	}
	if err != nil {
		p.add("lease.hostname", "", "is required, the machine's host name is not known: %v", err)
	}
	return name
}

// ownURL returns the URL of a server that listens on addr. If addr names no
// host that others could use, it is the given one. It is empty if the port is
// not known yet or addr is not well formed.
func ownURL(addr, host string) string {
	listenHost, port, err := net.SplitHostPort(addr)
	if err != nil || port == "0" || host == "" {
		return ""
	}
	if ip := net.ParseIP(listenHost); listenHost != "" && (ip == nil || !ip.IsUnspecified()) {
		host = listenHost
	}
	return fmt.Sprintf("http://%s", net.JoinHostPort(host, port))
}
