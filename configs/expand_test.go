package configs

import (
	"os"
	"strings"
	"testing"
)

func TestExpand(t *testing.T) {
	setenv(t, "NAME=value", "EMPTY=", "YAML=a: [b, {c", "SELF=$NAME", "A_1=one")
	for text, want := range map[string]string{
		"":                        "",
		"plain":                   "plain",
		"$NAME":                   "value",
		"${NAME}":                 "value",
		"x$NAME/y":                "xvalue/y",
		"$NAME$NAME":              "valuevalue",
		"${NAME}${A_1}":           "valueone",
		"$EMPTY":                  "",
		"${NAME:-other}":          "value",
		"${EMPTY:-other}":         "other",
		"${UNSET_VARIABLE:-}":     "",
		"${UNSET_VARIABLE:-a b}":  "a b",
		"${UNSET_VARIABLE:-$X}":   "$X",
		"$$NAME":                  "$NAME",
		"$$$NAME":                 "$value",
		"$$$$":                    "$$",
		"100$":                    "100$",
		"^a$|b":                   "^a$|b",
		"$1 $/ $-":                "$1 $/ $-",
		"$YAML":                   "a: [b, {c",
		"$SELF":                   "$NAME",
		"http://${NAME}:${A_1}/x": "http://value:one/x",
	} {
		e := expander{used: map[string]bool{}}
		if got, err := e.expand(text); err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
}

func TestExpandErrors(t *testing.T) {
	const hint = "write $$ for a dollar sign"
	notSet := func(name string) string {
		return "expand variable " + name + ": it is not set; set it, write ${" + name + ":-default}, or $$ for a dollar sign"
	}
	for text, want := range map[string]string{
		"${NO_1":         `expand "${": the closing brace is missing; ` + hint,
		"${}":            `expand "${}": want ${NAME} or ${NAME:-default}; ` + hint,
		"${A B}":         `expand "${A B}": want ${NAME} or ${NAME:-default}; ` + hint,
		"${1A}":          `expand "${1A}": want ${NAME} or ${NAME:-default}; ` + hint,
		"${A-x}":         `expand "${A-x}": want ${NAME} or ${NAME:-default}; ` + hint,
		"${A == 'b'}":    `expand "${A == 'b'}": want ${NAME} or ${NAME:-default}; ` + hint,
		"${:-x}":         `expand "${:-x}": want ${NAME} or ${NAME:-default}; ` + hint,
		"$NO_1":          notSet("NO_1"),
		"a${NO_1}b$NO_2": notSet("NO_1") + "\n" + notSet("NO_2"),
	} {
		e := expander{used: map[string]bool{}}
		if got, err := e.expand(text); err == nil || err.Error() != want {
			t.Errorf("%q: %q, error\n%v\nwant\n%s", text, got, err, want)
		}
	}
}

func TestExpandKnowsTheHostname(t *testing.T) {
	t.Setenv("HOSTNAME", "") // restores it afterwards
	if err := os.Unsetenv("HOSTNAME"); err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	cfg, _ := mustLoad(t, "fuse.dir: /db\nlease.hostname: a-$HOSTNAME")
	if cfg.Lease.Hostname != "a-"+host {
		t.Errorf("hostname %q, want a-%s", cfg.Lease.Hostname, host)
	}
}

func TestExpandKeepsTypesAndStructure(t *testing.T) {
	setenv(t, "CANDIDATE=false", "SIZE=5MB", "TIME=90s", "DIR=/db # x: y", "KEY=fuse")
	cfg, _ := mustLoad(t, `
fuse: {dir: "${DIR}"}
data:
  retention: ${TIME}
  max-log-size: $SIZE
lease:
  candidate: ${CANDIDATE}
  advertise-url: http://p:1
exec:
  - cmd: "run ${SIZE} $$HOME"
    if-candidate: $CANDIDATE
`)
	if cfg.FUSE.Dir != "/db # x: y" || formatDuration(cfg.Data.Retention) != "1m30s" ||
		cfg.Data.MaxLogSize != 5e6 || cfg.Lease.Candidate {
		t.Errorf("got %+v", cfg)
	}
	if want := (Command{Cmd: "run 5MB $HOME"}); len(cfg.Exec) != 1 || cfg.Exec[0] != want {
		t.Errorf("exec %+v, want %+v", cfg.Exec, want)
	}

	_, _, err := loadText(t, "$KEY:\n  dir: /db\n")
	wantLines(t, err, `litefs.yml:1: unknown key "$KEY"`)
}

func TestNoExpandEnv(t *testing.T) {
	cfg, _, err := load(Options{NoExpandEnv: true}, "litefs.yml", []byte("fuse.dir: /$NO_1/$$/${\n"))
	if err != nil || cfg.FUSE.Dir != "/$NO_1/$$/${" {
		t.Errorf("dir %q, error %v", cfg.FUSE.Dir, err)
	}
}

func TestUnsetVariableNamesTheLine(t *testing.T) {
	_, _, err := loadText(t, "fuse:\n  dir: /db\nhttp:\n  addr: :$NO_PORT\n")
	if err == nil || !strings.HasPrefix(err.Error(), "litefs.yml:4: http.addr: expand variable NO_PORT: it is not set;") {
		t.Errorf("error %v", err)
	}
}
