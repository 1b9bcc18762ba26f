package configs

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// assign stores raw, the text of a value or a list of commands, in the field
// that ptr points to.
func assign(ptr, raw any) error {
	if commands, ok := raw.([]Command); ok {
		*ptr.(*[]Command) = commands
		return nil
	}
	text := raw.(string)
	var err error
	switch p := ptr.(type) {
	case *string:
		*p = text
	case *bool:
		*p, err = parseBool(text)
	case *time.Duration:
		*p, err = parseDuration(text)
	case *ByteSize:
		*p, err = ParseByteSize(text)
	case *[]Command:
		*p = nil
		if text != "" {
			*p = []Command{{Cmd: text}}
		}
	default:
		panic(fmt.Sprintf("configs: no parser for %T", ptr)) // a row of the table, not input
	}
	return err
}

// wrongValue says that text is not of the kind. The text is masked because a
// URL with a password may have gone to the wrong key.
func wrongValue(kind, text, want string) error {
	return fmt.Errorf("parse %s %q: want %s", kind, maskSecrets(text), want)
}

// parseBool accepts what YAML 1.1 and strconv accept.
func parseBool(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "true", "t", "yes", "y", "on", "1":
		return true, nil
	case "false", "f", "no", "n", "off", "0":
		return false, nil
	}
	return false, wrongValue("boolean", text, "true or false")
}

func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, wrongValue("duration", text, "a number and a unit, such as 500ms, 10s, 5m or 24h, or 0")
	}
	return d, nil
}

// formatDuration writes d as parseDuration reads it, without zero units at the
// end: 10m, not 10m0s.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// formatValue writes the field that ptr points to as assign reads it. It does
// not write commands.
func formatValue(ptr any) string {
	switch p := ptr.(type) {
	case *bool:
		return strconv.FormatBool(*p)
	case *time.Duration:
		return formatDuration(*p)
	case *ByteSize:
		return p.String()
	case *string:
		return *p
	default:
		panic(fmt.Sprintf("configs: no format for %T", ptr)) // a row of the table, not input
	}
}
