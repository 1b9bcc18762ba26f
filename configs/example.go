package configs

import _ "embed"

//go:embed litefs.yml
var example string

// Example returns a configuration file that describes every key and sets it to
// its default.
func Example() string { return example }
