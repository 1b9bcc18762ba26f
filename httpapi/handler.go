package httpapi

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"time"

	"litefs"
)

// requestTimeout bounds a request for the node's state, from its first byte to the
// last of the answer.
const requestTimeout = 10 * time.Second

// Options say what a handler cannot learn from the store.
type Options struct {
	Logger       *slog.Logger
	Version      string       // of the program
	AdvertiseURL string       // of this node
	Stream       http.Handler // for /stream and /difference
}

// handler answers requests for the node's state.
type handler struct {
	store *litefs.Store
	opts  Options
}

// NewHandler returns the handler of all paths.
func NewHandler(store *litefs.Store, opts Options) http.Handler {
	h := &handler{store, opts}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /info", h.bounded(h.serveInfo))
	mux.HandleFunc("GET /healthz", h.bounded(h.serveHealth))
	mux.HandleFunc("GET /readyz", h.bounded(h.serveReady))
	mux.Handle("/stream", opts.Stream)
	mux.Handle("/difference", opts.Stream)
	return mux
}

// bounded wraps a handler that reads no body and is done at once. A body that is sent
// nevertheless is dropped by the server, and the connection with it if it is long.
func (h *handler) bounded(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		deadline := time.Now().Add(requestTimeout)
		control := http.NewResponseController(w)
		_ = control.SetReadDeadline(deadline) // a connection that is closed needs none
		_ = control.SetWriteDeadline(deadline)
		next(w, r)
	}
}

func (h *handler) serveInfo(w http.ResponseWriter, _ *http.Request) {
	data, err := json.MarshalIndent(h.info(), "", "  ")
	if err != nil {
		h.opts.Logger.Error("state cannot be encoded", slog.Any("error", err))
		http.Error(w, "state cannot be encoded", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(data, '\n')) // the client may be gone
}

func (h *handler) serveHealth(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok") }

func (h *handler) serveReady(w http.ResponseWriter, _ *http.Request) {
	switch {
	case h.store.Ready():
		answer(w, http.StatusOK, "ready")
	case h.store.PrimaryInfo() == nil:
		answer(w, http.StatusServiceUnavailable, "not ready: no primary is known")
	default:
		answer(w, http.StatusServiceUnavailable, "not ready: catching up with the primary")
	}
}

func answer(w http.ResponseWriter, status int, line string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, line+"\n") // the client may be gone
}
