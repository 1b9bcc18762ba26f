package ltx

import (
	"encoding/binary"
	"fmt"
	"io"
)

const (
	// maxIndexEntry bounds the length of one entry of a page index: 5 bytes of
	// page number, 7 of offset (2^32 pages of 64 KiB) and 3 of length.
	maxIndexEntry = 15

	// indexLengthSize is the length of the field that ends a page index.
	indexLengthSize = 8

	// The entries are kept in pieces, the first of minIndexChunk bytes, each of
	// the next maxIndexDoublings twice as long as the one before it.
	minIndexChunk     = 4 << 10
	maxIndexDoublings = 8
)

// appendIndexEntry appends the entry of one page frame to a page index.
func appendIndexEntry(b []byte, pgno uint32, offset, size int64) []byte {
	b = binary.AppendUvarint(b, uint64(pgno))
	b = binary.AppendUvarint(b, uint64(offset))
	return binary.AppendUvarint(b, uint64(size))
}

// appendIndexEnd appends what follows the entries, which are size bytes long.
func appendIndexEnd(b []byte, size int64) []byte {
	b = append(b, 0)
	return binary.BigEndian.AppendUint64(b, uint64(size)+1)
}

// packedIndex holds the entries of a page index as they go to disk. Its pieces
// are never moved, so that growing costs neither time nor twice the memory.
type packedIndex struct {
	chunks [][]byte
	size   int64
}

// add appends an entry.
func (x *packedIndex) add(pgno uint32, offset, size int64) {
	last := len(x.chunks) - 1
	if last < 0 || cap(x.chunks[last])-len(x.chunks[last]) < maxIndexEntry {
		last++
		x.chunks = append(x.chunks, make([]byte, 0, minIndexChunk<<min(last, maxIndexDoublings)))
	}
	before := len(x.chunks[last])
	x.chunks[last] = appendIndexEntry(x.chunks[last], pgno, offset, size)
	x.size += int64(len(x.chunks[last]) - before)
}

// reset removes all entries. It keeps as much memory as a small file needs.
func (x *packedIndex) reset() {
	clear(x.chunks[min(1, len(x.chunks)):])
	x.chunks = x.chunks[:min(1, len(x.chunks))]
	if len(x.chunks) > 0 {
		x.chunks[0] = x.chunks[0][:0]
	}
	x.size = 0
}

// readUvarint reads an unsigned LEB128 number in its shortest form. An error
// that wraps ErrInvalidIndex means that there is none, any other error is r's.
func readUvarint(r io.ByteReader) (uint64, error) {
	var v uint64
	for shift := 0; ; shift += 7 {
		b, err := r.ReadByte()
		if err != nil {
			return 0, err
		}
		if shift == 63 && b > 1 {
			return 0, fmt.Errorf("%w: number of more than 64 bits", ErrInvalidIndex)
		}
		v |= uint64(b&0x7f) << shift
		if b >= 0x80 {
			continue
		}
		if b == 0 && shift > 0 {
			return 0, fmt.Errorf("%w: number %d not in its shortest form", ErrInvalidIndex, v)
		}
		return v, nil
	}
}
