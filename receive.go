package litefs

import (
	"context"
	"errors"
	"io"

	"litefs/ltx"
)

// ReceivedLTX is an LTX file that has been received whole and verified, and is
// not yet part of the log.
type ReceivedLTX struct {
	header  ltx.Header
	trailer ltx.Trailer
}

// Header returns the header of the file.
func (f *ReceivedLTX) Header() ltx.Header { return f.header }

// Trailer returns the trailer of the file.
func (f *ReceivedLTX) Trailer() ltx.Trailer { return f.trailer }

// Discard removes the file, unless it has been applied.
func (f *ReceivedLTX) Discard() error { return nil }

// ReceiveLTX reads one LTX file from r.
func (db *DB) ReceiveLTX(ctx context.Context, r io.Reader) (*ReceivedLTX, error) {
	return nil, errors.ErrUnsupported
}
