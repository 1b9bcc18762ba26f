package configs

import (
	"errors"
	"testing"
	"time"
)

// valid is the beginning of a file that breaks no rule.
const valid = "fuse.dir: /db\n"

func TestRules(t *testing.T) {
	for _, tt := range []struct {
		name, file string
		want       []string
	}{
		{"no mount", "", []string{"fuse.dir: is required"}},
		{"zero byte", `fuse.dir: "/a\0b"`, []string{`litefs.yml:1: fuse.dir: "/a\x00b" must not contain a zero byte`, `data.dir: "/.a\x00b" must not contain a zero byte`}},
		{"same directory", valid + "data.dir: /x/../db/", []string{`litefs.yml:2: data.dir: "/db" is the same directory as fuse.dir, must be another`}},
		{"data in mount", valid + "data.dir: /db/data", []string{`litefs.yml:2: data.dir: "/db/data" lies in fuse.dir "/db", must lie outside: the mount would hide it`}},
		{"mount in data", "fuse.dir: /a/..b/c\ndata.dir: /a", []string{`litefs.yml:2: data.dir: "/a" holds fuse.dir "/a/..b/c", neither may lie in the other`}},
		{"mount at the root", "fuse.dir: /", []string{`data.dir: "/" is the same directory as fuse.dir, must be another`}},
		{"passthrough", valid + "fuse.passthrough: on", []string{`litefs.yml:2: fuse.passthrough: "on" must be auto or off`}},
		{
			"durations", valid + "data: {retention: -1s, retention-monitor-interval: 0}\nlease:\n  reconnect-delay: 0\n  demote-delay: -1m\n",
			[]string{
				`litefs.yml:2: data.retention: "-1s" must be 0s or more`,
				`litefs.yml:2: data.retention-monitor-interval: "0s" must be 1ms or more`,
				`litefs.yml:4: lease.reconnect-delay: "0s" must be 1ms or more`,
				`litefs.yml:5: lease.demote-delay: "-1m" must be 0s or more`,
			},
		},
		{"address", valid + "http: {addr: 20202, advertise-url: 'http://a'}", []string{`litefs.yml:2: http.addr: "20202" must be host:port or :port with a port from 0 to 65535, such as ":20202"`}},
		{"port", valid + "http: {addr: ':65536', advertise-url: 'http://a'}", []string{`litefs.yml:2: http.addr: ":65536" must be host:port or :port with a port from 0 to 65535, such as ":20202"`}},
		{"lease type", valid + "lease.type: raft", []string{`litefs.yml:2: lease.type: "raft" must be static, consul or redis`}},
		{"replica writes", valid + "lease.replica-writes: block", []string{`litefs.yml:2: lease.replica-writes: "block" must be wait or readonly`}},
		{"hostname", valid + "lease: {hostname: 'a b', advertise-url: 'http://a', static.primary: true}", []string{`litefs.yml:2: lease.hostname: "a b" must not contain spaces or control characters`}},
		{"replica alone", valid + "lease.static.primary: false", []string{"lease.advertise-url: is required on a static replica: set it to the primary's URL, or lease.static.primary: true if this node is the primary"}},
		{"replica alone by candidate", valid + "lease.candidate: false", []string{"lease.advertise-url: is required on a static replica: set it to the primary's URL, or lease.static.primary: true if this node is the primary"}},
		{"primary or replica", valid + "lease.advertise-url: http://a:1", []string{"lease.static.primary: is required where lease.advertise-url is set: true if that is this node's URL, false if it is the primary's"}},
		{"no candidate", valid + "lease: {candidate: false, static: {primary: true}}", []string{`litefs.yml:2: lease.candidate: "false" must be true where lease.static.primary is`}},
		{"consul without type", valid + "lease.consul.url: http://:s@a", []string{`litefs.yml:2: lease.consul.url: "http://:xxxxx@a" is of no use without lease.type: consul, which is not set`}},
		{"redis without type", valid + "lease.redis.url: redis://a", []string{`litefs.yml:2: lease.redis.url: "redis://a" is of no use without lease.type: redis, which is not set`}},
		{
			"consul", valid + "lease: {type: consul, consul: {key: /a, ttl: 900ms, lock-delay: 61s}}",
			[]string{
				"lease.consul.url: is required, a URL such as http://host:port",
				`litefs.yml:2: lease.consul.key: "/a" must be a name that does not begin with a slash, such as litefs/primary`,
				`litefs.yml:2: lease.consul.ttl: "900ms" must be between 1s and 24h`,
				`litefs.yml:2: lease.consul.lock-delay: "1m1s" must be between 0s and 1m`,
			},
		},
		{
			"redis", valid + "lease: {type: redis, redis: {url: 'http://a', key: '', ttl: 25h}}",
			[]string{
				`litefs.yml:2: lease.redis.url: "http://a" must begin with redis:// or rediss:// or redis+sentinel:// or rediss+sentinel:// or redis+cluster:// or rediss+cluster://`,
				"litefs.yml:2: lease.redis.key: must be a name that does not begin with a slash, such as litefs/primary",
				`litefs.yml:2: lease.redis.ttl: "25h" must be between 1s and 24h`,
			},
		},
		{
			"redis Sentinels", valid + "lease: {type: redis, redis: {url: 'redis+sentinel://:p@a:0,b/m', key: '{a}'}}",
			[]string{
				`litefs.yml:2: lease.redis.url: "redis+sentinel://:xxxxx@a:0/m" must have a port from 1 to 65535, or none`,
				`litefs.yml:2: lease.redis.key: "{a}" must not contain braces, which are added where Redis needs them`,
			},
		},
		{"exec", valid + "exec: [{if-candidate: true}, {cmd: ' '}]", []string{
			"litefs.yml:2: exec: a command is empty, every item needs a cmd",
			"litefs.yml:2: exec: a command is empty, every item needs a cmd",
		}},
		{"log", valid + "log: {format: xml, level: trace}", []string{
			`litefs.yml:2: log.format: "xml" must be text or json`,
			`litefs.yml:2: log.level: "trace" must be debug, info, warn or error`,
		}},
		{"everything at once", "log.format: xml\nlease.type: raft\n", []string{
			"fuse.dir: is required",
			`litefs.yml:2: lease.type: "raft" must be static, consul or redis`,
			`litefs.yml:1: log.format: "xml" must be text or json`,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, _, err := loadText(t, tt.file)
			wantLines(t, err, tt.want...)
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("not an ErrInvalid: %v", err)
			}
			if cfg.Lease.ReplicaWrites == "" || cfg.Log.Level == "" {
				t.Errorf("the configuration is not complete: %+v", cfg)
			}
		})
	}
}

func TestURLs(t *testing.T) {
	for text, want := range map[string]string{
		"http://a":               "",
		"https://a.b-c.d:443/x/": "",
		"http://[::1]:20202":     "",
		"http://10.0.0.1:1":      "",
		"":                       "is required, a URL such as http://host:port",
		"a:20202":                "must begin with http:// or https://",
		"bert":                   "must begin with http:// or https://",
		"ftp://a":                "must begin with http:// or https://",
		"http://":                "names no host, must be a URL such as http://host:port",
		"http://:80":             "names no host, must be a URL such as http://host:port",
		"http://a:":              "must have a port from 1 to 65535, or none",
		"http://a:0":             "must have a port from 1 to 65535, or none",
		"http://a:65536":         "must have a port from 1 to 65535, or none",
		"http://a:x":             "is not a URL, must be one such as http://host:port",
		"http://%zz":             "is not a URL, must be one such as http://host:port",
		"http://u:p@a":           "must have no user, query or fragment, such as http://host:20202",
		"http://a/?b=c":          "must have no user, query or fragment, such as http://host:20202",
		"http://a/#b":            "must have no user, query or fragment, such as http://host:20202",
	} {
		var p problems
		p.advertiseURL("key", text)
		if want == "" {
			if len(p) > 0 {
				t.Errorf("%q: %v", text, p)
			}
			continue
		}
		var e *KeyError
		if len(p) != 1 || !errors.As(p[0], &e) || e.Problem != want || e.Key != "key" {
			t.Errorf("%q: %v, want %s", text, p, want)
		}
	}
}

func TestValidateWithoutLoad(t *testing.T) {
	err := Config{}.Validate()
	var e *KeyError
	if !errors.Is(err, ErrInvalid) || !errors.As(err, &e) || e.Source != "" || e.Key != "fuse.dir" {
		t.Errorf("error %v", err)
	}
	err = Data{Dir: "data", MaxLogSize: -1, RetentionMonitorInterval: 1e9}.Validate()
	wantLines(t, err, `data.dir: "data" must be an absolute path`, `data.max-log-size: "-1B" must be 0 or more`)
}

func TestErrorsNameVariableAndFlag(t *testing.T) {
	setenv(t, "LITEFS_LEASE_TYPE=raft", "LITEFS_FUSE_DIR=/db")
	_, _, err := loadText(t, "lease.type: consul\n")
	wantLines(t, err, `LITEFS_LEASE_TYPE: lease.type: "raft" must be static, consul or redis`)
}

// Sentinels and the nodes of a Redis Cluster are named in one URL.
func TestRedisURLs(t *testing.T) {
	for _, url := range []string{
		"redis://a", "rediss://u:p@a:1/2", "redis+sentinel://a/m", "rediss+sentinel://u:p@a,b:2,[::1]:3/m/1?sentinel_password=p",
		"redis+cluster://a:1,b:2", "rediss+cluster://:p@[::1]:1,b",
	} {
		if err := (Redis{URL: url, Key: "k", TTL: time.Second}).Validate(); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}
