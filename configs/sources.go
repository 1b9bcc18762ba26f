package configs

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// sources holds the values of all keys before they are merged.
type sources struct {
	flags *pflag.FlagSet // may be nil
	file  document
}

// config merges the sources. The error joins all values that could not be read.
func (s sources) config() (Config, error) {
	v := viper.New()
	fromFile := map[string]any{}
	for _, k := range keys {
		v.SetDefault(k.name, k.def)
		if err := v.BindEnv(k.name, k.env()); err != nil {
			return Config{}, fmt.Errorf("bind %s: %w", k.env(), err)
		}
		if e, ok := s.file.entries[k.name]; ok {
			nest(fromFile, strings.Split(k.name, "."), e.raw)
		}
		if flag := s.changed(k); flag != nil {
			v.Set(k.name, flag.Value.String())
		}
	}
	if err := v.MergeConfigMap(fromFile); err != nil {
		return Config{}, fmt.Errorf("merge %s: %w", s.file.path, err)
	}

	var cfg Config
	var errs []error
	for _, k := range keys {
		raw := v.Get(k.name)
		if raw == "" && s.origin(k) == "" {
			continue // derived later, or none
		}
		if err := assign(k.field(&cfg), raw); err != nil {
			errs = append(errs, fmt.Errorf("%s: %s: %w", s.origin(k), k.name, err))
		}
	}
	return cfg, errors.Join(errs...)
}

// nest stores raw in the tree of maps m, at the end of path.
func nest(m map[string]any, path []string, raw any) {
	for ; len(path) > 1; path = path[1:] {
		inner, ok := m[path[0]].(map[string]any)
		if !ok {
			inner = map[string]any{}
			m[path[0]] = inner
		}
		m = inner
	}
	m[path[0]] = raw
}

// changed returns the flag for k if the command line has it.
func (s sources) changed(k key) *pflag.Flag {
	if s.flags == nil {
		return nil
	}
	if flag := s.flags.Lookup(k.flag()); flag != nil && flag.Changed {
		return flag
	}
	return nil
}

// origin says where the value of k comes from: a flag, a variable, or a line of
// the file. It is empty for a default.
func (s sources) origin(k key) string {
	if s.changed(k) != nil {
		return "--" + k.flag()
	}
	if os.Getenv(k.env()) != "" {
		return k.env()
	}
	if e, ok := s.file.entries[k.name]; ok {
		return s.file.at(e.line)
	}
	return ""
}

// isSet reports whether the key name has a value that is not its default.
func (s sources) isSet(name string) bool {
	k, ok := findKey(name)
	return ok && s.origin(k) != ""
}

// locate fills in where the values that err complains about come from.
func (s sources) locate(err error) {
	for _, e := range keyErrors(err) {
		if k, ok := findKey(e.Key); ok {
			e.Source = s.origin(k)
		}
	}
}

// strayVariables returns a notice for every LITEFS_ variable that neither is a
// key nor is asked for in the file.
func strayVariables(used map[string]bool) []string {
	var names []string // without the prefix, which would make all of them look alike
	for _, k := range keys {
		names = append(names, strings.TrimPrefix(k.env(), envPrefix))
	}
	var notices []string
	for _, pair := range os.Environ() {
		variable, _, _ := strings.Cut(pair, "=")
		name, ours := strings.CutPrefix(variable, envPrefix)
		if !ours || used[variable] || slices.Contains(names, name) {
			continue
		}
		near := nearest(name, names)
		if near != "" {
			near = envPrefix + near
		}
		notices = append(notices, fmt.Sprintf("the variable %s belongs to no key and is ignored%s", variable, didYouMean(near)))
	}
	slices.Sort(notices)
	return notices
}
