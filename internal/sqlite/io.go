package sqlite

import (
	"errors"
	"io"
)

// readFullAt reads len(b) bytes at off. Fewer bytes are an error: io.EOF if
// there are none, io.ErrUnexpectedEOF if there are some.
func readFullAt(r io.ReaderAt, b []byte, off int64) (int, error) {
	n, err := r.ReadAt(b, off)
	switch {
	case n == len(b):
		return n, nil
	case err == nil, errors.Is(err, io.EOF):
		if n == 0 {
			return n, io.EOF
		}
		return n, io.ErrUnexpectedEOF
	default:
		return n, err
	}
}

// isShort reports whether err says that a file ends before what was asked for.
func isShort(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
