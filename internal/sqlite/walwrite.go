package sqlite

import (
	"fmt"
	"io"
)

// writeBufferSize is how many bytes of frames are gathered for one WriteAt.
const writeBufferSize = 256 << 10

// WriteWALHeader starts a WAL. What follows from an earlier WAL in the file
// becomes invalid by the new salts. If the WAL is to survive a loss of power,
// it must be synced before the first frame is written: frames must not reach
// the disk ahead of the header they belong to. (wal.c walFrames)
func WriteWALHeader(w io.WriterAt, h WALHeader) error {
	if _, err := w.WriteAt(h.AppendTo(nil), 0); err != nil {
		return fmt.Errorf("write WAL header: %w", err)
	}
	return nil
}

// WALWriter appends frames to a WAL. It writes nothing to the wal-index: the
// frames become visible when a [WALIndexWriter] publishes them. The caller
// holds WALWriteLock. (fileformat2 section 4.1; wal.c walFrames)
//
// The pages of a transaction come each once, in any order, with the page count
// on the last. Nothing has to be undone if a transaction is given up: its
// frames lie past mxFrame, and the next writer starts over them.
type WALWriter struct {
	w       io.WriterAt
	cursor  WALCursor // behind the last frame, written or buffered
	flushed WALCursor // behind the last frame written
	buf     []byte
	err     error
}

// NewWALWriter returns a writer that appends after cursor: that of the
// wal-index header ([WALIndexHeader.Cursor]), or [WALHeader.Start] of a header
// just written.
func NewWALWriter(w io.WriterAt, cursor WALCursor) *WALWriter {
	return &WALWriter{w: w, cursor: cursor, flushed: cursor}
}

// Reset makes the writer append after another cursor. What was not flushed is
// dropped, and so is an error.
func (w *WALWriter) Reset(cursor WALCursor) {
	w.cursor, w.flushed, w.buf, w.err = cursor, cursor, w.buf[:0], nil
}

// WriteFrame appends a frame with page number pgno. In the last frame of a
// transaction commit is the page count of the database, else it is 0. The
// frame may stay in a buffer until Flush. After an
// I/O error the writer is spent until Reset.
func (w *WALWriter) WriteFrame(pgno, commit uint32, page []byte) error {
	if w.err != nil {
		return w.err
	}
	switch {
	case len(page) != int(w.cursor.PageSize):
		return fmt.Errorf("write WAL frame for page %d: %d bytes, page size %d", pgno, len(page), w.cursor.PageSize)
	case pgno == 0 || pgno == LockPage(w.cursor.PageSize):
		return fmt.Errorf("write WAL frame: page number %d cannot hold data", pgno)
	}
	header, next := w.cursor.next(pgno, commit, page)
	w.buf = append(header.AppendTo(w.buf), page...)
	w.cursor = next
	if len(w.buf) >= writeBufferSize {
		return w.Flush()
	}
	return nil
}

// Flush writes what is buffered. It does not sync.
func (w *WALWriter) Flush() error {
	if w.err != nil || len(w.buf) == 0 {
		return w.err
	}
	n, err := w.w.WriteAt(w.buf, w.flushed.Offset())
	if err == nil && n < len(w.buf) {
		err = io.ErrShortWrite
	}
	if err != nil {
		w.err = fmt.Errorf("write WAL frames from %d: %w", w.flushed.Frame+1, err)
		return w.err
	}
	w.flushed, w.buf = w.cursor, w.buf[:0]
	return nil
}

// Cursor returns the cursor behind the last frame, buffered ones included.
func (w *WALWriter) Cursor() WALCursor { return w.cursor }
