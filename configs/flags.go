package configs

import (
	"time"

	"github.com/spf13/pflag"
)

// AddFlags adds a flag for every key but exec. Give the same set to [Load].
func AddFlags(flags *pflag.FlagSet) {
	for _, k := range keys {
		kind := kindOf(k)
		if kind == "" {
			continue
		}
		usage := k.usage
		if k.def == "" {
			usage += " (default: " + k.derived + ")"
		}
		flags.Var(&flagValue{text: k.def, kind: kind}, k.flag(), usage)
	}
}

// flagValue keeps the text of a flag. Load reads it, as it reads the text of a
// variable or of the file, so that all of them know the same forms.
type flagValue struct{ text, kind string }

func (f *flagValue) String() string { return f.text }

func (f *flagValue) Type() string { return f.kind }

// IsBoolFlag lets a boolean flag stand alone for true.
func (f *flagValue) IsBoolFlag() bool { return f.kind == "bool" }

func (f *flagValue) Set(text string) error {
	f.text = text
	return nil
}

// kindOf names the type of k for --help. It is empty if k has no flag.
func kindOf(k key) string {
	switch k.field(&Config{}).(type) {
	case *bool:
		return "bool"
	case *time.Duration:
		return "duration"
	case *ByteSize:
		return "size"
	case *string:
		return "string"
	default:
		return ""
	}
}
