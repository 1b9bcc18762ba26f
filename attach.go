package litefs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// opensTimeout bounds how long a program's open of a database waits until the
	// peer holds its locks.
	opensTimeout = 10 * time.Second
	// attachPause is the pause between two attempts of a peer to get its locks.
	attachPause = 100 * time.Millisecond
)

// attach has the peer take its locks, if the database needs one and has none.
// applyMu is held.
func (db *DB) attach(ctx context.Context, dir string) error {
	if !db.following.Load() || db.peer != nil {
		return nil
	}
	wal, err := db.usesWAL()
	if err != nil || !wal {
		return err
	}
	p, err := openPeer(db, dir)
	if err != nil {
		return err
	}
	if err = p.locks.LockShared(ctx); err == nil {
		err = p.attachWAL(ctx)
	}
	if err != nil {
		return errors.Join(err, p.close())
	}
	db.peer = p
	return nil
}

// closePeer has the peer give all up. applyMu is held.
func (db *DB) closePeer() error {
	if db.peer == nil {
		return nil
	}
	err := db.peer.close()
	db.peer = nil
	return err
}

// attachSoon has the peer take its locks, and lets programs open the database once
// it has, without waiting for that.
func (db *DB) attachSoon() {
	db.holdOpens(true)
	db.store.wg.Go(func() {
		ctx, mount, cancel := db.store.mountContext(db.store.ctx)
		defer cancel()
		for reported := false; mount.dir != ""; {
			db.applyMu.Lock()
			err := db.attach(ctx, mount.dir)
			if err == nil {
				db.releaseOpens()
			}
			db.applyMu.Unlock()
			if err == nil || !rest(ctx, attachPause) {
				return
			}
			if !reported {
				db.logger.Warn("cannot take the locks of a replica yet; programs wait to open the database", slog.Any("error", err))
				reported = true
			}
		}
	})
}

// holdOpens has programs wait before they open the database, if hold is set.
func (db *DB) holdOpens(hold bool) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if hold && db.held == nil {
		db.held = make(chan struct{})
	}
}

// releaseOpens lets programs open the database.
func (db *DB) releaseOpens() {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.held != nil {
		close(db.held)
		db.held = nil
	}
}

// AwaitPeer returns once a program may open the database: on a replica when the
// node holds the locks that keep programs from writing. It gives up after ten
// seconds, with unix.EBUSY, or when ctx is done. It may be called from the handler
// of an open, which holds nothing that the peer needs, but of no other request.
func (db *DB) AwaitPeer(ctx context.Context) error {
	db.mu.Lock()
	held := db.held
	db.mu.Unlock()
	if held == nil {
		return nil
	}
	timer := time.NewTimer(opensTimeout)
	defer timer.Stop()
	select {
	case <-held:
		return nil
	case <-timer.C:
		return fmt.Errorf("open database %q: its locks are not held yet: %w", db.name, unix.EBUSY)
	case <-ctx.Done():
		return fmt.Errorf("open database %q: %w", db.name, errors.Join(unix.EINTR, context.Cause(ctx)))
	}
}
