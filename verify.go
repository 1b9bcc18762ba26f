package litefs

import (
	"context"
	"errors"
	"fmt"

	"litefs/ltx"
)

// Verify captures what is outstanding, reads the whole database, and compares
// its checksum with the position.
func (db *DB) Verify(ctx context.Context) (ltx.Pos, error) {
	db.captureMu.Lock()
	defer db.captureMu.Unlock()
	if err := errors.Join(db.captureAll(), db.gatherLog()); err != nil {
		return ltx.Pos{}, err
	}
	pos := db.Pos()
	if err := db.verifyContent(ctx); err != nil {
		return pos, fmt.Errorf("verify database %q at %s: %w", db.name, pos, err)
	}
	return pos, nil
}

// strictVerify is Verify for the end of each capture, if the store asks for it.
// Under a WAL it can only look at commits that are captured, which all are when
// nothing was committed meanwhile.
func (db *DB) strictVerify() error {
	if !db.store.StrictVerify {
		return nil
	}
	return db.verifyContent(db.store.ctx)
}

func (db *DB) verifyContent(ctx context.Context) error {
	if db.files.database == nil || db.intake.on {
		return nil
	}
	view, err := db.viewAtCursor()
	if err != nil {
		return err
	}
	sums, err := scanSums(ctx, view)
	if err != nil {
		return err
	}
	for pgno := range allPages(max(sums.size(), db.sums.size()), view.pageSize) {
		if sums.page(pgno) != db.sums.page(pgno) {
			return fmt.Errorf("page %d has checksum %s, want %s", pgno, sums.page(pgno), db.sums.page(pgno))
		}
	}
	if pos := db.Pos(); sums.checksum() != pos.PostApplyChecksum {
		return fmt.Errorf("checksum is %s, want %s", sums.checksum(), pos.PostApplyChecksum)
	}
	return nil
}

// viewAtCursor returns a view of the database as it has been captured. Of a WAL
// that has just been started, or started again, nothing is captured yet: the
// database is what its file holds.
func (db *DB) viewAtCursor() (*dbView, error) {
	if !db.walInUse() || !db.wal.valid {
		return db.openView()
	}
	if db.wal.cursor.Frame > 0 {
		holds, err := db.wal.cursor.Holds(db.files.wal)
		if err != nil {
			return nil, err
		}
		if holds {
			return db.openViewAt(db.wal.cursor, db.sums.size())
		}
	}
	return &dbView{db: db, pageSize: db.pageSize, pages: db.sums.size()}, nil
}
