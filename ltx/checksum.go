package ltx

import (
	"encoding/binary"
	"fmt"
)

// ChecksumFlag is bit 63, set in every stored checksum. On its own it is the
// checksum of a database without pages.
const ChecksumFlag Checksum = 1 << 63

// lockOffset is the byte of a database file at which SQLite takes its locks.
const lockOffset = 0x40000000

// Checksum is a page, database or file checksum. The zero value means that
// there is none; a checksum that is present has ChecksumFlag set. Its text and
// JSON form is 16 lower-case hex digits.
//
// A database checksum is kept up to date with Add and Remove, beginning with
// ChecksumFlag for a database without pages:
//
//	sum = sum.Remove(oldPage).Add(newPage)
type Checksum uint64

// PageChecksum returns the checksum of page number pgno with the content data,
// ChecksumFlag set. The lock page is never part of a database checksum; leaving
// it out is up to the caller.
func PageChecksum(pgno uint32, data []byte) Checksum {
	var prefix [4]byte
	binary.BigEndian.PutUint32(prefix[:], pgno)
	return ChecksumFlag | Checksum(crcUpdate(crcUpdate(0, prefix[:]), data))
}

// Add returns the database checksum c with the page checksum page added.
func (c Checksum) Add(page Checksum) Checksum { return ChecksumFlag | (c ^ page) }

// Remove returns the database checksum c without the page checksum page, which
// must be part of it. As the sum is an XOR, this is the same as Add.
func (c Checksum) Remove(page Checksum) Checksum { return c.Add(page) }

// LockPgno returns the number of the lock page for pages of pageSize bytes,
// which must be a valid page size. SQLite leaves that page unused, and so it
// is never in an LTX file and never in a database checksum.
func LockPgno(pageSize uint32) uint32 { return lockOffset/pageSize + 1 }

// ParseChecksum parses exactly 16 lower-case hex digits.
func ParseChecksum(s string) (Checksum, error) {
	v, err := parseHex(s)
	if err != nil {
		return 0, fmt.Errorf("parse checksum: %w", err)
	}
	return Checksum(v), nil
}

// String returns 16 lower-case hex digits.
func (c Checksum) String() string { return string(appendHex(nil, uint64(c))) }

// MarshalText implements encoding.TextMarshaler with the form of String.
func (c Checksum) MarshalText() ([]byte, error) { return appendHex(nil, uint64(c)), nil }

// UnmarshalText implements encoding.TextUnmarshaler with the rules of
// ParseChecksum.
func (c *Checksum) UnmarshalText(text []byte) error {
	v, err := ParseChecksum(string(text))
	if err != nil {
		return err
	}
	*c = v
	return nil
}
