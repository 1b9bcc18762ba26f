package litefs

import (
	"context"
	"errors"
	"fmt"
	"os"

	"litefs/internal/fsx"
	"litefs/internal/sqlite"
	"litefs/ltx"
)

// unfinishedApply is a file that is part of the log and not yet of the database.
type unfinishedApply struct {
	f    *ReceivedLTX
	anew bool
	peer *peer // that keeps readers out, nil if there are none
}

// applyInPlace writes a file to the database file while nobody reads it, or makes or
// removes the database. Programs wait to open the database meanwhile.
//
// An error before the file is part of the log leaves all as it was. After an error
// behind that the database is neither what it was nor what it is to be: readers are
// kept out until the next apply, or the next start, has brought it to its end.
func (db *DB) applyInPlace(ctx context.Context, mount mountedAt, f *ReceivedLTX, anew bool) error {
	db.holdOpens(true)
	p, err := db.excludeReaders(ctx, mount, f)
	if err == nil {
		if err = db.enterLogMarked(f, anew); err == nil {
			db.unfinished = &unfinishedApply{f: f, anew: anew, peer: p}
			return db.finishApply(ctx)
		}
	}
	return errors.Join(err, db.settlePeer(ctx, mount, p, false))
}

// excludeReaders keeps readers out of the database file, once those that are there
// are done. A database that is dropped is removed from under its readers, who go on
// with the file that they have.
func (db *DB) excludeReaders(ctx context.Context, mount mountedAt, f *ReceivedLTX) (*peer, error) {
	if mount.dir == "" || f.header.Commit == 0 || !db.Exists(FileTypeDatabase) {
		return nil, nil
	}
	if db.peer.attached() {
		return db.peer, db.peer.foldWAL(ctx)
	}
	p, err := openPeer(db, mount.dir)
	if err != nil {
		return nil, err
	}
	if err := p.locks.LockExclusive(ctx); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// finishApply brings the database to where the log is, if it is not.
func (db *DB) finishApply(ctx context.Context) error {
	u := db.unfinished
	if u == nil {
		return nil
	}
	ctx, mount, cancel := db.store.mountContext(ctx)
	defer cancel()
	if mount.gone {
		return ErrClosed
	}
	cursor, err := db.writeInPlace(ctx, mount, u)
	if err == nil {
		err = db.clearMark()
	}
	if err != nil {
		return fmt.Errorf("write database file: %w", err)
	}
	db.unfinished = nil
	if err := db.adoptApplied(u.f, cursor); err != nil {
		return err
	}
	if u.f.header.IsSnapshot() {
		if err := db.log.removeBefore(u.f.entry()); err != nil {
			return err
		}
	}
	if u.f.header.Commit == 0 {
		err = db.closePeer()
		if mount.dir != "" {
			db.releaseOpens()
		}
		return err
	}
	// The change counter that a reader under a rollback journal goes by may be the
	// same in another history; a WAL tells it that all has changed.
	return db.settlePeer(ctx, mount, u.peer, u.anew)
}

// writeInPlace does what the name says, and makes the result durable.
func (db *DB) writeInPlace(ctx context.Context, mount mountedAt, u *unfinishedApply) (*sqlite.WALCursor, error) {
	hdr := u.f.header
	switch {
	case hdr.Commit == 0:
		return nil, db.dropFiles(mount)
	case !db.Exists(FileTypeDatabase):
		return nil, db.makeDatabase(ctx, mount, u.f)
	}
	db.captureMu.Lock()
	w := &pageWriter{db: db, file: db.files.database, invalidate: true}
	whole := db.pageSize != hdr.PageSize
	db.captureMu.Unlock()
	if err := w.writeAll(context.WithoutCancel(ctx), u.f.entry(), hdr); err != nil {
		return nil, err
	}
	if whole {
		if err := db.store.invalidate(db, 0, 0); err != nil {
			return nil, err
		}
	}
	if !db.peer.attached() {
		return nil, nil
	}
	cursor, err := db.peer.voidWAL(hdr.PageSize, hdr.Commit)
	return &cursor, err
}

// makeDatabase makes the database file under another name first, so that programs
// see it when it is whole.
func (db *DB) makeDatabase(ctx context.Context, mount mountedAt, f *ReceivedLTX) error {
	path := db.DatabasePath()
	file, err := db.store.FS.OpenFile(path+tmpSuffix, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o666)
	if err != nil {
		return err
	}
	w := &pageWriter{db: db, file: file}
	err = errors.Join(w.writeAll(ctx, f.entry(), f.header), file.Close())
	if err == nil {
		err = db.store.FS.Rename(path+tmpSuffix, path)
	}
	if err == nil {
		err = db.store.FS.SyncDir(db.dir)
	}
	if err != nil {
		return err
	}
	db.captureMu.Lock()
	err = db.openBacking(FileTypeDatabase)
	db.captureMu.Unlock()
	return errors.Join(err, db.store.invalidateEntry(db.name))
}

// dropFiles removes the files of the database, itself first: what is left of it
// without it means nothing.
func (db *DB) dropFiles(mount mountedAt) error {
	if db.peer.attached() {
		if err := db.peer.closeWAL(); err != nil {
			return err
		}
	}
	for _, typ := range backingTypes {
		if !db.Exists(typ) {
			continue
		}
		var err error
		if mount.dir == "" {
			err = db.RemoveOwnFile(typ)
		} else {
			// Through the mount, so that the kernel knows.
			err = os.Remove(db.mountPath(mount.dir, typ))
		}
		if err != nil && !isNotExist(err) {
			return err
		}
	}
	return db.store.FS.SyncDir(db.dir)
}

// settlePeer lets readers in again and leaves the peer with the locks that the
// journal mode of the database calls for. anew has it open a WAL in any case.
func (db *DB) settlePeer(ctx context.Context, mount mountedAt, p *peer, anew bool) error {
	if mount.dir == "" {
		return nil
	}
	err := db.settleLocks(ctx, mount, p, anew)
	if err != nil {
		// Programs cannot make a WAL, and wait to open one until the peer has it.
		db.attachSoon() //nolint:contextcheck // it goes on when this apply has ended
		return err
	}
	db.releaseOpens()
	return nil
}

func (db *DB) settleLocks(ctx context.Context, mount mountedAt, p *peer, anew bool) error {
	if p == nil {
		return db.attach(ctx, mount.dir)
	}
	if p == db.peer {
		return errors.Join(p.unlockReadMarks(), p.retire(ctx))
	}
	wal, err := db.usesWAL()
	if err == nil && (wal || anew) {
		if err = p.attachWAL(ctx); err == nil {
			db.peer = p
			return p.readmit()
		}
	}
	return errors.Join(err, p.close())
}

// pageWriter writes the pages of an LTX file to a database file, those that lie
// side by side in one go.
type pageWriter struct {
	db         *DB
	file       fsx.File
	invalidate bool // have the kernel forget what it has cached
	run        []byte
	offset     int64 // of run
}

// writeAll writes the pages of a file of the log, cuts the database file to its
// length, and makes it durable.
func (w *pageWriter) writeAll(ctx context.Context, file ltxFile, hdr ltx.Header) error {
	_, err := w.db.readPages(file, func(pgno uint32, page []byte) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		offset := int64(pgno-1) * int64(len(page))
		if offset != w.offset+int64(len(w.run)) || len(w.run)+len(page) > checkpointWriteBytes {
			if err := w.flush(); err != nil {
				return err
			}
			w.offset = offset
		}
		w.run = append(w.run, page...)
		return nil
	})
	if err == nil {
		err = w.flush()
	}
	if err == nil {
		err = w.resize(int64(hdr.Commit) * int64(hdr.PageSize))
	}
	if err == nil {
		err = w.file.Sync()
	}
	return err
}

func (w *pageWriter) flush() error {
	if len(w.run) == 0 {
		return nil
	}
	_, err := w.file.WriteAt(w.run, w.offset)
	if err == nil && w.invalidate {
		err = w.db.store.invalidate(w.db, w.offset, int64(len(w.run)))
	}
	w.offset += int64(len(w.run))
	w.run = w.run[:0]
	return err
}

// resize gives the file its length. The lock page, if it is the last, may be what
// is missing.
func (w *pageWriter) resize(want int64) error {
	size, err := fileSize(w.file)
	if err != nil || size == want {
		return err
	}
	err = w.file.Truncate(want)
	if err == nil && w.invalidate {
		err = w.db.store.invalidate(w.db, min(size, want), 0)
	}
	return err
}
