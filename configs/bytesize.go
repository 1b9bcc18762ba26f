package configs

import (
	"math"
	"strconv"
	"strings"
)

// ByteSize is a number of bytes, 0 or more.
type ByteSize int64

// byteUnits lists the units of a ByteSize, largest first.
var byteUnits = []struct {
	name  string
	bytes ByteSize
}{
	{"TiB", 1 << 40},
	{"TB", 1e12},
	{"GiB", 1 << 30},
	{"GB", 1e9},
	{"MiB", 1 << 20},
	{"MB", 1e6},
	{"KiB", 1 << 10},
	{"KB", 1e3},
	{"B", 1},
}

const wantSize = "a whole number and a unit, such as 512MB or 1GiB, or 0"

// ParseByteSize reads a whole number followed by B, KB, MB, GB, TB (powers of
// 1000) or KiB, MiB, GiB, TiB (powers of 1024), in either case, or a plain
// number of bytes. The size must fit an int64.
func ParseByteSize(text string) (ByteSize, error) {
	digits := strings.TrimRight(text, "bBiIkKmMgGtT ")
	unit, ok := byteUnit(strings.TrimSpace(text[len(digits):]))
	if !ok {
		return 0, wrongValue("size", text, wantSize)
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil {
		return 0, wrongValue("size", text, wantSize)
	}
	if ByteSize(n) > math.MaxInt64/unit {
		return 0, wrongValue("size", text, "at most 8388607TiB")
	}
	return ByteSize(n) * unit, nil
}

func byteUnit(name string) (ByteSize, bool) {
	if name == "" {
		return 1, true
	}
	for _, u := range byteUnits {
		if strings.EqualFold(u.name, name) {
			return u.bytes, true
		}
	}
	return 0, false
}

// String returns b in the largest unit that divides it, or "0". It is the
// inverse of ParseByteSize.
func (b ByteSize) String() string {
	for _, u := range byteUnits {
		if b != 0 && b%u.bytes == 0 {
			return strconv.FormatInt(int64(b/u.bytes), 10) + u.name
		}
	}
	return "0"
}
