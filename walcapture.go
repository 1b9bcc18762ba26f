package litefs

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"litefs/internal/sqlite"
	"litefs/ltx"
)

// maxBatchFrames is where a batch is cut, at the next commit. Frames are
// read where they lie, so this bounds the size of LTX files rather than
// memory; one transaction is never cut.
const maxBatchFrames = 4096

// captureReason says what has capture look at the WAL.
type captureReason int

const (
	// captureFollow: something was written. What is published is captured.
	captureFollow captureReason = iota
	// captureGate: SQLite may forget what the WAL holds, or time has passed. What
	// was captured must by now be published.
	captureGate
)

// captureWAL captures every commit between the cursor and the bound.
func (db *DB) captureWAL(reason captureReason) error {
	if db.following.Load() || db.files.wal == nil || db.files.database == nil || db.intake.on {
		return nil
	}
	if leftover, err := db.walLeftover(); err != nil || leftover {
		return err
	}
	ok, err := db.locateCursor()
	if err != nil || !ok {
		return err
	}
	for {
		bound, err := db.publishedFrame()
		if err != nil {
			return err
		}
		if bound < db.wal.cursor.Frame && reason != captureFollow {
			// A writer died between writing its commit frame, which was
			// captured, and publishing it.
			return db.captureDifference("a commit that was captured has been withdrawn")
		}
		if bound <= db.wal.cursor.Frame {
			return nil
		}
		if more, err := db.captureBatch(bound); err != nil || !more {
			return err
		}
	}
}

// walLeftover reports whether the WAL stands beside a database file of no length.
// SQLite removes such a WAL (pagerOpenWalIfPresent in pager.c).
func (db *DB) walLeftover() (bool, error) {
	size, err := fileSize(db.files.database)
	return size == 0, err
}

// locateCursor brings the cursor in line with the WAL that is there. It returns
// false if there is nothing to capture.
//
// A writer that restarts the WAL writes the header first. Frames that do not fit
// a header read before are therefore looked at again with the header that is
// there then.
func (db *DB) locateCursor() (bool, error) {
	for {
		hdr, err := sqlite.ReadWALHeader(db.files.wal)
		if errors.Is(err, sqlite.ErrWALHeader) {
			return false, nil // SQLite takes such a WAL as empty; or it is just being restarted
		}
		if err != nil {
			return false, err
		}
		if !db.wal.valid {
			return false, db.captureDifference("it is not known what of the WAL the log has")
		}
		if db.wal.cursor.Salt != hdr.Salt || db.wal.cursor.PageSize != hdr.PageSize {
			if db.wal.ahead || db.wal.doubtful && db.wal.cursor.Frame > 0 {
				err := db.captureDifference("a commit that was captured may have been withdrawn")
				db.wal.doubtful = db.wal.doubtful && err != nil
				return false, err
			}
			// The WAL was restarted, which takes a checkpoint of all that it
			// held, and that passed a gate.
			db.wal.cursor = hdr.Start()
			return true, nil
		}
		holds, err := db.walHolds(hdr)
		if err != nil || holds {
			return err == nil, err
		}
		if again, err := sqlite.ReadWALHeader(db.files.wal); err == nil && again == hdr {
			return false, db.captureDifference("the WAL was overwritten behind what was captured")
		}
	}
}

// walHolds reports whether the WAL still holds what the cursor stands behind.
func (db *DB) walHolds(hdr sqlite.WALHeader) (bool, error) {
	holds, err := db.wal.cursor.Holds(db.files.wal)
	if err != nil || !holds || !db.wal.doubtful {
		return holds, err
	}
	scanner := sqlite.NewWALScanner(db.files.wal, hdr.Start(), db.wal.cursor.Frame)
	for scanner.Next() {
	}
	return scanner.Cursor() == db.wal.cursor, scanner.Err()
}

// publishedFrame returns the last frame that may be captured: mxFrame of the wal-index
// if that speaks of this WAL. It lies before the cursor if less is published than was
// captured. A commit that is written and not published, for as long as its writer syncs
// the WAL, is none yet: if the writer dies, the next one overwrites it.
//
// If nobody has a wal-index open, as under locking_mode=EXCLUSIVE, which keeps everybody
// else out, it is the last valid commit frame.
func (db *DB) publishedFrame() (uint32, error) {
	if open := db.sharedMemoryOpen(); !open || db.wal.shm == nil {
		// Without a wal-index, whoever opens the database next will take what
		// is valid for committed.
		db.wal.ahead = open
		return db.validCommit()
	}
	for range 100 {
		hdr, err := sqlite.NewWALIndex(db.wal.shm).Header()
		switch {
		case errors.Is(err, sqlite.ErrWALIndexTorn):
			continue
		case errors.Is(err, sqlite.ErrWALIndexInvalid):
			return db.wal.cursor.Frame, nil // whoever opens the database next rebuilds it
		case err != nil:
			return 0, err
		case hdr.Salt != db.wal.cursor.Salt:
			return db.wal.cursor.Frame, nil // a writer is about to restart the WAL
		}
		db.wal.ahead = db.wal.ahead && hdr.MaxFrame < db.wal.cursor.Frame
		return hdr.MaxFrame, nil
	}
	return db.wal.cursor.Frame, nil
}

// validCommit returns the last commit frame that continues the chain of
// checksums from the cursor, or the cursor's frame if there is none.
func (db *DB) validCommit() (uint32, error) {
	cursor := db.wal.cursor
	size, err := fileSize(db.files.wal)
	if err != nil {
		return 0, err
	}
	limit := sqlite.WALFrames(size, cursor.PageSize)
	if limit <= cursor.Frame {
		return cursor.Frame, nil
	}
	if next, err := db.frameHeader(cursor.Frame + 1); err != nil || next.Salt != cursor.Salt {
		return cursor.Frame, ignoreEOF(err)
	}
	scanner := sqlite.NewWALScanner(db.files.wal, cursor, limit)
	for scanner.Next() {
	}
	commit, pages := scanner.Commit()
	if pages == 0 {
		commit = cursor
	}
	return commit.Frame, scanner.Err()
}

// frameHeader reads the header of a frame; io.EOF says that the WAL is shorter.
func (db *DB) frameHeader(frame uint32) (sqlite.WALFrameHeader, error) {
	var b [sqlite.WALFrameHeaderSize]byte
	if err := readFull(db.files.wal, b[:], sqlite.WALFrameOffset(frame, db.wal.cursor.PageSize)); err != nil {
		return sqlite.WALFrameHeader{}, err
	}
	return sqlite.ParseWALFrameHeader(b[:]), nil
}

// walBatch is what a run of committed frames did.
type walBatch struct {
	frames []sqlite.PageFrame // each page once, its newest frame, by page number
	txns   ltx.TXID
	pages  uint32           // size of the database after it
	low    uint32           // smallest size of the database in between
	end    sqlite.WALCursor // behind the last commit frame
}

// captureBatch captures the commits up to bound, or as many as a batch holds,
// and reports whether some are left.
func (db *DB) captureBatch(bound uint32) (more bool, err error) {
	batch, err := db.readBatch(bound)
	if err != nil || batch.txns == 0 {
		return false, err
	}
	start := db.wal.cursor
	c := changes{
		txns: batch.txns, pageSize: start.PageSize, commit: batch.pages,
		snapshot: db.pageSize != 0 && start.PageSize != db.pageSize,
		wal: walRange{
			offset: start.Offset(), size: batch.end.Offset() - start.Offset(),
			salt1: start.Salt[0], salt2: start.Salt[1],
		},
	}
	if err := db.describeBatch(&c, batch); err != nil {
		return false, err
	}
	if err := db.commitChanges(c); err != nil {
		return false, err
	}
	db.adoptCursor(batch.end)
	return batch.end.Frame < bound, db.strictVerify()
}

// readBatch reads the headers of the frames after the cursor.
func (db *DB) readBatch(bound uint32) (walBatch, error) {
	batch := walBatch{low: db.sums.size(), end: db.wal.cursor}
	var tx []sqlite.PageFrame // of the transaction that is being read
	for frame := db.wal.cursor.Frame + 1; frame <= bound; frame++ {
		hdr, err := db.frameHeader(frame)
		if err != nil {
			return batch, fmt.Errorf("read header of WAL frame %d: %w", frame, err)
		}
		if hdr.Salt != db.wal.cursor.Salt || hdr.Pgno == 0 {
			return batch, fmt.Errorf("WAL frame %d, which the wal-index publishes, is not valid", frame)
		}
		tx = append(tx, sqlite.PageFrame{Pgno: hdr.Pgno, Frame: frame})
		if hdr.Commit == 0 {
			continue
		}
		batch.frames = append(batch.frames, tx...)
		tx = tx[:0]
		batch.txns++
		batch.pages, batch.low = hdr.Commit, min(batch.low, hdr.Commit)
		batch.end.Frame, batch.end.Checksum = frame, hdr.Checksum
		if len(batch.frames) >= maxBatchFrames {
			break
		}
	}
	batch.frames = newestFrames(batch.frames)
	return batch, nil
}

// newestFrames sorts by page number and keeps the newest frame of each page.
func newestFrames(frames []sqlite.PageFrame) []sqlite.PageFrame {
	slices.SortFunc(frames, func(a, b sqlite.PageFrame) int {
		if a.Pgno != b.Pgno {
			return int(int64(a.Pgno) - int64(b.Pgno))
		}
		return int(int64(b.Frame) - int64(a.Frame))
	})
	return slices.CompactFunc(frames, func(a, b sqlite.PageFrame) bool { return a.Pgno == b.Pgno })
}

// describeBatch says which pages a batch may have changed and where they are.
// Usually that is its frames. If the database has grown by pages that no frame
// holds (SQLite does not write free pages), they are read as SQLite would.
func (db *DB) describeBatch(c *changes, batch walBatch) error {
	lock := ltx.LockPgno(c.pageSize)
	batch.frames = slices.DeleteFunc(batch.frames, func(f sqlite.PageFrame) bool {
		return f.Pgno > batch.pages || f.Pgno == lock
	})
	first := db.Pos().TXID == 0 || c.snapshot
	if !first && !batch.hasGaps(lock) {
		c.pages = batch.eachPage
		c.read = db.frameReader(batch.frames)
		return nil
	}
	view, err := db.openViewAt(batch.end, batch.pages)
	if err != nil {
		return err
	}
	c.read = view.read
	if first {
		c.pages = allPages(batch.pages, c.pageSize)
		return nil
	}
	dirty := make([]uint32, 0, len(batch.frames))
	for _, f := range batch.frames {
		dirty = append(dirty, f.Pgno)
	}
	c.pages = pagesAndGrowth(dirty, batch.low, batch.pages, c.pageSize)
	return nil
}

// hasGaps reports whether the database has grown by a page without a frame.
func (b *walBatch) hasGaps(lock uint32) bool {
	if b.pages <= b.low {
		return false
	}
	written := 0
	for i := len(b.frames) - 1; i >= 0 && b.frames[i].Pgno > b.low; i-- {
		written++
	}
	grown := int(b.pages - b.low)
	if b.low < lock && lock <= b.pages {
		grown--
	}
	return written < grown
}

func (b *walBatch) eachPage(yield func(uint32) bool) {
	for _, f := range b.frames {
		if !yield(f.Pgno) {
			return
		}
	}
}

// frameReader returns a function that reads the pages of frames, in their order.
func (db *DB) frameReader(frames []sqlite.PageFrame) func(uint32, []byte) error {
	next := 0
	return func(pgno uint32, page []byte) error {
		for frames[next].Pgno != pgno {
			next++
		}
		return readFrame(db.files.wal, frames[next].Frame, page)
	}
}

// readFrame reads the page that a frame of a WAL holds.
func readFrame(wal io.ReaderAt, frame uint32, page []byte) error {
	offset := sqlite.WALFrameOffset(frame, uint32(len(page))) + sqlite.WALFrameHeaderSize
	if err := readFull(wal, page, offset); err != nil {
		return fmt.Errorf("WAL frame %d: %w", frame, err)
	}
	return nil
}
