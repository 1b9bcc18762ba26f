package ltx

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/pierrec/lz4/v4"
)

// The LZ4 frame format, as far as finding the end of a frame needs it: magic
// (4 bytes), FLG, BD, optional content size (8) and dictionary ID (4), header
// checksum (1); blocks, each with its length (4), data and an optional checksum
// (4); a zero length; the content checksum (4). Integers are little-endian.
const (
	lz4Magic = 0x184D2204

	lz4FlagDictID          = 1 << 0
	lz4FlagContentChecksum = 1 << 2
	lz4FlagContentSize     = 1 << 3
	lz4FlagBlockChecksum   = 1 << 4

	lz4StoredBlock = 1 << 31 // in a block's length: the data is not compressed
)

// maxLZ4FrameSize is the length of the longest LZ4 frame that is accepted for a
// page. One block is always shorter; what is over leaves room for the lengths
// and checksums of a page that was written in pieces.
func maxLZ4FrameSize(pageSize int) int { return 2*pageSize + 64 }

// peekLZ4Frame returns how many bytes there are to the end of the LZ4 frame
// that begins at offset start of what p has next, at most limit. It errs as
// peekFrame does.
func peekLZ4Frame(p peeker, start, limit int) (int, error) {
	const fixed = 6 // magic, FLG, BD
	b, err := p.Peek(start + fixed)
	if err != nil {
		return 0, err
	}
	if m := binary.LittleEndian.Uint32(b[start:]); m != lz4Magic {
		return 0, fmt.Errorf("%w: LZ4 frame magic %#x", ErrInvalidPage, m)
	}
	flags := b[start+4]
	if flags&lz4FlagContentChecksum == 0 {
		return 0, fmt.Errorf("%w: LZ4 frame without content checksum", ErrInvalidPage)
	}
	if flags&lz4FlagDictID != 0 {
		return 0, fmt.Errorf("%w: LZ4 frame with dictionary", ErrInvalidPage)
	}
	end := start + fixed + 1
	if flags&lz4FlagContentSize != 0 {
		end += 8
	}
	blockSum := 0
	if flags&lz4FlagBlockChecksum != 0 {
		blockSum = 4
	}
	for {
		b, err := p.Peek(end + 4)
		if err != nil {
			return 0, err
		}
		size := binary.LittleEndian.Uint32(b[end:])
		end += 4
		if size == 0 {
			return end + 4, nil
		}
		// The length field, the zero length and the content checksum are still
		// to come, so a block that does not leave room for them is too long.
		size &^= lz4StoredBlock
		if int64(size) > int64(limit-end-blockSum-8) {
			return 0, fmt.Errorf("%w: LZ4 frame of more than %d bytes", ErrInvalidPage, limit-start)
		}
		end += int(size) + blockSum
	}
}

// lz4FrameReader expands LZ4 frames. The zero value is ready for use.
type lz4FrameReader struct {
	src bytes.Reader
	lz4 *lz4.Reader // made when the first frame comes: few files have any
}

var errLZ4FrameLength = errors.New("LZ4 frame does not hold exactly one page")

// expand writes the content of frame, which must fill it exactly, to page.
func (x *lz4FrameReader) expand(page, frame []byte) error {
	x.src.Reset(frame)
	if x.lz4 == nil {
		x.lz4 = lz4.NewReader(nil)
	}
	x.lz4.Reset(&x.src)
	if _, err := io.ReadFull(x.lz4, page); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return errLZ4FrameLength
		}
		return err
	}
	// The end of the frame, with its checksum, is read only now.
	var more [1]byte
	switch _, err := io.ReadFull(x.lz4, more[:]); {
	case err == nil:
		return errLZ4FrameLength
	case !errors.Is(err, io.EOF):
		return err
	case x.src.Len() != 0:
		return errLZ4FrameLength
	}
	return nil
}
