package ltx

import "fmt"

// posSize is the length of a position in text.
const posSize = hexSize + 1 + hexSize

// Pos is the state of a database: the last transaction in it and the database
// checksum after that transaction. Two copies of a database are equal exactly
// when their positions are. The zero Pos is a database that has had no
// transaction. Its text and JSON form is "TXID/CHECKSUM", 33 characters.
type Pos struct {
	TXID              TXID
	PostApplyChecksum Checksum
}

// ParsePos parses exactly 16 hex digits, a slash and 16 hex digits; the digits
// are lower-case.
func ParsePos(s string) (Pos, error) {
	if len(s) != posSize {
		return Pos{}, fmt.Errorf("parse position: %d characters instead of %d", len(s), posSize)
	}
	if s[hexSize] != '/' {
		return Pos{}, fmt.Errorf("parse position: %q instead of a slash", s[hexSize])
	}
	txid, err := ParseTXID(s[:hexSize])
	if err != nil {
		return Pos{}, fmt.Errorf("parse position: %w", err)
	}
	sum, err := ParseChecksum(s[hexSize+1:])
	if err != nil {
		return Pos{}, fmt.Errorf("parse position: %w", err)
	}
	return Pos{TXID: txid, PostApplyChecksum: sum}, nil
}

// IsZero reports whether p is the position of a database without transactions.
func (p Pos) IsZero() bool { return p == Pos{} }

// String returns "TXID/CHECKSUM".
func (p Pos) String() string { return string(p.appendText(nil)) }

// MarshalText implements encoding.TextMarshaler with the form of String.
func (p Pos) MarshalText() ([]byte, error) { return p.appendText(nil), nil }

// UnmarshalText implements encoding.TextUnmarshaler with the rules of ParsePos.
func (p *Pos) UnmarshalText(text []byte) error {
	v, err := ParsePos(string(text))
	if err != nil {
		return err
	}
	*p = v
	return nil
}

func (p Pos) appendText(b []byte) []byte {
	b = appendHex(b, uint64(p.TXID))
	b = append(b, '/')
	return appendHex(b, uint64(p.PostApplyChecksum))
}
