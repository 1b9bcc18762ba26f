package configs

import (
	"strings"
)

// envPrefix begins the name of every environment variable that sets a key.
const envPrefix = "LITEFS_"

// key describes one key of the configuration. What is not in the row follows
// from it: the type from the field, the flag and the variable from the name.
type key struct {
	name    string            // as in the file, nested at the dots
	def     string            // default, as it would be written in the file
	derived string            // what the default is if def is empty
	usage   string            // one line for --help
	field   func(*Config) any // pointer to the field
}

var keys = []key{
	{
		"fuse.dir", "", "none, required", "directory to mount",
		func(c *Config) any { return &c.FUSE.Dir },
	},
	{
		"fuse.allow-other", "false", "", "let other users into the mount",
		func(c *Config) any { return &c.FUSE.AllowOther },
	},
	{
		"fuse.passthrough", PassthroughAuto, "", "kernel passthrough of WAL files: auto or off",
		func(c *Config) any { return &c.FUSE.Passthrough },
	},
	{
		"fuse.debug", "false", "", "log every FUSE request",
		func(c *Config) any { return &c.FUSE.Debug },
	},
	{
		"data.dir", "", "beside fuse.dir, its name with a dot in front", "data directory",
		func(c *Config) any { return &c.Data.Dir },
	},
	{
		"data.retention", "10m", "", "how long LTX files are kept, 0 for no limit by age",
		func(c *Config) any { return &c.Data.Retention },
	},
	{
		"data.retention-monitor-interval", "1m", "", "time between two searches for LTX files to remove",
		func(c *Config) any { return &c.Data.RetentionMonitorInterval },
	},
	{
		"data.max-log-size", "1GiB", "", "limit to the LTX files of one database, 0 for no limit by size",
		func(c *Config) any { return &c.Data.MaxLogSize },
	},
	{
		"data.compress", "true", "", "compress LTX files",
		func(c *Config) any { return &c.Data.Compress },
	},
	{
		"data.background-checkpoint", "true", "", "checkpoint WAL databases in the background",
		func(c *Config) any { return &c.Data.BackgroundCheckpoint },
	},
	{
		"http.addr", ":20202", "", "address to listen on, host:port",
		func(c *Config) any { return &c.HTTP.Addr },
	},
	{
		"http.advertise-url", "", "from lease.advertise-url or lease.hostname and http.addr",
		"URL under which other nodes reach this one",
		func(c *Config) any { return &c.HTTP.AdvertiseURL },
	},
	{
		"lease.type", LeaseStatic, "", "how the primary is chosen: static, consul or redis",
		func(c *Config) any { return &c.Lease.Type },
	},
	{
		"lease.candidate", "true", "", "let this node become primary",
		func(c *Config) any { return &c.Lease.Candidate },
	},
	{
		"lease.hostname", "", "the machine's host name", "name of the primary for applications",
		func(c *Config) any { return &c.Lease.Hostname },
	},
	{
		"lease.advertise-url", "", "http.advertise-url", "URL of the primary for replicas",
		func(c *Config) any { return &c.Lease.AdvertiseURL },
	},
	{
		"lease.promote", "false", "", "become primary once caught up",
		func(c *Config) any { return &c.Lease.Promote },
	},
	{
		"lease.replica-writes", "", "wait on a candidate, readonly otherwise",
		"what a write on a replica does: wait or readonly",
		func(c *Config) any { return &c.Lease.ReplicaWrites },
	},
	{
		"lease.reconnect-delay", "1s", "", "pause before connecting to the primary again",
		func(c *Config) any { return &c.Lease.ReconnectDelay },
	},
	{
		"lease.demote-delay", "10s", "", "how long a demoted node leaves the lease to others",
		func(c *Config) any { return &c.Lease.DemoteDelay },
	},
	{
		"lease.static.primary", "", "true without lease.advertise-url, required with it",
		"with lease.type static: this node is the primary",
		func(c *Config) any { return &c.Lease.Static.Primary },
	},
	{
		"lease.consul.url", "", "none, required with lease.type consul", "URL of the Consul agent",
		func(c *Config) any { return &c.Lease.Consul.URL },
	},
	{
		"lease.consul.key", "litefs/primary", "", "key of the lease in Consul",
		func(c *Config) any { return &c.Lease.Consul.Key },
	},
	{
		"lease.consul.ttl", "10s", "", "time to live of the lease in Consul, 1s to 24h; Consul asks for 10s unless its session_ttl_min is less",
		func(c *Config) any { return &c.Lease.Consul.TTL },
	},
	{
		"lease.consul.lock-delay", "1s", "", "pause between an expired lease and the next, 0 to 60s",
		func(c *Config) any { return &c.Lease.Consul.LockDelay },
	},
	{
		"lease.redis.url", "", "none, required with lease.type redis", "URL of the Redis server",
		func(c *Config) any { return &c.Lease.Redis.URL },
	},
	{
		"lease.redis.key", "litefs/primary", "", "key of the lease in Redis",
		func(c *Config) any { return &c.Lease.Redis.Key },
	},
	{
		"lease.redis.ttl", "10s", "", "time to live of the lease in Redis, 1s to 24h",
		func(c *Config) any { return &c.Lease.Redis.TTL },
	},
	{
		"exec", "", "none", "command to run once the node is ready",
		func(c *Config) any { return &c.Exec },
	},
	{
		"log.format", LogText, "", "format of the log: text or json",
		func(c *Config) any { return &c.Log.Format },
	},
	{
		"log.level", "info", "", "least level that is logged: debug, info, warn or error",
		func(c *Config) any { return &c.Log.Level },
	},
	{
		"strict-verify", "false", "", "verify the whole database after every transaction",
		func(c *Config) any { return &c.StrictVerify },
	},
}

var (
	toEnv  = strings.NewReplacer(".", "_", "-", "_")
	toFlag = strings.NewReplacer(".", "-")
)

// env returns the name of the environment variable that sets k.
func (k key) env() string { return envPrefix + strings.ToUpper(toEnv.Replace(k.name)) }

// flag returns the name of the flag that sets k.
func (k key) flag() string { return toFlag.Replace(k.name) }

// findKey returns the key of that name.
func findKey(name string) (key, bool) {
	for _, k := range keys {
		if k.name == name {
			return k, true
		}
	}
	return key{}, false
}

// isBlock reports whether name is the first part of a key, current or legacy.
func isBlock(name string) bool {
	for _, k := range keys {
		if strings.HasPrefix(k.name, name+".") {
			return true
		}
	}
	for old := range legacyKeys {
		if strings.HasPrefix(old, name+".") {
			return true
		}
	}
	return false
}
