package litefs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"litefs/internal/fsx"
	"litefs/internal/sqlite"
	"litefs/ltx"
)

// stateReader reads the pages of a database as it was captured, for as long as they
// are where they were then. What it reads must be compared with the page checksums.
type stateReader struct {
	pos      ltx.Pos
	pageSize uint32           // bytes
	cursor   sqlite.WALCursor // behind the last commit of it; frame 0 if none is in a WAL
	// Own handles: those of the database are closed when SQLite removes a file.
	database, wal fsx.File
	frames        []sqlite.PageFrame // newest of each page that is to be read from the WAL
}

// openState captures what is committed and returns a reader of it, and a copy of
// the page checksums.
func (db *DB) openState() (*stateReader, pageSums, error) {
	db.captureMu.Lock()
	defer db.captureMu.Unlock()
	// The log goes on from what is sent.
	if err := errors.Join(db.captureAll(), db.gatherLog()); err != nil {
		return nil, pageSums{}, err
	}
	if err := db.checkSendable(); err != nil {
		return nil, pageSums{}, err
	}
	r := &stateReader{}
	if err := r.openFiles(db); err != nil {
		return nil, pageSums{}, errors.Join(err, r.close())
	}
	return r, db.sums.clone(), nil
}

// checkSendable reports why the state that has been captured is none to send.
// captureMu is held.
func (db *DB) checkSendable() error {
	pos := db.Pos()
	switch {
	case pos.TXID == 0:
		return fmt.Errorf("database %q: %w", db.name, ErrNoTransactions)
	case db.sums.checksum() != pos.PostApplyChecksum:
		return fmt.Errorf("database %q: page checksums are those of %s, position is %s", db.name, db.sums.checksum(), pos)
	default:
		return nil
	}
}

// openFiles notes where capture has got to and opens the files. captureMu is held.
func (r *stateReader) openFiles(db *DB) (err error) {
	r.pos, r.pageSize = db.Pos(), db.pageSize
	if db.files.database != nil {
		if r.database, err = db.store.FS.OpenFile(db.DatabasePath(), os.O_RDONLY, 0); err != nil {
			return err
		}
	}
	if db.files.wal != nil && db.wal.valid {
		r.cursor = db.wal.cursor
		r.wal, err = db.store.FS.OpenFile(db.WALPath(), os.O_RDONLY, 0)
	}
	return err
}

// scanWAL finds the newest frames in the WAL. If the WAL is no longer the one that
// was captured there are none: SQLite restarts it only when the database file has
// all of it.
func (r *stateReader) scanWAL() error {
	if r.wal == nil || r.cursor.Frame == 0 {
		return nil
	}
	hdr, err := sqlite.ReadWALHeader(r.wal)
	if errors.Is(err, sqlite.ErrWALHeader) || err == nil && hdr.Salt != r.cursor.Salt {
		return nil
	}
	if err != nil {
		return err
	}
	scanner := sqlite.NewWALScanner(r.wal, hdr.Start(), r.cursor.Frame)
	for compacted := 0; scanner.Next(); {
		f := scanner.Frame()
		r.frames = append(r.frames, sqlite.PageFrame{Pgno: f.Pgno, Frame: f.Frame})
		if len(r.frames) > 2*compacted+1<<16 {
			r.frames = newestFrames(r.frames)
			compacted = len(r.frames)
		}
	}
	r.frames = newestFrames(r.frames)
	return scanner.Err()
}

// read fills page with the page whose checksum is want, or with what there is in
// its place. A frame can have been written over only if the database file has its
// page.
func (r *stateReader) read(pgno uint32, page []byte, want ltx.Checksum) error {
	i, found := slices.BinarySearchFunc(r.frames, pgno, func(f sqlite.PageFrame, pgno uint32) int {
		return int(int64(f.Pgno) - int64(pgno))
	})
	if found {
		if err := readFrame(r.wal, r.frames[i].Frame, page); err == nil && ltx.PageChecksum(pgno, page) == want {
			return nil
		}
	}
	return readPageAt(r.database, pgno, page)
}

// close closes the files.
func (r *stateReader) close() error {
	var errs []error
	for _, f := range []fsx.File{r.database, r.wal} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	r.database, r.wal = nil, nil
	return errors.Join(errs...)
}

// readPageAt reads a page of a database file. What lies past the end of the file is
// zeros: SQLite does not write the free pages that it adds.
func readPageAt(f io.ReaderAt, pgno uint32, page []byte) error {
	n, err := f.ReadAt(page, int64(pgno-1)*int64(len(page)))
	clear(page[n:])
	return ignoreEOF(err)
}
