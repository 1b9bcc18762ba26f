package litefs

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"litefs/internal/filelock"
	"litefs/internal/sqlite"
)

// applyToWAL appends a file to the WAL as one transaction.
//
// The file is in the log first. A crash before the wal-index is published leaves
// frames that belong to no transaction, or one that recovery finds to be the end of
// the log; a crash after it leaves WAL and log equal. For a loss of power see
// apply_log.go.
func (db *DB) applyToWAL(ctx context.Context, f *ReceivedLTX) error {
	p := db.peer
	if err := db.appendLog(f); err != nil {
		return err
	}
	cursor, err := p.append(f)
	if err != nil {
		return errors.Join(fmt.Errorf("append to WAL: %w", err), db.log.withdraw(f.entry()))
	}
	if err := db.adoptApplied(f, &cursor); err != nil {
		return err
	}
	if err := p.tidy(ctx, f); err != nil {
		db.logger.Warn("cannot checkpoint; the next transaction tries again", slog.Any("error", err))
	}
	return nil
}

// append writes the pages of a file of the log as frames and publishes them. After
// an error nothing is published.
func (p *peer) append(f *ReceivedLTX) (sqlite.WALCursor, error) {
	if err := p.restart(); err != nil {
		return sqlite.WALCursor{}, err
	}
	cursor, ok := p.header.Cursor()
	if !ok {
		var err error
		if cursor, err = p.beginWAL(f.header.PageSize); err != nil {
			return cursor, err
		}
	}
	frames := sqlite.NewWALWriter(p.wal, cursor)
	err := p.writeFrames(frames, f)
	if err == nil {
		err = frames.Flush()
	}
	if err != nil {
		p.writer.Forget()
		return cursor, err
	}
	header := p.header.Commit(frames.Cursor(), f.header.Commit)
	if err := p.writer.Publish(header); err != nil {
		p.writer.Forget()
		return cursor, errors.Join(err, p.index.WriteHeader(p.header))
	}
	p.header = header
	return frames.Cursor(), nil
}

// writeFrames writes a frame for each page of a file. A file that changes nothing
// but the length is a frame with the first page as it is.
func (p *peer) writeFrames(frames *sqlite.WALWriter, f *ReceivedLTX) error {
	write := func(pgno, commit uint32, page []byte) error {
		if err := frames.WriteFrame(pgno, commit, page); err != nil {
			return err
		}
		return p.writer.Append(frames.Cursor().Frame, pgno)
	}
	if len(f.sums) == 0 {
		page := make([]byte, f.header.PageSize)
		if err := p.readFirst(page); err != nil {
			return err
		}
		return write(1, f.header.Commit, page)
	}
	last := f.sums[len(f.sums)-1].pgno
	_, err := p.db.readPages(f.entry(), func(pgno uint32, page []byte) error {
		if pgno == last {
			return write(pgno, f.header.Commit, page)
		}
		return write(pgno, 0, page)
	})
	return err
}

// readFirst reads the first page of the database as it has been published.
func (p *peer) readFirst(page []byte) error {
	frame, err := p.index.FindFrame(1, 1, p.header.MaxFrame)
	if err != nil {
		return err
	}
	if frame != 0 {
		return readFull(p.wal, page, sqlite.WALFrameOffset(frame, uint32(len(page)))+sqlite.WALFrameHeaderSize)
	}
	p.db.captureMu.Lock()
	defer p.db.captureMu.Unlock()
	return p.db.readDatabasePage(1, page)
}

// restart has the WAL begin again at its first frame, if the database file has all
// of it and no reader looks at it. (wal.c walRestartLog)
func (p *peer) restart() error {
	if p.header.MaxFrame == 0 {
		return nil
	}
	info, err := p.index.CheckpointInfo()
	if err != nil || info.Backfill < p.header.MaxFrame {
		return err
	}
	locked, err := p.lockReadMarks()
	if err == nil && len(locked) == sqlite.WALReadMarks-1 {
		var header sqlite.WALIndexHeader
		if header, err = p.writer.Restart(p.header, random32()); err == nil {
			p.header, p.tried = header, 0
		}
	}
	return errors.Join(err, p.unlockReadMarks())
}

// beginWAL writes a header to the WAL, of which nothing is published. It need not
// reach the disk before the frames: without it they are void, as those before them
// are.
func (p *peer) beginWAL(pageSize uint32) (sqlite.WALCursor, error) {
	header := sqlite.WALHeader{PageSize: pageSize, Salt: p.header.Salt}
	old, err := sqlite.ReadWALHeader(p.wal)
	switch {
	case err == nil:
		header.Sequence = old.Sequence + 1
	case !errors.Is(err, sqlite.ErrWALHeader):
		return sqlite.WALCursor{}, err
	}
	if header.Salt == (sqlite.Salt{}) || header.Salt == old.Salt {
		header.Salt = sqlite.Salt{random32(), random32()}
	}
	return header.Start(), sqlite.WriteWALHeader(p.wal, header)
}

// random32 returns a random number.
func random32() uint32 {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never returns an error
	return binary.NativeEndian.Uint32(b[:])
}

// tidy does what keeps the WAL short after a file has been appended. A database
// that is in a rollback journal mode by now lets its WAL go once nobody uses it.
func (p *peer) tidy(ctx context.Context, f *ReceivedLTX) error {
	if len(f.sums) > 0 && f.sums[0].pgno == 1 {
		if err := p.retire(ctx); err != nil || !p.attached() {
			return err
		}
	}
	return p.checkpointDue(ctx)
}

const (
	// appliedFrames is how many frames a replica appends, together with a
	// transaction of any size, before it makes the log durable.
	appliedFrames = 16384
	// checkpointShare is the part of its time that a replica gives to checkpoints,
	// as one in so many, unless it has appended as many frames as that.
	checkpointShare = 5
)

// checkpointDue checkpoints if enough was appended since it was last tried: while a
// reader keeps a checkpoint from going on, it is not tried with each transaction. On a
// slow disk, which transactions do not wait for, checkpoints are fewer and larger.
func (p *peer) checkpointDue(ctx context.Context) error {
	appended, began := p.header.MaxFrame-p.tried, time.Now()
	if appended < checkpointFrames || appended < appliedFrames && began.Before(p.idleUntil) {
		return nil
	}
	if err := p.db.log.sync(); err != nil {
		return err
	}
	p.tried = p.header.MaxFrame
	_, err := p.checkpoint(ctx)
	p.idleUntil = time.Now().Add(time.Since(began) * (checkpointShare - 1))
	return err
}

// checkpoint copies from the WAL to the database file what no reader needs to be
// kept apart, and reports whether that is all. It waits for nobody. Log and WAL are
// durable before the database file is written to.
func (p *peer) checkpoint(ctx context.Context) (all bool, err error) {
	bound, ok := p.header.Cursor()
	if !ok {
		return true, nil
	}
	if free, err := p.shmLocks.Guard(LockTypeRead0).TryLock(); err != nil || !free {
		return false, err
	}
	p.db.captureMu.Lock()
	run := &checkpointRun{
		db: p.db, database: p.db.files.database, wal: p.db.files.wal, bound: bound, synced: true,
		guards: p.shmLocks, index: p.index,
	}
	p.db.captureMu.Unlock()
	safe := uint32(0)
	if err = errors.Join(p.db.log.sync(), run.wal.Sync()); err == nil {
		safe, err = run.pass(ctx)
	}
	err = errors.Join(err, p.shmLocks.Guard(LockTypeRead0).Unlock())
	return err == nil && safe == bound.Frame, err
}

// foldWAL brings all of the WAL into the database file and then keeps readers out:
// it holds the locks of all read marks. It waits for readers until ctx is done.
func (p *peer) foldWAL(ctx context.Context) error {
	err := filelock.Poll(ctx, func() (bool, error) { return p.checkpoint(ctx) })
	if err != nil {
		return fmt.Errorf("fold WAL into the database file: %w", err)
	}
	err = filelock.Poll(ctx, func() (bool, error) {
		locked, err := p.lockReadMarks()
		free := err == nil && len(locked) == sqlite.WALReadMarks-1
		if free {
			free, err = p.shmLocks.Guard(LockTypeRead0).TryLock()
		}
		if !free {
			err = errors.Join(err, p.unlockReadMarks())
		}
		return free, err
	})
	if err != nil {
		return fmt.Errorf("wait for readers: %w", err)
	}
	return nil
}

// voidWAL makes a WAL empty that has been folded, for a database file that has been
// written anew. Whoever has the database open finds that all has changed.
func (p *peer) voidWAL(pageSize, commit uint32) (sqlite.WALCursor, error) {
	header := p.header
	header.PageSize, header.PageCount = pageSize, commit
	header.Change++
	header, err := p.writer.Restart(header, random32())
	if err != nil {
		return sqlite.WALCursor{}, err
	}
	p.header, p.tried = header, 0
	cursor, err := p.beginWAL(pageSize)
	if err == nil {
		err = p.wal.Sync()
	}
	return cursor, err
}

// retire ends the use of a WAL if the database is in a rollback journal mode and no
// program has it open. While one has, the WAL goes on: SQLite uses the WAL that it
// finds, whatever the header of the database says. The peer is closed afterwards.
func (p *peer) retire(ctx context.Context) error {
	if !p.attached() || p.db.PageSize() == 0 {
		return nil
	}
	page := make([]byte, p.db.PageSize())
	if err := p.readFirst(page); err != nil {
		return err
	}
	if hdr, err := sqlite.ParseDatabaseHeader(page); err != nil || hdr.WAL() {
		return nil // not in a rollback journal mode, as far as can be told
	}
	alone, err := p.tryExclude()
	if err != nil || !alone {
		return err
	}
	all, err := p.checkpoint(ctx)
	if err != nil || !all {
		return errors.Join(err, p.readmit())
	}
	err = p.closeWAL()
	for _, suffix := range []string{suffixWAL, suffixSHM} {
		if err == nil {
			err = os.Remove(p.path + suffix)
		}
	}
	return errors.Join(err, p.db.closePeer())
}

// tryExclude goes on from SHARED to EXCLUSIVE if nobody else has the database open.
func (p *peer) tryExclude() (bool, error) {
	for _, lock := range []LockType{LockTypeReserved, LockTypePending, LockTypeShared} {
		if ok, err := p.locks.Guard(lock).TryLock(); err != nil || !ok {
			return false, errors.Join(err, p.readmit())
		}
	}
	return true, nil
}

// readmit goes back to SHARED.
func (p *peer) readmit() error {
	_, err := p.locks.Guard(LockTypeShared).TryRLock()
	return errors.Join(err, p.locks.Guard(LockTypePending).Unlock(), p.locks.Guard(LockTypeReserved).Unlock())
}
