package ltx

import (
	"bufio"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
)

// readSize is how much a Decoder reads at a time, in bytes, at least.
const readSize = 32 << 10

// Decoder reads one file: DecodeHeader, DecodePage until io.EOF, Close. Reset
// makes it ready for the next file with the memory it has.
//
// Every rule of the package comment is checked. What concerns the whole file is
// known only when Close has returned nil; until then, pages that were read must
// not be relied on. The file ends where the reader ends. After an error of the
// file or of the reader every call returns that error. A Decoder must not be
// used by two goroutines at a time.
type Decoder struct {
	src   io.Reader
	r     *bufio.Reader // of src, from the end of the header
	state state
	err   error

	header  Header
	trailer Trailer
	order   pageOrder
	pageN   int
	offset  int64    // of the next byte in the file
	crc     uint64   // for the file checksum, up to offset
	sum     Checksum // database checksum of the pages, in a snapshot that has one

	// The page index that the pages so far call for, as a hash and a length. A
	// hash is enough, and keeps memory constant: its seed is secret, so that no
	// file can be made to fit it.
	index     maphash.Hash
	indexSize int64

	expander expander
	block    []byte // LZ4 block of the last page, valid until the next read; nil if it was an LZ4 frame
	scratch  [HeaderSize]byte
}

// NewDecoder returns a Decoder that reads a file from r. It reads ahead.
func NewDecoder(r io.Reader) *Decoder { return &Decoder{src: r} }

// Reset makes d read a new file from r.
func (d *Decoder) Reset(r io.Reader) {
	d.src = r
	d.state = stateHeader
	d.err = nil
	d.header, d.trailer = Header{}, Trailer{}
	d.order = pageOrder{}
	d.pageN, d.offset, d.crc, d.sum = 0, 0, 0, 0
	d.index.Reset()
	d.indexSize = 0
	d.block = nil
}

// Header returns the header of the file. It is valid after DecodeHeader.
func (d *Decoder) Header() Header { return d.header }

// Trailer returns the trailer of the file. It is valid after Close.
func (d *Decoder) Trailer() Trailer { return d.trailer }

// PreApplyPos returns the position that a database must have for the file to
// be applied. It is valid after DecodeHeader.
func (d *Decoder) PreApplyPos() Pos { return d.header.PreApplyPos() }

// PostApplyPos returns the position of a database that the file has been
// applied to. It is valid after Close.
func (d *Decoder) PostApplyPos() Pos {
	return Pos{TXID: d.header.MaxTXID, PostApplyChecksum: d.trailer.PostApplyChecksum}
}

// N returns the number of bytes decoded so far; after Close it is the length of
// the file.
func (d *Decoder) N() int64 { return d.offset }

// PageN returns the number of pages read so far.
func (d *Decoder) PageN() int { return d.pageN }

// DecodeHeader reads the header, which Header then returns.
func (d *Decoder) DecodeHeader() error {
	if err := d.ready(stateHeader); err != nil {
		return fmt.Errorf("decode header: %w", err)
	}
	b := d.scratch[:HeaderSize]
	if _, err := io.ReadFull(d.src, b); err != nil {
		return d.fail(readError("header", 0, err))
	}
	if err := d.header.UnmarshalBinary(b); err != nil {
		return d.invalid("header", 0, err)
	}
	if err := d.header.Validate(); err != nil {
		return d.invalid("header", 0, err)
	}
	d.crc = crcUpdate(0, b)
	d.offset = HeaderSize
	d.order = newPageOrder(d.header)
	if d.header.IsSnapshot() && !d.header.NoChecksum() {
		d.sum = ChecksumFlag
	}
	if n := max(readSize, maxFrameSize(int(d.header.PageSize))); d.r == nil || d.r.Size() < n {
		d.r = bufio.NewReaderSize(d.src, n)
	} else {
		d.r.Reset(d.src)
	}
	d.state = statePages
	return nil
}

// DecodePage reads the next page: its header to hdr and its content to page,
// which must be of the header's page size. It returns io.EOF after the last
// page, and hdr is then zero.
func (d *Decoder) DecodePage(hdr *PageHeader, page []byte) error {
	if d.state == stateEnd && d.err == nil {
		*hdr = PageHeader{}
		return io.EOF
	}
	if err := d.ready(statePages); err != nil {
		return fmt.Errorf("decode page: %w", err)
	}
	if len(page) != int(d.header.PageSize) {
		return fmt.Errorf("decode page: buffer of %d bytes for pages of %d", len(page), d.header.PageSize)
	}
	b, err := d.r.Peek(PageHeaderSize)
	if err != nil {
		return d.fail(readError("page", d.offset, err))
	}
	*hdr = parsePageHeader(b)
	if hdr.IsZero() {
		return d.endPages()
	}
	if err := hdr.Validate(); err != nil {
		return d.invalid("page", d.offset, err)
	}
	if err := d.order.next(hdr.Pgno); err != nil {
		return d.invalid("page", d.offset, err)
	}
	return d.decodeFrame(*hdr, page)
}

// decodeFrame reads the page frame that begins with hdr.
func (d *Decoder) decodeFrame(hdr PageHeader, page []byte) error {
	frame, err := peekFrame(d.r, hdr, len(page))
	if err != nil {
		return d.fail(readError("page", d.offset, err))
	}
	hashed, err := d.expander.expand(page, frame, hdr)
	if err != nil {
		return d.invalid("page", d.offset, err)
	}
	d.block = nil
	if hdr.Flags&PageFlagBlock != 0 {
		d.block = frame[blockHeaderSize:]
	}
	d.crc = crcUpdate(d.crc, frame[:hashed])
	d.crc = crcUpdate(d.crc, page)
	if d.sum != 0 {
		d.sum = d.sum.Add(PageChecksum(hdr.Pgno, page))
	}
	entry := appendIndexEntry(d.scratch[:0], hdr.Pgno, d.offset, int64(len(frame)))
	d.hashIndex(entry)
	d.indexSize += int64(len(entry))
	d.pageN++
	d.skip(len(frame))
	return nil
}

// endPages reads the mark after the last page.
func (d *Decoder) endPages() error {
	if err := d.order.end(); err != nil {
		return d.invalid("page", d.offset, err)
	}
	d.crc = crcUpdate(d.crc, make([]byte, PageHeaderSize))
	d.skip(PageHeaderSize)
	d.state = stateEnd
	return io.EOF
}

// Close reads the rest of the file, which must be all that the reader still
// has, and checks the file as a whole. It does not close the reader. It must
// come after DecodePage has returned io.EOF. A second Close does nothing.
func (d *Decoder) Close() error {
	if d.state == stateClosed && d.err == nil {
		return nil
	}
	if err := d.ready(stateEnd); err != nil {
		return fmt.Errorf("close decoder: %w", err)
	}
	if err := d.decodeIndex(); err != nil {
		return err
	}
	if err := d.decodeTrailer(); err != nil {
		return err
	}
	d.state = stateClosed
	return nil
}

// decodeIndex reads the page index and compares it with the pages.
func (d *Decoder) decodeIndex() error {
	start := d.offset
	end := appendIndexEnd(d.scratch[:0], d.indexSize)
	d.hashIndex(end)
	var got maphash.Hash
	got.SetSeed(d.index.Seed())
	for rest := d.indexSize + int64(len(end)); rest > 0; {
		b, err := d.r.Peek(int(min(rest, readSize)))
		if err != nil {
			return d.fail(readError("page index", start, err))
		}
		_, _ = got.Write(b) // never fails, as maphash documents
		d.crc = crcUpdate(d.crc, b)
		rest -= int64(len(b))
		d.skip(len(b))
	}
	if got.Sum64() != d.index.Sum64() {
		return d.invalid("page index", start, fmt.Errorf("%w: does not list the %d pages of the file", ErrInvalidIndex, d.pageN))
	}
	return nil
}

// decodeTrailer reads the trailer and checks that the file ends there, and its
// checksums.
func (d *Decoder) decodeTrailer() error {
	start := d.offset
	b, err := d.r.Peek(TrailerSize)
	if err != nil {
		return d.fail(readError("trailer", start, err))
	}
	d.trailer = parseTrailer(b)
	d.crc = crcUpdate(d.crc, b[:8])
	d.skip(TrailerSize)
	switch _, err := d.r.Peek(1); {
	case err == nil:
		return d.invalid("file", d.offset, ErrTrailingData)
	case !errors.Is(err, io.EOF):
		return d.fail(readError("file", d.offset, err))
	}
	if err := d.trailer.Validate(d.header); err != nil {
		return d.invalid("trailer", start, err)
	}
	if sum := ChecksumFlag | Checksum(d.crc); sum != d.trailer.FileChecksum {
		return d.invalid("file", 0, fmt.Errorf("%w: file checksum %s, content has %s", ErrChecksumMismatch, d.trailer.FileChecksum, sum))
	}
	if post := d.trailer.PostApplyChecksum; d.sum != 0 && d.sum != post {
		return d.invalid("trailer", start, fmt.Errorf("%w: post-apply checksum %s, pages have %s", ErrChecksumMismatch, post, d.sum))
	}
	return nil
}

// ready checks that d is in state s and has not failed.
func (d *Decoder) ready(s state) error {
	switch {
	case d.err != nil:
		return d.err
	case d.state == stateClosed:
		return ErrClosed
	case d.state != s:
		return errOrder
	}
	return nil
}

// skip moves past n bytes that have been peeked at.
func (d *Decoder) skip(n int) {
	// What has been peeked at is in the buffer, so this cannot fail.
	_, _ = d.r.Discard(n)
	d.offset += int64(n)
}

func (d *Decoder) hashIndex(b []byte) {
	_, _ = d.index.Write(b) // never fails, as maphash documents
}

// invalid makes err, about the part what at offset, the answer to every call.
func (d *Decoder) invalid(what string, offset int64, err error) error {
	return d.fail(&FormatError{Offset: offset, What: what, Err: err})
}

// fail makes err the answer to every call.
func (d *Decoder) fail(err error) error {
	d.err = err
	return err
}

// Verify reads a whole file from r, checks it and returns its header and
// trailer. A file that is not valid is reported as a *FormatError.
func Verify(r io.Reader) (Header, Trailer, error) {
	d := NewDecoder(r)
	if err := d.DecodeHeader(); err != nil {
		return Header{}, Trailer{}, err
	}
	page := make([]byte, d.header.PageSize)
	for {
		var hdr PageHeader
		if err := d.DecodePage(&hdr, page); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return Header{}, Trailer{}, err
		}
	}
	if err := d.Close(); err != nil {
		return Header{}, Trailer{}, err
	}
	return d.header, d.trailer, nil
}
