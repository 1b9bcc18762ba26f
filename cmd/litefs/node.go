package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"litefs"
	"litefs/configs"
	"litefs/httpapi"
	"litefs/stream"
	"litefs/vfs"
)

const (
	// firstRoleTimeout is how long a starting node waits for the lease store to say
	// whether it is the primary, before it mounts without knowing.
	firstRoleTimeout = 2 * time.Second
	// unmountGrace is how long a stopping node waits for programs to close their
	// files before it detaches the mount from under them.
	unmountGrace = 2 * time.Second
	// requestGrace is how long a stopping node lets requests for its state run on.
	requestGrace = time.Second
)

// node is a running node: an open store and what is built around it.
type node struct {
	cfg    configs.Config
	store  *litefs.Store
	logger *slog.Logger

	leaser  litefs.Leaser
	http    *httpapi.Server
	streams *stream.Server
	client  *gatedClient
	fsys    *vfs.FileSystem
	watch   *mountWatch // nil before the mount

	stopLease context.CancelFunc
	leaseDone chan struct{} // closed once RunLease has returned
	leaseErr  error         // what it has returned
}

// newNode returns a node whose store is not open yet.
func newNode(cfg configs.Config, logger *slog.Logger) *node {
	store := newStore(cfg, logger)
	streams := stream.NewServer(store, stream.ServerOptions{Logger: logger})
	store.StepDown = streams.StepDown
	store.Replicated = streams.Replicated
	return &node{cfg: cfg, store: store, logger: logger, streams: streams}
}

// start brings a node to life on an open store. It is to be stopped whatever
// happens, even after an error.
//
// The role is settled before the mount is there, so that a program that finds the
// mount of a primary can write to it at once. A replica follows its primary only
// once it is mounted: it changes databases as a SQLite peer, through the mount.
func (n *node) start(ctx context.Context) (err error) {
	if n.http, err = httpapi.Listen(n.cfg.HTTP.Addr); err != nil {
		return err
	}
	if n.leaser, err = n.newLeaser(ctx); err != nil {
		return err
	}
	n.http.Serve(httpapi.NewHandler(n.store, httpapi.Options{
		Logger:       n.logger,
		Version:      readBuildInfo().Version,
		AdvertiseURL: n.ownURL(n.cfg.HTTP.AdvertiseURL),
		Stream:       n.streams,
	}), n.logger)
	n.client = newGatedClient(stream.NewClient(n.store, stream.ClientOptions{Logger: n.logger}))
	n.runLease(context.WithoutCancel(ctx))
	select {
	case <-n.store.ReadyCh():
	case <-n.client.called:
	case <-time.After(firstRoleTimeout):
	case <-ctx.Done():
		return nil
	}
	n.fsys, err = vfs.Mount(n.store, vfs.Options{ //nolint:contextcheck // the mount lasts until stop
		Dir:         n.cfg.FUSE.Dir,
		AllowOther:  n.cfg.FUSE.AllowOther,
		Passthrough: n.cfg.FUSE.Passthrough == configs.PassthroughAuto,
		Debug:       n.cfg.FUSE.Debug,
	})
	if err != nil {
		return err
	}
	if n.watch, err = watchMount(n.cfg.FUSE.Dir); err != nil {
		return err
	}
	// Scripts wait for these two lines, which are those of LiteFS.
	n.logger.Info("LiteFS mounted to: "+n.cfg.FUSE.Dir, slog.Bool("passthrough", n.fsys.Passthrough())) //nolint:sloglint // see above
	n.logger.Info("http server listening on: " + n.http.URL())                                          //nolint:sloglint // see above
	n.client.open()
	return nil
}

// runLease starts the loop that gives the node its role, which stop ends: a command
// that is told to stop may have something left to write.
func (n *node) runLease(ctx context.Context) {
	ctx, n.stopLease = context.WithCancel(ctx)
	n.leaseDone = make(chan struct{})
	go func() {
		defer close(n.leaseDone)
		n.leaseErr = n.store.RunLease(ctx, n.leaser, n.client)
	}()
}

// waitReady returns once the databases can be used, or ctx is done.
func (n *node) waitReady(ctx context.Context) {
	if !n.store.Ready() {
		n.logger.Info("waiting to connect to cluster")
	}
	select {
	case <-n.store.ReadyCh():
		n.logger.Info("connected to cluster, ready")
	case <-ctx.Done():
	}
}

// stop takes the node down, in the order in which others notice the least: first
// the role, with which writes end, the replicas get the last transactions and the
// lease goes to another node; then the streams; the mount comes last. The store stays
// open.
func (n *node) stop() error {
	var errs []error
	if n.stopLease != nil {
		n.stopLease()
		<-n.leaseDone
		errs = append(errs, n.leaseErr)
	}
	errs = append(errs, n.streams.Close())
	if n.http != nil {
		grace, cancel := context.WithTimeout(context.Background(), requestGrace)
		defer cancel()
		errs = append(errs, n.http.Shutdown(grace))
	}
	if n.leaser != nil {
		errs = append(errs, n.leaser.Close())
	}
	if n.fsys == nil {
		return errors.Join(errs...)
	}
	grace, cancel := context.WithTimeout(context.Background(), unmountGrace)
	defer cancel()
	// The store holds the locks of a replica until the programs are gone: what they
	// write after that would be a replica's own.
	n.fsys.WaitIdle(grace)
	n.store.Detach()
	errs = append(errs, n.fsys.Unmount(grace), n.watch.stop())
	return errors.Join(errs...)
}

// ownURL returns url or, if that is empty because the port was left to the system,
// the URL under which this node listens.
func (n *node) ownURL(url string) string {
	if url != "" {
		return url
	}
	return "http://" + net.JoinHostPort(n.cfg.Lease.Hostname, strconv.Itoa(n.http.Port()))
}

// gatedClient is a client that follows nobody before it is opened.
type gatedClient struct {
	litefs.Client
	called   chan struct{} // closed once there is a primary to follow
	callOnce sync.Once
	opened   chan struct{}
}

func newGatedClient(client litefs.Client) *gatedClient {
	return &gatedClient{Client: client, called: make(chan struct{}), opened: make(chan struct{})}
}

func (c *gatedClient) open() { close(c.opened) }

// Follow implements litefs.Client.
func (c *gatedClient) Follow(ctx context.Context, primary litefs.PrimaryInfo) error {
	c.callOnce.Do(func() { close(c.called) })
	select {
	case <-c.opened:
		return c.Client.Follow(ctx, primary)
	case <-ctx.Done():
		return ctx.Err()
	}
}
