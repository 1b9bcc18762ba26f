package stream

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"litefs"
)

// ClientOptions are the settings of a Client.
type ClientOptions struct {
	Logger     *slog.Logger // nil discards
	HTTPClient *http.Client // nil is a client of its own
}

// Client follows a primary.
type Client struct {
	store *litefs.Store
	opts  ClientOptions
}

// NewClient returns a client that brings the databases of store in line with a
// primary's.
func NewClient(store *litefs.Store, opts ClientOptions) *Client {
	return &Client{store: store, opts: opts}
}

// Follow connects to the primary and applies what it sends until the connection
// ends. It never returns nil.
func (c *Client) Follow(_ context.Context, _ litefs.PrimaryInfo) error {
	return errors.ErrUnsupported
}
