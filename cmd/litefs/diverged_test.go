package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"litefs"
	"litefs/ltx"
)

// setAside makes a data directory with a database that was set aside.
func setAside(t *testing.T) (dir string, pos ltx.Pos, id string) {
	t.Helper()
	dir = t.TempDir()
	folder := filepath.Join(dir, "dbs", "my.db")
	if err := os.MkdirAll(folder, 0o777); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("sqlite3", filepath.Join(folder, "database"), "CREATE TABLE t(x); INSERT INTO t VALUES ('lost')").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	store := litefs.NewStore(dir, true)
	if err := store.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	path, err := store.DB("my.db").SetAside(t.Context(), "diverged")
	if err := errors.Join(err, store.Close()); err != nil {
		t.Fatal(err)
	}
	return dir, store.DB("my.db").Pos(), "my.db/" + filepath.Base(path)
}

func TestDiverged(t *testing.T) {
	dir, pos, id := setAside(t)
	data := "--data-dir=" + dir
	home := t.TempDir()

	r := runIn(t, home, nil, "diverged", "list", data)
	r.check(t, exitOK, "ID ", r.err)
	if line := strings.Split(r.out, "\n")[1]; !strings.HasPrefix(line, id+"  ") || !strings.Contains(line, pos.String()) || !strings.HasSuffix(line, "diverged") {
		t.Errorf("list has %q", line)
	}
	r = runIn(t, home, nil, "diverged", "list", "--json", data)
	var copies []litefs.DivergedCopy
	if err := json.Unmarshal([]byte(r.out), &copies); err != nil || len(copies) != 1 || copies[0].ID != id || copies[0].Pos != pos {
		t.Errorf("list as JSON is %s (%v)", r.out, err)
	}
	r = runIn(t, home, nil, "diverged", "show", id, data)
	r.check(t, exitOK, "position: "+pos.String()+"\n", r.err)
	r.check(t, exitOK, "log:\n  0000000000000001-0000000000000001.ltx\n", r.err)

	r = runIn(t, home, nil, "diverged", "export", id, "lost.db", data)
	r.check(t, exitOK, home+"/lost.db: 2 pages at "+pos.String()+"\n", r.err)
	out, err := exec.Command("sqlite3", filepath.Join(home, "lost.db"), "SELECT x FROM t").CombinedOutput()
	if err != nil || string(out) != "lost\n" {
		t.Errorf("exported database has %q (%v)", out, err)
	}
	if r = runIn(t, home, nil, "diverged", "export", id, "lost.db", data); r.code != exitRun || !strings.Contains(r.err, "file already exists") {
		t.Errorf("export over another file: %+v", r)
	}

	r = runIn(t, home, nil, "diverged", "remove", id, data)
	if r.code != exitOK || r.out != "" {
		t.Errorf("remove: %+v", r)
	}
	for _, args := range [][]string{{"show", id}, {"export", id, "again.db"}, {"remove", id}} {
		r = runIn(t, home, nil, append(append([]string{"diverged"}, args...), data)...)
		if r.code != exitRun || !strings.Contains(r.err, `no such copy of a diverged database: "`+id+`"`) {
			t.Errorf("%v of a copy that is gone: %+v", args, r)
		}
	}
	if r = runIn(t, home, nil, "diverged", "list", data); r.code != exitOK || r.out != "" {
		t.Errorf("list of nothing: %+v", r)
	}
	if r = runIn(t, home, nil, "diverged", "list", "--json", data); r.out != "[]\n" {
		t.Errorf("list of nothing as JSON: %+v", r)
	}
}

func TestDivergedUsage(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"diverged", `a command is missing after "litefs diverged"`},
		{"diverged lst", `unknown command "lst" for "litefs diverged", did you mean "list"?`},
		{"diverged show", "accepts 1 arg(s), received 0"},
		{"diverged export x", "accepts 2 arg(s), received 1"},
		{"diverged remove", "accepts 1 arg(s), received 0"},
		{"diverged list", "fuse.dir: is required"},
	} {
		if r := runLitefs(t, strings.Fields(tt.args)...); r.code != exitUsage || !strings.Contains(r.err, tt.want) {
			t.Errorf("%q: %+v, want %q", tt.args, r, tt.want)
		}
	}
}
