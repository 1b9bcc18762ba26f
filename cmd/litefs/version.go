package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is the release, set by the linker: -X main.version=1.2.3. Without it
// the version that the Go toolchain recorded counts.
var version string

// buildInfo says what this program was built from. Fields that were not
// recorded are empty.
type buildInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Time     string `json:"time,omitempty"` // of the commit, RFC 3339
	Modified bool   `json:"modified"`       // the sources differed from the commit
	Go       string `json:"go"`
	Platform string `json:"platform"` // operating system and architecture, with a slash between
}

func readBuildInfo() buildInfo {
	info := buildInfo{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	recorded, ok := debug.ReadBuildInfo()
	if !ok {
		return info
	}
	if info.Version == "" {
		info.Version = recorded.Main.Version
	}
	for _, s := range recorded.Settings {
		switch s.Key {
		case "vcs.revision":
			info.Commit = s.Value
		case "vcs.time":
			info.Time = s.Value
		case "vcs.modified":
			info.Modified = s.Value == "true"
		}
	}
	return info
}

// String returns one line for people.
func (b buildInfo) String() string {
	commit := ""
	if b.Commit != "" {
		commit = " commit " + b.Commit
	}
	if b.Modified {
		commit += " (modified)"
	}
	return fmt.Sprintf("litefs %s%s %s %s", b.Version, commit, b.Go, b.Platform)
}

func newVersionCommand(std streams) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Long:    "Print the version, the commit it was built from, and what built it.",
		Example: "  litefs version\n  litefs version --json",
		RunE: func(*cobra.Command, []string) error {
			return runVersion(readBuildInfo(), asJSON, std)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func runVersion(info buildInfo, asJSON bool, std streams) error {
	text := []byte(info.String())
	if asJSON {
		var err error
		if text, err = json.MarshalIndent(info, "", "  "); err != nil {
			return fmt.Errorf("write version as JSON: %w", err)
		}
	}
	if _, err := fmt.Fprintf(std.out, "%s\n", text); err != nil {
		return fmt.Errorf("print version: %w", err)
	}
	return nil
}
