package configs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"

	"go.yaml.in/yaml/v3"
)

// maxErrors is how many errors of a file are collected before it is given up.
const maxErrors = 50

// document is what a configuration file says.
type document struct {
	path    string
	entries map[string]entry // by current key
	leases  []entry          // the legacy blocks consul and static, by name
	notices []string
	errs    []error
	expander
	keepVariables bool
}

// entry is the value of a key in the file: the text of a scalar with its
// variables expanded, or a list of commands.
type entry struct {
	raw  any
	name string // the key as written, current or legacy
	line int
}

// parseFile reads the YAML of a configuration file. The document is usable as
// far as it could be read; the error joins all that is wrong with it.
func parseFile(path string, data []byte, keepVariables bool) (document, error) {
	d := document{
		path:          path,
		entries:       map[string]entry{},
		expander:      expander{used: map[string]bool{}},
		keepVariables: keepVariables,
	}
	root, err := parseYAML(path, data)
	if err != nil {
		return d, err
	}
	if root != nil {
		d.block(root, "")
		d.completeLease()
	}
	return d, errors.Join(d.errs...)
}

// parseYAML returns the root of the only document in data, or nil if there is
// none.
func parseYAML(path string, data []byte) (*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	switch err := decoder.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, syntaxError(path, err)
	}
	switch err := decoder.Decode(&second); {
	case err == nil:
		return nil, fmt.Errorf("%s:%d: the file holds a second YAML document, want one", path, second.Line)
	case !errors.Is(err, io.EOF):
		return nil, syntaxError(path, err)
	}
	return doc.Content[0], nil
}

// yamlLine finds the line in an error of the YAML library, where it has one.
var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// syntaxError puts path and line in front of an error of the YAML library. The
// line is the library's: it may be the one before.
func syntaxError(path string, err error) error {
	m := yamlLine.FindStringSubmatch(err.Error())
	if m == nil || m[1] == "" {
		return fmt.Errorf("%s: parse YAML: %w", path, err)
	}
	return fmt.Errorf("%s:%s: parse YAML: %s", path, m[1], err.Error()[len(m[0]):])
}

// at returns the place of a line for people and editors.
func (d *document) at(line int) string { return fmt.Sprintf("%s:%d", d.path, line) }

func (d *document) fail(line int, format string, args ...any) {
	d.errs = append(d.errs, fmt.Errorf("%s: %w", d.at(line), fmt.Errorf(format, args...)))
}

// block reads the mapping that holds the keys below prefix, which ends in a
// dot unless it is empty. No key is longer than the table knows, so neither
// depth nor repetition of aliases can make the walk long.
func (d *document) block(n *yaml.Node, prefix string) {
	n = resolve(n)
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.fail(n.Line, "%swant a mapping of keys to values, found %s", subject(prefix), kindName(n))
		return
	}
	d.eachKey(n, prefix, func(name string, keyNode, value *yaml.Node) {
		current, legacy := legacyKeys[name]
		_, known := findKey(name)
		switch {
		case legacy:
			d.deprecated(name, current, keyNode.Line)
			d.set(current, name, keyNode.Line, value)
		case known:
			d.set(name, name, keyNode.Line, value)
		case name == ignoredKey:
			d.notices = append(d.notices, fmt.Sprintf("%q has no effect any more (%s)", name, d.at(keyNode.Line)))
		case isBlock(name):
			if legacyLeases[name] && resolve(value).Kind == yaml.MappingNode {
				d.leases = append(d.leases, entry{raw: name, name: name, line: keyNode.Line})
			}
			d.block(value, name+".")
		default:
			d.fail(keyNode.Line, "unknown key %q%s", name, didYouMean(nearest(name, knownNames())))
		}
	})
}

// eachKey calls read with the full name of every key in n. A key that appears
// twice is read once.
func (d *document) eachKey(n *yaml.Node, prefix string, read func(name string, keyNode, value *yaml.Node)) {
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content) && len(d.errs) < maxErrors; i += 2 {
		keyNode, value := n.Content[i], n.Content[i+1]
		if keyNode.Kind != yaml.ScalarNode {
			d.fail(keyNode.Line, "%swant a name as key, found %s", subject(prefix), kindName(keyNode))
			continue
		}
		name := prefix + keyNode.Value
		if line, ok := first[name]; ok {
			d.fail(keyNode.Line, "duplicate key %q, first on line %d", name, line)
			continue
		}
		first[name] = keyNode.Line
		read(name, keyNode, value)
	}
}

// set reads the value of the key current, which is written as name.
func (d *document) set(current, name string, line int, value *yaml.Node) {
	if earlier, ok := d.entries[current]; ok && earlier.name == name {
		d.fail(line, "duplicate key %q, first on line %d", name, earlier.line)
		return
	} else if ok {
		d.fail(line, "%q and %q (line %d) set the same thing, keep only %q", name, earlier.name, earlier.line, current)
		return
	}
	k, _ := findKey(current)
	raw, ok := d.raw(k, name, value)
	if !ok {
		return
	}
	if err := assign(k.field(&Config{}), raw); err != nil {
		d.fail(line, "%s: %w", name, err)
	}
	d.entries[current] = entry{raw: raw, name: name, line: line}
}

// raw returns the value for the key k; ok is false if it has none or a wrong one.
func (d *document) raw(k key, name string, value *yaml.Node) (raw any, ok bool) {
	if _, isExec := k.field(&Config{}).(*[]Command); isExec && resolve(value).Kind == yaml.SequenceNode {
		return d.commands(name, resolve(value)), true
	}
	if text, ok := d.text(name, value); ok {
		return text, true
	}
	return nil, false
}

// commands reads a list of mappings with the keys cmd and if-candidate.
func (d *document) commands(name string, list *yaml.Node) []Command {
	var commands []Command
	for i, item := range list.Content {
		if len(d.errs) >= maxErrors {
			break
		}
		prefix := fmt.Sprintf("%s[%d].", name, i)
		if n := resolve(item); n.Kind != yaml.MappingNode {
			d.fail(item.Line, "%swant a mapping with cmd and if-candidate, found %s", subject(prefix), kindName(n))
			continue
		}
		var command Command
		d.eachKey(resolve(item), prefix, func(full string, keyNode, value *yaml.Node) {
			fields := map[string]any{prefix + "cmd": &command.Cmd, prefix + "if-candidate": &command.IfCandidate}
			if fields[full] == nil {
				d.fail(keyNode.Line, "unknown key %q%s", full,
					didYouMean(nearest(full, []string{prefix + "cmd", prefix + "if-candidate"})))
			} else if text, ok := d.text(full, value); ok {
				if err := assign(fields[full], text); err != nil {
					d.fail(keyNode.Line, "%s: %w", full, err)
				}
			}
		})
		commands = append(commands, command)
	}
	return commands
}

// text returns the expanded text of a scalar; ok is false if it is null or no
// scalar.
func (d *document) text(name string, value *yaml.Node) (text string, ok bool) {
	n := resolve(value)
	switch {
	case isNull(n):
		return "", false
	case n.Kind != yaml.ScalarNode:
		d.fail(value.Line, "%s: want a single value, found %s", name, kindName(n))
		return "", false
	case d.keepVariables:
		return n.Value, true
	}
	text, err := d.expand(n.Value)
	if err != nil {
		d.fail(value.Line, "%s: %w", name, err)
		return "", false
	}
	return text, true
}

// resolve follows an alias to what it stands for.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	default:
		return "a single value"
	}
}

// subject turns the prefix of a block into the beginning of a message.
func subject(prefix string) string {
	if prefix == "" {
		return ""
	}
	return prefix[:len(prefix)-1] + ": "
}
