package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"

	"litefs"
)

const (
	// maxBatchFiles bounds how many files are applied as one.
	maxBatchFiles = 64
	// maxBatchSize bounds their size in bytes; one file may be larger.
	maxBatchSize = 32 << 20
)

// work does what is queued for one database. An error of it ends the connection.
func (f *follower) work(ctx context.Context, q *queue) {
	for {
		batch := f.next(ctx, q)
		if len(batch) == 0 {
			return
		}
		if err := f.do(ctx, q.db, batch); err != nil {
			f.cancel(err)
			return
		}
		f.finish(q, batch)
	}
}

// next takes from the queue what can be done at once: a difference, or the files up
// to one. If that is nothing, the worker ends.
func (f *follower) next(ctx context.Context, q *queue) []step {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(q.steps) == 0 || ctx.Err() != nil {
		q.working = false
		return nil
	}
	n, size := 1, q.steps[0].size
	for q.steps[0].file != nil && n < min(len(q.steps), maxBatchFiles) && q.steps[n].file != nil && size+q.steps[n].size <= maxBatchSize {
		size += q.steps[n].size
		n++
	}
	batch := q.steps[:n:n]
	q.steps = q.steps[n:]
	return batch
}

// do does one batch.
func (f *follower) do(ctx context.Context, db *litefs.DB, batch []step) error {
	if batch[0].file == nil {
		if err := f.fetch(ctx, db, batch[0].diverged); err != nil {
			return fmt.Errorf("fetch the pages of %q that differ: %w", db.Name(), err)
		}
		return nil
	}
	files := make([]*litefs.ReceivedLTX, 0, len(batch))
	for _, s := range batch {
		files = append(files, s.file)
	}
	if err := db.ApplyLTX(ctx, files...); err != nil {
		return fmt.Errorf("apply transactions of %q: %w", db.Name(), err)
	}
	return nil
}

// finish notes that a batch is done and tells the primary.
func (f *follower) finish(q *queue, batch []step) {
	name := q.db.Name()
	f.mu.Lock()
	q.done += len(batch)
	if want, waited := f.unready[name]; waited && q.done >= want {
		delete(f.unready, name)
	}
	if f.ready && len(f.unready) == 0 {
		f.store.MarkReady()
	}
	f.mu.Unlock()
	f.lag.applied(batch, q.db, f.store)
	select {
	case f.beat <- struct{}{}:
	default: // one is due anyway
	}
}

// fetch brings a database in line that the log cannot. What only this node has is
// set aside first.
func (f *follower) fetch(ctx context.Context, db *litefs.DB, diverged bool) error {
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if db.TXID() > 0 && (diverged || db.LastWriterIsSelf()) {
		if _, err := db.SetAside(ctx, f.divergence(diverged)); err != nil {
			return fmt.Errorf("set aside: %w", err)
		}
	}
	file, err := f.post(ctx, db)
	if err != nil {
		return err
	}
	if err := db.ApplyDifference(ctx, file); err != nil {
		return err
	}
	f.logger.Info("database brought in line", slog.String("db", db.Name()), slog.Any("pos", db.Pos()))
	return nil
}

// divergence says, for people, why a database is set aside.
func (f *follower) divergence(diverged bool) string {
	if diverged {
		return "position is not on the history of primary " + f.hello.NodeID
	}
	return "last transaction is this node's own, and primary " + f.hello.NodeID + " cannot tell whether it has it"
}

// post asks for the pages that differ and receives them.
func (f *follower) post(ctx context.Context, db *litefs.DB) (*litefs.ReceivedLTX, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	body, w := io.Pipe()
	f.wg.Go(func() { _ = w.CloseWithError(writeBase(ctx, db, w)) }) // the transport has the error
	u := f.url.JoinPath("difference")
	u.RawQuery = url.Values{"session": {f.hello.SessionID}, "db": {db.Name()}}.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), body)
	if err != nil {
		return nil, errors.Join(err, body.Close())
	}
	response, err := f.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, refusalError(response)
	}
	return db.ReceiveDifference(ctx, newProgress(response.Body, f.logger.With(slog.String("db", db.Name())), "receiving the pages that differ", 0))
}

// writeBase writes what the database has: the body of POST /difference.
func writeBase(ctx context.Context, db *litefs.DB, w io.Writer) error {
	pos := db.Pos() // nobody but the caller's worker changes it
	if _, err := w.Write(appendBase(nil, db.Name(), pos)); err != nil {
		return err
	}
	base, err := db.WritePageSums(ctx, w)
	if err == nil && base != pos {
		err = fmt.Errorf("page checksums are those of %s, database is at %s", base, pos)
	}
	return err
}
