package litefs

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"litefs/internal/sqlite"
	"litefs/ltx"
)

// dbView reads a database as a SQLite reader does: the newest frame of a page
// in the WAL up to a bound, else the database file, else zeros. It holds as
// long as captureMu is held: gates keep checkpoints from going on, and a WAL of
// which anything is not yet in the database file is not restarted.
type dbView struct {
	db       *DB
	pageSize uint32 // bytes
	pages    uint32
	cursor   sqlite.WALCursor // behind the last commit that the view includes
	frames   []sqlite.PageFrame
}

// openView returns a view of all that has been committed.
func (db *DB) openView() (*dbView, error) {
	view := &dbView{db: db}
	leftover, err := db.walLeftover()
	if err != nil {
		return nil, err
	}
	if db.files.wal != nil && !leftover {
		hdr, err := sqlite.ReadWALHeader(db.files.wal)
		switch {
		case err == nil:
			if err := view.scan(hdr, nil); err != nil {
				return nil, err
			}
		case !errors.Is(err, sqlite.ErrWALHeader):
			return nil, err
		}
	}
	if view.pages != 0 {
		return view, nil
	}
	view.pageSize, view.pages, err = db.geometry(db.pageSize)
	if err != nil {
		return nil, err
	}
	if view.pages == 0 {
		view.pageSize = db.pageSize
	}
	return view, nil
}

// openViewAt returns a view that ends with the commit in front of end.
func (db *DB) openViewAt(end sqlite.WALCursor, pages uint32) (*dbView, error) {
	hdr, err := sqlite.ReadWALHeader(db.files.wal)
	if err != nil {
		return nil, err
	}
	view := &dbView{db: db}
	if err := view.scan(hdr, &end); err != nil {
		return nil, err
	}
	if view.cursor != end || view.pages != pages {
		return nil, fmt.Errorf("WAL holds commits up to frame %d, not %d", view.cursor.Frame, end.Frame)
	}
	return view, nil
}

// walFolded reports whether the database file holds all that the captured WAL
// does, as it must before SQLite lets go of the WAL.
func (db *DB) walFolded() (bool, error) {
	if db.files.database == nil || db.intake.on || !db.wal.valid {
		return true, nil // there is no state of the database to compare with
	}
	view, err := db.openView()
	if errors.Is(err, sqlite.ErrNotDatabase) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	if captured := db.wal.cursor; captured.Frame > 0 && (view.cursor.Salt != captured.Salt || view.cursor.Frame < captured.Frame) {
		return false, nil // SQLite no longer finds what was captured
	}
	page := make([]byte, view.pageSize)
	lock := ltx.LockPgno(view.pageSize)
	for _, f := range view.frames {
		if f.Pgno > view.pages || f.Pgno == lock {
			continue
		}
		if err := db.readDatabasePage(f.Pgno, page); err != nil {
			return false, err
		}
		if ltx.PageChecksum(f.Pgno, page) != db.sums.page(f.Pgno) {
			return false, nil
		}
	}
	return true, nil
}

// scan finds the newest frame of each page up to the last commit, or to end.
func (v *dbView) scan(hdr sqlite.WALHeader, end *sqlite.WALCursor) error {
	size, err := fileSize(v.db.files.wal)
	if err != nil {
		return err
	}
	limit := min(sqlite.WALFrames(size, hdr.PageSize), v.db.walLimit(hdr.Salt))
	if end != nil {
		limit = min(limit, end.Frame)
	}
	scanner := sqlite.NewWALScanner(v.db.files.wal, hdr.Start(), limit)
	compacted := 0
	for scanner.Next() {
		f := scanner.Frame()
		v.frames = append(v.frames, sqlite.PageFrame{Pgno: f.Pgno, Frame: f.Frame})
		if f.Commit != 0 && len(v.frames) > 2*compacted+1<<16 {
			v.frames = newestFrames(v.frames)
			compacted = len(v.frames)
		}
	}
	if err := scanner.Err(); err != nil {
		return err
	}
	v.pageSize = hdr.PageSize
	v.cursor, v.pages = scanner.Commit()
	v.frames = slices.DeleteFunc(v.frames, func(f sqlite.PageFrame) bool { return f.Frame > v.cursor.Frame })
	v.frames = newestFrames(v.frames)
	return nil
}

// walLimit returns the last frame that is published, if there is a wal-index that says
// so: what lies behind is no commit, or was withdrawn.
func (db *DB) walLimit(salt sqlite.Salt) uint32 {
	if db.wal.shm != nil && db.sharedMemoryOpen() {
		if hdr, err := sqlite.NewWALIndex(db.wal.shm).Header(); err == nil && hdr.Salt == salt {
			return hdr.MaxFrame
		}
	}
	return math.MaxUint32
}

// read fills page with the content of page pgno.
func (v *dbView) read(pgno uint32, page []byte) error {
	i, found := slices.BinarySearchFunc(v.frames, pgno, func(f sqlite.PageFrame, pgno uint32) int {
		return int(int64(f.Pgno) - int64(pgno))
	})
	if found {
		return v.readFrame(v.frames[i].Frame, page)
	}
	return v.db.readDatabasePage(pgno, page)
}

// readFrame reads the page of a frame and makes sure that it is still a frame of
// the WAL that was scanned: one that is wholly in the database file may be
// restarted at any time. A writer writes the header of a frame before its page,
// so the page is what it was if the header still is.
func (v *dbView) readFrame(frame uint32, page []byte) error {
	if err := readFrame(v.db.files.wal, frame, page); err != nil {
		return err
	}
	var b [sqlite.WALFrameHeaderSize]byte
	if err := readFull(v.db.files.wal, b[:], sqlite.WALFrameOffset(frame, v.pageSize)); err != nil {
		return err
	}
	if sqlite.ParseWALFrameHeader(b[:]).Salt != v.cursor.Salt {
		return fmt.Errorf("WAL frame %d was overwritten while the database was read", frame)
	}
	return nil
}
