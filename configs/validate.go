package configs

import (
	"errors"
	"path/filepath"
	"strings"
	"time"
	"unicode"
)

// Validate returns all rules that c breaks, as [KeyError] values joined.
func (c Config) Validate() error {
	errs := []error{
		c.FUSE.Validate(),
		c.Data.Validate(),
		c.validateDirs(),
		c.HTTP.Validate(),
		c.Lease.Validate(),
	}
	for _, command := range c.Exec {
		errs = append(errs, command.Validate())
	}
	return errors.Join(append(errs, c.Log.Validate())...)
}

// validateDirs compares the two directories by name; it does not touch them,
// since the mount may be dead and would not answer.
func (c Config) validateDirs() error {
	var p problems
	mount, data := c.FUSE.Dir, c.Data.Dir
	switch {
	case mount == "" || data == "":
		// Reported by the blocks.
	case filepath.Clean(mount) == filepath.Clean(data):
		p.add("data.dir", data, "is the same directory as fuse.dir, must be another")
	case inside(data, mount):
		p.add("data.dir", data, "lies in fuse.dir %q, must lie outside: the mount would hide it", mount)
	case inside(mount, data):
		p.add("data.dir", data, "holds fuse.dir %q, neither may lie in the other", mount)
	}
	return p.err()
}

func inside(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

// Validate returns all rules that f breaks, as [KeyError] values joined.
func (f FUSE) Validate() error {
	var p problems
	p.directory("fuse.dir", f.Dir)
	p.oneOf("fuse.passthrough", f.Passthrough, PassthroughAuto, PassthroughOff)
	return p.err()
}

// Validate returns all rules that d breaks, as [KeyError] values joined. The
// directory may be empty where FUSE.Dir is, which is reported instead.
func (d Data) Validate() error {
	var p problems
	if d.Dir != "" {
		p.directory("data.dir", d.Dir)
	}
	p.atLeast("data.retention", d.Retention, 0)
	p.atLeast("data.retention-monitor-interval", d.RetentionMonitorInterval, time.Millisecond)
	if d.MaxLogSize < 0 {
		p.add("data.max-log-size", d.MaxLogSize.String(), "must be 0 or more")
	}
	return p.err()
}

// Validate returns all rules that h breaks, as [KeyError] values joined.
func (h HTTP) Validate() error {
	var p problems
	p.listenAddr("http.addr", h.Addr)
	if h.AdvertiseURL != "" {
		p.advertiseURL("http.advertise-url", h.AdvertiseURL)
	}
	return p.err()
}

// Validate returns all rules that l breaks, as [KeyError] values joined. Of the
// blocks static, consul and redis only the one in use is looked at.
func (l Lease) Validate() error {
	var p problems
	p.oneOf("lease.type", l.Type, LeaseStatic, LeaseConsul, LeaseRedis)
	p.oneOf("lease.replica-writes", l.ReplicaWrites, ReplicaWritesWait, ReplicaWritesReadonly)
	p.atLeast("lease.reconnect-delay", l.ReconnectDelay, time.Millisecond)
	p.atLeast("lease.demote-delay", l.DemoteDelay, 0)
	if strings.ContainsFunc(l.Hostname, func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) }) {
		p.add("lease.hostname", l.Hostname, "must not contain spaces or control characters")
	}
	if l.AdvertiseURL != "" {
		p.advertiseURL("lease.advertise-url", l.AdvertiseURL)
	}

	var block error
	switch l.Type {
	case LeaseStatic:
		block = l.validateStatic()
	case LeaseConsul:
		block = l.Consul.Validate()
	case LeaseRedis:
		block = l.Redis.Validate()
	}
	return errors.Join(p.err(), block)
}

func (l Lease) validateStatic() error {
	var p problems
	switch {
	case l.Static.Primary && !l.Candidate:
		p.add("lease.candidate", "false", "must be true where lease.static.primary is")
	case !l.Static.Primary && l.AdvertiseURL == "":
		p.add("lease.advertise-url", "", "is required on a static replica: "+
			"set it to the primary's URL, or lease.static.primary: true if this node is the primary")
	}
	return p.err()
}

// Validate returns all rules that c breaks, as [KeyError] values joined.
func (c Consul) Validate() error {
	var p problems
	p.url("lease.consul.url", c.URL, "http", "https")
	p.leaseKey("lease.consul.key", c.Key)
	p.between("lease.consul.ttl", c.TTL, time.Second, 24*time.Hour)
	p.between("lease.consul.lock-delay", c.LockDelay, 0, time.Minute)
	return p.err()
}

// Validate returns all rules that r breaks, as [KeyError] values joined.
func (r Redis) Validate() error {
	var p problems
	p.url("lease.redis.url", firstHost(r.URL), "redis", "rediss",
		"redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
	p.leaseKey("lease.redis.key", r.Key)
	if strings.ContainsAny(r.Key, "{}") {
		p.add("lease.redis.key", r.Key, "must not contain braces, which are added where Redis needs them")
	}
	p.between("lease.redis.ttl", r.TTL, time.Second, 24*time.Hour)
	return p.err()
}

// Validate returns the rule that c breaks, as a [KeyError].
func (c Command) Validate() error {
	var p problems
	if strings.TrimSpace(c.Cmd) == "" {
		p.add("exec", "", "a command is empty, every item needs a cmd")
	}
	return p.err()
}

// Validate returns all rules that l breaks, as [KeyError] values joined.
func (l Log) Validate() error {
	var p problems
	p.oneOf("log.format", l.Format, LogText, LogJSON)
	p.oneOf("log.level", l.Level, "debug", "info", "warn", "error")
	return p.err()
}
