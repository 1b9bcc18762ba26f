package stream

import (
	"errors"
	"io"
	"log/slog"

	"litefs"
	"litefs/ltx"
)

// emptyChecksum is that of a database without pages.
const emptyChecksum = ltx.ChecksumFlag

// isEmpty reports whether a database at pos has no pages: it has had no transaction,
// or the last one has dropped it.
func isEmpty(pos ltx.Pos) bool {
	return pos.TXID == 0 || pos.PostApplyChecksum == emptyChecksum
}

// sendNext sends the next thing that the replica lacks of a database. It reports
// whether there may be more that can be sent now.
func (s *session) sendNext(name string) (more bool, err error) {
	s.mu.Lock()
	r := s.replica(name)
	sent, wait := r.sent, r.differs || r.full()
	s.mu.Unlock()
	if wait {
		return false, nil // a difference or an acknowledgement brings the name back
	}
	db := s.store.DB(name)
	if db == nil || db.TXID() == 0 {
		if isEmpty(sent) {
			return false, nil
		}
		return false, s.sendDifference(name, litefs.HistoryDiverged)
	}
	history := db.History(sent)
	switch history {
	case litefs.HistoryEqual:
		s.noteEqual(name, sent)
		return false, nil
	case litefs.HistoryOnLog:
		file, err := db.OpenLTXAfter(sent)
		if errors.Is(err, litefs.ErrLTXNotFound) {
			return false, s.sendDifference(name, litefs.HistoryUnknown) // removed meanwhile
		}
		if err != nil {
			return false, err
		}
		if s.isNew(name, sent) && file.Header().MaxTXID < db.TXID() {
			return false, errors.Join(s.sendDifference(name, litefs.HistoryUnknown), file.Close())
		}
		return true, errors.Join(s.sendFile(name, file), file.Close())
	default:
		return false, s.sendDifference(name, history)
	}
}

// noteEqual notes that the replica's copy of a database is as the primary's, if it was
// so without anything that has yet to be applied.
func (s *session) noteEqual(name string, pos ltx.Pos) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.replica(name); r.sent == pos && len(r.inFlight) == 0 {
		r.applied = pos
	}
}

// isNew reports whether a replica has connected without a database: each page in its
// last version is less than every version that the log has.
func (s *session) isNew(name string, sent ltx.Pos) bool {
	_, initial := s.unreached[name]
	return initial && sent.TXID == 0
}

// sendFile sends a file of the log and notes the position after it.
func (s *session) sendFile(name string, file *litefs.LTXFile) error {
	size, maxTXID := file.SizeBytes(), file.Header().MaxTXID
	tail := &tailReader{r: newProgress(file, s.logger.With(slog.String("db", name)), "sending transactions", size)}
	if err := s.write(&LTXStreamFrame{Name: name, Size: size, Body: tail}); err != nil {
		return err
	}
	var trailer ltx.Trailer
	if err := trailer.UnmarshalBinary(tail.last); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replica(name).add(ltx.Pos{TXID: maxTXID, PostApplyChecksum: trailer.PostApplyChecksum}, size)
	return nil
}

// sendDifference tells the replica to fetch what differs.
func (s *session) sendDifference(name string, history litefs.History) error {
	s.mu.Lock()
	r := s.replica(name)
	r.differs = true
	sent := r.sent
	s.mu.Unlock()
	s.logger.Info("log does not serve this replica, sending the pages that differ",
		slog.String("db", name), slog.Any("pos", sent), slog.String("history", history.String()))
	return s.write(&DifferenceStreamFrame{Name: name, Diverged: history == litefs.HistoryDiverged})
}

// tailReader remembers the end of what it reads, where an LTX file has its trailer.
type tailReader struct {
	r    io.Reader
	last []byte // up to ltx.TrailerSize bytes
}

// Read implements io.Reader.
func (t *tailReader) Read(b []byte) (int, error) {
	n, err := t.r.Read(b)
	t.last = append(t.last, b[max(0, n-ltx.TrailerSize):n]...)
	t.last = append(t.last[:0], t.last[max(0, len(t.last)-ltx.TrailerSize):]...)
	return n, err
}
