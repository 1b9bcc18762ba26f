package configs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSearch(t *testing.T) {
	work, home := t.TempDir(), t.TempDir()
	t.Chdir(work)
	t.Setenv("HOME", home)
	if _, err := os.Stat("/etc/litefs.yml"); err == nil {
		t.Skip("this machine has an /etc/litefs.yml")
	}
	inHome := filepath.Join(home, "litefs.yml")
	if got := strings.Join(searchPaths(), " "); got != "litefs.yml "+inHome+" /etc/litefs.yml" {
		t.Fatalf("search paths %s", got)
	}

	_, report, err := Load(Options{})
	wantLines(t, err, "fuse.dir: is required")
	if report.File != "" || len(report.Notices) != 1 ||
		report.Notices[0] != "there is no configuration file, looked for litefs.yml, "+inHome+", /etc/litefs.yml" {
		t.Errorf("report %+v", report)
	}

	write(t, inHome, "fuse.dir: /home-db\n")
	if cfg, report, err := Load(Options{}); err != nil || cfg.FUSE.Dir != "/home-db" || report.File != inHome {
		t.Errorf("in home: %q, %+v, %v", cfg.FUSE.Dir, report, err)
	}
	write(t, filepath.Join(work, "litefs.yml"), "fuse.dir: /work-db\n")
	if cfg, report, err := Load(Options{}); err != nil || cfg.FUSE.Dir != "/work-db" || report.File != "litefs.yml" {
		t.Errorf("in the working directory: %q, %+v, %v", cfg.FUSE.Dir, report, err)
	}
	if cfg, report, err := Load(Options{File: inHome}); err != nil || cfg.FUSE.Dir != "/home-db" || report.File != inHome {
		t.Errorf("named: %q, %+v, %v", cfg.FUSE.Dir, report, err)
	}
}

func TestNoFileIsNeeded(t *testing.T) {
	t.Chdir(t.TempDir())
	setenv(t, "HOME="+t.TempDir(), "LITEFS_FUSE_DIR=/db")
	cfg, report, err := Load(Options{})
	if err != nil || cfg.FUSE.Dir != "/db" || len(report.Notices) != 0 {
		t.Errorf("%q, %+v, %v", cfg.FUSE.Dir, report, err)
	}
}

func TestUnreadableFiles(t *testing.T) {
	dir := t.TempDir()
	_, _, err := Load(Options{File: filepath.Join(dir, "none.yml")})
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "none.yml") {
		t.Errorf("missing file: %v", err)
	}
	if _, _, err := Load(Options{File: dir}); err == nil || !strings.HasPrefix(err.Error(), "read configuration file: read "+dir) {
		t.Errorf("directory: %v", err)
	}

	large := filepath.Join(dir, "large.yml")
	write(t, large, "fuse.dir: /db\n#"+strings.Repeat("x", MaxFileSize-15))
	if cfg, _, err := Load(Options{File: large}); err != nil || cfg.FUSE.Dir != "/db" {
		t.Errorf("largest file: %v", err)
	}
	write(t, large, "fuse.dir: /db\n#"+strings.Repeat("x", MaxFileSize-14))
	_, _, err = Load(Options{File: large})
	wantLines(t, err, "read configuration file: "+large+" is larger than 1048576 bytes")
}

func TestStrayVariables(t *testing.T) {
	setenv(t, "LITEFS_FUSE_DRI=/db", "LITEFS_PORT=1", "LITEFS_CLOUD_TOKEN=s3cret", "LITEFS_LOG_LEVEL=warn")
	cfg, report := mustLoad(t, "fuse.dir: /db\nhttp.addr: ':${LITEFS_PORT}'\n")
	if cfg.Log.Level != "warn" || cfg.HTTP.Addr != ":1" {
		t.Errorf("got %+v", cfg)
	}
	wantNotices(t, report,
		"the variable LITEFS_CLOUD_TOKEN belongs to no key and is ignored",
		`the variable LITEFS_FUSE_DRI belongs to no key and is ignored, did you mean "LITEFS_FUSE_DIR"?`)
}
