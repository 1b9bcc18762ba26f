package stream

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/cespare/xxhash/v2"

	"litefs"
	"litefs/ltx"
)

// The body of POST /difference begins with the position of the replica's database and
// the xxHash64 of that and of the database's name, which is in the URL: one that has
// been changed on the way would address another database.
const (
	posSize  = 16
	baseSize = posSize + 8
)

// serveDifference sends the pages of one database that differ. It returns an error
// only if nothing was answered; if it fails later it breaks the connection off.
func (s *Server) serveDifference(w http.ResponseWriter, r *http.Request) error {
	id, name := r.URL.Query().Get("session"), r.URL.Query().Get("db")
	session := s.session(id)
	if session == nil {
		return fmt.Errorf("%w: %q", ErrNoSession, id)
	}
	control := http.NewResponseController(w)
	if err := errors.Join(control.EnableFullDuplex(), control.SetReadDeadline(time.Time{}), control.SetWriteDeadline(time.Time{})); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	if err := session.beginFetch(name, cancel); err != nil {
		return err
	}
	unblocked := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(unblocked)
		_ = control.SetReadDeadline(time.Unix(1, 0))
		_ = control.SetWriteDeadline(time.Unix(1, 0))
	})
	pos, err := session.writeDifference(ctx, name, w, r.Body)
	if err == nil {
		err = control.Flush()
	}
	if !stop() {
		<-unblocked
		err = errors.Join(context.Cause(ctx), err)
	}
	session.endFetch(name, pos, err)
	if err != nil {
		session.logger.Warn("difference was not sent", slog.String("db", name), slog.Any("error", err))
		_ = control.SetReadDeadline(time.Unix(1, 0)) // or the connection stays until the request is read
		panic(http.ErrAbortHandler)                  // the replica must not take what it has got for the whole
	}
	session.logger.Info("difference sent", slog.String("db", name), slog.Any("pos", pos))
	return nil
}

// writeDifference writes the LTX file, and returns the position after it.
func (s *session) writeDifference(ctx context.Context, name string, w io.Writer, body io.Reader) (ltx.Pos, error) {
	sums := bufio.NewReaderSize(body, 64<<10)
	base, err := readBase(sums, name)
	if err != nil {
		return ltx.Pos{}, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	out := newWriteProgress(w, s.logger.With(slog.String("db", name)), "sending the pages that differ")
	db := s.store.DB(name)
	if db == nil {
		return writeDrop(out, base)
	}
	pos, err := db.WriteDifferenceTo(ctx, out, base, sums)
	if errors.Is(err, litefs.ErrNoTransactions) {
		return writeDrop(out, base)
	}
	return pos, err
}

// writeDrop writes an LTX file that drops a database of which the primary has never
// heard.
func writeDrop(w io.Writer, base ltx.Pos) (ltx.Pos, error) {
	next := ltx.Pos{TXID: base.TXID + 1, PostApplyChecksum: emptyChecksum}
	enc := ltx.NewEncoder(w)
	if err := enc.EncodeHeader(ltx.Header{
		PageSize:         4096, // of no page
		MinTXID:          next.TXID,
		MaxTXID:          next.TXID,
		Timestamp:        time.Now().UnixMilli(),
		PreApplyChecksum: base.PostApplyChecksum,
	}); err != nil {
		return ltx.Pos{}, err
	}
	enc.SetPostApplyChecksum(next.PostApplyChecksum)
	return next, enc.Close()
}

// beginFetch notes that a difference is being sent, in place of one that may still
// be on its way on a connection that is lost. cancel ends it.
func (s *session) beginFetch(name string, cancel context.CancelCauseFunc) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.dbs[name]
	switch {
	case r == nil || !r.differs:
		return fmt.Errorf("%w: replica was not told to fetch %q", ErrBadRequest, name)
	case s.over != nil:
		return fmt.Errorf("%w: %w", ErrNoSession, s.over)
	case r.fetch != nil:
		return fmt.Errorf("%w: %q is being fetched already", ErrBadRequest, name)
	}
	r.fetch = cancel
	return nil
}

// endFetch notes how it went.
func (s *session) endFetch(name string, pos ltx.Pos, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.dbs[name]
	r.fetch = nil
	if err == nil {
		r.replace(pos)
		s.wakeUp(name)
	}
}

// abandonFetches ends the differences that are being sent, with the session.
func (s *session) abandonFetches(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = err
	for _, r := range s.dbs {
		if r.fetch != nil {
			r.fetch(err)
		}
	}
}

// readBase reads the beginning of a request's body.
func readBase(r io.Reader, name string) (ltx.Pos, error) {
	var b [baseSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return ltx.Pos{}, fmt.Errorf("read base position: %w", err)
	}
	pos := ltx.Pos{
		TXID:              ltx.TXID(binary.BigEndian.Uint64(b[:])),
		PostApplyChecksum: ltx.Checksum(binary.BigEndian.Uint64(b[8:])),
	}
	if [baseSize]byte(appendBase(nil, name, pos)) != b {
		return ltx.Pos{}, fmt.Errorf("base position of %q does not have its hash", name)
	}
	return pos, nil
}

// appendBase appends the beginning of a request's body.
func appendBase(b []byte, name string, pos ltx.Pos) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(pos.TXID))
	b = binary.BigEndian.AppendUint64(b, uint64(pos.PostApplyChecksum))
	hash := xxhash.New()
	_, _ = hash.Write(b[len(b)-posSize:]) // never returns an error
	_, _ = hash.WriteString(name)
	return binary.BigEndian.AppendUint64(b, hash.Sum64())
}
