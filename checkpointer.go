package litefs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"litefs/internal/fsx"
	"litefs/internal/sqlite"
)

const (
	// checkpointFrames is how many captured frames start a background
	// checkpoint: below SQLite's own threshold of 1000, so that applications
	// find little left to do, and high enough to be worth the syncs.
	checkpointFrames = 480
	// checkpointRest is how many frames a checkpoint may leave that came while it
	// worked; with more, it makes another pass, up to checkpointPasses.
	checkpointRest   = 64
	checkpointPasses = 8
	// checkpointWriteBytes is the most that is written to the database file in
	// one go.
	checkpointWriteBytes = 1 << 20
)

// errCheckpointBusy is returned when somebody else's locks keep a checkpoint
// from going on. It is no failure: the next one gets further.
var errCheckpointBusy = errors.New("checkpoint is busy")

// checkpointLoop runs a checkpoint whenever it is woken, until ctx is done. It
// belongs to the follower of the same WAL.
func (db *DB) checkpointLoop(ctx context.Context, wake <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-wake:
		}
		if err := db.checkpoint(ctx); err != nil && !errors.Is(err, errCheckpointBusy) && ctx.Err() == nil {
			db.logger.Warn("background checkpoint ended with an error; SQLite's own checkpoints do its work", slog.Any("error", err))
		}
	}
}

// checkpoint copies captured frames from the WAL to the database file as a
// SQLite peer does (wal.c walCheckpoint, PASSIVE): it respects the read marks of
// readers, waits for nobody, and never restarts or truncates the WAL.
//
// It writes the backing file directly, and has the kernel drop the pages that it
// has cached before the wal-index says that the database file has them.
//
// Unlike a peer it does not hold SHARED on the database file and DMS on the
// wal-index, since a program could then not leave WAL mode, or remove the WAL with
// the last close (os_unix.c unixLock). A program that has the database for itself
// does not ask for CKPT, and checkpoints beside this one (wal.c sqlite3WalClose,
// locking_mode=EXCLUSIVE); one that opens it as the first truncates the wal-index.
// This checkpoint therefore does not begin while a program holds EXCLUSIVE. To one
// that takes it later it gives way: whatever that does, it makes a request to the
// mount before it changes anything that matters here, after which this checkpoint
// writes nothing any more; see interrupt.
//
// A crash after any step leaves the WAL whole: what was copied is copied again.
func (db *DB) checkpoint(ctx context.Context) error {
	mount := db.store.MountDir()
	if mount == "" || !db.sharedMemoryOpen() {
		return nil
	}
	started := time.Now()
	files, err := db.openLockFiles(mount)
	if isNotExist(err) {
		return nil // the last connection has just closed
	}
	if err != nil {
		return err
	}
	guards := NewGuardSet(files)
	ck := &checkpointRun{db: db, guards: guards, index: sqlite.NewWALIndex(files.SHM)}
	db.checkpointing.Store(ck)
	err = ck.run(ctx)
	db.checkpointing.CompareAndSwap(ck, nil)
	if errors.Is(err, fs.ErrClosed) {
		err = errCheckpointBusy // SQLite has removed the WAL or the database meanwhile
	}
	err = errors.Join(err, guards.Unlock(), files.SHM.Close(), files.Database.Close())
	if err == nil && ck.copied > 0 {
		db.logger.Debug("checkpointed", slog.Int("pages", ck.copied), slog.Duration("duration", time.Since(started)))
	}
	return err
}

// openLockFiles opens the files that have SQLite's locks, through the mount.
func (db *DB) openLockFiles(mount string) (LockFiles, error) {
	database, err := os.Open(filepath.Join(mount, db.name))
	if err != nil {
		return LockFiles{}, err
	}
	shm, err := os.OpenFile(filepath.Join(mount, db.name+suffixSHM), os.O_RDWR, 0)
	if err != nil {
		return LockFiles{}, errors.Join(err, database.Close())
	}
	return LockFiles{Database: database, SHM: shm}, nil
}

// checkpointRun is one background checkpoint.
type checkpointRun struct {
	db            *DB
	database, wal fsx.File
	bound         sqlite.WALCursor // captured, and synced if synced is set, up to here
	synced        bool             // the application asked for durability
	guards        *GuardSet
	index         *sqlite.WALIndex
	header        sqlite.WALIndexHeader
	copied        int // pages
	passes        int

	mu          sync.Mutex // leaf; held while a file is changed
	interrupted bool
}

// interruptCheckpoint ends a background checkpoint because a program does something
// to the database that it would not do under the locks of the checkpoint.
func (db *DB) interruptCheckpoint() {
	if c := db.checkpointing.Load(); c != nil {
		c.interrupt()
	}
}

// interrupt has the checkpoint change nothing once it has returned.
func (c *checkpointRun) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.interrupted = true
}

// change runs fn, which changes the database file or the wal-index, unless the
// checkpoint has been interrupted.
func (c *checkpointRun) change(fn func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.interrupted {
		return errCheckpointBusy
	}
	return fn()
}

// prepare captures what the WAL holds and, if the application asked for
// durability, syncs log and WAL. It returns false if there is no WAL any more.
func (c *checkpointRun) prepare() (bool, error) {
	db := c.db
	db.captureMu.Lock()
	if db.following.Load() || db.files.wal == nil || db.files.database == nil {
		db.captureMu.Unlock()
		return false, nil
	}
	c.database, c.wal, c.synced = db.files.database, db.files.wal, db.walSynced.Load()
	err := db.setAlarm(db.captureWAL(captureGate))
	c.bound = db.wal.cursor
	db.captureMu.Unlock()
	if err == nil && c.synced {
		err = errors.Join(db.log.sync(), c.wal.Sync())
	}
	return c.bound.Frame > 0, err
}

// run makes passes until little is left. The locks are held from before the first
// capture to the last: an application that would checkpoint meanwhile finds the
// lock taken, which costs it nothing.
func (c *checkpointRun) run(ctx context.Context) error {
	for _, lock := range []LockType{LockTypeCkpt, LockTypeRead0} {
		if err := c.take(lock); err != nil {
			return err
		}
	}
	if free, err := c.guards.Guard(LockTypeShared).CanRLock(); err != nil || !free {
		return errors.Join(err, errCheckpointBusy) // a program has the database for itself
	}
	for done := uint32(0); ; {
		ready, err := c.prepare()
		if err != nil || !ready || done > 0 && c.bound.Frame < done+checkpointRest {
			return err
		}
		safe, err := c.pass(ctx)
		if err != nil || safe < c.bound.Frame { // a reader needs what is left
			return err
		}
		if c.passes++; c.passes == checkpointPasses {
			return nil
		}
		done = safe
	}
}

// pass copies what has been captured and what no reader needs to be kept apart,
// and returns the last frame that the database file then has.
func (c *checkpointRun) pass(ctx context.Context) (safe uint32, err error) {
	if c.header, err = c.index.Header(); err != nil {
		return 0, c.indexError(err)
	}
	info, err := c.index.CheckpointInfo()
	if err != nil {
		return 0, c.indexError(err)
	}
	if c.header.MaxFrame == 0 || c.header.Salt != c.bound.Salt {
		return 0, errCheckpointBusy // the WAL was restarted since
	}
	safe, err = c.safeFrame(info, min(c.header.MaxFrame, c.bound.Frame))
	if err != nil || safe <= info.Backfill {
		return info.Backfill, err
	}
	if err := c.change(func() error { return c.index.SetBackfillAttempted(safe) }); err != nil {
		return 0, err
	}
	if err := c.copy(ctx, info.Backfill+1, safe); err != nil {
		return 0, err
	}
	return safe, c.change(func() error { return c.index.SetBackfill(safe) })
}

// take takes a lock that is free.
func (c *checkpointRun) take(lock LockType) error {
	ok, err := c.guards.Guard(lock).TryLock()
	if err == nil && !ok {
		err = errCheckpointBusy
	}
	return err
}

// indexError takes a wal-index that is being rebuilt for a reason to come again.
func (c *checkpointRun) indexError(err error) error {
	if errors.Is(err, sqlite.ErrWALIndexTorn) || errors.Is(err, sqlite.ErrWALIndexInvalid) {
		return errCheckpointBusy
	}
	return err
}

// safeFrame returns the last frame that no reader needs the database file to be
// without. Read marks that nobody uses are moved out of the way.
func (c *checkpointRun) safeFrame(info sqlite.CheckpointInfo, safe uint32) (uint32, error) {
	for i := 1; i < sqlite.WALReadMarks; i++ {
		if safe <= info.ReadMark[i] {
			continue
		}
		guard := c.guards.Guard(LockTypeRead0 + LockType(i))
		free, err := guard.TryLock()
		if err != nil {
			return 0, err
		}
		if !free {
			safe = info.ReadMark[i]
			continue
		}
		mark := uint32(sqlite.ReadMarkNotUsed)
		if i == 1 {
			mark = safe
		}
		err = c.change(func() error { return c.index.SetReadMark(i, mark) })
		if err := errors.Join(err, guard.Unlock()); err != nil {
			return 0, err
		}
	}
	return safe, nil
}

// copy brings the pages of the frames from first to last into the database file,
// makes them durable, and has the kernel forget what it has cached of them.
func (c *checkpointRun) copy(ctx context.Context, first, last uint32) error {
	frames, err := c.index.LatestFrames(first, last)
	if err != nil {
		return err
	}
	if last == c.header.MaxFrame {
		if err := c.truncate(); err != nil {
			return err
		}
	}
	frames = slices.DeleteFunc(frames, func(f sqlite.PageFrame) bool { return f.Pgno > c.header.PageCount })
	for len(frames) > 0 {
		n, err := c.copyRun(frames)
		if err != nil {
			return err
		}
		frames = frames[n:]
		if err := context.Cause(ctx); err != nil {
			return err
		}
	}
	if c.synced {
		return c.database.Sync()
	}
	return nil
}

// copyRun copies the pages that lie side by side at the beginning of frames, as
// many as fit one write, and returns how many they were.
func (c *checkpointRun) copyRun(frames []sqlite.PageFrame) (int, error) {
	pageSize := int(c.bound.PageSize)
	n := 1
	for n < len(frames) && frames[n].Pgno == frames[0].Pgno+uint32(n) && (n+1)*pageSize <= checkpointWriteBytes {
		n++
	}
	run := make([]byte, n*pageSize)
	for i, f := range frames[:n] {
		if err := readFrame(c.wal, f.Frame, run[i*pageSize:(i+1)*pageSize]); err != nil {
			return 0, err
		}
	}
	c.copied += n
	return n, c.write(run, int64(frames[0].Pgno-1)*int64(pageSize))
}

// write writes a run of pages and invalidates the kernel's copy of them.
func (c *checkpointRun) write(run []byte, offset int64) error {
	err := c.change(func() error {
		_, err := c.database.WriteAt(run, offset)
		return err
	})
	if err != nil {
		return fmt.Errorf("write %d bytes at %d of the database file: %w", len(run), offset, err)
	}
	return c.db.store.invalidate(c.db, offset, int64(len(run)))
}

// truncate cuts the database file to the size of the database, as SQLite does at
// the end of a checkpoint. It holds the writers' lock for that: unlike SQLite, so
// that no transaction can make the database longer in between.
func (c *checkpointRun) truncate() error {
	size, err := fileSize(c.database)
	want := int64(c.header.PageCount) * int64(c.bound.PageSize)
	if err != nil || size <= want {
		return err
	}
	writer := c.guards.Guard(LockTypeWrite)
	if writer.State() == GuardStateExclusive { // the peer of a replica is the writer
		return c.cut(want)
	}
	if err := c.take(LockTypeWrite); err != nil {
		return err
	}
	now, err := c.index.Header()
	if err != nil || now != c.header {
		return errors.Join(errCheckpointBusy, err)
	}
	return errors.Join(c.cut(want), writer.Unlock())
}

func (c *checkpointRun) cut(size int64) error {
	if err := c.change(func() error { return c.database.Truncate(size) }); err != nil {
		return err
	}
	return c.db.store.invalidate(c.db, size, 0)
}
