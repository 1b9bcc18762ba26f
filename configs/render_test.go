package configs

import (
	"encoding/json"
	"fmt"
	"testing"
)

func TestYAMLIsAFileThatMeansTheSame(t *testing.T) {
	for _, file := range []string{
		"fuse.dir: /db\n",
		"fuse.dir: /db\nhttp.addr: ':0'\n",
		"fuse.dir: \"/a $$x $${Y} # \\\"q\\\" \\u00e9\"\ndata: {retention: 0, max-log-size: 0, compress: off}\n",
		"fuse.dir: /db\nlease: {advertise-url: 'http://p:1', static.primary: false}\nexec: 'sh -c \"echo $$HOME\"'\n",
		"fuse.dir: /db\nlease: {type: consul, consul.url: 'http://:t@c'}\nexec: [{cmd: a, if-candidate: true}, {cmd: b}]\n",
	} {
		want, _ := mustLoad(t, file)
		text, err := want.YAML()
		if err != nil {
			t.Fatal(err)
		}
		got, _ := mustLoad(t, string(text))
		if fmt.Sprintf("%#v", got) != fmt.Sprintf("%#v", want) {
			t.Errorf("%s\nwas written\n%s\nand read\n%#v\nwant\n%#v", file, text, got, want)
		}
	}
}

func TestJSON(t *testing.T) {
	cfg, _ := mustLoad(t, "fuse.dir: /db/$$a<b\ndata: {retention: 0, max-log-size: 0}\nexec: [{cmd: a, if-candidate: true}]\n")
	text, err := cfg.JSON()
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		FUSE struct{ Dir string }
		Data struct {
			Retention  string
			MaxLogSize string `json:"max-log-size"`
			Compress   bool
		}
		Exec []struct {
			Cmd         string
			IfCandidate bool `json:"if-candidate"`
		}
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if got.FUSE.Dir != "/db/$a<b" || got.Data.Retention != "0s" || got.Data.MaxLogSize != "0" || !got.Data.Compress ||
		len(got.Exec) != 1 || got.Exec[0].Cmd != "a" || !got.Exec[0].IfCandidate {
		t.Errorf("got %+v from\n%s", got, text)
	}
}
