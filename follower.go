package litefs

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"litefs/internal/sqlite"
)

const (
	// followMinPause is the pause before a look at frames that are written but
	// not yet published; it doubles up to followMaxPause.
	followMinPause = 50 * time.Microsecond
	followMaxPause = 10 * time.Millisecond
	// followRest is the pause after a capture. A commit that comes alone is
	// captured at once; of a stream of commits, each batch gets what has come
	// meanwhile, which costs the writer less than a batch each. With nobody to
	// send them to, several pauses follow on each other, up to followRests, until
	// there are frames enough for a checkpoint.
	followRest  = time.Millisecond
	followRests = 20
	// followSweep is the time between two looks at a WAL that nothing was heard
	// of.
	followSweep = time.Second
)

// follower captures the commits that SQLite appends to one WAL. Its goroutine is
// the store's; it ends when the WAL is removed or the store is closed.
type follower struct {
	wake       chan struct{}
	checkpoint chan struct{} // wakes the checkpointer
	cancel     context.CancelFunc
}

// startFollower begins to follow the WAL that is there. captureMu is held.
func (db *DB) startFollower() {
	db.stopFollower()
	ctx, cancel := context.WithCancel(db.store.ctx)
	f := &follower{wake: make(chan struct{}, 1), checkpoint: make(chan struct{}, 1), cancel: cancel}
	db.mu.Lock()
	db.follower = f
	db.mu.Unlock()
	unwatch, err := db.store.watch.add(db.WALPath(), func() { poke(f.wake) })
	if err != nil {
		db.logger.Warn("WAL cannot be watched; commits are found by the sweep", slog.Any("error", err))
		unwatch = func() {}
	}
	db.store.wg.Go(func() {
		defer unwatch()
		db.follow(ctx, f)
	})
	if db.store.BackgroundCheckpoint {
		db.store.wg.Go(func() { db.checkpointLoop(ctx, f.checkpoint) })
	}
	poke(f.wake)
}

// stopFollower has the follower end, without waiting for it.
func (db *DB) stopFollower() {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.follower != nil {
		db.follower.cancel()
		db.follower = nil
	}
}

// wakeFollower has the follower, if there is one, look at the WAL.
func (db *DB) wakeFollower() {
	db.mu.Lock()
	f := db.follower
	db.mu.Unlock()
	if f != nil {
		poke(f.wake)
	}
}

// poke wakes whoever receives from ch, which has room for one value; it never
// blocks.
func poke(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

func (db *DB) follow(ctx context.Context, f *follower) {
	sweep := time.NewTicker(followSweep)
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
			db.openMountedSHM()
			db.captureUntilIdle(ctx, f, captureFollow)
		case <-sweep.C:
			db.captureUntilIdle(ctx, f, captureGate)
		}
	}
}

// captureUntilIdle captures, and goes on as long as the WAL holds frames that a
// writer may be about to publish: publishing them is a write to shared memory,
// which raises no event. On the way it wakes the checkpointer when that has
// enough to do.
func (db *DB) captureUntilIdle(ctx context.Context, f *follower, reason captureReason) {
	for pause := time.Duration(0); ; {
		before := db.Pos()
		pending, err := db.capturePublished(reason)
		captured := db.Pos() != before
		if err != nil || !pending && !captured {
			return
		}
		if captured {
			pause = followRest
			if db.checkpointDue() {
				poke(f.checkpoint)
			}
			if !db.restAlone(ctx) {
				return
			}
		} else if pause = max(followMinPause, 2*pause); pause > followMaxPause {
			return
		}
		if !rest(ctx, pause) {
			return
		}
	}
}

// restAlone lets commits gather while nobody waits for them. It reports whether ctx
// is still not done.
func (db *DB) restAlone(ctx context.Context) bool {
	for range followRests {
		if db.store.hasSubscribers() || db.framesToCapture() >= checkpointFrames {
			break
		}
		if !rest(ctx, followRest) {
			return false
		}
	}
	return true
}

// framesToCapture returns how many frames are published that the log lacks, as far
// as can be told.
func (db *DB) framesToCapture() uint32 {
	db.captureMu.Lock()
	defer db.captureMu.Unlock()
	if db.wal.shm == nil {
		return 0
	}
	hdr, err := sqlite.NewWALIndex(db.wal.shm).Header()
	if err != nil || hdr.Salt != db.wal.cursor.Salt {
		return 0
	}
	return hdr.MaxFrame - min(hdr.MaxFrame, db.wal.cursor.Frame)
}

// rest waits for d and reports whether ctx is still not done. Less than a millisecond
// is for the kernel to wait: the runtime, which waits for its timers in epoll_wait
// when there is nothing else to do, makes a whole one of it.
func rest(ctx context.Context, d time.Duration) bool {
	if d < time.Millisecond {
		pause := unix.NsecToTimespec(d.Nanoseconds())
		_ = unix.Nanosleep(&pause, nil) // a signal may end it early, which does no harm
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// checkpointDue reports whether enough is captured that the database file lacks.
func (db *DB) checkpointDue() bool {
	db.captureMu.Lock()
	defer db.captureMu.Unlock()
	if db.following.Load() || db.wal.shm == nil || db.intake.on || db.wal.cursor.Frame < checkpointFrames {
		return false
	}
	info, err := sqlite.NewWALIndex(db.wal.shm).CheckpointInfo()
	return err == nil && db.wal.cursor.Frame >= info.Backfill+checkpointFrames
}

// capturePublished captures what is published and reports whether the WAL holds
// more than that.
func (db *DB) capturePublished(reason captureReason) (pending bool, err error) {
	db.captureMu.Lock()
	defer db.captureMu.Unlock()
	if db.following.Load() || db.files.wal == nil || db.files.database == nil {
		return false, nil
	}
	if err := db.setAlarm(db.captureWAL(reason)); err != nil {
		return false, err
	}
	if !sqlite.ValidPageSize(db.wal.cursor.PageSize) {
		return false, nil
	}
	next, err := db.frameHeader(db.wal.cursor.Frame + 1)
	return err == nil && next.Salt == db.wal.cursor.Salt, ignoreEOF(err)
}

// adoptSHM has capture read the wal-index from its backing file, if that is
// where programs' mappings are.
func (db *DB) adoptSHM() {
	if db.store.Passthrough() {
		db.wal.shm = db.files.shm
	}
}

// dropSHM forgets the wal-index.
func (db *DB) dropSHM() {
	if shm := db.wal.shm; shm != nil && shm != db.files.shm {
		// It was opened through the mount. Closing it must not happen inside a
		// FUSE handler.
		db.store.wg.Go(func() { _ = shm.Close() })
	}
	db.wal.shm = nil
}

// openMountedSHM opens the wal-index through the mount, for want of
// passthrough. It runs on the follower, never in a FUSE handler.
func (db *DB) openMountedSHM() {
	mount := db.store.MountDir()
	if mount == "" || db.store.Passthrough() || !db.sharedMemoryOpen() {
		return
	}
	db.captureMu.Lock()
	have := db.wal.shm != nil
	db.captureMu.Unlock()
	if have {
		return
	}
	f, err := db.store.FS.OpenFile(filepath.Join(mount, db.name+suffixSHM), os.O_RDONLY, 0)
	if err != nil {
		return // gone again, or not there yet; the next wake-up looks anew
	}
	db.captureMu.Lock()
	defer db.captureMu.Unlock()
	if db.files.shm == nil || db.wal.shm != nil {
		db.store.wg.Go(func() { _ = f.Close() })
		return
	}
	db.wal.shm = f
}

// detach closes what the database has open through the mount.
//
// A program that goes on with files that it has open from the mount would find a
// replica's locks free now: its transactions end with SQLITE_CANTOPEN from here on.
func (db *DB) detach() {
	db.endOpens()
	db.applyMu.Lock()
	if db.following.Load() && db.peer.attached() && db.sharedMemoryOpen() {
		if err := sqlite.FenceWALIndex(db.peer.shm); err != nil {
			db.logger.Warn("programs that still have the WAL open cannot be kept from writing", slog.Any("error", err))
		}
	}
	_ = db.closePeer() // its files are as they are
	if u := db.unfinished; u != nil && u.peer != nil {
		_ = u.peer.close()
		u.peer = nil
	}
	db.applyMu.Unlock()
	db.captureMu.Lock()
	shm := db.wal.shm
	if shm == db.files.shm {
		shm = nil
	}
	db.wal.shm = nil
	db.captureMu.Unlock()
	if shm != nil {
		_ = shm.Close() // it was only read
	}
}

// endOpens has programs open no file any more. An open that is under way is done when
// it returns.
func (db *DB) endOpens() {
	db.captureMu.Lock()
	defer db.captureMu.Unlock()
	db.detached = true
}
