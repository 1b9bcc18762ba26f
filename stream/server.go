package stream

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"litefs"
	"litefs/ltx"
)

// Version is the newest protocol version that this package speaks, MinVersion the
// oldest.
const (
	Version    = 1
	MinVersion = 1
)

// DefaultHeartbeatInterval is the time between two heartbeats.
const DefaultHeartbeatInterval = time.Second

const (
	// missedHeartbeats is how many intervals a peer may be silent.
	missedHeartbeats = 3
	// helloTimeout bounds the time until a peer says what it wants.
	helloTimeout = 10 * time.Second
	// endTimeout bounds how long a session tries to say why it ends.
	endTimeout = time.Second
)

// ServerOptions are the settings of a Server.
type ServerOptions struct {
	Logger            *slog.Logger  // nil discards
	HeartbeatInterval time.Duration // whole milliseconds; 0 is DefaultHeartbeatInterval
}

// Server serves POST /stream and POST /difference. It owns the sessions of all
// replicas.
type Server struct {
	store  *litefs.Store
	opts   ServerOptions
	logger *slog.Logger
	wg     sync.WaitGroup // one for each request
	stage  atomic.Int32   // of stepping down

	mu       sync.Mutex // guards what follows
	closed   bool
	sessions map[string]*session // by ID
	applied  appliedPositions
}

// appliedPositions are the latest that some replica has applied while the node leads in
// one epoch.
type appliedPositions struct {
	epoch     uint64
	positions map[string]ltx.Pos
}

// NewServer returns a server for the databases of store.
func NewServer(store *litefs.Store, opts ServerOptions) *Server {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.HeartbeatInterval < time.Millisecond {
		opts.HeartbeatInterval = DefaultHeartbeatInterval
	}
	return &Server{store: store, opts: opts, logger: opts.Logger, sessions: make(map[string]*session)}
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var serve func(http.ResponseWriter, *http.Request) error
	switch r.URL.Path {
	case "/stream":
		serve = s.serveStream
	case "/difference":
		serve = s.serveDifference
	default:
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
		return
	}
	if !s.enter() {
		refuse(w, ErrServerClosed)
		return
	}
	defer s.wg.Done()
	if err := serve(w, r); err != nil {
		s.logger.Warn("request refused", slog.String("path", r.URL.Path), slog.String("peer", r.RemoteAddr), slog.Any("error", err))
		refuse(w, err)
	}
}

// enter counts a request in, unless the server is closed.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.wg.Add(1)
	return true
}

// Close ends all sessions, refuses new ones, and waits for all of them. It does not
// take longer than a few seconds.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	for _, session := range s.sessions {
		session.cancel(ErrServerClosed)
	}
	s.mu.Unlock()
	s.wg.Wait()
	return nil
}

// Handoff passes a lease to the replica with the given node ID, whose session then
// ends. It returns ErrNoSession if that node is not connected.
func (s *Server) Handoff(nodeID, leaseID string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, session := range s.sessions {
		if session.node == nodeID {
			session.cancel(&HandoffError{LeaseID: leaseID})
			return nil
		}
	}
	return fmt.Errorf("hand lease over to node %s: %w", nodeID, ErrNoSession)
}

// serveStream serves one session. It returns an error only if nothing was answered.
func (s *Server) serveStream(w http.ResponseWriter, r *http.Request) error {
	control := http.NewResponseController(w)
	if err := errors.Join(control.EnableFullDuplex(), control.SetReadDeadline(time.Now().Add(helloTimeout))); err != nil {
		return err
	}
	body := bufio.NewReader(r.Body)
	follow, err := readFollow(body)
	if err != nil {
		return err
	}
	if err := s.admit(follow); err != nil {
		return fmt.Errorf("node %s: %w", follow.NodeID, err)
	}
	// The server's own limits are for requests, not for a session.
	if err := errors.Join(control.SetReadDeadline(time.Time{}), control.SetWriteDeadline(time.Time{})); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	session := newSession(s, follow, sessionConn{w: w, control: control, body: body, cancel: cancel})
	if err := s.register(session); err != nil {
		return err
	}
	defer s.unregister(session)
	session.serve(ctx)
	return nil
}

func readFollow(r io.Reader) (*FollowStreamFrame, error) {
	frame, err := ReadStreamFrame(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	follow, ok := frame.(*FollowStreamFrame)
	if !ok {
		return nil, fmt.Errorf("%w: begins with a frame of type %d", ErrBadRequest, frame.Type())
	}
	return follow, nil
}

// admit refuses a replica that must not follow this node.
func (s *Server) admit(f *FollowStreamFrame) error {
	cluster, epoch := s.store.ClusterID(), s.store.Epoch()
	switch {
	case f.MinVersion > Version || f.MaxVersion < MinVersion:
		return fmt.Errorf("%w: replica speaks %d to %d, primary %d to %d", ErrVersion, f.MinVersion, f.MaxVersion, MinVersion, Version)
	case f.NodeID == s.store.ID():
		return fmt.Errorf("%w: %s", ErrSelf, f.NodeID)
	case f.ClusterID != "" && f.ClusterID != cluster:
		return fmt.Errorf("%w: replica is of %s, primary of %s", litefs.ErrClusterMismatch, f.ClusterID, cluster)
	case f.Epoch > epoch:
		return fmt.Errorf("%w: it is %d, replica has seen %d", litefs.ErrStaleEpoch, epoch, f.Epoch)
	case !s.store.IsPrimary():
		return ErrNotPrimary
	}
	return nil
}

// register makes a session known, and ends an older one of the same node: its
// connection is lost and nobody has noticed yet.
func (s *Server) register(session *session) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrServerClosed
	}
	for _, other := range s.sessions {
		if other.node == session.node {
			other.cancel(ErrSuperseded)
		}
	}
	s.sessions[session.id] = session
	return nil
}

func (s *Server) unregister(session *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noteApplied(session)
	delete(s.sessions, session.id)
	close(session.ended)
}

// Replicated returns, by database, the latest position that is known to be on a replica,
// of all that have been connected since the node began to lead.
func (s *Server) Replicated() map[string]ltx.Pos {
	s.mu.Lock()
	defer s.mu.Unlock()
	epoch := s.store.Epoch()
	for _, session := range s.sessions {
		s.noteApplied(session)
	}
	if s.applied.epoch != epoch {
		return nil
	}
	return maps.Clone(s.applied.positions)
}

// noteApplied takes over what a session knows of its replica. The caller holds mu.
func (s *Server) noteApplied(session *session) {
	switch {
	case session.epoch < s.applied.epoch:
		return
	case session.epoch > s.applied.epoch || s.applied.positions == nil:
		s.applied = appliedPositions{session.epoch, make(map[string]ltx.Pos)}
	}
	session.mu.Lock()
	defer session.mu.Unlock()
	for name, r := range session.dbs {
		if r.applied.TXID > s.applied.positions[name].TXID {
			s.applied.positions[name] = r.applied
		}
	}
}

// session returns a session by ID, or nil.
func (s *Server) session(id string) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[id]
}

func newSessionID() string { return rand.Text() }
