package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"litefs/configs"
)

func TestConfigShow(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "litefs.yml"), "fuse.dir: db\nlease: {type: consul, consul.url: 'https://:s3cret@c:8501/p?token=s3cret', hostname: n}\n")
	for _, args := range [][]string{{"config"}, {"config", "show"}} {
		r := runIn(t, dir, nil, args...)
		r.check(t, exitOK, `    url: "https://:xxxxx@c:8501/p?token=xxxxx"`+"\n", "")
		if strings.Contains(r.out, "s3cret") {
			t.Errorf("%v prints the secret", args)
		}
		for _, line := range []string{`  dir: "` + dir + `/db"`, `  dir: "` + dir + `/.db"`, `  retention: 10m`, `  advertise-url: "http://n:20202"`} {
			if !strings.Contains(r.out, "\n"+line+"\n") {
				t.Errorf("%v prints\n%s\nwant in it\n%s", args, r.out, line)
			}
		}
		write(t, filepath.Join(dir, "again.yml"), r.out)
		if again := runIn(t, dir, nil, "config", "--config", "again.yml"); again != r {
			t.Errorf("the output read again gives %+v, want %+v", again, r)
		}
	}
}

func TestConfigShowJSON(t *testing.T) {
	r := runLitefs(t, "config", "show", "--json", "--fuse-dir=/db", "--lease-promote")
	var got struct {
		FUSE  struct{ Dir string }
		Lease struct{ Promote bool }
	}
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || r.code != exitOK || got.FUSE.Dir != "/db" || !got.Lease.Promote {
		t.Errorf("%+v, %v, %+v", got, err, r)
	}
}

func TestConfigPrecedence(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "litefs.yml"), "fuse.dir: /db\nlog.level: error\n")
	runIn(t, dir, nil, "config").check(t, exitOK, `level: "error"`, "")
	env := []string{"LITEFS_LOG_LEVEL=warn"}
	runIn(t, dir, env, "config").check(t, exitOK, `level: "warn"`, "")
	runIn(t, dir, env, "config", "show", "--log-level", "debug").check(t, exitOK, `level: "debug"`, "")
}

// TestConfigShowInvalid prints what there is, and then what is wrong with it.
func TestConfigShowInvalid(t *testing.T) {
	dir := t.TempDir()
	runIn(t, dir, nil, "config").check(t, exitUsage, `dir: ""`,
		"config: there is no configuration file, looked for litefs.yml, "+dir+"/litefs.yml, /etc/litefs.yml\n"+
			"config: fuse.dir: is required\n")
	runIn(t, dir, nil, "config", "--fuse-dir=/db", "--data-retention=-1s", "--lease-type=raft").check(t, exitUsage, `type: "raft"`,
		"config: there is no configuration file, looked for litefs.yml, "+dir+"/litefs.yml, /etc/litefs.yml\n"+
			`config: --data-retention: data.retention: "-1s" must be 0s or more`+"\n"+
			`config: --lease-type: lease.type: "raft" must be static, consul or redis`+"\n")
}

func TestConfigValidate(t *testing.T) {
	dir := t.TempDir()
	runIn(t, dir, []string{"LITEFS_FUSE_DIR=/db", "LITEFS_X=1"}, "config", "validate").check(t, exitOK,
		"no configuration file: the configuration is valid\n", "config: the variable LITEFS_X belongs to no key and is ignored\n")

	write(t, filepath.Join(dir, "old.yml"), "mount-dir: $DIR\n")
	runIn(t, dir, []string{"DIR=/db"}, "config", "validate", "--config", "old.yml").check(t, exitOK,
		"old.yml: the configuration is valid\n", "config: \"mount-dir\" is deprecated, use \"fuse.dir\" (old.yml:1)\n")
	runIn(t, dir, nil, "config", "validate", "-config=old.yml", "-no-expand-env").check(t, exitOK,
		"old.yml: the configuration is valid\n", "config: \"mount-dir\" is deprecated, use \"fuse.dir\" (old.yml:1)\n")

	write(t, filepath.Join(dir, "wrong.yml"), "fuse:\n  dri: /db\nlog: 5\n")
	for _, command := range []string{"validate", "show"} {
		runIn(t, dir, nil, "config", command, "--config", "wrong.yml").check(t, exitUsage, "",
			"config: wrong.yml:2: unknown key \"fuse.dri\", did you mean \"fuse.dir\"?\n"+
				"config: wrong.yml:3: log: want a mapping of keys to values, found a single value\n")
	}
	runIn(t, dir, nil, "config", "validate", "--config", "none.yml").check(t, exitUsage, "",
		"config: read configuration file: open none.yml: no such file or directory\n")
}

func TestConfigExample(t *testing.T) {
	r := runLitefs(t, "config", "example")
	if r != (result{out: configs.Example()}) {
		t.Errorf("got %+v", r)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "litefs.yml"), r.out)
	runIn(t, dir, nil, "config", "validate").check(t, exitOK, "litefs.yml: the configuration is valid\n", "")
}
