package sqlite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Sizes of the WAL format in bytes (fileformat2 section 4).
const (
	WALHeaderSize      = 32
	WALFrameHeaderSize = 24
)

const (
	walMagic   = 0x377f0682 // the lowest bit set: big-endian checksums
	walVersion = 3007000    // wal.c WAL_MAX_VERSION and WALINDEX_MAX_VERSION
)

var (
	// ErrWALHeader is returned where a WAL holds no valid header. SQLite
	// treats such a WAL as empty.
	ErrWALHeader = errors.New("no valid WAL header")

	// ErrWALVersion is returned for a valid WAL or wal-index of a version
	// that is not known. SQLite refuses to open such a database.
	ErrWALVersion = errors.New("unknown WAL version")
)

// Salt is the pair of numbers that ties frames to a WAL header (fileformat2
// section 4.1). The numbers are the big-endian values of the WAL's bytes.
type Salt [2]uint32

// WALHeader is the header of a WAL (fileformat2 section 4.1).
type WALHeader struct {
	BigEndian bool   // byte order of the words that checksums sum up
	PageSize  uint32 // bytes
	Sequence  uint32 // checkpoint sequence number
	Salt      Salt
}

// ParseWALHeader parses and verifies the first [WALHeaderSize] bytes of b. The
// error is [ErrWALHeader] or [ErrWALVersion], wrapped with what is wrong.
// (wal.c walIndexRecover)
func ParseWALHeader(b []byte) (WALHeader, error) {
	if len(b) < WALHeaderSize {
		return WALHeader{}, fmt.Errorf("parse WAL header: %w: %d bytes of %d", ErrWALHeader, len(b), WALHeaderSize)
	}
	magic, version := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	h := WALHeader{
		BigEndian: magic&1 != 0,
		PageSize:  binary.BigEndian.Uint32(b[8:]),
		Sequence:  binary.BigEndian.Uint32(b[12:]),
		Salt:      decodeSalt(b[16:]),
	}
	switch {
	case magic&^1 != walMagic:
		return WALHeader{}, fmt.Errorf("parse WAL header: %w: magic number %#08x", ErrWALHeader, magic)
	case !ValidPageSize(h.PageSize):
		return WALHeader{}, fmt.Errorf("parse WAL header: %w: page size %d", ErrWALHeader, h.PageSize)
	case Checksum{}.Update(h.BigEndian, b[:24]) != decodeChecksum(b[24:]):
		return WALHeader{}, fmt.Errorf("parse WAL header: %w: checksum", ErrWALHeader)
	case version != walVersion:
		return WALHeader{}, fmt.Errorf("parse WAL header: %w: %d", ErrWALVersion, version)
	}
	return h, nil
}

// ReadWALHeader reads the header of a WAL. A WAL that is too short for one
// gives [ErrWALHeader]; see [ParseWALHeader] for the other errors.
func ReadWALHeader(r io.ReaderAt) (WALHeader, error) {
	b := make([]byte, WALHeaderSize)
	n, err := readFullAt(r, b, 0)
	if err != nil && !isShort(err) {
		return WALHeader{}, fmt.Errorf("read WAL header: %w", err)
	}
	return ParseWALHeader(b[:n])
}

// AppendTo appends the encoded header, checksum included, to b.
// (wal.c walFrames)
func (h WALHeader) AppendTo(b []byte) []byte {
	start := len(b)
	magic := uint32(walMagic)
	if h.BigEndian {
		magic |= 1
	}
	b = binary.BigEndian.AppendUint32(b, magic)
	b = binary.BigEndian.AppendUint32(b, walVersion)
	b = binary.BigEndian.AppendUint32(b, h.PageSize)
	b = binary.BigEndian.AppendUint32(b, h.Sequence)
	b = appendPair(b, h.Salt)
	return appendPair(b, Checksum{}.Update(h.BigEndian, b[start:]))
}

// Next returns the header of the WAL after a restart: the sequence and the
// first salt advanced by 1, the second salt replaced by a random number.
// (fileformat2 section 4.4; wal.c walRestartHdr)
func (h WALHeader) Next(random uint32) WALHeader {
	h.Sequence++
	h.Salt = h.Salt.next(random)
	return h
}

// Start returns the cursor in front of frame 1.
func (h WALHeader) Start() WALCursor {
	var b [WALHeaderSize]byte
	return WALCursor{
		BigEndian: h.BigEndian,
		PageSize:  h.PageSize,
		Salt:      h.Salt,
		Checksum:  decodeChecksum(h.AppendTo(b[:0])[24:]),
	}
}

// WALFrameHeader is the header of a frame (fileformat2 section 4.1).
type WALFrameHeader struct {
	Pgno     uint32
	Commit   uint32 // page count after the transaction; 0 if this is not a commit frame
	Salt     Salt
	Checksum Checksum
}

// ParseWALFrameHeader decodes the first [WALFrameHeaderSize] bytes of b, which
// must be there. What it says is true only if a [WALScanner] reaches the frame.
func ParseWALFrameHeader(b []byte) WALFrameHeader {
	return WALFrameHeader{
		Pgno:     binary.BigEndian.Uint32(b),
		Commit:   binary.BigEndian.Uint32(b[4:]),
		Salt:     decodeSalt(b[8:]),
		Checksum: decodeChecksum(b[16:]),
	}
}

// AppendTo appends the encoded frame header to b. (wal.c walEncodeFrame)
func (h WALFrameHeader) AppendTo(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, h.Pgno)
	b = binary.BigEndian.AppendUint32(b, h.Commit)
	b = appendPair(b, h.Salt)
	return appendPair(b, h.Checksum)
}

// WALFrameOffset returns the offset of a frame's header in a WAL; the page
// follows [WALFrameHeaderSize] bytes later. The frame is at least 1.
// (wal.c walFrameOffset)
func WALFrameOffset(frame, pageSize uint32) int64 {
	return WALHeaderSize + (int64(frame)-1)*walFrameSize(pageSize)
}

// WALFrames returns how many whole frames a WAL of size bytes has room for.
func WALFrames(size int64, pageSize uint32) uint32 {
	return uint32(min(max(0, size-WALHeaderSize)/walFrameSize(pageSize), 1<<32-1))
}

func walFrameSize(pageSize uint32) int64 { return WALFrameHeaderSize + int64(pageSize) }

// WALCursor is a place in a WAL: right behind Frame, or behind the header if
// Frame is 0. It has all that is needed to verify, or to write, the next
// frame. Cursors can be compared with ==.
type WALCursor struct {
	BigEndian bool   // byte order of checksums
	PageSize  uint32 // bytes
	Salt      Salt
	Frame     uint32
	Checksum  Checksum // of Frame, or of the header
}

// Offset returns the offset of the next frame.
func (c WALCursor) Offset() int64 { return WALFrameOffset(c.Frame+1, c.PageSize) }

// Holds reports whether the WAL still holds what the cursor stands behind: a
// header with its salts, and at Frame a frame header with its salts and its
// checksum. If it does, all frames up to the cursor are what they were, unless
// the file was damaged. A WAL that is too short does not hold it.
func (c WALCursor) Holds(r io.ReaderAt) (bool, error) {
	h, err := ReadWALHeader(r)
	if errors.Is(err, ErrWALHeader) || errors.Is(err, ErrWALVersion) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	if start := h.Start(); c.Frame == 0 || start.Salt != c.Salt || start.PageSize != c.PageSize || start.BigEndian != c.BigEndian {
		return start == c, nil
	}
	b := make([]byte, WALFrameHeaderSize)
	if _, err := readFullAt(r, b, WALFrameOffset(c.Frame, c.PageSize)); isShort(err) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("read header of WAL frame %d: %w", c.Frame, err)
	}
	f := ParseWALFrameHeader(b)
	return f.Salt == c.Salt && f.Checksum == c.Checksum, nil
}

// next returns the header of the frame that follows the cursor, and the cursor
// behind it. (wal.c walEncodeFrame)
func (c WALCursor) next(pgno, commit uint32, page []byte) (WALFrameHeader, WALCursor) {
	var head [8]byte
	binary.BigEndian.PutUint32(head[:], pgno)
	binary.BigEndian.PutUint32(head[4:], commit)
	c.Frame++
	c.Checksum = c.Checksum.Update(c.BigEndian, head[:]).Update(c.BigEndian, page)
	return WALFrameHeader{Pgno: pgno, Commit: commit, Salt: c.Salt, Checksum: c.Checksum}, c
}

func (s Salt) next(random uint32) Salt { return Salt{s[0] + 1, random} }

func decodeSalt(b []byte) Salt {
	return Salt{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])}
}

func decodeChecksum(b []byte) Checksum {
	return Checksum{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])}
}

func appendPair[T Salt | Checksum](b []byte, pair T) []byte {
	v := [2]uint32(pair)
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, v[0]), v[1])
}
