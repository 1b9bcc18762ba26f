package configs

import (
	"os"
	"path/filepath"
	"testing"
)

func TestPathsBecomeAbsolute(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, tt := range []struct{ file, mount, data string }{
		{"fuse.dir: /home/u/litefs-demo1", "/home/u/litefs-demo1", "/home/u/.litefs-demo1"},
		{"fuse.dir: /home/u/litefs-demo1/", "/home/u/litefs-demo1", "/home/u/.litefs-demo1"},
		{"fuse.dir: /mnt", "/mnt", "/.mnt"},
		{"fuse.dir: db", filepath.Join(dir, "db"), filepath.Join(dir, ".db")},
		{"fuse.dir: ./db\ndata.dir: data/../other", filepath.Join(dir, "db"), filepath.Join(dir, "other")},
	} {
		cfg, _ := mustLoad(t, tt.file)
		if cfg.FUSE.Dir != tt.mount || cfg.Data.Dir != tt.data {
			t.Errorf("%q: %q and %q, want %q and %q", tt.file, cfg.FUSE.Dir, cfg.Data.Dir, tt.mount, tt.data)
		}
	}
}

// TestNamesAndRoles lists who a node says it is, and what it may become.
func TestNamesAndRoles(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	type role struct {
		primary, candidate bool
		writes             string
		hostname           string
		lease, own         string // URLs
	}
	for _, tt := range []struct {
		name, file string
		want       role
	}{
		{
			"alone", "",
			role{true, true, ReplicaWritesWait, host, "http://" + host + ":20202", "http://" + host + ":20202"},
		},
		{
			"static primary", "lease: {hostname: p, advertise-url: 'http://p:1', static.primary: true}",
			role{true, true, ReplicaWritesWait, "p", "http://p:1", "http://p:1"},
		},
		{
			"static replica", "lease: {advertise-url: 'http://p.example:1', static.primary: false}\nhttp.addr: :7",
			role{false, false, ReplicaWritesReadonly, "p.example", "http://p.example:1", "http://" + host + ":7"},
		},
		{
			"static replica by candidate", "lease: {hostname: p, advertise-url: 'http://q:1', candidate: false}\nhttp.advertise-url: http://own",
			role{false, false, ReplicaWritesReadonly, "p", "http://q:1", "http://own"},
		},
		{
			"static replica with candidate", "lease: {advertise-url: 'http://q:1', candidate: true, static.primary: false, replica-writes: wait}\nhttp.advertise-url: http://own",
			role{false, false, ReplicaWritesWait, "q", "http://q:1", "http://own"},
		},
		{
			"consul", "lease: {type: consul, consul.url: 'http://c'}",
			role{false, true, ReplicaWritesWait, host, "http://" + host + ":20202", "http://" + host + ":20202"},
		},
		{
			"consul, hostname and no candidate", "lease: {type: consul, consul.url: 'http://c', hostname: n, candidate: false}",
			role{false, false, ReplicaWritesReadonly, "n", "http://n:20202", "http://n:20202"},
		},
		{
			"redis, lease URL", "lease: {type: redis, redis.url: 'redis://c', hostname: n, advertise-url: 'http://m:1'}",
			role{false, true, ReplicaWritesWait, "n", "http://m:1", "http://m:1"},
		},
		{
			"redis, own URL", "lease: {type: redis, redis.url: 'rediss://:p@c:1/0', hostname: n}\nhttp.advertise-url: https://m:1",
			role{false, true, ReplicaWritesWait, "n", "https://m:1", "https://m:1"},
		},
		{
			"listening on one address", "http.addr: 10.0.0.5:80\nlease.hostname: n",
			role{true, true, ReplicaWritesWait, "n", "http://10.0.0.5:80", "http://10.0.0.5:80"},
		},
		{
			"listening on all addresses", "http.addr: '[::]:80'\nlease.hostname: n",
			role{true, true, ReplicaWritesWait, "n", "http://n:80", "http://n:80"},
		},
		{
			"listening on one name", "http.addr: 'localhost:80'\nlease.hostname: n",
			role{true, true, ReplicaWritesWait, "n", "http://localhost:80", "http://localhost:80"},
		},
		{
			"port not known", "http.addr: ':0'\nlease.hostname: n",
			role{true, true, ReplicaWritesWait, "n", "", ""},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, _ := mustLoad(t, "fuse.dir: /db\n"+tt.file)
			l := cfg.Lease
			got := role{l.Static.Primary, l.Candidate, l.ReplicaWrites, l.Hostname, l.AdvertiseURL, cfg.HTTP.AdvertiseURL}
			if got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}
