package litefs

import (
	"context"
	"errors"
	"io"

	"litefs/ltx"
)

// WritePageSums writes the checksums of the pages that this node has.
func (db *DB) WritePageSums(ctx context.Context, w io.Writer) (base ltx.Pos, err error) {
	return base, errors.ErrUnsupported
}

// ReceiveDifference reads what WriteDifferenceTo has written.
func (db *DB) ReceiveDifference(ctx context.Context, r io.Reader) (*ReceivedLTX, error) {
	return nil, errors.ErrUnsupported
}
