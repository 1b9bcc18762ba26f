package stream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"litefs"
	"litefs/ltx"
)

// session is one replica's connection, on the primary. Its serve method is the
// session goroutine, which alone writes to the response.
type session struct {
	server *Server
	store  *litefs.Store
	id     string
	node   string // ID of the replica
	epoch  uint64 // of the primary when the session began
	logger *slog.Logger
	cancel context.CancelCauseFunc // ends the session and says why
	conn   sessionConn
	w      *bufio.Writer
	wake   chan struct{} // a name was added to woken
	ended  chan struct{} // closed when the session is not the server's any more

	// The session goroutine's own.
	pending   map[string]struct{} // databases that may lack something
	reported  map[string]ltx.Pos  // positions in the last heartbeats
	beatAt    time.Time           // when the next heartbeat is due
	unreached map[string]ltx.TXID // what must be sent before Ready; nil after it
	torn      bool                // a frame was begun and not finished

	mu    sync.Mutex // guards what follows
	dbs   map[string]*replicated
	woken map[string]struct{}
	over  error // why the session is over, or nil
}

// sessionConn is the two directions of the connection.
type sessionConn struct {
	w       http.ResponseWriter
	control *http.ResponseController
	body    *bufio.Reader
	cancel  context.CancelCauseFunc
}

func newSession(server *Server, follow *FollowStreamFrame, conn sessionConn) *session {
	s := &session{
		server:    server,
		store:     server.store,
		id:        newSessionID(),
		node:      follow.NodeID,
		epoch:     server.store.Epoch(),
		logger:    server.logger.With(slog.String("node", follow.NodeID)),
		cancel:    conn.cancel,
		conn:      conn,
		w:         bufio.NewWriterSize(conn.w, 64<<10),
		wake:      make(chan struct{}, 1),
		ended:     make(chan struct{}),
		pending:   make(map[string]struct{}),
		reported:  make(map[string]ltx.Pos),
		unreached: make(map[string]ltx.TXID),
		dbs:       make(map[string]*replicated),
		woken:     make(map[string]struct{}),
	}
	for name, pos := range follow.Positions {
		s.dbs[name] = &replicated{sent: pos}
		s.pending[name] = struct{}{}
		s.unreached[name] = 0
	}
	for name, pos := range server.store.PosMap() {
		s.pending[name] = struct{}{}
		s.unreached[name] = pos.TXID
	}
	return s
}

// serve runs the session until the replica is gone, or cancel is called.
func (s *session) serve(ctx context.Context) {
	s.logger.Info("stream connected", slog.Uint64("epoch", s.epoch))
	// What the goroutines are blocked in ends soon after the session is over.
	unblocked := make(chan struct{})
	context.AfterFunc(ctx, func() {
		defer close(unblocked)
		_ = s.conn.control.SetReadDeadline(time.Unix(1, 0))
		_ = s.conn.control.SetWriteDeadline(time.Now().Add(endTimeout))
	})
	var reader sync.WaitGroup
	reader.Go(func() { s.cancel(s.read()) })
	err := s.run(ctx)
	if cause := context.Cause(ctx); cause != nil {
		err = cause // a failed write is only what followed from it
	}
	s.cancel(err)
	s.end(err)
	<-unblocked
	reader.Wait()
	s.abandonFetches(err)
	s.logger.Info("stream disconnected", slog.Any("error", err))
}

// run sends what the replica lacks, as it comes to lack it.
func (s *session) run(ctx context.Context) error {
	sub := s.store.Subscribe()
	defer sub.Close() //nolint:errcheck // it never returns an error
	if err := s.hello(); err != nil {
		return err
	}
	ticker := time.NewTicker(s.server.opts.HeartbeatInterval)
	defer ticker.Stop()
	for {
		s.collect(sub)
		if err := s.round(ctx); err != nil {
			return err
		}
		if len(s.pending) > 0 {
			continue
		}
		if s.drained() {
			return ErrNotPrimary
		}
		select {
		case <-sub.NotifyCh():
		case <-s.wake:
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// collect adds to pending what has changed.
func (s *session) collect(sub *litefs.Subscriber) {
	for name := range sub.DirtySet() {
		s.pending[name] = struct{}{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.woken {
		s.pending[name] = struct{}{}
	}
	clear(s.woken)
}

// round sends at most one file of each pending database, so that none waits for
// another that changes all the time, and a heartbeat if one is due.
func (s *session) round(ctx context.Context) error {
	for name := range s.pending {
		if err := s.checkRole(ctx); err != nil {
			return err
		}
		more, err := s.sendNext(name)
		if err != nil {
			return fmt.Errorf("database %q: %w", name, err)
		}
		if !more {
			delete(s.pending, name)
		}
		s.noteReached(name)
		if err := s.heartbeat(); err != nil {
			return err
		}
	}
	if err := s.checkRole(ctx); err != nil {
		return err
	}
	if err := errors.Join(s.ready(), s.heartbeat()); err != nil {
		return err
	}
	return s.flush()
}

// checkRole ends the session of a node that does not lead any more.
func (s *session) checkRole(ctx context.Context) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case !s.store.IsPrimary() && s.server.stage.Load() == stageLeading:
		return ErrNotPrimary
	case s.store.Epoch() != s.epoch:
		return fmt.Errorf("%w: it was %d, now it is %d", ErrNotPrimary, s.epoch, s.store.Epoch())
	default:
		return nil
	}
}

func (s *session) hello() error {
	s.conn.w.Header().Set("Content-Type", "application/octet-stream")
	s.conn.w.Header().Set("Connection", "close")
	if err := s.write(&HelloStreamFrame{
		Version:   Version,
		NodeID:    s.store.ID(),
		ClusterID: s.store.ClusterID(),
		Epoch:     s.epoch,
		SessionID: s.id,
		Heartbeat: s.server.opts.HeartbeatInterval,
	}); err != nil {
		return err
	}
	return s.flush()
}

// noteReached notes that a database was sent as it was when the session began.
func (s *session) noteReached(name string) {
	want, waited := s.unreached[name]
	if !waited {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.replica(name)
	_, pending := s.pending[name]
	if !r.differs && (!pending && !r.full() || want > 0 && r.sent.TXID >= want) {
		delete(s.unreached, name)
	}
}

// ready says once that everything was sent that there was when the session began.
func (s *session) ready() error {
	if s.unreached == nil || len(s.unreached) > 0 {
		return nil
	}
	s.unreached = nil
	return s.write(&ReadyStreamFrame{})
}

// heartbeat sends a heartbeat if one is due.
func (s *session) heartbeat() error {
	now := time.Now()
	if now.Before(s.beatAt) {
		return nil
	}
	s.beatAt = now.Add(s.server.opts.HeartbeatInterval * 3 / 4) // the ticker may be early
	if err := s.write(&HeartbeatStreamFrame{Timestamp: now.UnixMilli(), Positions: changedPositions(s.store, s.reported)}); err != nil {
		return err
	}
	return s.flush()
}

// changedPositions returns the positions that are not in reported, and adds them.
func changedPositions(store *litefs.Store, reported map[string]ltx.Pos) map[string]ltx.Pos {
	changed := make(map[string]ltx.Pos)
	for name, pos := range store.PosMap() {
		if old, ok := reported[name]; !ok || old != pos {
			changed[name], reported[name] = pos, pos
		}
	}
	return changed
}

// end tells the replica why the session ends, if it can still be told.
func (s *session) end(err error) {
	if s.torn {
		return
	}
	var frame StreamFrame
	if handoff := (*HandoffError)(nil); errors.As(err, &handoff) {
		frame = &HandoffStreamFrame{LeaseID: handoff.LeaseID}
	} else {
		code, _ := refusalOf(err)
		frame = &EndStreamFrame{Code: code, Message: err.Error()}
	}
	if err := errors.Join(s.write(frame), s.flush()); err != nil {
		s.logger.Debug("replica was not told why its session ended", slog.Any("error", err))
	}
}

func (s *session) write(f StreamFrame) error {
	s.torn = true
	if err := WriteStreamFrame(s.w, f); err != nil {
		return err
	}
	s.torn = false
	return nil
}

func (s *session) flush() error {
	return errors.Join(s.w.Flush(), s.conn.control.Flush())
}

// read takes the replica's heartbeats until there are no more, and returns why.
func (s *session) read() error {
	silence := missedHeartbeats * s.server.opts.HeartbeatInterval
	watchdog := time.AfterFunc(silence, func() {
		s.cancel(fmt.Errorf("%w: nothing from the replica for %s", ErrPeerSilent, silence))
	})
	defer watchdog.Stop()
	for {
		frame, err := ReadStreamFrame(s.conn.body)
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("replica has left: %w", err)
		}
		if err != nil {
			return err
		}
		beat, ok := frame.(*HeartbeatStreamFrame)
		if !ok {
			return fmt.Errorf("%w: a replica does not send type %d", ErrBadFrame, frame.Type())
		}
		watchdog.Reset(silence)
		s.acknowledge(beat.Positions)
	}
}

// acknowledge notes what the replica has applied.
func (s *session) acknowledge(positions map[string]ltx.Pos) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, pos := range positions {
		if r := s.dbs[name]; r != nil && r.acknowledge(pos) {
			s.wakeUp(name)
		}
	}
	if s.server.stage.Load() == stageDrained {
		s.nudge()
	}
}

// wakeUp has the session goroutine look at a database. The caller holds mu.
func (s *session) wakeUp(name string) {
	s.woken[name] = struct{}{}
	s.nudge()
}

// replica returns what is known of a copy of a database. The caller holds mu.
func (s *session) replica(name string) *replicated {
	r := s.dbs[name]
	if r == nil {
		r = &replicated{}
		s.dbs[name] = r
	}
	return r
}
