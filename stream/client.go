package stream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"time"

	"litefs"
)

var _ litefs.Client = (*Client)(nil)

// dialTimeout bounds the time until the primary's host answers.
const dialTimeout = 5 * time.Second

// ClientOptions are the settings of a Client.
type ClientOptions struct {
	Logger *slog.Logger // nil discards
	// HelloTimeout bounds the time from the request to the primary's hello; 0 is
	// ten seconds.
	HelloTimeout time.Duration
}

// Client follows a primary. It implements litefs.Client. Follow must not be called
// by two goroutines at a time.
type Client struct {
	store  *litefs.Store
	opts   ClientOptions
	logger *slog.Logger
}

// NewClient returns a client that brings the databases of store in line with a
// primary's.
func NewClient(store *litefs.Store, opts ClientOptions) *Client {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.HelloTimeout == 0 {
		opts.HelloTimeout = helloTimeout
	}
	return &Client{store: store, opts: opts, logger: opts.Logger}
}

// Follow connects to the primary and applies what it sends until the connection
// ends. It never returns nil: the error is a *PeerError if the primary has said why
// it refuses or ends the session, a *HandoffError if it passes its lease to this
// node, litefs.ErrClusterMismatch, litefs.ErrStaleEpoch, ErrSelf or ErrVersion if
// this node refuses the primary, ErrPeerSilent, ErrBadFrame, the error of a
// database, or the cause of ctx. Everything that Follow has started has ended when
// it returns.
func (c *Client) Follow(ctx context.Context, primary litefs.PrimaryInfo) error {
	logger := c.logger.With(slog.String("primary", primary.Hostname))
	err := c.follow(ctx, primary, logger)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return fmt.Errorf("follow %s: %w", primary.AdvertiseURL, err)
}

func (c *Client) follow(ctx context.Context, primary litefs.PrimaryInfo, logger *slog.Logger) error {
	base, err := url.Parse(primary.AdvertiseURL)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// Nodes talk to each other directly, each connection is one session or one
	// difference, and pages are compressed already.
	transport := &http.Transport{
		DialContext:        (&net.Dialer{Timeout: dialTimeout}).DialContext,
		DisableCompression: true,
		DisableKeepAlives:  true,
	}
	defer transport.CloseIdleConnections()
	f := &follower{
		store:   c.store,
		logger:  logger,
		url:     base,
		http:    &http.Client{Transport: transport},
		cancel:  cancel,
		slots:   make(chan struct{}, max(2, runtime.GOMAXPROCS(0))),
		queues:  make(map[string]*queue),
		unready: make(map[string]int),
		beat:    make(chan struct{}, 1),
		lag:     newLagMeter(),
	}
	err = f.run(ctx, c.opts.HelloTimeout)
	if cause := context.Cause(ctx); cause != nil {
		err = cause // the first error; the others followed from it
	}
	cancel(err)
	f.wg.Wait()
	return errors.Join(err, f.discard())
}

// run is the connection: it returns when that ends. The goroutines that it has
// started end when ctx is done.
func (f *follower) run(ctx context.Context, timeout time.Duration) error {
	body, requestBody := io.Pipe()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, f.url.JoinPath("stream").String(), body)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/octet-stream")
	timer := time.AfterFunc(timeout, func() {
		f.cancel(fmt.Errorf("%w: no hello within %s", ErrPeerSilent, timeout))
	})
	defer timer.Stop()
	greeted := make(chan time.Duration, 1)
	f.wg.Go(func() { f.send(ctx, requestBody, greeted) })
	response, err := f.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return refusalError(response)
	}
	reader := &watchedReader{r: response.Body}
	stream := bufio.NewReaderSize(reader, 64<<10)
	if err := f.greet(stream); err != nil {
		return err
	}
	timer.Stop()
	reader.watch(missedHeartbeats*f.hello.Heartbeat, f.cancel)
	greeted <- f.hello.Heartbeat
	f.logger.Info("stream connected", slog.String("node", f.hello.NodeID), slog.Uint64("epoch", f.hello.Epoch))
	err = f.receive(ctx, stream)
	f.logger.Info("stream disconnected", slog.Any("error", err))
	return err
}

// greet reads the hello and refuses a primary that this node must not follow.
func (f *follower) greet(r io.Reader) error {
	frame, err := ReadStreamFrame(r)
	if err != nil {
		return err
	}
	switch frame := frame.(type) {
	case *HelloStreamFrame:
		f.hello = frame
	case *EndStreamFrame:
		return &PeerError{Code: frame.Code, Message: frame.Message}
	default:
		return fmt.Errorf("%w: primary begins with a frame of type %d", ErrBadFrame, frame.Type())
	}
	switch {
	case f.hello.Version < MinVersion || f.hello.Version > Version:
		return fmt.Errorf("%w: primary chose %d of %d to %d", ErrVersion, f.hello.Version, MinVersion, Version)
	case f.hello.NodeID == f.store.ID():
		return fmt.Errorf("%w: %s", ErrSelf, f.hello.NodeID)
	case f.hello.ClusterID != "" || f.store.ClusterID() != "":
		if err := f.store.AdoptCluster(f.hello.ClusterID); err != nil {
			return err
		}
	}
	return f.store.SeeEpoch(f.hello.Epoch)
}

// watchedReader ends the connection when a read takes too long. A reader that is
// busy otherwise is not silence of the peer.
type watchedReader struct {
	r     io.Reader
	limit time.Duration
	timer *time.Timer // nil before watch
}

// watch sets the limit and what is called when it is exceeded.
func (w *watchedReader) watch(limit time.Duration, cancel context.CancelCauseFunc) {
	w.limit = limit
	w.timer = time.AfterFunc(limit, func() {
		cancel(fmt.Errorf("%w: nothing from the primary for %s", ErrPeerSilent, limit))
	})
	w.timer.Stop()
}

// Read implements io.Reader.
func (w *watchedReader) Read(b []byte) (int, error) {
	if w.timer != nil {
		w.timer.Reset(w.limit)
		defer w.timer.Stop()
	}
	return w.r.Read(b)
}
