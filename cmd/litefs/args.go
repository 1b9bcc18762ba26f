package main

import "strings"

// translateArgs turns the command line of LiteFS 0.2, which knew no commands and
// wrote long flags with one dash, into one of this program:
//
//	-config litefs.yml -- myapp   →   mount --config litefs.yml -- myapp
//
// A command line that names a command keeps it; the single dash is understood
// there as well. Nothing after "--" is changed. The result is never nil.
func translateArgs(args []string) []string {
	translated := make([]string, 0, len(args)+1)
	var command, legacy bool // what was seen: a command, something that only mount takes without one
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			legacy = true
			translated = append(translated, args[i:]...)
			break
		}
		name, _, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		switch {
		case !strings.HasPrefix(arg, "-"):
			command = true
		case name == "config" || name == "no-expand-env":
			legacy = true
			arg = "--" + strings.TrimLeft(arg, "-")
		}
		translated = append(translated, arg)
		if arg == "--config" && !hasValue && i+1 < len(args) {
			i++
			translated = append(translated, args[i])
		}
	}
	if legacy && !command {
		return append([]string{"mount"}, translated...)
	}
	return translated
}
