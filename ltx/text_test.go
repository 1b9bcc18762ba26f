package ltx

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
)

func TestTXIDText(t *testing.T) {
	for _, tt := range []struct {
		v    TXID
		text string
	}{
		{0, "0000000000000000"},
		{1, "0000000000000001"},
		{0x0123456789abcdef, "0123456789abcdef"},
		{math.MaxUint64, "ffffffffffffffff"},
	} {
		if got := tt.v.String(); got != tt.text {
			t.Errorf("String %q, want %q", got, tt.text)
		}
		if got, err := ParseTXID(tt.text); err != nil || got != tt.v {
			t.Errorf("ParseTXID(%q) = %v, %v", tt.text, got, err)
		}
	}
}

// badHex holds texts that are not 16 lower-case hex digits.
var badHex = []string{
	"", "1", "000000000000001", "00000000000000001", "000000000000000A", "000000000000000g",
	"-000000000000001", "+000000000000001", "0x00000000000001", " 000000000000001", "0000000_00000001",
	"00000000000000é",
}

func TestParseHexRejects(t *testing.T) {
	for _, s := range badHex {
		if v, err := ParseTXID(s); err == nil {
			t.Errorf("ParseTXID(%q) = %v", s, v)
		}
		if v, err := ParseChecksum(s); err == nil {
			t.Errorf("ParseChecksum(%q) = %v", s, v)
		}
	}
}

func TestParsePos(t *testing.T) {
	const text = "00000000000000ff/a678a10ddddddddd"
	want := Pos{TXID: 255, PostApplyChecksum: 0xa678a10ddddddddd}
	if got, err := ParsePos(text); err != nil || got != want {
		t.Errorf("ParsePos = %v, %v", got, err)
	}
	if got := want.String(); got != text {
		t.Errorf("String = %q", got)
	}
	for _, bad := range []string{
		"", "/", text + "0", text[1:], strings.ToUpper(text), strings.Replace(text, "/", "-", 1),
		strings.Replace(text, "/", "0", 1), "g" + text[1:], text[:32] + "g",
	} {
		if got, err := ParsePos(bad); err == nil {
			t.Errorf("ParsePos(%q) = %v", bad, got)
		}
	}
	if !(Pos{}).IsZero() || want.IsZero() || (Pos{PostApplyChecksum: 1}).IsZero() {
		t.Error("IsZero is wrong")
	}
}

func TestJSON(t *testing.T) {
	type all struct {
		TXID TXID         `json:"txid"`
		Sum  Checksum     `json:"sum"`
		Pos  Pos          `json:"pos"`
		Map  map[TXID]int `json:"map"`
	}
	v := all{1, ChecksumFlag, Pos{2, 0x8000000000000003}, map[TXID]int{4: 5}}
	const want = `{"txid":"0000000000000001","sum":"8000000000000000",` +
		`"pos":"0000000000000002/8000000000000003","map":{"0000000000000004":5}}`
	b, err := json.Marshal(v)
	if err != nil || string(b) != want {
		t.Fatalf("Marshal = %s, %v", b, err)
	}
	var got all
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if got.TXID != v.TXID || got.Sum != v.Sum || got.Pos != v.Pos || got.Map[4] != 5 {
		t.Errorf("Unmarshal = %+v", got)
	}
	for _, bad := range []string{`{"txid":1}`, `{"txid":"1"}`, `{"sum":""}`, `{"pos":"1/2"}`} {
		if err := json.Unmarshal([]byte(bad), &got); err == nil {
			t.Errorf("Unmarshal(%s) succeeds", bad)
		}
	}
}

func TestFilename(t *testing.T) {
	const name = "0000000000000001-00000000000000ff.ltx"
	if got := FormatFilename(1, 255); got != name {
		t.Errorf("FormatFilename = %q", got)
	}
	if lo, hi, err := ParseFilename(name); err != nil || lo != 1 || hi != 255 {
		t.Errorf("ParseFilename = %v, %v, %v", lo, hi, err)
	}
	for _, bad := range []string{
		"", ".ltx", name + ".tmp", "x" + name, name[1:], strings.ToUpper(name),
		"0000000000000001-00000000000000ff.lty", "0000000000000001_00000000000000ff.ltx",
		"0000000000000001-00000000000000fF.ltx", "000000000000000g-00000000000000ff.ltx",
		"0000000000000000-00000000000000ff.ltx", // there is no transaction 0
		"0000000000000002-0000000000000001.ltx",
	} {
		if lo, hi, err := ParseFilename(bad); err == nil {
			t.Errorf("ParseFilename(%q) = %v, %v", bad, lo, hi)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("0000000000000001-00000000000000ff.ltx")
	f.Add("00000000000000ff/a678a10ddddddddd")
	f.Add("a678a10ddddddddd")
	for _, s := range badHex {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if v, err := ParseTXID(s); err == nil && v.String() != s {
			t.Errorf("TXID %q is written %q", s, v)
		}
		if v, err := ParseChecksum(s); err == nil && v.String() != s {
			t.Errorf("checksum %q is written %q", s, v)
		}
		if v, err := ParsePos(s); err == nil && v.String() != s {
			t.Errorf("position %q is written %q", s, v)
		}
		if lo, hi, err := ParseFilename(s); err == nil && (FormatFilename(lo, hi) != s || lo == 0 || lo > hi) {
			t.Errorf("file name %q gives %s, %s", s, lo, hi)
		}
	})
}
