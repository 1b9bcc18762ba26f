package main

import (
	"encoding/json"
	"regexp"
	"runtime"
	"testing"
)

func TestVersion(t *testing.T) {
	r := runLitefs(t, "version")
	line := regexp.MustCompile(`^litefs 1\.2\.3-test( commit [0-9a-f]+)?( \(modified\))? go\S+ ` + runtime.GOOS + "/" + runtime.GOARCH + "\n$")
	if r.code != exitOK || r.err != "" || !line.MatchString(r.out) {
		t.Errorf("got %+v", r)
	}

	r = runLitefs(t, "version", "--json")
	var got buildInfo
	if err := json.Unmarshal([]byte(r.out), &got); err != nil || r.code != exitOK || r.err != "" ||
		got.Version != "1.2.3-test" || got.Go == "" || got.Platform != runtime.GOOS+"/"+runtime.GOARCH {
		t.Errorf("%+v, %v, %+v", got, err, r)
	}
}

func TestBuildInfoString(t *testing.T) {
	info := buildInfo{Version: "v1.0.0", Commit: "abc", Modified: true, Go: "go1.26", Platform: "linux/arm64"}
	if got, want := info.String(), "litefs v1.0.0 commit abc (modified) go1.26 linux/arm64"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
