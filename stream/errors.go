package stream

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"litefs"
)

// Errors of a connection, beside litefs.ErrClusterMismatch and
// litefs.ErrStaleEpoch.
var (
	// ErrBadFrame is returned for bytes that no node sends.
	ErrBadFrame = errors.New("bad frame")
	// ErrBadRequest is returned when the request is not one that a replica makes.
	ErrBadRequest = errors.New("bad request")
	// ErrVersion is returned when the nodes have no protocol version in common.
	ErrVersion = errors.New("no protocol version in common")
	// ErrSelf is returned when a node has connected to itself.
	ErrSelf = errors.New("node follows itself")
	// ErrNotPrimary is returned when the node that was asked is not, or no longer,
	// the primary.
	ErrNotPrimary = errors.New("node is not the primary")
	// ErrPeerSilent is returned when the other side has sent nothing for three
	// heartbeat intervals.
	ErrPeerSilent = errors.New("peer is silent")
	// ErrNoSession is returned when a difference is asked for outside of a session.
	ErrNoSession = errors.New("no such session")
	// ErrSuperseded is returned when the same replica has connected again.
	ErrSuperseded = errors.New("replica has connected again")
	// ErrServerClosed is returned when the primary shuts down.
	ErrServerClosed = errors.New("server is closed")
	// ErrInternal is returned when the primary has an error of its own.
	ErrInternal = errors.New("internal error")
)

// Code is the form that an error has on the wire, in a refusal and in an End frame.
type Code string

// refusals lists every error that has a Code, with the HTTP status of a refusal.
var refusals = []struct {
	code   Code
	err    error
	status int
}{
	{"bad-frame", ErrBadFrame, http.StatusBadRequest},
	{"bad-request", ErrBadRequest, http.StatusBadRequest},
	{"version", ErrVersion, http.StatusUpgradeRequired},
	{"cluster", litefs.ErrClusterMismatch, http.StatusForbidden},
	{"self", ErrSelf, http.StatusConflict},
	{"stale-epoch", litefs.ErrStaleEpoch, http.StatusConflict},
	{"not-primary", ErrNotPrimary, http.StatusServiceUnavailable},
	{"silent", ErrPeerSilent, http.StatusRequestTimeout},
	{"no-session", ErrNoSession, http.StatusGone},
	{"superseded", ErrSuperseded, http.StatusConflict},
	{"closed", ErrServerClosed, http.StatusServiceUnavailable},
	{"internal", ErrInternal, http.StatusInternalServerError},
}

// PeerError is what a primary has said when it refused a replica or ended its
// session. It wraps the error that its Code stands for.
type PeerError struct {
	Code    Code
	Message string // for people
}

// Error implements error.
func (e *PeerError) Error() string {
	return fmt.Sprintf("primary says %q: %s", e.Code, e.Message)
}

// Unwrap returns the error that the code stands for, or nil if it is unknown.
func (e *PeerError) Unwrap() error {
	for _, r := range refusals {
		if r.code == e.Code {
			return r.err
		}
	}
	return nil
}

// HandoffError is returned by Client.Follow when the primary passes its lease to
// this node.
type HandoffError struct {
	LeaseID string // as the lease store knows it
}

// Error implements error.
func (e *HandoffError) Error() string { return "primary hands its lease over to this node" }

// refusalOf returns code and status for an error; an unknown one is internal.
func refusalOf(err error) (Code, int) {
	for _, r := range refusals {
		if errors.Is(err, r.err) {
			return r.code, r.status
		}
	}
	return "internal", http.StatusInternalServerError
}

// refusal is the body of a refusal.
type refusal struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
}

// maxRefusalSize bounds the body of a refusal in bytes.
const maxRefusalSize = 4096

// refuse answers a request with an error.
func refuse(w http.ResponseWriter, err error) {
	code, status := refusalOf(err)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Connection", "close")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(refusal{Code: code, Message: err.Error()}) // the peer is gone, or told
}

// refusalError makes an error of the answer to a request.
func refusalError(resp *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusalSize))
	var r refusal
	if err != nil || json.Unmarshal(body, &r) != nil || r.Code == "" {
		return fmt.Errorf("answer is %s, which no LiteFS primary gives", resp.Status)
	}
	return &PeerError{Code: r.Code, Message: r.Message}
}
