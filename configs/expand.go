package configs

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// expander replaces variables in values by what the environment holds, in the
// forms that the package comment lists.
type expander struct {
	used map[string]bool // variables that were asked for
}

// expand returns text with its variables replaced. The error joins one error
// for every variable that is not set or not well formed.
func (e *expander) expand(text string) (string, error) {
	var out strings.Builder
	var errs []error
	for {
		before, rest, found := strings.Cut(text, "$")
		out.WriteString(before)
		if !found {
			return out.String(), errors.Join(errs...)
		}
		value, n, err := e.variable(rest)
		if err != nil {
			errs = append(errs, err)
		}
		out.WriteString(value)
		text = rest[n:]
	}
}

// variable expands what follows a dollar sign and returns how much of text
// belongs to it.
func (e *expander) variable(text string) (value string, n int, err error) {
	switch {
	case strings.HasPrefix(text, "$"):
		return "$", 1, nil
	case !strings.HasPrefix(text, "{"):
		name := text[:nameLength(text)]
		if name == "" {
			return "$", 0, nil
		}
		value, err = e.lookup(name)
		return value, len(name), err
	}

	inner, _, closed := strings.Cut(text[1:], "}")
	if !closed {
		return "", len(text), errors.New(`expand "${": the closing brace is missing; write $$ for a dollar sign`)
	}
	n = len(inner) + len("{}")
	name := inner[:nameLength(inner)]
	fallback, hasFallback := strings.CutPrefix(inner[len(name):], ":-")
	switch {
	case name == "" || !hasFallback && name != inner:
		return "", n, fmt.Errorf("expand %q: want ${NAME} or ${NAME:-default}; write $$ for a dollar sign", "${"+inner+"}")
	case !hasFallback:
		value, err = e.lookup(name)
		return value, n, err
	}
	if value, err = e.lookup(name); err != nil || value == "" {
		value = fallback
	}
	return value, n, nil
}

func (e *expander) lookup(name string) (string, error) {
	e.used[name] = true
	if value, ok := os.LookupEnv(name); ok {
		return value, nil
	}
	if name == "HOSTNAME" {
		host, err := os.Hostname()
		if err != nil {
			return "", fmt.Errorf("expand variable %s: %w", name, err)
		}
		return host, nil
	}
	return "", fmt.Errorf("expand variable %s: it is not set; set it, write ${%s:-default}, or $$ for a dollar sign",
		name, name)
}

// nameLength returns the length of the variable name that text begins with.
func nameLength(text string) int {
	for i := range len(text) {
		c := text[i]
		switch {
		case c == '_', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		case '0' <= c && c <= '9' && i > 0:
		default:
			return i
		}
	}
	return len(text)
}
