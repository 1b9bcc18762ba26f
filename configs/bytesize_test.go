package configs

import (
	"math"
	"testing"
)

func TestParseByteSize(t *testing.T) {
	for text, want := range map[string]ByteSize{
		"0":                   0,
		"0B":                  0,
		"1":                   1,
		"17B":                 17,
		"1KB":                 1000,
		"1KiB":                1024,
		"512MB":               512_000_000,
		"512MiB":              512 << 20,
		"1GiB":                1 << 30,
		"1gib":                1 << 30,
		"2 GB":                2_000_000_000,
		"3TB":                 3_000_000_000_000,
		"8388607TiB":          8388607 << 40,
		"9223372036854775807": math.MaxInt64,
	} {
		got, err := ParseByteSize(text)
		if err != nil || got != want {
			t.Errorf("%q: %d, %v, want %d", text, got, err, want)
		}
		if again, err := ParseByteSize(got.String()); err != nil || again != got {
			t.Errorf("%q is written %q, which is %d, %v", text, got, again, err)
		}
	}
}

func TestParseByteSizeErrors(t *testing.T) {
	const form = "want a whole number and a unit, such as 512MB or 1GiB, or 0"
	for text, want := range map[string]string{
		"":                    form,
		"MB":                  form,
		"-1MB":                form,
		"+1MB":                form,
		"1.5GiB":              form,
		"1G":                  form,
		"1 0MB":               form,
		"0x10":                form,
		"1PiB":                form,
		"8388608TiB":          "want at most 8388607TiB",
		"9223372036854775808": form,
	} {
		got, err := ParseByteSize(text)
		if err == nil || err.Error() != `parse size "`+text+`": `+want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
}

func TestByteSizeString(t *testing.T) {
	for size, want := range map[ByteSize]string{
		0:           "0",
		1:           "1B",
		1000:        "1KB",
		1024:        "1KiB",
		1025:        "1025B",
		1 << 30:     "1GiB",
		512_000_000: "512MB",
		1 << 50:     "1024TiB",
	} {
		if got := size.String(); got != want {
			t.Errorf("%d: %q, want %q", int64(size), got, want)
		}
	}
}
