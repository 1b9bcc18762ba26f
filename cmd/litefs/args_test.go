package main

import (
	"slices"
	"strings"
	"testing"
)

func TestTranslateArgs(t *testing.T) {
	for args, want := range map[string]string{
		"": "",
		// LiteFS 0.2
		"-config litefs.yml":                           "mount --config litefs.yml",
		"-config=litefs.yml":                           "mount --config=litefs.yml",
		"--config litefs.yml":                          "mount --config litefs.yml",
		"-no-expand-env":                               "mount --no-expand-env",
		"-no-expand-env=false -config x":               "mount --no-expand-env=false --config x",
		"-config litefs.yml -- myapp -config x":        "mount --config litefs.yml -- myapp -config x",
		"-- myapp mount":                               "mount -- myapp mount",
		"-config":                                      "mount --config",
		"-config version":                              "mount --config version",
		"-config=x -h":                                 "mount --config=x -h",
		"-config -config":                              "mount --config -config",
		"-no-expand-env -config litefs.yml -- a -- -b": "mount --no-expand-env --config litefs.yml -- a -- -b",
		// with a command
		"mount -config x":                     "mount --config x",
		"mount --config x -- a":               "mount --config x -- a",
		"-config x mount":                     "--config x mount",
		"--config x version":                  "--config x version",
		"config show -config=x":               "config show --config=x",
		"config show --lease-type consul":     "config show --lease-type consul",
		"version --json":                      "version --json",
		"help config":                         "help config",
		"config":                              "config",
		"frobnicate -frobnicate --frobnicate": "frobnicate -frobnicate --frobnicate",
		// without either
		"-h":           "-h",
		"--help":       "--help",
		"--frobnicate": "--frobnicate",
	} {
		given := strings.Fields(args)
		before := slices.Clone(given)
		got := translateArgs(given)
		if got == nil || strings.Join(got, " ") != want {
			t.Errorf("%q: %q, want %q", args, strings.Join(got, " "), want)
		}
		if !slices.Equal(given, before) {
			t.Errorf("%q was changed to %q", args, given)
		}
	}
}

// TestLegacyCommandLine sees that the program translates what it is called with.
func TestLegacyCommandLine(t *testing.T) {
	want := "config: read configuration file: open litefs.yml: no such file or directory\n"
	runLitefs(t, "-config", "litefs.yml").check(t, exitUsage, "", want)
	runLitefs(t, "mount", "--config", "litefs.yml").check(t, exitUsage, "", want)
}
