package stream

import (
	"bytes"
	"context"
	"io"
	"maps"
	"sync"
	"time"

	"litefs"
	"litefs/ltx"
)

// send writes the request body: what this node has, and its heartbeats. It ends with
// ctx, or when nobody reads the body any more; why that is so, the response says.
//
// Heartbeats begin before the hello: the transport finds out that a connection is
// closed when it writes to it, and returns from a request only if its body goes on or
// ends.
func (f *follower) send(ctx context.Context, w *io.PipeWriter, greeted <-chan time.Duration) {
	defer func() { _ = w.CloseWithError(context.Canceled) }() // never returns an error
	reported := make(map[string]ltx.Pos)
	if !f.sendFrame(w, &FollowStreamFrame{
		MinVersion: MinVersion,
		MaxVersion: Version,
		NodeID:     f.store.ID(),
		ClusterID:  f.store.ClusterID(),
		Epoch:      f.store.Epoch(),
		Positions:  changedPositions(f.store, reported),
	}) {
		return
	}
	ticker := time.NewTicker(DefaultHeartbeatInterval)
	defer ticker.Stop()
	for {
		select {
		case interval := <-greeted:
			ticker.Reset(interval)
			continue
		case <-ticker.C:
		case <-f.beat:
		case <-ctx.Done():
			return
		}
		if !f.sendFrame(w, &HeartbeatStreamFrame{
			Timestamp: time.Now().UnixMilli(),
			Positions: changedPositions(f.store, reported),
		}) {
			return
		}
	}
}

// sendFrame writes a frame in one piece, which is one chunk of the request body. It
// reports whether there is somebody who reads it.
func (f *follower) sendFrame(w io.Writer, frame StreamFrame) bool {
	var b bytes.Buffer
	if err := WriteStreamFrame(&b, frame); err != nil {
		f.cancel(err)
		return false
	}
	_, err := w.Write(b.Bytes())
	return err == nil
}

// fetchingTXID stands for a position that only a difference can reach.
const fetchingTXID = ^ltx.TXID(0)

// lagMeter finds out how far this node is behind. A heartbeat says what the primary
// had when it was sent; once this node has that, what it has is at most as old as
// the heartbeat. While one is waited for, later ones do not matter.
type lagMeter struct {
	mu        sync.Mutex // guards what follows
	primary   map[string]ltx.Pos
	waiting   map[string]ltx.TXID // what is to be reached
	waitingAt time.Time           // when the heartbeat that said so arrived
	reachedAt time.Time           // of the last heartbeat whose positions were reached; zero before
	bytes     int64               // received and not applied
}

func newLagMeter() *lagMeter {
	return &lagMeter{primary: make(map[string]ltx.Pos), waiting: make(map[string]ltx.TXID)}
}

// heartbeat notes the primary's positions.
func (l *lagMeter) heartbeat(now time.Time, changed map[string]ltx.Pos, store *litefs.Store) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.Copy(l.primary, changed)
	if len(l.waiting) == 0 {
		l.waitingAt = now
		for name, pos := range l.primary {
			if ownTXID(store, name) < pos.TXID {
				l.waiting[name] = pos.TXID
			}
		}
	}
	l.report(now, store)
}

// fetching notes that a database is to be fetched, whatever its position.
func (l *lagMeter) fetching(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting[name] = fetchingTXID
}

// received notes that a file is waiting to be applied.
func (l *lagMeter) received(size int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bytes += size
}

// applied notes that a batch was applied to a database.
func (l *lagMeter) applied(batch []step, db *litefs.DB, store *litefs.Store) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range batch {
		l.bytes -= s.size
	}
	want, waited := l.waiting[db.Name()]
	if waited && (want <= db.TXID() || want == fetchingTXID && batch[0].file == nil) {
		delete(l.waiting, db.Name())
		l.report(time.Now(), store)
	}
}

// report tells the store. Nothing is known before the positions of the first
// heartbeat are reached. The caller holds mu.
func (l *lagMeter) report(now time.Time, store *litefs.Store) {
	if len(l.waiting) == 0 && !l.waitingAt.IsZero() {
		l.reachedAt = l.waitingAt
	}
	lag := litefs.Lag{Time: litefs.LagUnknown, Bytes: l.bytes}
	if !l.reachedAt.IsZero() {
		lag.Time = now.Sub(l.reachedAt)
	}
	for name, pos := range l.primary {
		if own := ownTXID(store, name); own < pos.TXID {
			lag.Transactions += uint64(pos.TXID - own)
		}
	}
	store.SetLag(lag)
}

func ownTXID(store *litefs.Store, name string) ltx.TXID {
	if db := store.DB(name); db != nil {
		return db.TXID()
	}
	return 0
}
