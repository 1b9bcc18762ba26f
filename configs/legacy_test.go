package configs

import (
	"fmt"
	"strings"
	"testing"
)

// The two files of the LiteFS 0.2 tutorial; they are the same, the environment
// makes the difference.
const tutorialFile = `mount-dir: "${DB_DIR}"

http:
  addr: ":${LITEFS_PORT}"

consul:
  url: "${CONSUL_URL}"
  advertise-url: "http://${HOSTNAME}:${LITEFS_PORT}"
`

func TestTutorialFiles(t *testing.T) {
	for _, tt := range []struct {
		name                        string
		env                         []string
		dir, data, addr, url, store string
	}{
		{
			"primary",
			[]string{"DB_DIR=/home/u/litefs-demo1", "HOSTNAME=bert.localdomain", "LITEFS_PORT=20202", "CONSUL_URL=http://localhost:8500"},
			"/home/u/litefs-demo1", "/home/u/.litefs-demo1", ":20202", "http://bert.localdomain:20202", "http://localhost:8500",
		},
		{
			"secondary",
			[]string{"DB_DIR=/home/u/litefs-demo2", "HOSTNAME=ernie.localdomain", "LITEFS_PORT=30303", "CONSUL_URL=http://bert:8500"},
			"/home/u/litefs-demo2", "/home/u/.litefs-demo2", ":30303", "http://ernie.localdomain:30303", "http://bert:8500",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			setenv(t, tt.env...)
			cfg, report := mustLoad(t, tutorialFile)
			if cfg.FUSE.Dir != tt.dir || cfg.Data.Dir != tt.data || cfg.HTTP.Addr != tt.addr {
				t.Errorf("directories %q and %q, address %q", cfg.FUSE.Dir, cfg.Data.Dir, cfg.HTTP.Addr)
			}
			l := cfg.Lease
			if l.Type != LeaseConsul || l.AdvertiseURL != tt.url || cfg.HTTP.AdvertiseURL != tt.url ||
				l.Consul.URL != tt.store || l.Consul.Key != "litefs/primary" || !l.Candidate {
				t.Errorf("lease %+v, http %+v", l, cfg.HTTP)
			}
			wantNotices(t, report,
				`"mount-dir" is deprecated, use "fuse.dir" (litefs.yml:1)`,
				`"consul.url" is deprecated, use "lease.consul.url" (litefs.yml:7)`,
				`"consul.advertise-url" is deprecated, use "lease.advertise-url" (litefs.yml:8)`)
		})
	}
}

func wantNotices(t *testing.T, report Report, want ...string) {
	t.Helper()
	if got := strings.Join(report.Notices, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("notices:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
}

// TestEveryLegacyKey sets each key of the old format and its successor to the
// same, and expects the same configuration and one notice.
func TestEveryLegacyKey(t *testing.T) {
	for old, current := range legacyKeys {
		k, ok := findKey(current)
		if !ok {
			t.Errorf("%s: there is no key %s", old, current)
			continue
		}
		value := otherValues(k)[0]
		implied := ""
		if block, _, _ := strings.Cut(old, "."); legacyLeases[block] {
			implied = "lease.type: " + block + "\n"
			if block == LeaseStatic && current != "lease.static.primary" {
				implied += "lease.static.primary: false\n"
			}
		}
		got, report, err := loadText(t, nested(old, value))
		wantReadable(t, err)
		want, _, err := loadText(t, nested(current, value)+implied)
		wantReadable(t, err)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s:\n%+v\n%s:\n%+v", old, got, current, want)
		}
		line := 1 + strings.Count(old, ".")
		if wanted := fmt.Sprintf("%q is deprecated, use %q (litefs.yml:%d)", old, current, line); len(report.Notices) != 1 || report.Notices[0] != wanted {
			t.Errorf("%s: notices %q, want %q", old, report.Notices, wanted)
		}
	}
}

// nested writes a dotted key as blocks.
func nested(name, value string) string {
	var b strings.Builder
	parts := strings.Split(name, ".")
	for i, part := range parts {
		fmt.Fprintf(&b, "%s%s:", strings.Repeat("  ", i), part)
		if i < len(parts)-1 {
			b.WriteString("\n")
		}
	}
	fmt.Fprintf(&b, " %q\n", value)
	return b.String()
}

func TestLegacyFile(t *testing.T) {
	cfg, report := mustLoad(t, `mount-dir: /path/to/mnt
data-dir: /path/to/data
exec: "myapp -addr :8080"
candidate: false
debug: true
exit-on-error: false
retention:
  duration: "60s"
  monitor-interval: "30s"
http:
  addr: ":20203"
consul:
  url: "http://localhost:8500"
  advertise-url: "http://localhost:20202"
  hostname: "localhost"
  key: "litefs/p"
  ttl: "15s"
  lock-delay: "5s"
`)
	want := "{{/path/to/mnt false auto true} {/path/to/data 1m0s 30s 1GiB true true} {:20203 http://localhost:20202} " +
		"{consul false localhost http://localhost:20202 false readonly 1s 10s {false} {http://localhost:8500 litefs/p 15s 5s} " +
		"{ litefs/primary 10s}} [{myapp -addr :8080 false}] {text info} false}"
	if got := fmt.Sprint(cfg); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if len(report.Notices) != 13 || report.Notices[4] != `"exit-on-error" has no effect any more (litefs.yml:6)` {
		t.Errorf("notices %q", report.Notices)
	}
}

func TestLegacyStatic(t *testing.T) {
	const address = "  hostname: p\n  advertise-url: http://p:20202\n"
	primary, _ := mustLoad(t, "mount-dir: /db\nstatic:\n  primary: true\n"+address)
	if l := primary.Lease; l.Type != LeaseStatic || !l.Static.Primary || l.Hostname != "p" || l.AdvertiseURL != "http://p:20202" {
		t.Errorf("primary %+v", l)
	}
	replica, _ := mustLoad(t, "mount-dir: /db\nstatic:\n"+address)
	if l := replica.Lease; l.Type != LeaseStatic || l.Static.Primary || l.Candidate || l.Hostname != "p" {
		t.Errorf("replica %+v", l)
	}
	_, _, err := loadText(t, "mount-dir: /db\nstatic: {}\n")
	wantLines(t, err, "lease.advertise-url: is required on a static replica: "+
		"set it to the primary's URL, or lease.static.primary: true if this node is the primary")
}

func TestLegacyConflicts(t *testing.T) {
	for _, tt := range []struct{ name, file, want string }{
		{
			"old after new", "fuse:\n  dir: /a\nmount-dir: /b\n",
			`litefs.yml:3: "mount-dir" and "fuse.dir" (line 2) set the same thing, keep only "fuse.dir"`,
		},
		{
			"new after old", "candidate: true\nlease:\n  candidate: true\n",
			`litefs.yml:3: "lease.candidate" and "candidate" (line 1) set the same thing, keep only "lease.candidate"`,
		},
		{
			"type against block", "lease.type: redis\nconsul:\n  url: http://a\n",
			`litefs.yml:2: the block "consul" contradicts lease.type "redis" (line 1)`,
		},
		{
			"block against type", "static:\n  primary: true\nlease.type: redis\n",
			`litefs.yml:1: the block "static" contradicts lease.type "redis" (line 3)`,
		},
		{
			"two blocks", "static:\n  primary: true\nconsul:\n  url: http://a\n",
			`litefs.yml:3: the blocks "consul" and "static" (line 1) exclude each other`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := loadText(t, tt.file)
			wantLines(t, err, tt.want)
		})
	}
}

func TestLeaseTypeOverImpliedType(t *testing.T) {
	const block = "fuse.dir: /db\nconsul:\n  url: http://a:8500\n"
	cfg, _ := mustLoad(t, block+"lease.type: consul\n")
	if cfg.Lease.Type != LeaseConsul {
		t.Errorf("type %q with the same type", cfg.Lease.Type)
	}
	t.Setenv("LITEFS_LEASE_TYPE", "static")
	cfg, _ = mustLoad(t, block)
	if cfg.Lease.Type != LeaseStatic {
		t.Errorf("type %q with a variable over the block", cfg.Lease.Type)
	}
}
