package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "litefs"

// allowed lists, for each package, the project packages that it may import. A
// new package fails the test until it has a row here: the layout is a decision.
// Imports point downwards only: cmd, then configs and the adapters, then the
// root package, then ltx and internal.
var allowed = map[string][]string{
	"cmd/litefs":           {"*"},
	"configs":              {},
	"vfs":                  {".", "internal/fsx"},
	"stream":               {".", "ltx"},
	".":                    {"ltx", "internal/sqlite", "internal/filelock", "internal/fsx"},
	"ltx":                  {},
	"internal/sqlite":      {},
	"internal/filelock":    {},
	"internal/fsx":         {},
	"leaser/static":        {".", "ltx"},
	"leaser/redis":         {".", "ltx"},
	"leaser/consul":        {".", "ltx"},
	"httpapi":              {".", "ltx"},
	"internal/fsx/faultfs": {"internal/fsx"},
	"internal/servertest":  {},
	"internal/archtest":    {},

	// For tests.
	"leaser/leasertest":    {".", "ltx"},
	"internal/fsx/memfs":   {"internal/fsx"},
	"internal/crashtest":   {"internal/fsx", "ltx"},
	"internal/logcheck":    {"ltx"},
	"internal/mounttest":   {".", "vfs", "ltx"},
	"internal/torturetest": {},
	"internal/sqlitetest":  {".", "vfs", "ltx", "internal/fsx", "internal/mounttest"},
	"conformance/logcheck": {"internal/logcheck"},
}

// fenced says which packages may import a heavy or viral dependency. Everything
// below a listed path counts.
var fenced = map[string][]string{
	"github.com/spf13/viper":       {"configs"},
	"github.com/spf13/cobra":       {"cmd/litefs"},
	"github.com/hanwen/go-fuse":    {"vfs"},
	"github.com/hashicorp/consul":  {"leaser/consul"},
	"github.com/redis/go-redis":    {"leaser/redis"},
	"github.com/mattn/go-sqlite3":  {"internal/sqlitetest"}, // tests only: the product builds without cgo
	"github.com/superfly/ltx":      {},                      // tests only: the judge of our own codec
	"github.com/prometheus":        {".", "stream", "vfs", "cmd/litefs"},
	"net/http":                     {"stream", "httpapi", "cmd/litefs", "leaser/consul", "internal/servertest"},
	"os/exec":                      {"cmd/litefs", "vfs", "internal/servertest", "internal/logcheck", "internal/mounttest", "internal/sqlitetest"},
	"log":                          {},
	"encoding/gob":                 {},
	"github.com/stretchr/testify":  {},
	"github.com/cespare/xxhash/v2": {"stream"},
	"github.com/pierrec/lz4":       {"ltx"},
}

// pure lists the packages that know bytes only: no files, no network, no log.
var pure = []string{"ltx", "internal/sqlite"}

// impure lists what a pure package must not import.
var impure = []string{"os", "net", "net/http", "log/slog", "syscall", "golang.org/x/sys/unix"}

type pkg struct {
	ImportPath, Name, Doc string
	Imports               []string
}

// load returns every package of the module, without its tests.
func load(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Name,Doc,Imports", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

// rel names a package by its path below the module; the root is ".".
func rel(importPath string) string {
	if importPath == module {
		return "."
	}
	return strings.TrimPrefix(importPath, module+"/")
}

func ours(importPath string) bool {
	return importPath == module || strings.HasPrefix(importPath, module+"/")
}

func below(importPath, parent string) bool {
	return importPath == parent || strings.HasPrefix(importPath, parent+"/")
}

func TestLayers(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range load(t) {
		name := rel(p.ImportPath)
		seen[name] = true
		may, known := allowed[name]
		if !known {
			t.Errorf("package %s has no row in allowed", name)
			continue
		}
		for _, imp := range p.Imports {
			if r := rel(imp); ours(imp) && !slices.Contains(may, r) && !slices.Contains(may, "*") {
				t.Errorf("%s must not import %s", name, r)
			}
		}
	}
	for name := range allowed {
		if !seen[name] {
			t.Errorf("allowed has a row for %s, which does not exist", name)
		}
	}
}

func TestFencedDependencies(t *testing.T) {
	for _, p := range load(t) {
		name := rel(p.ImportPath)
		for _, imp := range p.Imports {
			for fence, who := range fenced {
				// A one-word fence is a standard package, not a prefix.
				inside := imp == fence || strings.Contains(fence, ".") && below(imp, fence)
				if inside && !slices.Contains(who, name) {
					t.Errorf("%s must not import %s (only %v may)", name, imp, who)
				}
			}
			if slices.Contains(pure, name) && slices.Contains(impure, imp) {
				t.Errorf("%s must not import %s: it knows bytes only", name, imp)
			}
		}
	}
}

func TestPackageComments(t *testing.T) {
	for _, p := range load(t) {
		want := "Package " + path.Base(p.ImportPath) + " "
		if p.Name == "main" {
			want = "Command " + path.Base(p.ImportPath) + " "
		}
		if !strings.HasPrefix(p.Doc, want) {
			t.Errorf("%s: the package comment must start with %q", rel(p.ImportPath), want)
		}
	}
}
