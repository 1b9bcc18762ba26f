package ltx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/pierrec/lz4/v4"
)

// writeSize is how much an Encoder collects for one write, in bytes.
const writeSize = 64 << 10

// state is how far an Encoder or a Decoder has come.
type state uint8

const (
	stateHeader state = iota // the header is next
	statePages               // a page or the end of the pages is next
	stateEnd                 // Decoder: the page index is next
	stateClosed
)

// errOrder reports calls in an order that makes no file.
var errOrder = errors.New("call out of order: header, pages, close")

// Encoder writes one file: EncodeHeader, EncodePage for each page,
// SetPostApplyChecksum, Close. Reset makes it ready for the next file with the
// memory it has, about 200 KiB, so that one Encoder can serve many commits.
//
// It writes in pieces of up to 64 KiB and needs no buffered writer. What has
// been written when an error occurs, or when Encoder is given up before Close,
// is not an LTX file. An Encoder must not be used by two goroutines at a time.
type Encoder struct {
	w     io.Writer
	state state
	err   error // of a write; every call returns it from then on

	header  Header
	trailer Trailer
	order   pageOrder
	pageN   int
	offset  int64    // of the next byte in the file
	crc     uint64   // for the file checksum, up to offset
	sum     Checksum // database checksum of the pages, in a snapshot that has one
	index   packedIndex

	buf      []byte // encoded and not yet written
	lz4      lz4.Compressor
	literals bool
}

// NewEncoder returns an Encoder that writes a file to w.
func NewEncoder(w io.Writer) *Encoder { return &Encoder{w: w} }

// Reset makes e write a new file to w. Only the setting of SetCompression is
// kept.
func (e *Encoder) Reset(w io.Writer) {
	e.w = w
	e.state = stateHeader
	e.err = nil
	e.header, e.trailer = Header{}, Trailer{}
	e.order = pageOrder{}
	e.pageN, e.offset, e.crc, e.sum = 0, 0, 0, 0
	e.index.reset()
	e.buf = e.buf[:0]
}

// SetCompression chooses between compressed pages, the default, and pages
// stored as they are, which takes less time. Both are LZ4 blocks to a reader.
func (e *Encoder) SetCompression(on bool) { e.literals = !on }

// Header returns the header of the file. It is valid after EncodeHeader.
func (e *Encoder) Header() Header { return e.header }

// Trailer returns the trailer of the file. It is valid after Close.
func (e *Encoder) Trailer() Trailer { return e.trailer }

// PostApplyPos returns the position of a database that the file has been
// applied to. It is valid after Close.
func (e *Encoder) PostApplyPos() Pos {
	return Pos{TXID: e.header.MaxTXID, PostApplyChecksum: e.trailer.PostApplyChecksum}
}

// N returns the length of the file so far, in bytes.
func (e *Encoder) N() int64 { return e.offset }

// PageN returns the number of pages so far.
func (e *Encoder) PageN() int { return e.pageN }

// SnapshotChecksum returns the database checksum of the pages so far. It is
// valid after EncodeHeader, for a snapshot with database checksums; for other
// files it is 0.
func (e *Encoder) SnapshotChecksum() Checksum { return e.sum }

// EncodeHeader begins the file. It returns an error that wraps
// ErrInvalidHeader if h is not valid.
func (e *Encoder) EncodeHeader(h Header) error {
	if err := e.ready(stateHeader); err != nil {
		return fmt.Errorf("encode header: %w", err)
	}
	if err := h.Validate(); err != nil {
		return fmt.Errorf("encode header: %w", err)
	}
	if n := max(writeSize, blockHeaderSize+lz4.CompressBlockBound(int(h.PageSize))); cap(e.buf) < n {
		e.buf = make([]byte, 0, n)
	}
	e.header = h
	e.order = newPageOrder(h)
	if h.IsSnapshot() && !h.NoChecksum() {
		e.sum = ChecksumFlag
	}
	var raw [HeaderSize]byte
	if err := e.write(h.append(raw[:0])); err != nil {
		return fmt.Errorf("encode header: %w", err)
	}
	e.state = statePages
	return nil
}

// EncodePage writes the page pgno, which must be larger than the one before
// it; page must be of the header's page size. It returns an error that wraps
// ErrInvalidPage if the page cannot be in the file, or ErrMissingPage if a page
// of a snapshot was left out. Neither has written anything.
func (e *Encoder) EncodePage(pgno uint32, page []byte) error {
	return e.encodePage(pgno, page, nil)
}

// encodePage writes page as the LZ4 block block, which must expand to it, or
// compresses it if block is nil.
func (e *Encoder) encodePage(pgno uint32, page, block []byte) error {
	if err := e.ready(statePages); err != nil {
		return fmt.Errorf("encode page %d: %w", pgno, err)
	}
	if len(page) != int(e.header.PageSize) {
		return fmt.Errorf("encode page %d: %w: %d bytes instead of %d", pgno, ErrInvalidPage, len(page), e.header.PageSize)
	}
	if err := e.order.next(pgno); err != nil {
		return fmt.Errorf("encode page %d: %w", pgno, err)
	}
	frame, err := e.reserve(blockHeaderSize + lz4.CompressBlockBound(len(page)))
	if err != nil {
		return fmt.Errorf("encode page %d: %w", pgno, err)
	}
	n, err := e.putBlock(frame[blockHeaderSize:], page, block)
	if err != nil {
		return fmt.Errorf("encode page %d: %w", pgno, e.fail(err))
	}
	binary.BigEndian.PutUint32(frame, pgno)
	binary.BigEndian.PutUint16(frame[4:], PageFlagBlock)
	binary.BigEndian.PutUint32(frame[PageHeaderSize:], uint32(n))
	e.crc = crcUpdate(e.crc, frame[:blockHeaderSize])
	e.crc = crcUpdate(e.crc, page)
	if e.sum != 0 {
		e.sum = e.sum.Add(PageChecksum(pgno, page))
	}
	n += blockHeaderSize
	e.buf = e.buf[:len(e.buf)+n]
	e.index.add(pgno, e.offset, int64(n))
	e.offset += int64(n)
	e.pageN++
	return nil
}

// putBlock writes the LZ4 block of page to dst and returns its length.
func (e *Encoder) putBlock(dst, page, block []byte) (int, error) {
	switch {
	case block != nil:
		return copy(dst, block), nil
	case e.literals:
		return putLiterals(dst, page), nil
	}
	return e.lz4.CompressBlock(page, dst)
}

// SetPostApplyChecksum sets the database checksum after the last transaction:
// ChecksumFlag for a database without pages, 0 (the default) for a file without
// database checksums.
func (e *Encoder) SetPostApplyChecksum(sum Checksum) { e.trailer.PostApplyChecksum = sum }

// Close completes the file; it does not close the writer. It returns an error
// that wraps ErrMissingPage if a snapshot lacks pages, ErrInvalidTrailer if the
// post-apply checksum does not have the form that the header calls for, or
// ErrChecksumMismatch if it is not the one of a snapshot's pages. None of these
// has written anything, and the cause may be put right. A second Close does
// nothing.
func (e *Encoder) Close() error {
	if e.state == stateClosed && e.err == nil {
		return nil
	}
	if err := e.ready(statePages); err != nil {
		return fmt.Errorf("close encoder: %w", err)
	}
	if err := e.checkEnd(); err != nil {
		return fmt.Errorf("close encoder: %w", err)
	}
	if err := e.writeEnd(); err != nil {
		return fmt.Errorf("close encoder: %w", err)
	}
	e.state = stateClosed
	return nil
}

// checkEnd checks that the pages and the post-apply checksum make a file.
func (e *Encoder) checkEnd() error {
	if err := e.order.end(); err != nil {
		return err
	}
	post := e.trailer.PostApplyChecksum
	if err := (Trailer{PostApplyChecksum: post, FileChecksum: ChecksumFlag}).Validate(e.header); err != nil {
		return err
	}
	if e.sum != 0 && e.sum != post {
		return fmt.Errorf("%w: post-apply checksum %s, pages have %s", ErrChecksumMismatch, post, e.sum)
	}
	return nil
}

// writeEnd writes everything after the pages.
func (e *Encoder) writeEnd() error {
	if err := e.write(make([]byte, PageHeaderSize)); err != nil {
		return err
	}
	for _, chunk := range e.index.chunks {
		if err := e.write(chunk); err != nil {
			return err
		}
	}
	b := appendIndexEnd(nil, e.index.size)
	b = binary.BigEndian.AppendUint64(b, uint64(e.trailer.PostApplyChecksum))
	if err := e.write(b); err != nil {
		return err
	}
	e.trailer.FileChecksum = ChecksumFlag | Checksum(e.crc)
	if err := e.write(binary.BigEndian.AppendUint64(b[:0], uint64(e.trailer.FileChecksum))); err != nil {
		return err
	}
	return e.flush()
}

// ready checks that e is in state s and no write has failed.
func (e *Encoder) ready(s state) error {
	switch {
	case e.err != nil:
		return e.err
	case e.state == stateClosed:
		return ErrClosed
	case e.state != s:
		return errOrder
	}
	return nil
}

// write adds b to the file and to the file checksum.
func (e *Encoder) write(b []byte) error {
	e.crc = crcUpdate(e.crc, b)
	e.offset += int64(len(b))
	for len(b) > 0 {
		room, err := e.reserve(1)
		if err != nil {
			return err
		}
		n := copy(room, b)
		e.buf = e.buf[:len(e.buf)+n]
		b = b[n:]
	}
	return nil
}

// reserve returns the free part of the buffer, at least n bytes long. What is
// written to it counts once the buffer is extended over it.
func (e *Encoder) reserve(n int) ([]byte, error) {
	if cap(e.buf)-len(e.buf) < n {
		if err := e.flush(); err != nil {
			return nil, err
		}
	}
	return e.buf[len(e.buf):cap(e.buf)], nil
}

// flush writes the buffer out.
func (e *Encoder) flush() error {
	n, err := e.w.Write(e.buf)
	if err == nil && n < len(e.buf) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return e.fail(fmt.Errorf("write: %w", err))
	}
	e.buf = e.buf[:0]
	return nil
}

// fail makes err the answer to every call.
func (e *Encoder) fail(err error) error {
	e.err = err
	return err
}
