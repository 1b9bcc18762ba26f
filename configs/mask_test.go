package configs

import "testing"

func TestMaskSecrets(t *testing.T) {
	for text, want := range map[string]string{
		"":                                                "",
		"http://host:8500/path":                           "http://host:8500/path",
		"user@host":                                       "user@host",
		"https://:token@consul:8501/a":                    "https://:xxxxx@consul:8501/a",
		"redis://user:pass@host:6379/0":                   "redis://user:xxxxx@host:6379/0",
		"redis://user:pa@ss:w/rd#1@host:6379/0":           "redis://user:xxxxx@host:6379/0",
		"https://token@host":                              "https://xxxxx@host",
		"ht tp://:secret@host:x":                          "ht tp://:xxxxx@host:x",
		"https://host/?token=abc&dc=1":                    "https://host/?token=xxxxx&dc=1",
		"https://host/?dc=1&X-Auth-Token=abc#f":           "https://host/?dc=1&X-Auth-Token=xxxxx#f",
		"redis://host/0?password=p&db=1":                  "redis://host/0?password=xxxxx&db=1",
		"redis+sentinel://:p@a:1,b/m?sentinel_password=p": "redis+sentinel://:xxxxx@a:1,b/m?sentinel_password=xxxxx",
		"app --a redis://u:p@h --b http://:q@i/x":         "app --a redis://u:xxxxx@h --b http://:xxxxx@i/x",
	} {
		if got := maskSecrets(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestMaskedLeavesTheOriginal(t *testing.T) {
	var cfg Config
	cfg.Lease.Consul.URL = "https://:one@a"
	cfg.Exec = []Command{{Cmd: "app http://:two@b", IfCandidate: true}}
	masked := cfg.Masked()
	if masked.Lease.Consul.URL != "https://:xxxxx@a" ||
		masked.Exec[0] != (Command{Cmd: "app http://:xxxxx@b", IfCandidate: true}) {
		t.Errorf("masked %+v", masked)
	}
	if cfg.Lease.Consul.URL != "https://:one@a" || cfg.Exec[0].Cmd != "app http://:two@b" {
		t.Errorf("original %+v", cfg)
	}
}
