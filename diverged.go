package litefs

import (
	"context"
	"errors"
	"time"

	"litefs/ltx"
)

// DivergedCopy is a database that was set aside.
type DivergedCopy struct {
	Database string    // name
	Dir      string    // path of the folder
	Reason   string    // why it was set aside
	Pos      ltx.Pos   // of the database
	Time     time.Time // when it was set aside
}

// SetAside copies the database and its log to where nothing overwrites them.
func (db *DB) SetAside(ctx context.Context, reason string) (dir string, err error) {
	return "", errors.ErrUnsupported
}

// Diverged returns what divergences have set aside.
func (s *Store) Diverged() ([]DivergedCopy, error) { return nil, errors.ErrUnsupported }
