package litefs

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"litefs/internal/fsx"
	"litefs/internal/sqlite"
	"litefs/ltx"
)

// The log can be ahead of the database: by the transaction whose commit a crash
// has cut short, or by the end of the WAL, which a power cut under
// synchronous=NORMAL may take. What the log has of it may have been acknowledged
// and replicated, so the log is applied to the database.
//
// It is applied only to a database that is known to be behind. One that is
// somewhere else, and may be ahead, is captured as it is: every database could be
// turned into the end of a log that goes back to a snapshot.

// recoverySectorSize is the sector size that the recovery's own journal states, in
// bytes: the least with which SQLite reads it.
const recoverySectorSize = 512

// overlay is the newest version of each page in the files of the log from some
// point on: which file has it.
type overlay map[uint32]ltxFile

// findOverlay returns the pages of as few files from the end of the log as turn
// the database into what the log says it is, or nil if it is not known to be
// behind. It is if it is at the end of an earlier file; if its WAL ends where the
// log goes on; or if its change counter is lower, which SQLite advances with each
// transaction under a rollback journal. (One that was rolled back need not be what
// it was before: SQLite does not journal free pages.)
func (db *DB) findOverlay(view *dbView, sums pageSums, last *ltxTail) (overlay, error) {
	behind := db.walCut(view, last)
	first := make([]byte, view.pageSize)
	if view.pageSize != last.hdr.PageSize && view.pages != 0 {
		return nil, nil
	}
	if view.pages > 0 {
		if err := view.read(1, first); err != nil {
			return nil, err
		}
	}
	target := sums.clone()
	target.resize(last.hdr.Commit)
	pages := make(overlay)
	files := db.log.snapshot()
	for i := len(files) - 1; i >= 0; i-- {
		hdr, err := db.readPages(files[i], func(pgno uint32, page []byte) error {
			if _, have := pages[pgno]; !have && pgno <= last.hdr.Commit {
				pages[pgno] = files[i]
				target.set(pgno, ltx.PageChecksum(pgno, page))
				behind = behind || pgno == 1 && last.hdr.WALOffset == 0 && changedSince(first, page)
			}
			return nil
		})
		if err != nil || hdr.PageSize != last.hdr.PageSize {
			db.logger.Warn("cannot apply the log", slog.Any("txid", files[i].min), slog.Any("error", err))
			return nil, nil
		}
		at := hdr.PreApplyChecksum == sums.checksum() || hdr.IsSnapshot() && view.pages == 0
		if (at || behind) && target.checksum() == last.pos.PostApplyChecksum {
			return pages, nil
		}
	}
	return nil, nil
}

// changedSince reports whether the change counter of a first page is ahead of that
// of another.
func changedSince(before, after []byte) bool {
	if len(before) < sqlite.DatabaseHeaderSize || len(after) < sqlite.DatabaseHeaderSize {
		return false
	}
	return int32(binary.BigEndian.Uint32(after[24:])-binary.BigEndian.Uint32(before[24:])) > 0
}

// walCut reports whether the log ends in the WAL that is there, behind the last
// commit that the WAL still has.
func (db *DB) walCut(view *dbView, last *ltxTail) bool {
	if db.files.wal == nil || last.hdr.WALOffset == 0 {
		return false
	}
	hdr, err := sqlite.ReadWALHeader(db.files.wal)
	if err != nil || hdr.Salt != (sqlite.Salt{last.hdr.WALSalt1, last.hdr.WALSalt2}) || hdr.PageSize != last.hdr.PageSize {
		return false
	}
	return sqlite.WALFrames(last.hdr.WALOffset+last.hdr.WALSize, hdr.PageSize) > view.cursor.Frame
}

// applyForward brings the database to the end of the log in one step that cannot
// be torn: it is a new WAL with the pages as one transaction. SQLite ignores a WAL
// beside a database that is empty; that is filled under a rollback journal.
func (db *DB) applyForward(ctx context.Context, view *dbView, pages overlay, last *ltxTail) error {
	var err error
	switch {
	case last.hdr.Commit == 0: // it was being dropped
		db.sums = pageSums{}
		err = errors.Join(db.removeWAL(), db.removeBacking(FileTypeDatabase))
	case view.pages == 0:
		err = errors.Join(db.removeWAL(), db.fillDatabase(pages, last))
	default:
		// What the old WAL has must not go with it.
		if err = view.fold(); err == nil {
			err = db.replaceBacking(FileTypeWAL, func(f fsx.File) error { return db.writeForwardWAL(f, view, pages, last) })
		}
	}
	if err != nil {
		return fmt.Errorf("apply the log: %w", err)
	}
	if last.hdr.Commit > 0 {
		if found, err := db.findEnd(ctx, last); err != nil || !found {
			return errors.Join(err, fmt.Errorf("apply the log: the database is not at %s then", last.pos))
		}
	}
	db.logger.Warn("applied the log to a database that lacked some of it", slog.Any("pos", last.pos), slog.Int("pages", len(pages)))
	return nil
}

// fillDatabase writes the pages to a database that is empty. A crash in between
// leaves a hot journal, which makes it empty again.
func (db *DB) fillDatabase(pages overlay, last *ltxTail) error {
	hdr := sqlite.JournalHeader{SectorSize: recoverySectorSize, PageSize: last.hdr.PageSize}
	err := db.replaceBacking(FileTypeJournal, func(f fsx.File) error {
		_, err := f.Write(hdr.AppendTo(nil))
		return err
	})
	if err != nil {
		return err
	}
	err = db.writeOverlay(pages, func(pgno uint32, page []byte) error {
		_, err := db.files.database.WriteAt(page, int64(pgno-1)*int64(len(page)))
		return err
	})
	if err == nil {
		err = db.files.database.Sync()
	}
	if err != nil {
		return err
	}
	return db.removeBacking(FileTypeJournal)
}

// writeForwardWAL writes a WAL of one transaction.
func (db *DB) writeForwardWAL(f fsx.File, view *dbView, pages overlay, last *ltxTail) error {
	var salt [8]byte
	_, _ = rand.Read(salt[:]) // never returns an error
	hdr := sqlite.WALHeader{
		PageSize: last.hdr.PageSize,
		Salt:     sqlite.Salt{binary.BigEndian.Uint32(salt[:]), binary.BigEndian.Uint32(salt[4:])},
	}
	if err := sqlite.WriteWALHeader(f, hdr); err != nil {
		return err
	}
	writer := sqlite.NewWALWriter(f, hdr.Start())
	// Page 1 ends the transaction. It may be the only one, if all that the log
	// changes is the length.
	first := make([]byte, last.hdr.PageSize)
	if err := view.read(1, first); err != nil {
		return err
	}
	err := db.writeOverlay(pages, func(pgno uint32, page []byte) error {
		if pgno == 1 {
			copy(first, page)
			return nil
		}
		return writer.WriteFrame(pgno, 0, page)
	})
	if err != nil {
		return err
	}
	if err := writer.WriteFrame(1, last.hdr.Commit, first); err != nil {
		return err
	}
	return writer.Flush()
}

// writeOverlay calls write with each page of an overlay.
func (db *DB) writeOverlay(pages overlay, write func(pgno uint32, page []byte) error) error {
	wanted := make(map[ltxFile]bool)
	for _, f := range pages {
		wanted[f] = true
	}
	for f := range wanted {
		_, err := db.readPages(f, func(pgno uint32, page []byte) error {
			if pages[pgno] != f {
				return nil
			}
			return write(pgno, page)
		})
		if err != nil {
			return fmt.Errorf("ltx %s-%s: %w", f.min, f.max, err)
		}
	}
	return nil
}

// replaceBacking gives a backing file a new content, durably, or leaves it as it
// was.
func (db *DB) replaceBacking(typ FileType, write func(f fsx.File) error) error {
	if err := db.writeReplacement(typ, write); err != nil {
		return err
	}
	if err := db.store.FS.Rename(db.BackingPath(typ)+tmpSuffix, db.BackingPath(typ)); err != nil {
		return err
	}
	return db.reopenBacking(typ)
}

// writeReplacement writes what a backing file is to be replaced by.
func (db *DB) writeReplacement(typ FileType, write func(f fsx.File) error) error {
	f, err := db.store.FS.OpenFile(db.BackingPath(typ)+tmpSuffix, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o666)
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// reopenBacking goes on with the file that has taken the place of another.
func (db *DB) reopenBacking(typ FileType) error {
	return errors.Join(db.store.FS.SyncDir(db.dir), db.closeBacking(typ), db.openBacking(typ))
}

// foldWAL copies the WAL into the database file, as far as the log has it, and
// removes it, at a time when nobody has it open. The log is made durable first. A
// crash in between leaves the WAL, and it is folded again.
func (db *DB) foldWAL() error {
	if db.files.wal == nil && db.files.shm == nil {
		return nil
	}
	if db.files.wal != nil && db.files.database != nil && !db.intake.on {
		if err := db.log.sync(); err != nil {
			return err
		}
		view, err := db.viewAtCursor()
		if err != nil {
			return err
		}
		if err := view.fold(); err != nil {
			return fmt.Errorf("fold WAL into the database file: %w", err)
		}
		if db.powerLost {
			if err := db.setAsideWAL(); err != nil {
				return err
			}
		}
	}
	return db.removeWAL()
}

func (db *DB) removeWAL() error {
	db.wal = walState{valid: true}
	db.wal.cursor.Frame = 0
	if err := db.removeBacking(FileTypeWAL); err != nil {
		return err
	}
	return db.removeBacking(FileTypeSHM)
}

// fold writes the pages that the WAL holds to the database file and makes them
// durable there.
func (v *dbView) fold() error {
	if len(v.frames) == 0 {
		return nil
	}
	page := make([]byte, v.pageSize)
	for _, f := range v.frames {
		if f.Pgno > v.pages {
			continue
		}
		if err := readFrame(v.db.files.wal, f.Frame, page); err != nil {
			return err
		}
		if _, err := v.db.files.database.WriteAt(page, int64(f.Pgno-1)*int64(v.pageSize)); err != nil {
			return err
		}
	}
	if err := v.db.files.database.Truncate(int64(v.pages) * int64(v.pageSize)); err != nil {
		return err
	}
	return v.db.files.database.Sync()
}
