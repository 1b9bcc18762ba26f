package configs

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// leaves returns the addresses of all fields of a configuration that hold a
// value, by their path in Go.
func leaves(v reflect.Value, path string) map[any]string {
	if v.Kind() != reflect.Struct {
		return map[any]string{v.Addr().Interface(): path}
	}
	all := map[any]string{}
	for i := range v.NumField() {
		for ptr, name := range leaves(v.Field(i), path+"."+v.Type().Field(i).Name) {
			all[ptr] = name
		}
	}
	return all
}

func TestEveryFieldIsOneKey(t *testing.T) {
	var cfg Config
	fields := leaves(reflect.ValueOf(&cfg).Elem(), "Config")
	if len(fields) != len(keys) {
		t.Errorf("%d fields, %d keys", len(fields), len(keys))
	}
	for _, k := range keys {
		path, ok := fields[k.field(&cfg)]
		if !ok {
			t.Errorf("%s: no field, or the field of another key", k.name)
			continue
		}
		delete(fields, k.field(&cfg))
		want := "config." + strings.ReplaceAll(k.name, "-", "")
		if strings.ToLower(path) != want {
			t.Errorf("key %s is field %s", k.name, path)
		}
	}
	for _, path := range fields {
		t.Errorf("field %s has no key", path)
	}
}

func TestEveryKeyHasADefaultOrSaysWhereItComesFrom(t *testing.T) {
	for _, k := range keys {
		if (k.def == "") == (k.derived == "") {
			t.Errorf("%s: default %q and derived %q, want one of them", k.name, k.def, k.derived)
		}
		if k.def == "" {
			continue
		}
		var cfg Config
		if err := assign(k.field(&cfg), k.def); err != nil {
			t.Errorf("%s: default: %v", k.name, err)
		} else if got := formatValue(k.field(&cfg)); got != k.def {
			t.Errorf("%s: default %q is written %q", k.name, k.def, got)
		}
	}
}

func TestNamesOfFlagsAndVariables(t *testing.T) {
	seen := map[string]string{}
	for _, k := range keys {
		for _, name := range []string{k.env(), k.flag()} {
			if other, ok := seen[name]; ok {
				t.Errorf("%s belongs to %s and %s", name, other, k.name)
			}
			seen[name] = k.name
		}
	}
	for name, want := range map[string]string{
		"LITEFS_LEASE_TYPE":        "lease.type",
		"LITEFS_FUSE_DIR":          "fuse.dir",
		"LITEFS_DATA_MAX_LOG_SIZE": "data.max-log-size",
		"lease-consul-lock-delay":  "lease.consul.lock-delay",
		"strict-verify":            "strict-verify",
	} {
		if seen[name] != want {
			t.Errorf("%s belongs to %q, want %q", name, seen[name], want)
		}
	}
}

// otherValues returns three values for a key, each other than the one before,
// the first other than the default.
func otherValues(k key) []string {
	switch k.field(&Config{}).(type) {
	case *bool:
		if k.def == "false" {
			return []string{"true", "false", "true"}
		}
		return []string{"false", "true", "false"}
	case *ByteSize:
		return []string{"1MiB", "2MiB", "3MiB"}
	case *string:
		return []string{"/one", "/two", "/three"}
	case *[]Command:
		return []string{"one", "two", "three"}
	default:
		return []string{"11s", "12s", "13s"}
	}
}

// TestPrecedence goes through every key: default, then file, then variable, then
// flag, each over the one before. Rules may be broken by it, types not.
func TestPrecedence(t *testing.T) {
	for _, k := range keys {
		t.Run(k.name, func(t *testing.T) {
			values := otherValues(k)
			flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
			AddFlags(flags)
			file := ""
			want := func(step, want string) {
				t.Helper()
				cfg, _, err := load(Options{Flags: flags}, "litefs.yml", []byte(file))
				wantReadable(t, err)
				if got := text(k.field(&cfg)); got != want {
					t.Errorf("%s: %q, want %q", step, got, want)
				}
			}

			if k.def != "" {
				want("default", k.def)
			}
			file = fmt.Sprintf("%s: %q\n", k.name, values[0])
			want("file", values[0])
			t.Setenv(k.env(), values[1])
			want("variable", values[1])
			if _, isExec := k.field(&Config{}).(*[]Command); isExec {
				if flags.Lookup(k.flag()) != nil {
					t.Errorf("%s has a flag", k.name)
				}
				return
			}
			if err := flags.Parse([]string{"--" + k.flag() + "=" + values[2]}); err != nil {
				t.Fatal(err)
			}
			want("flag", values[2])
			file = ""
			want("flag without file", values[2])
		})
	}
}

// text is formatValue for all fields.
func text(ptr any) string {
	if p, ok := ptr.(*[]Command); ok {
		if len(*p) != 1 {
			return fmt.Sprint(*p)
		}
		return (*p)[0].Cmd
	}
	return formatValue(ptr)
}

func TestEmptyVariableIsNotSet(t *testing.T) {
	setenv(t, "LITEFS_DATA_RETENTION=", "LITEFS_FUSE_DIR=")
	cfg, _ := mustLoad(t, "fuse.dir: /db\ndata.retention: 3h\n")
	if cfg.FUSE.Dir != "/db" || formatDuration(cfg.Data.Retention) != "3h" {
		t.Errorf("got %q, %v", cfg.FUSE.Dir, cfg.Data.Retention)
	}
}

func TestWrongValuesOutsideTheFileNameTheirSource(t *testing.T) {
	setenv(t, "LITEFS_LEASE_CANDIDATE=perhaps", "LITEFS_DATA_MAX_LOG_SIZE=big")
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	AddFlags(flags)
	if err := flags.Parse([]string{"--data-retention=600", "--fuse-dir=/db"}); err != nil {
		t.Fatal(err)
	}
	_, _, err := load(Options{Flags: flags}, "", nil)
	wantLines(t, err,
		`--data-retention: data.retention: parse duration "600": want a number and a unit, such as 500ms, 10s, 5m or 24h, or 0`,
		`LITEFS_DATA_MAX_LOG_SIZE: data.max-log-size: parse size "big": want a whole number and a unit, such as 512MB or 1GiB, or 0`,
		`LITEFS_LEASE_CANDIDATE: lease.candidate: parse boolean "perhaps": want true or false`)
}

func TestBooleanFlagStandsAlone(t *testing.T) {
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	AddFlags(flags)
	if err := flags.Parse([]string{"--lease-promote", "--fuse-dir", "/db"}); err != nil {
		t.Fatal(err)
	}
	cfg, _, err := load(Options{Flags: flags}, "", nil)
	if err != nil || !cfg.Lease.Promote || cfg.FUSE.Dir != "/db" {
		t.Errorf("promote %v, dir %q, error %v", cfg.Lease.Promote, cfg.FUSE.Dir, err)
	}
}
