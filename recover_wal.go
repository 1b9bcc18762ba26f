package litefs

import (
	"context"
	"errors"
	"slices"

	"litefs/internal/sqlite"
	"litefs/ltx"
)

// findEnd looks for the commit in the WAL that the log ends with, so that capture
// can go on behind it. The start of the WAL counts as one: it is where the log
// ends if nothing of the WAL has been captured yet, or if there is no WAL. It
// returns false if the database has never been what the log says since the WAL
// was started.
//
// The database file has no page that the log lacks, because a checkpoint is
// captured before it starts. So the state after a commit is the newest frames up
// to it over the file as it is. (A power cut during a checkpoint may leave such a
// page, since the log is synced with the file; then nothing is found.)
func (db *DB) findEnd(ctx context.Context, last *ltxTail) (bool, error) {
	replay, cursor, err := db.newWALReplay(ctx, last.hdr.PageSize)
	if err != nil || replay == nil {
		return false, err
	}
	found := false
	matches := func(end sqlite.WALCursor) {
		if replay.sums.checksum() == last.pos.PostApplyChecksum && replay.sums.size() == last.hdr.Commit {
			found = true
			db.adoptCursor(end)
			db.adoptState(last, replay.sums.clone())
		}
	}
	matches(cursor)
	if cursor.PageSize == 0 {
		return found, nil // no WAL
	}
	size, err := fileSize(db.files.wal)
	if err != nil {
		return false, err
	}
	scanner := sqlite.NewWALScanner(db.files.wal, cursor, sqlite.WALFrames(size, cursor.PageSize))
	for scanner.Next() {
		frame := scanner.Frame()
		replay.add(frame, scanner.Page())
		if frame.Commit != 0 {
			matches(scanner.Cursor())
		}
	}
	return found, scanner.Err()
}

// walReplay computes the page checksums of a database after each commit in its WAL.
type walReplay struct {
	base     pageSums  // of the whole database file
	sums     pageSums  // after the last commit
	tx       []pageSum // of the transaction that is being read
	pageSize uint32    // bytes
}

// newWALReplay returns a replay in front of the first frame, and the cursor there:
// the zero cursor if there is no WAL that SQLite would read. The replay is nil if
// the database does not have the page size.
func (db *DB) newWALReplay(ctx context.Context, pageSize uint32) (*walReplay, sqlite.WALCursor, error) {
	size, pages, err := db.geometry(pageSize)
	if errors.Is(err, sqlite.ErrNotDatabase) || err == nil && size != pageSize && pages > 0 {
		return nil, sqlite.WALCursor{}, nil
	}
	if err != nil {
		return nil, sqlite.WALCursor{}, err
	}
	fileBytes, err := fileSize(db.files.database)
	if err != nil {
		return nil, sqlite.WALCursor{}, err
	}
	r := &walReplay{pageSize: pageSize}
	r.base, err = scanSums(ctx, &dbView{db: db, pageSize: pageSize, pages: pageCount(fileBytes, pageSize)})
	if err != nil {
		return nil, sqlite.WALCursor{}, err
	}
	r.sums = r.base.clone()
	r.sums.resize(pages)
	if db.files.wal == nil || fileBytes == 0 {
		return r, sqlite.WALCursor{}, nil
	}
	hdr, err := sqlite.ReadWALHeader(db.files.wal)
	if errors.Is(err, sqlite.ErrWALHeader) || err == nil && hdr.PageSize != pageSize {
		return r, sqlite.WALCursor{}, nil
	}
	return r, hdr.Start(), err
}

// add replays a frame.
func (r *walReplay) add(frame sqlite.WALFrame, page []byte) {
	r.tx = append(r.tx, pageSum{frame.Pgno, ltx.PageChecksum(frame.Pgno, page)})
	if frame.Commit == 0 {
		return
	}
	before := r.sums.size()
	r.sums.resize(frame.Commit)
	// Pages that are added and not written are those of the file, or zeros.
	for pgno := before + 1; pgno <= frame.Commit && pgno != 0; pgno++ {
		if pgno != ltx.LockPgno(r.pageSize) {
			r.sums.set(pgno, r.filePage(pgno))
		}
	}
	for _, p := range r.tx {
		if p.pgno <= frame.Commit {
			r.sums.set(p.pgno, p.sum)
		}
	}
	r.tx = r.tx[:0]
}

func (r *walReplay) filePage(pgno uint32) ltx.Checksum {
	if pgno <= r.base.size() {
		return r.base.page(pgno)
	}
	return ltx.PageChecksum(pgno, make([]byte, r.pageSize))
}

// clone returns a copy that does not change with s.
func (s *pageSums) clone() pageSums {
	return pageSums{pages: slices.Clone(s.pages), total: s.total}
}
