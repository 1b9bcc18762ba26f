package ltx

import (
	"errors"
	"fmt"
	"io"
)

// What can be wrong with a file. Decoder, Verify and ReadIndex return them in
// a *FormatError, Encoder and the Validate methods in plain errors.
var (
	// ErrInvalidHeader is returned when the header breaks a rule of its own.
	ErrInvalidHeader = errors.New("invalid header")

	// ErrInvalidPage is returned when a page frame is malformed, does not
	// expand to one page, or its page number is out of order or of range.
	ErrInvalidPage = errors.New("invalid page")

	// ErrMissingPage is returned when a snapshot lacks a page, or when no
	// input of a compaction holds a page that the database gained on the way.
	ErrMissingPage = errors.New("missing page")

	// ErrInvalidIndex is returned when the page index is malformed or does not
	// list exactly the page frames of the file.
	ErrInvalidIndex = errors.New("invalid page index")

	// ErrInvalidTrailer is returned when a checksum of the trailer does not
	// have the form that the header calls for.
	ErrInvalidTrailer = errors.New("invalid trailer")

	// ErrChecksumMismatch is returned when the content of a file does not have
	// the file checksum, or the pages of a snapshot the post-apply checksum,
	// that the trailer states.
	ErrChecksumMismatch = errors.New("checksum mismatch")

	// ErrTrailingData is returned when bytes follow the trailer.
	ErrTrailingData = errors.New("data after the trailer")
)

// What can be wrong with the way the package is used.
var (
	// ErrClosed is returned when an Encoder or Decoder is used after Close.
	ErrClosed = errors.New("closed")

	// ErrNotContiguous is returned when the inputs of a compaction do not
	// follow one another, by TXID or by checksum.
	ErrNotContiguous = errors.New("not contiguous")

	// ErrPageNotFound is returned when an Index does not list a page.
	ErrPageNotFound = errors.New("page not found")
)

// FormatError reports that bytes that were read are not an LTX file. An error
// of the underlying reader, other than an early end of the data, is never a
// FormatError.
type FormatError struct {
	Offset int64  // where the part that is wrong begins, in bytes
	What   string // the part: "header", "page", "page index", "trailer", "file"
	Err    error  // wraps one of the errors above, or io.ErrUnexpectedEOF
}

// Error returns the part, its offset and the cause.
func (e *FormatError) Error() string {
	return fmt.Sprintf("decode %s at offset %d: %v", e.What, e.Offset, e.Err)
}

// Unwrap returns the cause.
func (e *FormatError) Unwrap() error { return e.Err }

// readError returns the error for a read of the part what at offset that ended
// in err: a *FormatError if the data ended early or were malformed, else err.
func readError(what string, offset int64, err error) error {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &FormatError{Offset: offset, What: what, Err: io.ErrUnexpectedEOF}
	case errors.Is(err, ErrInvalidPage), errors.Is(err, ErrInvalidIndex):
		return &FormatError{Offset: offset, What: what, Err: err}
	}
	return fmt.Errorf("read %s at offset %d: %w", what, offset, err)
}
