package litefs

import (
	"context"
	"errors"
	"io"

	"litefs/ltx"
)

// ErrNoTransactions is returned for a database that has had no transaction: there
// is nothing to send, and an LTX file cannot say so.
var ErrNoTransactions = errors.New("database has had no transaction")

// WriteDifferenceTo writes an LTX file with the pages that differ.
func (db *DB) WriteDifferenceTo(ctx context.Context, w io.Writer, base ltx.Pos, sums io.Reader) (ltx.Pos, error) {
	return ltx.Pos{}, errors.ErrUnsupported
}

// WriteSnapshotTo writes the whole database as an LTX file.
func (db *DB) WriteSnapshotTo(ctx context.Context, w io.Writer) (ltx.Pos, error) {
	return db.WriteDifferenceTo(ctx, w, ltx.Pos{}, nil)
}
