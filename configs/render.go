package configs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// YAML returns c as a configuration file that means the same: every key with
// its value, dollar signs doubled. Secrets are in it; see [Config.Masked].
func (c Config) YAML() ([]byte, error) {
	var b bytes.Buffer
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	double := func(text string) string { return strings.ReplaceAll(text, "$", "$$") }
	if err := encoder.Encode(c.tree(double)); err != nil {
		return nil, fmt.Errorf("write configuration as YAML: %w", err)
	}
	return b.Bytes(), nil
}

// JSON returns c as one indented JSON object, nested as the file is. Durations
// and sizes are strings, as in the file. Secrets are in it; see [Config.Masked].
func (c Config) JSON() ([]byte, error) {
	var object map[string]any
	if err := c.tree(func(text string) string { return text }).Decode(&object); err != nil {
		return nil, fmt.Errorf("write configuration as JSON: %w", err)
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(object); err != nil {
		return nil, fmt.Errorf("write configuration as JSON: %w", err)
	}
	return b.Bytes(), nil
}

// tree returns all keys and their values in the order of the table. Every
// string passes through escape.
func (c Config) tree(escape func(string) string) *yaml.Node {
	root := &yaml.Node{Kind: yaml.MappingNode}
	for _, k := range keys {
		parts := strings.Split(k.name, ".")
		last := len(parts) - 1
		parent := root
		for _, part := range parts[:last] {
			parent = child(parent, part)
		}
		add(parent, parts[last], leaf(k.field(&c), escape))
	}
	return root
}

// child returns the mapping under name in parent, which it makes if need be.
func child(parent *yaml.Node, name string) *yaml.Node {
	for i := 0; i < len(parent.Content); i += 2 {
		if parent.Content[i].Value == name {
			return parent.Content[i+1]
		}
	}
	node := &yaml.Node{Kind: yaml.MappingNode}
	add(parent, name, node)
	return node
}

func add(parent *yaml.Node, name string, value *yaml.Node) {
	parent.Content = append(parent.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: name}, value)
}

func leaf(ptr any, escape func(string) string) *yaml.Node {
	switch p := ptr.(type) {
	case *[]Command:
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for _, command := range *p {
			item := &yaml.Node{Kind: yaml.MappingNode}
			add(item, "cmd", quoted(escape(command.Cmd)))
			add(item, "if-candidate", boolean(command.IfCandidate))
			list.Content = append(list.Content, item)
		}
		return list
	case *bool:
		return boolean(*p)
	case *string:
		return quoted(escape(*p))
	default:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: formatValue(ptr)}
	}
}

func boolean(b bool) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(b)}
}

func quoted(text string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: text}
}
