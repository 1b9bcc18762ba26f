package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"litefs"
)

// follower is one connection of a replica, on the replica.
type follower struct {
	store  *litefs.Store
	logger *slog.Logger
	url    *url.URL // of the primary
	http   *http.Client
	hello  *HelloStreamFrame
	cancel context.CancelCauseFunc // ends the connection and says why
	wg     sync.WaitGroup          // sender and workers
	slots  chan struct{}           // one for each difference at a time
	beat   chan struct{}           // the sender is to send a heartbeat at once
	lag    *lagMeter

	mu      sync.Mutex // guards what follows
	queues  map[string]*queue
	unready map[string]int // what was queued when Ready came, for each database
	ready   bool           // Ready has come
}

// queue is what is to be done to one database, in order.
type queue struct {
	db      *litefs.DB
	steps   []step
	added   int // number of steps ever added
	done    int // number of steps ever done
	working bool
}

// step is one thing to do: apply a file, or fetch the difference.
type step struct {
	file *litefs.ReceivedLTX // nil: fetch the difference
	size int64               // of the file in bytes
	// diverged says that the primary does not know the database's position.
	diverged bool
}

// receive takes frames until the connection ends, and returns why.
func (f *follower) receive(ctx context.Context, r io.Reader) error {
	for {
		frame, err := ReadStreamFrame(r)
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("primary has broken the stream off: %w", io.ErrUnexpectedEOF)
		}
		if err != nil {
			return err
		}
		if epoch := f.store.Epoch(); epoch > f.hello.Epoch {
			return fmt.Errorf("%w: %d, the newest known is %d", litefs.ErrStaleEpoch, f.hello.Epoch, epoch)
		}
		if err := f.take(ctx, frame); err != nil {
			return err
		}
	}
}

// take does what one frame says.
func (f *follower) take(ctx context.Context, frame StreamFrame) error {
	switch frame := frame.(type) {
	case *LTXStreamFrame:
		return f.takeLTX(ctx, frame)
	case *DifferenceStreamFrame:
		db, err := f.store.CreateDBIfNotExists(frame.Name)
		if err != nil {
			return err
		}
		f.lag.fetching(frame.Name)
		f.enqueue(ctx, db, step{diverged: frame.Diverged})
	case *ReadyStreamFrame:
		f.takeReady()
	case *HeartbeatStreamFrame:
		f.lag.heartbeat(time.Now(), frame.Positions, f.store)
	case *HandoffStreamFrame:
		return &HandoffError{LeaseID: frame.LeaseID}
	case *EndStreamFrame:
		return &PeerError{Code: frame.Code, Message: frame.Message}
	default:
		return fmt.Errorf("%w: a primary does not send type %d", ErrBadFrame, frame.Type())
	}
	return nil
}

// takeLTX receives a file whole. It is verified before anything knows of it: by its
// own checksums, and by the hash of the frame.
func (f *follower) takeLTX(ctx context.Context, frame *LTXStreamFrame) error {
	db, err := f.store.CreateDBIfNotExists(frame.Name)
	if err != nil {
		return err
	}
	body := newProgress(frame.Body, f.logger.With(slog.String("db", frame.Name)), "receiving transactions", frame.Size)
	file, err := db.ReceiveLTX(ctx, body)
	if err != nil {
		return fmt.Errorf("receive transactions of %q: %w", frame.Name, err)
	}
	if n, err := io.Copy(io.Discard, body); err != nil || n > 0 {
		if err == nil {
			err = fmt.Errorf("%w: %d bytes after the LTX file", ErrBadFrame, n)
		}
		return errors.Join(fmt.Errorf("receive transactions of %q: %w", frame.Name, err), file.Discard())
	}
	f.lag.received(frame.Size)
	f.enqueue(ctx, db, step{file: file, size: frame.Size})
	return nil
}

// takeReady has the node made ready once everything is done that is queued now.
func (f *follower) takeReady() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ready = true
	for name, q := range f.queues {
		if q.done < q.added {
			f.unready[name] = q.added
		}
	}
	if len(f.unready) == 0 {
		f.store.MarkReady()
	}
}

// enqueue adds a step, and starts a worker if the database has none.
func (f *follower) enqueue(ctx context.Context, db *litefs.DB, s step) {
	f.mu.Lock()
	defer f.mu.Unlock()
	q := f.queues[db.Name()]
	if q == nil {
		q = &queue{db: db}
		f.queues[db.Name()] = q
	}
	q.steps = append(q.steps, s)
	q.added++
	if !q.working {
		q.working = true
		f.wg.Go(func() { f.work(ctx, q) })
	}
}

// discard removes the files that were received and will not be applied. The workers
// must have ended.
func (f *follower) discard() error {
	var errs []error
	for _, q := range f.queues {
		errs = append(errs, discardSteps(q.steps))
	}
	return errors.Join(errs...)
}

func discardSteps(steps []step) error {
	var errs []error
	for _, s := range steps {
		if s.file != nil {
			errs = append(errs, s.file.Discard())
		}
	}
	return errors.Join(errs...)
}
