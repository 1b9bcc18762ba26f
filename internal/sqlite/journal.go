package sqlite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Facts of the rollback journal (fileformat2 section 3; pager.c).
const (
	JournalHeaderString = "\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
	JournalHeaderSize   = 28 // bytes, without the padding to the sector size

	// JournalCountUnknown in JournalHeader.RecordCount says that records
	// follow up to the end of the file. SQLite writes it with
	// synchronous=OFF, where it never returns to fill in the count.
	JournalCountUnknown = 0xffffffff

	minSectorSize = 32
	maxSectorSize = 65536 // pager.c MAX_SECTOR_SIZE
	maxSuperName  = 512   // os_unix.c MAX_PATHNAME

	journalRecordOverhead = 8  // page number and checksum
	superTrailerSize      = 16 // length, checksum, header string
)

// ErrJournalHeader is returned where a journal holds no valid header. SQLite
// takes such a journal as having nothing to roll back: either its header was
// never synced, so the database was not touched either, or it has been zeroed
// at a commit.
var ErrJournalHeader = errors.New("no valid journal header")

// JournalHeader is the header of a journal segment (fileformat2 section 3).
type JournalHeader struct {
	RecordCount  uint32 // or JournalCountUnknown
	Nonce        uint32 // initial value of the record checksums
	InitialPages uint32 // page count before the transaction
	SectorSize   uint32 // bytes, a power of two from 32 to 65536
	PageSize     uint32 // bytes
}

// ParseJournalHeader parses the header of the first segment from at least
// [JournalHeaderSize] bytes. The error is [ErrJournalHeader], wrapped with
// what is wrong. SQLite before 3.5.8 stated no page size; such a header is
// not accepted. (pager.c readJournalHdr)
func ParseJournalHeader(b []byte) (JournalHeader, error) {
	h, ok := parseSegmentHeader(b)
	var wrong string
	switch {
	case !ok:
		wrong = "header string"
	case h.SectorSize < minSectorSize || h.SectorSize > maxSectorSize || h.SectorSize&(h.SectorSize-1) != 0:
		wrong = "sector size"
	case !ValidPageSize(h.PageSize):
		wrong = "page size"
	default:
		return h, nil
	}
	return JournalHeader{}, fmt.Errorf("parse journal header: %w: %s", ErrJournalHeader, wrong)
}

// parseSegmentHeader decodes any segment's header. Only the first one's sector
// and page size have a meaning.
func parseSegmentHeader(b []byte) (JournalHeader, bool) {
	if len(b) < JournalHeaderSize || string(b[:8]) != JournalHeaderString {
		return JournalHeader{}, false
	}
	return JournalHeader{
		RecordCount:  binary.BigEndian.Uint32(b[8:]),
		Nonce:        binary.BigEndian.Uint32(b[12:]),
		InitialPages: binary.BigEndian.Uint32(b[16:]),
		SectorSize:   binary.BigEndian.Uint32(b[20:]),
		PageSize:     binary.BigEndian.Uint32(b[24:]),
	}, true
}

// AppendTo appends the header to b, padded with zeros to the sector size.
// (pager.c writeJournalHdr)
func (h JournalHeader) AppendTo(b []byte) []byte {
	end := len(b) + int(h.SectorSize)
	b = append(b, JournalHeaderString...)
	b = binary.BigEndian.AppendUint32(b, h.RecordCount)
	b = binary.BigEndian.AppendUint32(b, h.Nonce)
	b = binary.BigEndian.AppendUint32(b, h.InitialPages)
	b = binary.BigEndian.AppendUint32(b, h.SectorSize)
	b = binary.BigEndian.AppendUint32(b, h.PageSize)
	return append(b, make([]byte, max(0, end-len(b)))...)
}

// JournalChecksum returns the checksum of a page record: the nonce of its
// segment plus every 200th byte of the page, counted from the end and without
// byte 0. (pager.c pager_cksum)
func JournalChecksum(nonce uint32, page []byte) uint32 {
	for i := len(page) - 200; i > 0; i -= 200 {
		nonce += uint32(page[i])
	}
	return nonce
}

// AppendJournalRecord appends the record that preserves page number pgno.
// (fileformat2 section 3; pager.c pagerAddPageToRollbackJournal)
func AppendJournalRecord(b []byte, nonce, pgno uint32, page []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, pgno)
	b = append(b, page...)
	return binary.BigEndian.AppendUint32(b, JournalChecksum(nonce, page))
}

// AppendSuperJournal appends the record that names the super-journal of a
// transaction over several databases. It must end the journal.
// (pager.c writeSuperJournal)
func AppendSuperJournal(b []byte, pageSize uint32, name string) []byte {
	b = binary.BigEndian.AppendUint32(b, LockPage(pageSize))
	b = append(b, name...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(name)))
	b = binary.BigEndian.AppendUint32(b, superChecksum(name))
	return append(b, JournalHeaderString...)
}

// superChecksum sums the bytes of the name as signed numbers, as the format
// has it.
func superChecksum(name string) uint32 {
	var sum uint32
	for i := range len(name) {
		sum += uint32(int8(name[i]))
	}
	return sum
}

// superChecksumOK also accepts the sum of unsigned bytes: SQLite adds up C
// chars, which are unsigned on arm64.
func superChecksumOK(name string, sum uint32) bool {
	signed, unsigned := superChecksum(name), uint32(0)
	for i := range len(name) {
		unsigned += uint32(name[i])
	}
	return sum == signed || sum == unsigned
}

// ReadSuperJournal returns the name of the super-journal that a journal of
// size bytes ends with, or "" if it names none. If the file of that name no
// longer exists, the transaction has been committed in all its databases and
// the journal must not be played back. (pager.c readSuperJournal)
func ReadSuperJournal(r io.ReaderAt, size int64) (string, error) {
	if size < superTrailerSize {
		return "", nil
	}
	var trailer [superTrailerSize]byte
	if _, err := readFullAt(r, trailer[:], size-superTrailerSize); err != nil {
		return "", fmt.Errorf("read super-journal trailer: %w", err)
	}
	length := binary.BigEndian.Uint32(trailer[:])
	if string(trailer[8:]) != JournalHeaderString || length == 0 || length > maxSuperName || int64(length) > size-superTrailerSize {
		return "", nil
	}
	b := make([]byte, length)
	if _, err := readFullAt(r, b, size-superTrailerSize-int64(length)); err != nil {
		return "", fmt.Errorf("read super-journal name: %w", err)
	}
	if name := string(b); superChecksumOK(name, binary.BigEndian.Uint32(trailer[4:])) && validSuperName(name) {
		return name, nil
	}
	return "", nil
}

// validSuperName reports whether name ends in "-mj", six hexadecimal digits, a
// 9 and two hexadecimal digits. (pager.c pagerIsSuperJrnlName)
func validSuperName(name string) bool {
	n := len(name)
	if n < 12 || name[n-12:n-9] != "-mj" || name[n-3] != '9' {
		return false
	}
	for _, c := range []byte(name[n-9:]) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return true
}
