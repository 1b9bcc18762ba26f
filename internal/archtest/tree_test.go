package archtest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const maxLines = 450

// foreign matches what has no place in the repository: absolute paths of some
// developer's machine, and relative paths that leave the checkout.
var foreign = regexp.MustCompile(`(^|[^\w./-])/(work|root|home/[a-z]+/src)/\w|\.\./shared\b`)

// tracked returns the files that belong to the repository, with their content.
func tracked(t *testing.T) map[string][]byte {
	t.Helper()
	cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	files := map[string][]byte{}
	for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		data, err := os.ReadFile(filepath.Join("../..", name))
		if os.IsNotExist(err) { // deleted, not yet committed
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		files[name] = data
	}
	if len(files) == 0 {
		t.Fatal("the repository has no files")
	}
	return files
}

func TestFileSizes(t *testing.T) {
	for name, data := range tracked(t) {
		if filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			continue
		}
		if n := bytes.Count(data, []byte("\n")); n > maxLines {
			t.Errorf("%s has %d lines, limit %d: split it by responsibility", name, n, maxLines)
		}
	}
}

// The repository stands alone: nothing in it refers to what lies beside it.
func TestNoForeignPaths(t *testing.T) {
	for name, data := range tracked(t) {
		if name == "internal/archtest/tree_test.go" || bytes.IndexByte(data, 0) >= 0 {
			continue
		}
		for i, line := range bytes.Split(data, []byte("\n")) {
			if foreign.Match(line) {
				t.Errorf("%s:%d refers to a path outside the repository: %s", name, i+1, line)
			}
		}
	}
}
