package configs

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// TestMain removes the variables that would change what the tests load.
func TestMain(m *testing.M) {
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, envPrefix) {
			if err := os.Unsetenv(name); err != nil {
				panic(err)
			}
		}
	}
	os.Exit(m.Run())
}

// loadText loads text as the file litefs.yml, without flags.
func loadText(t *testing.T, text string) (Config, Report, error) {
	t.Helper()
	return load(Options{}, "litefs.yml", []byte(text))
}

// mustLoad is loadText for a valid file.
func mustLoad(t *testing.T, text string) (Config, Report) {
	t.Helper()
	cfg, report, err := loadText(t, text)
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	return cfg, report
}

// setenv sets variables given as NAME=VALUE.
func setenv(t *testing.T, pairs ...string) {
	t.Helper()
	for _, pair := range pairs {
		name, value, _ := strings.Cut(pair, "=")
		t.Setenv(name, value)
	}
}

// wantLines fails unless err has exactly these lines.
func wantLines(t *testing.T, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want\n%s", strings.Join(want, "\n"))
	}
	if got := err.Error(); got != strings.Join(want, "\n") {
		t.Errorf("error:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
}

// wantReadable fails if err is anything but broken rules.
func wantReadable(t *testing.T, err error) {
	t.Helper()
	if err != nil && !errors.Is(err, ErrInvalid) {
		t.Fatalf("load: %v", err)
	}
}
