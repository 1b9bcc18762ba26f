package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"
)

const (
	headerTimeout  = 10 * time.Second // to send the header of a request
	idleTimeout    = 2 * time.Minute  // between two requests of a connection
	maxHeaderBytes = 64 << 10
)

// Server listens on one TCP address.
type Server struct {
	listener net.Listener
	server   *http.Server
	served   chan error // what Serve has returned
}

// Listen opens addr, host:port, for connections. They are answered once Serve has
// been called.
func Listen(addr string) (*Server, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("open http listener: %w", err)
	}
	return &Server{listener: listener}, nil
}

// Port returns the TCP port.
func (s *Server) Port() int { return s.listener.Addr().(*net.TCPAddr).Port }

// URL returns the URL of the server as this machine can use it.
func (s *Server) URL() string {
	host := "localhost"
	if ip := s.listener.Addr().(*net.TCPAddr).IP; !ip.IsUnspecified() {
		host = ip.String()
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(s.Port()))
}

// Serve starts to answer requests and returns at once. Connections that go wrong are
// reported for debugging.
func (s *Server) Serve(handler http.Handler, logger *slog.Logger) {
	s.server = &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	s.served = make(chan error, 1)
	go func() { s.served <- s.server.Serve(s.listener) }()
}

// Shutdown stops listening and waits for the requests that are being answered, until
// ctx is done; what is left then is cut off.
func (s *Server) Shutdown(ctx context.Context) error {
	if s.server == nil {
		return s.listener.Close()
	}
	err := s.server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		err = s.server.Close()
	}
	if serveErr := <-s.served; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	return err
}
