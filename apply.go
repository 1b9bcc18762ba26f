package litefs

import (
	"context"
	"errors"
)

// ErrPosMismatch is returned when an LTX file does not continue the database.
var ErrPosMismatch = errors.New("position mismatch")

// ApplyLTX applies received files, which must be consecutive.
func (db *DB) ApplyLTX(ctx context.Context, files ...*ReceivedLTX) error {
	return errors.ErrUnsupported
}

// ApplyDifference applies a received file of the pages that differ.
func (db *DB) ApplyDifference(ctx context.Context, f *ReceivedLTX) error {
	return errors.ErrUnsupported
}
