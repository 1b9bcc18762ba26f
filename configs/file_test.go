package configs

import (
	"fmt"
	"strings"
	"testing"
)

func TestFileErrors(t *testing.T) {
	const duration = "want a number and a unit, such as 500ms, 10s, 5m or 24h, or 0"
	for _, tt := range []struct {
		name, file string
		want       []string
	}{
		{
			"unknown keys",
			"fuse:\n  dri: /db\n  frobnicate: 1\nleese:\n  type: static\nlease.url: x\nfuse.dir: /db\n",
			[]string{
				`litefs.yml:2: unknown key "fuse.dri", did you mean "fuse.dir"?`,
				`litefs.yml:3: unknown key "fuse.frobnicate"`,
				`litefs.yml:4: unknown key "leese", did you mean "lease"?`,
				`litefs.yml:6: unknown key "lease.url", did you mean "lease.consul.url"?`,
			},
		},
		{"case matters", "FUSE.dir: /db", []string{`litefs.yml:1: unknown key "FUSE.dir", did you mean "fuse.dir"?`}},
		{
			"duplicate keys",
			"fuse:\n  dir: /a\n  dir: /b\nhttp: {addr: ':1'}\nfuse:\n  debug: true\nhttp.addr: ':2'\n",
			[]string{
				`litefs.yml:3: duplicate key "fuse.dir", first on line 2`,
				`litefs.yml:5: duplicate key "fuse", first on line 1`,
				`litefs.yml:7: duplicate key "http.addr", first on line 4`,
			},
		},
		{
			"wrong types",
			"fuse:\n  dir: [/db]\n  debug: maybe\ndata:\n  retention: 600\n  max-log-size: {a: 1}\nhttp: 5\nlease:\n  - a\n",
			[]string{
				`litefs.yml:2: fuse.dir: want a single value, found a list`,
				`litefs.yml:3: fuse.debug: parse boolean "maybe": want true or false`,
				`litefs.yml:5: data.retention: parse duration "600": ` + duration,
				`litefs.yml:6: data.max-log-size: want a single value, found a mapping`,
				`litefs.yml:7: http: want a mapping of keys to values, found a single value`,
				`litefs.yml:9: lease: want a mapping of keys to values, found a list`,
			},
		},
		{"no mapping", "- a\n", []string{`litefs.yml:1: want a mapping of keys to values, found a list`}},
		{"key no name", "? [a]\n: 1\n", []string{`litefs.yml:1: want a name as key, found a list`}},
		{
			"exec",
			"fuse.dir: /db\nexec:\n  - run\n  - cmd: a\n    if-candidat: true\n  - cmd: [b]\n    if-candidate: 7\n  - cmd: c\n    cmd: d\n",
			[]string{
				`litefs.yml:3: exec[0]: want a mapping with cmd and if-candidate, found a single value`,
				`litefs.yml:5: unknown key "exec[1].if-candidat", did you mean "exec[1].if-candidate"?`,
				`litefs.yml:6: exec[2].cmd: want a single value, found a list`,
				`litefs.yml:7: exec[2].if-candidate: parse boolean "7": want true or false`,
				`litefs.yml:9: duplicate key "exec[3].cmd", first on line 8`,
			},
		},
		{"exec mapping", "exec: {cmd: a}", []string{`litefs.yml:1: exec: want a single value, found a mapping`}},
		{"syntax", "fuse.dir: /db\nhttp: a: b\n", []string{`litefs.yml:2: parse YAML: mapping values are not allowed in this context`}},
		{"syntax without line", "fuse: \"\\q\"", []string{`litefs.yml: parse YAML: yaml: found unknown escape character`}},
		{"unknown anchor", "fuse: *x", []string{`litefs.yml: parse YAML: yaml: unknown anchor 'x' referenced`}},
		{"two documents", "fuse.dir: /db\n---\nfuse.dir: /b\n", []string{`litefs.yml:2: the file holds a second YAML document, want one`}},
		{
			"alias of itself",
			"lease: &l\n  consul: *l\n",
			[]string{`litefs.yml:2: unknown key "lease.consul.consul", did you mean "lease.consul"?`},
		},
		{"list of itself", "exec: &e [*e]", []string{`litefs.yml:1: exec[0]: want a mapping with cmd and if-candidate, found a list`}},
		{"secret at the wrong key", "data.retention: redis://a:b@c", []string{`litefs.yml:1: data.retention: parse duration "redis://a:xxxxx@c": ` + duration}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, _, err := loadText(t, tt.file)
			wantLines(t, err, tt.want...)
			if cfg.HTTP.Addr != "" {
				t.Errorf("a file that cannot be read gave %+v", cfg)
			}
		})
	}
}

func TestFileErrorsAreBounded(t *testing.T) {
	var file strings.Builder
	for i := range 10 * maxErrors {
		fmt.Fprintf(&file, "key%d: 1\n", i)
	}
	_, _, err := loadText(t, file.String())
	if n := len(strings.Split(err.Error(), "\n")); n != maxErrors {
		t.Errorf("%d errors, want %d", n, maxErrors)
	}
	_, _, err = loadText(t, "exec: ["+strings.Repeat("a,", 10*maxErrors)+"]")
	if n := len(strings.Split(err.Error(), "\n")); n != maxErrors {
		t.Errorf("%d errors in exec, want %d", n, maxErrors)
	}
}

// TestFilesThatSayNothing loads files that leave all keys out.
func TestFilesThatSayNothing(t *testing.T) {
	t.Setenv("LITEFS_FUSE_DIR", "/db")
	want, _ := mustLoad(t, "")
	if want.HTTP.Addr != ":20202" {
		t.Fatalf("defaults missing: %+v", want)
	}
	for _, file := range []string{
		"# comment\n", "---\n", "~\n", "{}", "fuse:\n", "fuse: {}\nlease:\n  consul: ~\n", "http:\n  addr:\n",
		"exec:\n", "exec: []\n", "exec: ''\n", "\ufeff# with a byte order mark\n", "consul:\n", "a: 1\n"[:0],
	} {
		got, _ := mustLoad(t, file)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q gives %+v", file, got)
		}
	}
}

func TestFileForms(t *testing.T) {
	cfg, report := mustLoad(t, `
fuse.dir: &dir /db
data: {dir: /data, retention: 0}
lease.consul: {ttl: 20s}
lease: &lease
  hostname: 007
  promote: yes
  static.primary: "on"
exec: >
  run
  it
log.level: debug
`)
	if cfg.FUSE.Dir != "/db" || cfg.Data.Retention != 0 || formatDuration(cfg.Lease.Consul.TTL) != "20s" ||
		cfg.Lease.Hostname != "007" || !cfg.Lease.Promote || !cfg.Lease.Static.Primary ||
		cfg.Exec[0].Cmd != "run it\n" || cfg.Log.Level != "debug" {
		t.Errorf("got %+v", cfg)
	}
	if len(report.Notices) > 0 {
		t.Errorf("notices %q", report.Notices)
	}
}

func TestExecForms(t *testing.T) {
	migrate, serve := Command{Cmd: "migrate", IfCandidate: true}, Command{Cmd: "serve -x"}
	for file, want := range map[string][]Command{
		"exec: serve -x": {serve},
		"exec:\n- cmd: migrate\n  if-candidate: true\n- cmd: serve -x\n":                 {migrate, serve},
		"exec: [{cmd: &c serve -x, if-candidate: false}, {cmd: *c, if-candidate: null}]": {serve, serve},
	} {
		cfg, _ := mustLoad(t, "fuse.dir: /db\n"+file)
		if fmt.Sprint(cfg.Exec) != fmt.Sprint(want) {
			t.Errorf("%q gives %+v, want %+v", file, cfg.Exec, want)
		}
	}
}
