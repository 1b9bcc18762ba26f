package ltx

import (
	"encoding/binary"
	"fmt"

	"github.com/pierrec/lz4/v4"
)

const (
	// PageHeaderSize is the length of a page header in bytes.
	PageHeaderSize = 6

	// PageFlagBlock marks a page stored as a 4-byte length and one LZ4 block.
	// A page without it is stored as one LZ4 frame.
	PageFlagBlock uint16 = 1 << 0

	// blockHeaderSize is the length of what stands before an LZ4 block: the
	// page header and the length of the block.
	blockHeaderSize = PageHeaderSize + 4
)

// PageHeader begins a page frame. The layout is in the package comment; the
// zero value stands for the end of the pages.
type PageHeader struct {
	Pgno  uint32 // page number, from 1
	Flags uint16 // 0 or PageFlagBlock
}

// IsZero reports whether h marks the end of the pages.
func (h PageHeader) IsZero() bool { return h == PageHeader{} }

// Validate checks the header of a page. Its error wraps ErrInvalidPage.
func (h PageHeader) Validate() error {
	if h.Pgno == 0 {
		return fmt.Errorf("%w: number 0", ErrInvalidPage)
	}
	if h.Flags&^PageFlagBlock != 0 {
		return fmt.Errorf("%w: unknown flags in %#x of page %d", ErrInvalidPage, h.Flags, h.Pgno)
	}
	return nil
}

// AppendBinary implements encoding.BinaryAppender. It appends PageHeaderSize
// bytes and never fails; it does not validate.
func (h PageHeader) AppendBinary(b []byte) ([]byte, error) {
	b = binary.BigEndian.AppendUint32(b, h.Pgno)
	return binary.BigEndian.AppendUint16(b, h.Flags), nil
}

// MarshalBinary implements encoding.BinaryMarshaler as AppendBinary does.
func (h PageHeader) MarshalBinary() ([]byte, error) {
	return h.AppendBinary(nil)
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler for exactly
// PageHeaderSize bytes; any other length is an error that wraps ErrInvalidPage.
// It does not validate.
func (h *PageHeader) UnmarshalBinary(b []byte) error {
	if len(b) != PageHeaderSize {
		return fmt.Errorf("%w: header of %d bytes instead of %d", ErrInvalidPage, len(b), PageHeaderSize)
	}
	*h = parsePageHeader(b)
	return nil
}

// parsePageHeader decodes PageHeaderSize bytes.
func parsePageHeader(b []byte) PageHeader {
	return PageHeader{Pgno: binary.BigEndian.Uint32(b), Flags: binary.BigEndian.Uint16(b[4:])}
}

// maxFrameSize is the length of the longest page frame that is accepted.
func maxFrameSize(pageSize int) int { return PageHeaderSize + maxLZ4FrameSize(pageSize) }

// putLiterals writes page to dst as an LZ4 block that compresses nothing, a
// single run of literals, and returns the length of the block. dst must have
// room for lz4.CompressBlockBound of the page, which has at least 15 bytes.
func putLiterals(dst, page []byte) int {
	const inToken = 15 // length that the token itself says; the rest follows
	dst[0] = inToken << 4
	n := 1
	rest := len(page) - inToken
	for ; rest >= 255; rest -= 255 {
		dst[n] = 255
		n++
	}
	dst[n] = byte(rest)
	n++
	return n + copy(dst[n:], page)
}

// peeker gives access to the next n bytes of a source without moving past
// them. It returns io.EOF if there are fewer.
type peeker interface {
	Peek(n int) ([]byte, error)
}

// peekFrame returns the whole page frame that comes next in p. The page header
// must have been validated. An error that wraps ErrInvalidPage means that there
// is no such frame, any other error is p's.
func peekFrame(p peeker, hdr PageHeader, pageSize int) ([]byte, error) {
	if hdr.Flags&PageFlagBlock == 0 {
		n, err := peekLZ4Frame(p, PageHeaderSize, maxFrameSize(pageSize))
		if err != nil {
			return nil, err
		}
		return p.Peek(n)
	}
	b, err := p.Peek(blockHeaderSize)
	if err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(b[PageHeaderSize:])
	if bound := lz4.CompressBlockBound(pageSize); int64(n) > int64(bound) {
		return nil, fmt.Errorf("%w: LZ4 block of %d bytes for a page of %d", ErrInvalidPage, n, pageSize)
	}
	return p.Peek(blockHeaderSize + int(n))
}

// expander turns page frames into pages. The zero value is ready for use.
type expander struct {
	frames lz4FrameReader
}

// expand writes to page what frame holds, and returns how many bytes of frame
// count in the file checksum beside the page. The frame must come from
// peekFrame. Its error wraps ErrInvalidPage.
func (x *expander) expand(page, frame []byte, hdr PageHeader) (hashed int, err error) {
	if hdr.Flags&PageFlagBlock == 0 {
		if err := x.frames.expand(page, frame[PageHeaderSize:]); err != nil {
			return 0, fmt.Errorf("%w: expand page %d: %w", ErrInvalidPage, hdr.Pgno, err)
		}
		return PageHeaderSize, nil
	}
	n, err := lz4.UncompressBlock(frame[blockHeaderSize:], page)
	if err != nil {
		return 0, fmt.Errorf("%w: expand page %d: %w", ErrInvalidPage, hdr.Pgno, err)
	}
	if n != len(page) {
		return 0, fmt.Errorf("%w: page %d expands to %d bytes instead of %d", ErrInvalidPage, hdr.Pgno, n, len(page))
	}
	return blockHeaderSize, nil
}
