package configs

import (
	"fmt"
	"testing"
)

// FuzzLoad loads arbitrary files. None may make it panic, and a configuration
// that is valid must come back unchanged from its own YAML.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(Example()))
	f.Add([]byte(tutorialFile))
	f.Add([]byte("fuse: &a {dir: \"/d$$b\"}\nlease: *a\nexec: &e [*e, {cmd: ${A:-b}}]\n"))
	f.Add([]byte("static: {primary: true}\nmount-dir: /x\n---\n"))
	f.Add([]byte("? [a]\n: 1\n<<: {b: 1}\nfuse.dir: !!binary AA==\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		want, _, err := load(Options{}, "fuzz.yml", data)
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without text")
			}
			return
		}
		text, err := want.YAML()
		if err != nil {
			t.Fatalf("write %#v: %v", want, err)
		}
		got, _, err := load(Options{}, "again.yml", text)
		if err != nil {
			t.Fatalf("read\n%s\n%v", text, err)
		}
		if fmt.Sprintf("%#v", got) != fmt.Sprintf("%#v", want) {
			t.Errorf("%#v\nbecame\n%#v", want, got)
		}
	})
}
