package configs

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// described is a key as the example file has it.
type described struct {
	comment string
	value   *yaml.Node
}

// describedKeys returns all keys in the tree below n.
func describedKeys(n *yaml.Node, prefix string) map[string]described {
	all := map[string]described{}
	for i := 0; i < len(n.Content); i += 2 {
		name, value := prefix+n.Content[i].Value, n.Content[i+1]
		if value.Kind == yaml.MappingNode {
			for inner, d := range describedKeys(value, name+".") {
				all[inner] = d
			}
			continue
		}
		all[name] = described{n.Content[i].HeadComment, value}
	}
	return all
}

func TestExampleDescribesEveryKey(t *testing.T) {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(Example()), &doc); err != nil {
		t.Fatal(err)
	}
	found := describedKeys(doc.Content[0], "")
	for _, k := range keys {
		d, ok := found[k.name]
		if !ok {
			t.Errorf("%s is not in the example", k.name)
			continue
		}
		delete(found, k.name)
		lines := strings.Split(strings.TrimSuffix(d.comment, "\n"), "\n")
		if want := "# Default: " + k.def + k.derived; lines[len(lines)-1] != want {
			t.Errorf("%s: the comment ends with %q, want %q", k.name, lines[len(lines)-1], want)
		}
		if len(lines) < 2 {
			t.Errorf("%s has no description", k.name)
		}
		switch {
		case k.name == "fuse.dir": // required, so it has a value
		case d.value.Value != k.def:
			t.Errorf("%s is %q, the default is %q", k.name, d.value.Value, k.def)
		case k.def == "" && !isNull(d.value):
			t.Errorf("%s must be left without a value, its default is derived", k.name)
		}
	}
	for name := range found {
		t.Errorf("%s is in the example and no key", name)
	}
}

// TestExampleIsTheDefault loads the example and, but for the mount, nothing.
func TestExampleIsTheDefault(t *testing.T) {
	got, report := mustLoad(t, Example())
	want, _ := mustLoad(t, "fuse.dir: /mnt/litefs\n")
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("example:\n%+v\ndefaults:\n%+v", got, want)
	}
	if len(report.Notices) > 0 {
		t.Errorf("notices %q", report.Notices)
	}
}

// TestReadyFiles loads the files for common clusters in the environment that
// they ask for.
func TestReadyFiles(t *testing.T) {
	for _, tt := range []struct {
		file string
		env  []string
		want Lease
	}{
		{
			"static-primary.yml",
			[]string{"DB_DIR=/srv/db", "HOSTNAME=one"},
			Lease{Type: LeaseStatic, Candidate: true, Hostname: "one", AdvertiseURL: "http://one:20202", Static: Static{Primary: true}},
		},
		{
			"static-replica.yml",
			[]string{"DB_DIR=/srv/db", "HOSTNAME=two", "PRIMARY_HOST=one"},
			Lease{Type: LeaseStatic, Hostname: "one", AdvertiseURL: "http://one:20202"},
		},
		{
			"consul.yml",
			[]string{"DB_DIR=/srv/db", "HOSTNAME=two", "CONSUL_URL=https://:t@consul:8501", "CANDIDATE=false"},
			Lease{Type: LeaseConsul, Hostname: "two", AdvertiseURL: "http://two:20202", Consul: Consul{URL: "https://:t@consul:8501"}},
		},
		{
			"consul.yml",
			[]string{"DB_DIR=/srv/db", "HOSTNAME=two"},
			Lease{Type: LeaseConsul, Candidate: true, Hostname: "two", AdvertiseURL: "http://two:20202", Consul: Consul{URL: "http://localhost:8500"}},
		},
		{
			"redis.yml",
			[]string{"DB_DIR=/srv/db", "HOSTNAME=two", "REDIS_URL=rediss://u:p@redis/1", "CANDIDATE=true"},
			Lease{Type: LeaseRedis, Candidate: true, Hostname: "two", AdvertiseURL: "http://two:20202", Redis: Redis{URL: "rediss://u:p@redis/1"}},
		},
	} {
		t.Run(tt.file, func(t *testing.T) {
			setenv(t, tt.env...)
			cfg, report, err := Load(Options{File: tt.file})
			if err != nil || len(report.Notices) > 0 {
				t.Fatalf("error %v, notices %q", err, report.Notices)
			}
			if cfg.FUSE.Dir != "/srv/db" || cfg.Data.Dir != "/srv/.db" {
				t.Errorf("directories %q, %q", cfg.FUSE.Dir, cfg.Data.Dir)
			}
			l := cfg.Lease
			got := Lease{
				Type: l.Type, Candidate: l.Candidate, Hostname: l.Hostname, AdvertiseURL: l.AdvertiseURL,
				Static: l.Static, Consul: Consul{URL: l.Consul.URL}, Redis: Redis{URL: l.Redis.URL},
			}
			if got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
			text, err := os.ReadFile(tt.file)
			if err != nil {
				t.Fatal(err)
			}
			for _, pair := range tt.env {
				name, _, _ := strings.Cut(pair, "=")
				if strings.Contains(string(text), "${"+name) && !strings.Contains(string(text), "#   "+name+" ") {
					t.Errorf("the file does not say what %s is", name)
				}
			}
		})
	}
}
