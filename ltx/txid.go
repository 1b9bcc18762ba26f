package ltx

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// hexSize is the length of a 64-bit number in text: always all 16 digits.
const hexSize = 16

// TXID numbers the transactions of a database, from 1. 0 stands for a database
// that has had none. Its text and JSON form is 16 lower-case hex digits.
type TXID uint64

// ParseTXID parses exactly 16 lower-case hex digits.
func ParseTXID(s string) (TXID, error) {
	v, err := parseHex(s)
	if err != nil {
		return 0, fmt.Errorf("parse transaction ID: %w", err)
	}
	return TXID(v), nil
}

// String returns 16 lower-case hex digits.
func (t TXID) String() string { return string(appendHex(nil, uint64(t))) }

// MarshalText implements encoding.TextMarshaler with the form of String.
func (t TXID) MarshalText() ([]byte, error) { return appendHex(nil, uint64(t)), nil }

// UnmarshalText implements encoding.TextUnmarshaler with the rules of ParseTXID.
func (t *TXID) UnmarshalText(text []byte) error {
	v, err := ParseTXID(string(text))
	if err != nil {
		return err
	}
	*t = v
	return nil
}

// appendHex appends v in 16 lower-case hex digits.
func appendHex(b []byte, v uint64) []byte {
	var raw [8]byte
	binary.BigEndian.PutUint64(raw[:], v)
	return hex.AppendEncode(b, raw[:])
}

// parseHex parses exactly 16 lower-case hex digits. One number has one text:
// file names and positions are compared as strings elsewhere.
func parseHex(s string) (uint64, error) {
	if len(s) != hexSize {
		return 0, fmt.Errorf("%d characters instead of %d hex digits", len(s), hexSize)
	}
	var v uint64
	for i := range len(s) {
		var digit byte
		switch c := s[i]; {
		case '0' <= c && c <= '9':
			digit = c - '0'
		case 'a' <= c && c <= 'f':
			digit = c - 'a' + 10
		default:
			return 0, fmt.Errorf("%q is not a lower-case hex digit", c)
		}
		v = v<<4 | uint64(digit)
	}
	return v, nil
}
