package sqlite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// WALIndexHeaderSize is the size in bytes of all that precedes the first index
// block: two header copies and the checkpoint information (walformat section
// 2.1).
const WALIndexHeaderSize = 136

const (
	walIndexCopySize  = 48 // wal.c WalIndexHdr
	walIndexSumOffset = 40 // of the checksum in a copy
)

var (
	// ErrWALIndexTorn is returned when a writer was at work in between two
	// reads that must agree. Read again. If the state lasts while the caller
	// holds WALWriteLock, no writer is at work: treat it as
	// ErrWALIndexInvalid.
	ErrWALIndexTorn = errors.New("wal-index is being written")

	// ErrWALIndexInvalid is returned for a wal-index that is missing, not
	// initialized, or damaged. Whoever can take the locks for it rebuilds it
	// from the WAL ([WALIndexWriter.Rebuild]).
	ErrWALIndexInvalid = errors.New("wal-index is not valid")
)

// SharedMemory is the wal-index file. It is read and written by position and
// never mapped; the package comment says why. WriteAt past the end extends it.
type SharedMemory interface {
	io.ReaderAt
	io.WriterAt
}

// WALIndexHeader is the wal-index header: what writers publish (walformat
// section 2.1; wal.c WalIndexHdr). Readers take any difference from
// the header they know as a change of the database.
type WALIndexHeader struct {
	Change        uint32 // advanced by every transaction; 0 after a rebuild
	BigEndian     bool   // byte order of the WAL's checksums
	PageSize      uint32 // bytes; 0 until there is a frame
	MaxFrame      uint32 // mxFrame; 0 if the WAL is empty
	PageCount     uint32 // of the database at MaxFrame
	FrameChecksum Checksum
	Salt          Salt // of the WAL header, if MaxFrame is not 0
}

// Cursor returns the cursor at MaxFrame. It is false for an empty WAL, whose
// first writer begins with a WAL header of its own. (wal.c walFrames)
func (h WALIndexHeader) Cursor() (WALCursor, bool) {
	return WALCursor{
		BigEndian: h.BigEndian,
		PageSize:  h.PageSize,
		Salt:      h.Salt,
		Frame:     h.MaxFrame,
		Checksum:  h.FrameChecksum,
	}, h.MaxFrame != 0
}

// Commit returns the header that publishes the transaction whose commit frame
// lies in front of cursor and states pageCount. (wal.c walFrames)
func (h WALIndexHeader) Commit(cursor WALCursor, pageCount uint32) WALIndexHeader {
	return WALIndexHeader{
		Change:        h.Change + 1,
		BigEndian:     cursor.BigEndian,
		PageSize:      cursor.PageSize,
		MaxFrame:      cursor.Frame,
		PageCount:     pageCount,
		FrameChecksum: cursor.Checksum,
		Salt:          cursor.Salt,
	}
}

// appendTo appends one encoded copy, checksum included. (wal.c walIndexWriteHdr)
func (h WALIndexHeader) appendTo(b []byte) []byte {
	start := len(b)
	b = binary.NativeEndian.AppendUint32(b, walVersion)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = binary.NativeEndian.AppendUint32(b, h.Change)
	b = append(b, 1, 0)
	if h.BigEndian {
		b[len(b)-1] = 1
	}
	b = binary.NativeEndian.AppendUint16(b, encodePageSize(h.PageSize))
	b = binary.NativeEndian.AppendUint32(b, h.MaxFrame)
	b = binary.NativeEndian.AppendUint32(b, h.PageCount)
	b = appendNativePair(b, h.FrameChecksum)
	b = appendPair(b, h.Salt) // copied from the WAL as bytes
	return appendNativePair(b, Checksum{}.Update(nativeBigEndian, b[start:]))
}

// parseWALIndexHeader decodes two copies. (wal.c walIndexTryHdr)
func parseWALIndexHeader(b []byte) (WALIndexHeader, error) {
	one, two := b[:walIndexCopySize], b[walIndexCopySize:2*walIndexCopySize]
	u32 := func(off int) uint32 { return binary.NativeEndian.Uint32(one[off:]) }
	h := WALIndexHeader{
		Change:        u32(8),
		BigEndian:     one[13] != 0,
		PageSize:      decodePageSize(binary.NativeEndian.Uint16(one[14:])),
		MaxFrame:      u32(16),
		PageCount:     u32(20),
		FrameChecksum: Checksum{u32(24), u32(28)},
		Salt:          decodeSalt(one[32:]),
	}
	sum := Checksum{}.Update(nativeBigEndian, one[:walIndexSumOffset])
	switch {
	case string(one) != string(two):
		return WALIndexHeader{}, ErrWALIndexTorn
	case one[12] == 0:
		return WALIndexHeader{}, fmt.Errorf("%w: not initialized", ErrWALIndexInvalid)
	case sum != Checksum{u32(walIndexSumOffset), u32(walIndexSumOffset + 4)}:
		return WALIndexHeader{}, fmt.Errorf("%w: header checksum", ErrWALIndexInvalid)
	case u32(0) != walVersion:
		return WALIndexHeader{}, fmt.Errorf("%w: wal-index %d", ErrWALVersion, u32(0))
	case h.MaxFrame != 0 && !ValidPageSize(h.PageSize):
		return WALIndexHeader{}, fmt.Errorf("%w: page size %d", ErrWALIndexInvalid, h.PageSize)
	}
	return h, nil
}

// WALIndex reads the wal-index, and writes those of its fields that have a
// meaning of their own. It keeps nothing but scratch space, so it is always up
// to date; one goroutine at a time may use it, and any number may exist for
// the same file.
type WALIndex struct {
	shm     SharedMemory
	scratch [indexPgnoBytes]byte
}

// NewWALIndex returns a WALIndex for an open wal-index file.
func NewWALIndex(shm SharedMemory) *WALIndex { return &WALIndex{shm: shm} }

// Header reads the header. Beside an I/O error it returns [ErrWALIndexTorn],
// [ErrWALIndexInvalid] (also for a file too short to have a header) or
// [ErrWALVersion].
//
// Both copies come from one ReadAt. A writer writes copy two before copy one,
// so whatever order the bytes are copied in here, two equal copies with a
// right checksum are a header that was published. (wal.c walIndexTryHdr)
func (x *WALIndex) Header() (WALIndexHeader, error) {
	b := x.scratch[:2*walIndexCopySize]
	if err := x.read(b, 0); err != nil {
		return WALIndexHeader{}, fmt.Errorf("read wal-index header: %w", err)
	}
	h, err := parseWALIndexHeader(b)
	if err != nil {
		return WALIndexHeader{}, fmt.Errorf("read wal-index header: %w", err)
	}
	return h, nil
}

// WriteHeader publishes a header: copy two first, then copy one, each in a
// WriteAt of its own. The caller holds WALWriteLock. (wal.c walIndexWriteHdr)
func (x *WALIndex) WriteHeader(h WALIndexHeader) error {
	b := h.appendTo(x.scratch[:0])
	for _, off := range []int64{walIndexCopySize, 0} {
		if _, err := x.shm.WriteAt(b, off); err != nil {
			return fmt.Errorf("write wal-index header: %w", err)
		}
	}
	return nil
}

// read fills b from the wal-index at off. That the file is shorter makes the
// wal-index invalid.
func (x *WALIndex) read(b []byte, off int64) error {
	if _, err := readFullAt(x.shm, b, off); isShort(err) {
		return fmt.Errorf("%w: shorter than %d bytes", ErrWALIndexInvalid, off+int64(len(b)))
	} else if err != nil {
		return err
	}
	return nil
}

func appendNativePair(b []byte, c Checksum) []byte {
	return binary.NativeEndian.AppendUint32(binary.NativeEndian.AppendUint32(b, c[0]), c[1])
}
