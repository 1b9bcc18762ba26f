package sqlite

import (
	"encoding/binary"
	"fmt"
	"io"
)

// minFirstHeader is how many bytes a journal needs for SQLite to look for the
// first header in it: before it has read one, SQLite assumes sectors of this
// size (pager.c readJournalHdr, setSectorSize).
const minFirstHeader = 512

// JournalReader yields the pages that a hot journal rolls back, in the order
// of the file, as pager.c pager_playback does in recovery after a crash:
//
//	r, err := NewJournalReader(file, size)
//	for r.Next() {
//		write r.Page() as page r.Pgno()
//	}
//	err = r.Err()
//
// The whole rollback is: nothing at all if the super-journal that
// [ReadSuperJournal] names is gone; else cut or extend the database to
// Header().InitialPages, write the pages, sync, and remove the journal.
//
// What counts as written follows from how SQLite writes (pager.c syncJournal):
// it appends records under a header whose record count is 0, syncs the
// journal, writes the true count, syncs again, and only then touches the
// database. In recovery a count of 0 therefore means that nothing under this
// header is needed. (Only a process that rolls back its own transaction takes
// a last count of 0 as "to the end of the file"; that case does not arise
// here.) A count of [JournalCountUnknown] means up to the end of the file.
//
// The first record that is cut short, has an impossible page number, or fails
// its checksum ends the playback, all later segments included. Records of
// pages past the initial size are passed over. A page may occur more than
// once; writing them in order is right.
type JournalReader struct {
	r      io.ReaderAt
	size   int64
	header JournalHeader // of the first segment

	nonce     uint32 // of the segment being read
	remaining int64  // records left in it
	off       int64  // of the next record
	record    []byte
	err       error
	done      bool
}

// NewJournalReader reads the first header of a journal of size bytes. The
// error is [ErrJournalHeader] if there is nothing to roll back.
// (pager.c readJournalHdr)
func NewJournalReader(r io.ReaderAt, size int64) (*JournalReader, error) {
	if size < minFirstHeader {
		return nil, fmt.Errorf("read journal of %d bytes: %w", size, ErrJournalHeader)
	}
	var b [JournalHeaderSize]byte
	if _, err := readFullAt(r, b[:], 0); err != nil {
		return nil, fmt.Errorf("read journal header: %w", err)
	}
	h, err := ParseJournalHeader(b[:])
	if err != nil {
		return nil, err
	}
	j := &JournalReader{r: r, size: size, header: h, record: make([]byte, h.PageSize+journalRecordOverhead)}
	j.begin(h, 0)
	return j, nil
}

// Header returns the header of the first segment; its initial size, sector
// size and page size hold for the whole journal.
func (j *JournalReader) Header() JournalHeader { return j.header }

// Next advances to the next valid record. It returns false at the end and on
// an I/O error, which Err then returns.
func (j *JournalReader) Next() bool {
	for !j.done {
		if j.remaining == 0 {
			j.nextSegment()
			continue
		}
		if !j.readRecord() {
			j.done = true
			break
		}
		if pgno := j.Pgno(); pgno == 0 || pgno == LockPage(j.header.PageSize) {
			j.done = true
			break
		} else if pgno > j.header.InitialPages {
			continue // SQLite does not even look at its checksum
		}
		sum := binary.BigEndian.Uint32(j.record[len(j.record)-4:])
		if JournalChecksum(j.nonce, j.Page()) != sum {
			j.done = true
			break
		}
		return true
	}
	return false
}

// Pgno returns the page number of the current record.
func (j *JournalReader) Pgno() uint32 { return binary.BigEndian.Uint32(j.record) }

// Page returns the page as it was before the transaction. It is valid until
// the next call of Next.
func (j *JournalReader) Page() []byte { return j.record[4 : len(j.record)-4] }

// Err returns the I/O error that ended the reading, if one did. A journal that
// ends early or has a bad record is not an error.
func (j *JournalReader) Err() error { return j.err }

// begin enters the segment with header h at offset off.
func (j *JournalReader) begin(h JournalHeader, off int64) {
	j.off = off + int64(j.header.SectorSize)
	j.nonce = h.Nonce
	j.remaining = int64(h.RecordCount)
	if h.RecordCount == JournalCountUnknown {
		j.remaining = (j.size - int64(j.header.SectorSize)) / int64(len(j.record))
	}
}

// nextSegment looks for a header at the next multiple of the sector size.
func (j *JournalReader) nextSegment() {
	sector := int64(j.header.SectorSize)
	off := (j.off + sector - 1) / sector * sector
	if off+sector > j.size {
		j.done = true
		return
	}
	var b [JournalHeaderSize]byte
	if _, err := readFullAt(j.r, b[:], off); err != nil {
		j.fail("read journal header", off, err)
		return
	}
	h, ok := parseSegmentHeader(b[:])
	if !ok {
		j.done = true
		return
	}
	j.begin(h, off)
}

// readRecord reads the next record of the segment.
func (j *JournalReader) readRecord() bool {
	if j.off+int64(len(j.record)) > j.size {
		return false
	}
	if _, err := readFullAt(j.r, j.record, j.off); err != nil {
		j.fail("read journal record", j.off, err)
		return false
	}
	j.off += int64(len(j.record))
	j.remaining--
	return true
}

// fail ends the reading. A file shorter than it was said to be ends it like
// any other cut.
func (j *JournalReader) fail(what string, off int64, err error) {
	j.done = true
	if !isShort(err) {
		j.err = fmt.Errorf("%s at %d: %w", what, off, err)
	}
}
