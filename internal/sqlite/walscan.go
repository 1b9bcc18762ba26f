package sqlite

import (
	"fmt"
	"io"
)

// scanBufferSize is how much of a WAL is read at once: enough to make the
// read call cheap beside the checksum, and to stay in a core's cache.
const scanBufferSize = 256 << 10

// StopReason says why a [WALScanner] does not go on.
type StopReason uint8

// Stop reasons.
const (
	StopNone     StopReason = iota // it does go on
	StopLimit                      // the limit is reached
	StopShort                      // the file ends before the end of a frame
	StopSalt                       // a frame of an earlier WAL
	StopPgno                       // page number 0
	StopChecksum                   // a frame that was not written whole, or is damaged
	StopError                      // an I/O error; see Err
)

// String names the reason for logs.
func (r StopReason) String() string {
	names := [...]string{"none", "limit", "short", "salt", "pgno", "checksum", "error"}
	if int(r) < len(names) {
		return names[r]
	}
	return "unknown"
}

// WALFrame is a valid frame that a [WALScanner] came to.
type WALFrame struct {
	Frame  uint32 // its number
	Pgno   uint32
	Commit uint32 // page count after the transaction; 0 if this is not a commit frame
}

// WALScanner walks the valid frames of a WAL from a cursor on. A frame is
// valid if it has the cursor's salts, a page number, and the checksum that
// continues the cursor's (fileformat2 section 4.1; wal.c walDecodeFrame).
//
//	s := NewWALScanner(file, cursor, limit)
//	for s.Next() {
//		use s.Frame() and s.Page()
//	}
//	err := s.Err()
//
// Valid is not committed: frames behind the last commit frame belong to a
// transaction that has not ended, and a writer may still overwrite them in
// place. Even a commit frame is not published before the wal-index says so,
// since its writer may die between the two; the limit should therefore be the
// wal-index's mxFrame where there is one.
//
// A scanner allocates when it is made, and when Reset brings larger pages;
// never for a frame.
type WALScanner struct {
	r       io.ReaderAt
	cursor  WALCursor
	limit   uint32
	buf     []byte // whole frames
	pending []byte // read and not yet looked at
	frame   WALFrame
	page    []byte
	commit  WALCursor // behind the last commit frame
	count   uint32    // page count it states, 0 before there is one
	stop    StopReason
	err     error
}

// NewWALScanner returns a scanner for the frames after cursor, up to and
// including number limit. The cursor's page size must be valid.
func NewWALScanner(r io.ReaderAt, cursor WALCursor, limit uint32) *WALScanner {
	s := &WALScanner{r: r}
	s.Reset(cursor, limit)
	return s
}

// Reset makes the scanner start anew, with its buffer, from another cursor.
func (s *WALScanner) Reset(cursor WALCursor, limit uint32) {
	*s = WALScanner{r: s.r, cursor: cursor, limit: limit, buf: s.buf}
	if !ValidPageSize(cursor.PageSize) {
		s.stop, s.err = StopError, fmt.Errorf("scan WAL: page size %d", cursor.PageSize)
		return
	}
	size := int(walFrameSize(cursor.PageSize))
	size *= max(1, scanBufferSize/size)
	if cap(s.buf) < size {
		s.buf = make([]byte, size)
	}
	s.buf = s.buf[:size]
}

// Next advances to the next valid frame. It returns false when there is none,
// for the reason that Stop gives.
func (s *WALScanner) Next() bool {
	if s.stop != StopNone {
		return false
	}
	if s.cursor.Frame >= s.limit {
		return s.stopAt(StopLimit)
	}
	if len(s.pending) == 0 && !s.fill() {
		return false
	}
	size := int(walFrameSize(s.cursor.PageSize))
	h, page := ParseWALFrameHeader(s.pending), s.pending[WALFrameHeaderSize:size]
	s.pending = s.pending[size:]
	switch want, next := s.cursor.next(h.Pgno, h.Commit, page); {
	case h.Salt != s.cursor.Salt:
		return s.stopAt(StopSalt)
	case h.Pgno == 0:
		return s.stopAt(StopPgno)
	case h.Checksum != want.Checksum:
		return s.stopAt(StopChecksum)
	default:
		s.cursor = next
	}
	s.frame = WALFrame{Frame: s.cursor.Frame, Pgno: h.Pgno, Commit: h.Commit}
	s.page = page
	if h.Commit != 0 {
		s.commit, s.count = s.cursor, h.Commit
	}
	return true
}

// Frame returns the current frame.
func (s *WALScanner) Frame() WALFrame { return s.frame }

// Page returns the page of the current frame. It is valid until the next call
// of Next or Reset.
func (s *WALScanner) Page() []byte { return s.page }

// Cursor returns the cursor behind the last valid frame.
func (s *WALScanner) Cursor() WALCursor { return s.cursor }

// Commit returns the cursor behind the last commit frame the scan came to, and
// the page count that it states: 0 if there was no commit frame.
func (s *WALScanner) Commit() (WALCursor, uint32) { return s.commit, s.count }

// Stop returns why Next returned false.
func (s *WALScanner) Stop() StopReason { return s.stop }

// Err returns the I/O error that ended the scan, if one did. An invalid frame
// is not an error.
func (s *WALScanner) Err() error { return s.err }

func (s *WALScanner) stopAt(reason StopReason) bool {
	s.stop = reason
	s.page = nil
	return false
}

// fill reads the next frames, no further than the limit.
func (s *WALScanner) fill() bool {
	size := walFrameSize(s.cursor.PageSize)
	want := min(int64(len(s.buf)), int64(s.limit-s.cursor.Frame)*size)
	n, err := readFullAt(s.r, s.buf[:want], s.cursor.Offset())
	if err != nil && !isShort(err) {
		s.err = fmt.Errorf("read WAL from frame %d: %w", s.cursor.Frame+1, err)
		return s.stopAt(StopError)
	}
	s.pending = s.buf[:int64(n)/size*size]
	if len(s.pending) == 0 {
		return s.stopAt(StopShort)
	}
	return true
}
