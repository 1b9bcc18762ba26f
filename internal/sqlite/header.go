package sqlite

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Facts of the database header (fileformat2 section 1.3). Sizes and offsets
// are in bytes.
const (
	DatabaseHeaderString = "SQLite format 3\x00"
	DatabaseHeaderSize   = 100
	DatabaseSizeOffset   = 28 // of the page count

	MinPageSize = 512
	MaxPageSize = 65536
)

// minUsableSize is the least number of bytes a page has left beside its
// reserved bytes (fileformat2 section 1.3.4).
const minUsableSize = 480

// ErrNotDatabase is returned for bytes that are not the header of a database
// that SQLite would open.
var ErrNotDatabase = errors.New("not a SQLite database")

// FormatVersion is the write or read version of a database: the journal mode
// that a writer or a reader must be able to handle (fileformat2 section 1.3.3).
type FormatVersion uint8

// Format versions.
const (
	VersionRollback FormatVersion = 1
	VersionWAL      FormatVersion = 2
)

// DatabaseHeader is the part of the database header that says how to treat
// the file (fileformat2 section 1.3). It has been validated as SQLite's
// btree.c lockBtree does.
type DatabaseHeader struct {
	PageSize      uint32 // bytes
	WriteVersion  FormatVersion
	ReadVersion   FormatVersion // 1 or 2, or 0 as SQLite tolerates it
	ReservedBytes uint8         // at the end of each page

	ChangeCounter   uint32
	StatedPageCount uint32 // use PageCount, which knows when it is valid
	SchemaCookie    uint32
	LargestRootPage uint32 // not 0 with auto-vacuum
	UserVersion     uint32
	Incremental     bool // incremental vacuum; only with auto-vacuum
	ApplicationID   uint32
	VersionValidFor uint32 // change counter that StatedPageCount belongs to
	LibraryVersion  uint32 // SQLITE_VERSION_NUMBER of the last writer
}

// ValidPageSize reports whether n is a page size: a power of two from 512 to
// 65536 (fileformat2 section 1.3.2).
func ValidPageSize(n uint32) bool {
	return n >= MinPageSize && n <= MaxPageSize && n&(n-1) == 0
}

// IsDatabase reports whether b, the first bytes of a file, starts a database.
// It is false if b is shorter than [DatabaseHeaderSize]; an empty file, which
// SQLite takes as an empty database, is for the caller to decide on.
// (btree.c lockBtree)
func IsDatabase(b []byte) bool {
	_, err := ParseDatabaseHeader(b)
	return err == nil
}

// ParseDatabaseHeader parses and validates the first [DatabaseHeaderSize]
// bytes of b. The error is [ErrNotDatabase], wrapped with what is wrong.
// (fileformat2 section 1.3; btree.c lockBtree)
func ParseDatabaseHeader(b []byte) (DatabaseHeader, error) {
	if len(b) < DatabaseHeaderSize {
		return DatabaseHeader{}, fmt.Errorf("parse database header: %w: %d bytes of %d", ErrNotDatabase, len(b), DatabaseHeaderSize)
	}
	u32 := func(off int) uint32 { return binary.BigEndian.Uint32(b[off:]) }
	h := DatabaseHeader{
		PageSize:        decodePageSize(binary.BigEndian.Uint16(b[16:])),
		WriteVersion:    FormatVersion(b[18]),
		ReadVersion:     FormatVersion(b[19]),
		ReservedBytes:   b[20],
		ChangeCounter:   u32(24),
		StatedPageCount: u32(DatabaseSizeOffset),
		SchemaCookie:    u32(40),
		LargestRootPage: u32(52),
		UserVersion:     u32(60),
		Incremental:     u32(64) != 0,
		ApplicationID:   u32(68),
		VersionValidFor: u32(92),
		LibraryVersion:  u32(96),
	}
	var wrong string
	switch {
	case string(b[:16]) != DatabaseHeaderString:
		wrong = "header string"
	case !ValidPageSize(h.PageSize):
		wrong = "page size"
	case h.ReadVersion > VersionWAL:
		wrong = "read version"
	case b[21] != 64 || b[22] != 32 || b[23] != 32:
		wrong = "payload fractions"
	case h.PageSize-uint32(h.ReservedBytes) < minUsableSize:
		wrong = "reserved bytes"
	default:
		return h, nil
	}
	return DatabaseHeader{}, fmt.Errorf("parse database header: %w: %s", ErrNotDatabase, wrong)
}

// WAL reports whether SQLite opens the database with a write-ahead log. It
// goes by the read version, as btree.c lockBtree does.
func (h DatabaseHeader) WAL() bool { return h.ReadVersion == VersionWAL }

// AutoVacuum reports whether the database is in full or incremental
// auto-vacuum mode (fileformat2 section 1.3.12).
func (h DatabaseHeader) AutoVacuum() bool { return h.LargestRootPage != 0 }

// PageCount returns the size of the database in pages: the stated page count
// if it is valid, else what a file of fileSize bytes holds. A page that the
// file holds in part counts, as in pager.c pagerPagecount. (fileformat2
// section 1.3.7)
func (h DatabaseHeader) PageCount(fileSize int64) uint32 {
	if h.StatedPageCount != 0 && h.ChangeCounter == h.VersionValidFor {
		return h.StatedPageCount
	}
	return uint32((fileSize + int64(h.PageSize) - 1) / int64(h.PageSize))
}

// SetFormatVersion sets both versions in page1, which must hold at least a
// whole header. The caller advances the change counter as for any other
// change. (fileformat2 section 1.3.3; btree.c sqlite3BtreeSetVersion)
func SetFormatVersion(page1 []byte, v FormatVersion) {
	page1[18], page1[19] = byte(v), byte(v)
}

// SetPageCount states the page count in page1, which must hold at least a
// whole header. (fileformat2 section 1.3.7)
func SetPageCount(page1 []byte, n uint32) {
	binary.BigEndian.PutUint32(page1[DatabaseSizeOffset:], n)
}

// SetChangeCounter sets the change counter in page1, which must hold at least
// a whole header, and declares the stated page count valid for it.
// (fileformat2 sections 1.3.6 and 1.3.16; pager.c pager_write_changecounter)
func SetChangeCounter(page1 []byte, n uint32) {
	binary.BigEndian.PutUint32(page1[24:], n)
	binary.BigEndian.PutUint32(page1[92:], n)
}

// decodePageSize returns the page size that a 16-bit field states: 1 stands
// for 65536. The database header (fileformat2 section 1.3.2) and the
// wal-index header (wal.c walPagesize) share this form.
func decodePageSize(n uint16) uint32 {
	if n == 1 {
		return MaxPageSize
	}
	return uint32(n)
}

// encodePageSize is the inverse of decodePageSize.
func encodePageSize(n uint32) uint16 { return uint16(n | n>>16) }
