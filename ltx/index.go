package ltx

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sync"
)

// minFileSize is the length of a file without pages: header, end of the pages,
// end of an empty page index, trailer.
const minFileSize = HeaderSize + PageHeaderSize + 1 + indexLengthSize + TrailerSize

// Index gives access to single pages of a file by page number. It takes 12
// bytes of memory a page. An Index may be used by several goroutines at a time
// if its io.ReaderAt may.
//
// An Index does not read the whole file, and so does not know the file
// checksum: a page may have been changed since the file was written without
// ReadPage noticing. Where that matters, Verify the file once, or compare
// PageChecksum of what ReadPage returns with a known checksum.
type Index struct {
	r       io.ReaderAt
	header  Header
	trailer Trailer
	pgnos   []uint32 // ascending
	offsets []int64  // of the page frames, and at last the end of the pages
}

// ReadIndex reads header, page index and trailer of a file of size bytes. The
// index must be exact in itself: the frames that it lists fill the space
// between header and index without gaps, their page numbers are as Decoder
// would accept them, and the numbers are in their shortest form. A file for
// which this does not hold is reported as a *FormatError.
func ReadIndex(r io.ReaderAt, size int64) (*Index, error) {
	if size < minFileSize {
		return nil, &FormatError{What: "file", Err: fmt.Errorf("%w: %d bytes", io.ErrUnexpectedEOF, size)}
	}
	x := &Index{r: r, offsets: []int64{HeaderSize}}
	if err := x.readHeader(); err != nil {
		return nil, err
	}
	start, end, err := x.readTail(size)
	if err != nil {
		return nil, err
	}
	if err := x.readEntries(start, end); err != nil {
		return nil, readError("page index", start, err)
	}
	mark := make([]byte, PageHeaderSize)
	if err := x.readAt("page", mark, start-PageHeaderSize); err != nil {
		return nil, err
	}
	if [PageHeaderSize]byte(mark) != [PageHeaderSize]byte{} {
		return nil, &FormatError{
			Offset: start - PageHeaderSize, What: "page",
			Err: fmt.Errorf("%w: no end of the pages before the index", ErrInvalidPage),
		}
	}
	return x, nil
}

// Header returns the header of the file.
func (x *Index) Header() Header { return x.header }

// Trailer returns the trailer of the file. The file checksum has not been
// compared with the content of the file.
func (x *Index) Trailer() Trailer { return x.trailer }

// PageN returns the number of pages in the file.
func (x *Index) PageN() int { return len(x.pgnos) }

// Pgno returns the number of the i-th page of the file, 0 <= i < PageN().
func (x *Index) Pgno(i int) uint32 { return x.pgnos[i] }

// ReadPage reads the page pgno to page, which must be of the header's page
// size. It returns an error that wraps ErrPageNotFound if the file does not
// hold that page, and a *FormatError if the page frame is not what the index
// says or does not expand to one page. The content is not checked against any
// checksum of this package.
func (x *Index) ReadPage(pgno uint32, page []byte) error {
	if len(page) != int(x.header.PageSize) {
		return fmt.Errorf("read page %d: buffer of %d bytes for pages of %d", pgno, len(page), x.header.PageSize)
	}
	i, found := slices.BinarySearch(x.pgnos, pgno)
	if !found {
		return fmt.Errorf("read page %d: %w", pgno, ErrPageNotFound)
	}
	offset, size := x.offsets[i], int(x.offsets[i+1]-x.offsets[i])
	f := frameReaders.Get().(*frameReader)
	defer frameReaders.Put(f)
	f.frame = slices.Grow(f.frame[:0], size)[:size]
	if err := x.readAt("page", f.frame, offset); err != nil {
		return err
	}
	if err := f.expand(pgno, page); err != nil {
		return readError("page", offset, err)
	}
	return nil
}

func (x *Index) readHeader() error {
	b := make([]byte, HeaderSize)
	if err := x.readAt("header", b, 0); err != nil {
		return err
	}
	if err := x.header.UnmarshalBinary(b); err != nil {
		return &FormatError{What: "header", Err: err}
	}
	if err := x.header.Validate(); err != nil {
		return &FormatError{What: "header", Err: err}
	}
	return nil
}

// readTail reads the length of the page index and the trailer. It returns where
// the index begins and where its length field stands.
func (x *Index) readTail(size int64) (start, end int64, err error) {
	end = size - indexLengthSize - TrailerSize
	b := make([]byte, indexLengthSize+TrailerSize)
	if err := x.readAt("page index", b, end); err != nil {
		return 0, 0, err
	}
	x.trailer = parseTrailer(b[indexLengthSize:])
	if err := x.trailer.Validate(x.header); err != nil {
		return 0, 0, &FormatError{Offset: size - TrailerSize, What: "trailer", Err: err}
	}
	n, room := binary.BigEndian.Uint64(b), uint64(end-HeaderSize-PageHeaderSize)
	if n == 0 || n > room {
		err := fmt.Errorf("%w: length %d where there is room for %d", ErrInvalidIndex, n, room)
		return 0, 0, &FormatError{Offset: end, What: "page index", Err: err}
	}
	return end - int64(n), end, nil
}

// readEntries reads the page index from start to its length field at end. Its
// errors are for readError.
func (x *Index) readEntries(start, end int64) error {
	in := bufio.NewReaderSize(io.NewSectionReader(x.r, start, end-start), readSize)
	order := newPageOrder(x.header)
	pagesEnd := start - PageHeaderSize
	for {
		pgno, err := readUvarint(in)
		if err != nil {
			return err
		}
		if pgno == 0 {
			break
		}
		if err := x.readEntry(in, pgno, &order, pagesEnd); err != nil {
			return err
		}
	}
	if _, err := in.Peek(1); err == nil {
		return fmt.Errorf("%w: data after its end", ErrInvalidIndex)
	}
	if got := x.offsets[len(x.offsets)-1]; got != pagesEnd {
		return fmt.Errorf("%w: pages end at %d instead of %d", ErrInvalidIndex, got, pagesEnd)
	}
	if err := order.end(); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidIndex, err)
	}
	return nil
}

// readEntry reads the rest of the entry of the page pgno, whose frame must
// follow the frame before it and end at pagesEnd at most.
func (x *Index) readEntry(in *bufio.Reader, pgno uint64, order *pageOrder, pagesEnd int64) error {
	offset, err := readUvarint(in)
	if err != nil {
		return err
	}
	size, err := readUvarint(in)
	if err != nil {
		return err
	}
	want := x.offsets[len(x.offsets)-1]
	if offset != uint64(want) {
		return fmt.Errorf("%w: page %d at offset %d instead of %d", ErrInvalidIndex, pgno, offset, want)
	}
	most := min(pagesEnd-want, int64(maxFrameSize(int(x.header.PageSize))))
	if size <= PageHeaderSize || size > uint64(most) {
		return fmt.Errorf("%w: page %d with a frame of %d bytes", ErrInvalidIndex, pgno, size)
	}
	if pgno > uint64(x.header.Commit) {
		return fmt.Errorf("%w: page %d in a database of %d pages", ErrInvalidIndex, pgno, x.header.Commit)
	}
	if err := order.next(uint32(pgno)); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidIndex, err)
	}
	x.pgnos = append(x.pgnos, uint32(pgno))
	x.offsets = append(x.offsets, want+int64(size))
	return nil
}

// readAt fills b, the part what, with what stands at offset.
func (x *Index) readAt(what string, b []byte, offset int64) error {
	// A ReaderAt may return io.EOF with the last bytes of its data.
	if n, err := x.r.ReadAt(b, offset); n < len(b) {
		return readError(what, offset, err)
	}
	return nil
}

// frameReader is what reading a single page needs for a short time.
type frameReader struct {
	frame    []byte
	expander expander
}

var frameReaders = sync.Pool{New: func() any { return new(frameReader) }}

// expand writes to page what the frame holds, which must be the page pgno and
// fill the frame. Its error wraps ErrInvalidPage.
func (f *frameReader) expand(pgno uint32, page []byte) error {
	hdr := parsePageHeader(f.frame)
	if err := hdr.Validate(); err != nil {
		return err
	}
	if hdr.Pgno != pgno {
		return fmt.Errorf("%w: %d where the index says %d", ErrInvalidPage, hdr.Pgno, pgno)
	}
	frame, err := peekFrame(f, hdr, len(page))
	if err != nil {
		return err
	}
	if len(frame) != len(f.frame) {
		return fmt.Errorf("%w: frame of %d bytes where the index says %d", ErrInvalidPage, len(frame), len(f.frame))
	}
	_, err = f.expander.expand(page, frame, hdr)
	return err
}

// Peek implements peeker.
func (f *frameReader) Peek(n int) ([]byte, error) {
	if n > len(f.frame) {
		return nil, fmt.Errorf("%w: frame of at least %d bytes where the index says %d", ErrInvalidPage, n, len(f.frame))
	}
	return f.frame[:n], nil
}
