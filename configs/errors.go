package configs

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrInvalid is returned when every value could be read but the configuration
// breaks a rule. The Config that [Load] returns with it is complete.
var ErrInvalid = errors.New("invalid configuration")

// KeyError says which rule a key breaks. It is an [ErrInvalid].
type KeyError struct {
	Key     string
	Value   string // the value, secrets masked; empty if the key has none
	Problem string // what is wrong and what is allowed
	Source  string // file and line, variable or flag; empty if it is a default or not known
}

// Error returns source, key, value and problem, those that there are.
func (e *KeyError) Error() string {
	var b strings.Builder
	if e.Source != "" {
		b.WriteString(e.Source + ": ")
	}
	b.WriteString(e.Key + ": ")
	if e.Value != "" {
		fmt.Fprintf(&b, "%q ", e.Value)
	}
	b.WriteString(e.Problem)
	return b.String()
}

// Unwrap returns ErrInvalid.
func (e *KeyError) Unwrap() error { return ErrInvalid }

// problems collects the errors of a Validate method.
type problems []error

func (p *problems) add(key, value, format string, args ...any) {
	*p = append(*p, &KeyError{Key: key, Value: maskSecrets(value), Problem: fmt.Sprintf(format, args...)})
}

func (p *problems) oneOf(key, value string, allowed ...string) {
	for _, a := range allowed {
		if value == a {
			return
		}
	}
	last := len(allowed) - 1
	p.add(key, value, "must be %s or %s", strings.Join(allowed[:last], ", "), allowed[last])
}

func (p *problems) atLeast(key string, d, least time.Duration) {
	if d < least {
		p.add(key, formatDuration(d), "must be %s or more", formatDuration(least))
	}
}

func (p *problems) between(key string, d, least, most time.Duration) {
	if d < least || d > most {
		p.add(key, formatDuration(d), "must be between %s and %s", formatDuration(least), formatDuration(most))
	}
}

func (p *problems) err() error { return errors.Join(*p...) }

// keyErrors returns the KeyErrors that err joins.
func keyErrors(err error) []*KeyError {
	switch e := err.(type) { //nolint:errorlint // walks the tree that errors.Join built; errors.As finds only the first
	case *KeyError:
		return []*KeyError{e}
	case interface{ Unwrap() []error }:
		var all []*KeyError
		for _, joined := range e.Unwrap() {
			all = append(all, keyErrors(joined)...)
		}
		return all
	}
	return nil
}
