package sqlite

import (
	"errors"
	"fmt"
	"io"
)

// Rebuild makes the wal-index anew from a WAL of size bytes and returns the
// header it published: that of the last commit frame, or of an empty WAL if
// there is none or the WAL has no valid header. [ErrWALVersion] leaves the
// wal-index as it was. (wal.c walIndexRecover)
//
// The caller holds WALWriteLock, WALCkptLock and WALRecoverLock exclusively,
// and the locks of those read marks, from 1 to 4, that locked lists: they are
// reset. The others belong to readers that are still at work and stay.
//
// Each region is built in memory and then written, so that readers who use the
// old entries meanwhile see them unchanged. Unlike in SQLite the header is
// written last: a reader that sees it must not find the old backfill.
func (w *WALIndexWriter) Rebuild(wal io.ReaderAt, size int64, locked ...int) (WALIndexHeader, error) {
	w.Forget()
	h, err := w.appendAll(wal, size)
	if err == nil && h.MaxFrame == 0 {
		err = w.load(0) // SQLite needs the first region to be whole
	}
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = w.index.resetCheckpointInfo(h.MaxFrame, locked)
	}
	if err == nil {
		err = w.index.WriteHeader(h)
	}
	if err != nil {
		w.Forget()
		return WALIndexHeader{}, fmt.Errorf("rebuild wal-index: %w", err)
	}
	return h, nil
}

// appendAll enters all valid frames, also those that are not committed: what
// follows the last commit frame lies past mxFrame, as if its writer had rolled
// back.
func (w *WALIndexWriter) appendAll(wal io.ReaderAt, size int64) (WALIndexHeader, error) {
	header, err := ReadWALHeader(wal)
	if errors.Is(err, ErrWALHeader) || (err == nil && size <= WALHeaderSize) {
		return WALIndexHeader{}, nil
	} else if err != nil {
		return WALIndexHeader{}, err
	}
	s := NewWALScanner(wal, header.Start(), WALFrames(size, header.PageSize))
	for s.Next() {
		if err := w.Append(s.Frame().Frame, s.Frame().Pgno); err != nil {
			return WALIndexHeader{}, err
		}
	}
	h := WALIndexHeader{BigEndian: header.BigEndian, Salt: header.Salt}
	if cursor, pageCount := s.Commit(); pageCount != 0 {
		h = h.Commit(cursor, pageCount)
		h.Change = 0
	}
	return h, s.Err()
}

// resetCheckpointInfo sets the checkpoint information for a new wal-index.
func (x *WALIndex) resetCheckpointInfo(maxFrame uint32, locked []int) error {
	errs := []error{
		x.SetBackfill(0),
		x.SetBackfillAttempted(maxFrame),
		x.setField("read mark", readMarkOffset, 0),
	}
	for _, i := range locked {
		mark := uint32(ReadMarkNotUsed)
		if i == 1 && maxFrame != 0 {
			mark = maxFrame
		}
		errs = append(errs, x.SetReadMark(i, mark))
	}
	return errors.Join(errs...)
}

// Restart makes the next writer begin at frame 1 again, and returns the header
// it published: h with no frames and new salts, the second of them random.
// The WAL file is left to that writer, who gives it a header with these salts
// and the next sequence number, as [WALHeader.Next] does with the same random
// number. (wal.c walRestartHdr)
//
// The caller knows that all of the WAL has been backfilled, and holds
// WALWriteLock, WALCkptLock and the locks of read marks 1 to 4 exclusively.
// SQLite does without WALCkptLock and therefore publishes the header before it
// sets the backfill to 0, so that a checkpointer at work sees the new salts
// and stops; were it to die in between, the new frames would pass for
// backfilled. With the lock held the order can be the safe one.
func (w *WALIndexWriter) Restart(h WALIndexHeader, random uint32) (WALIndexHeader, error) {
	w.Forget()
	h.MaxFrame = 0
	h.Salt = h.Salt.next(random)
	err := errors.Join(w.index.SetBackfill(0), w.index.SetBackfillAttempted(0))
	if err == nil {
		err = w.index.WriteHeader(h)
	}
	if err != nil {
		return WALIndexHeader{}, fmt.Errorf("restart WAL: %w", err)
	}
	for i := 1; i < WALReadMarks; i++ {
		mark := uint32(ReadMarkNotUsed)
		if i == 1 {
			mark = 0
		}
		if err := w.index.SetReadMark(i, mark); err != nil {
			return WALIndexHeader{}, fmt.Errorf("restart WAL: %w", err)
		}
	}
	return h, nil
}
