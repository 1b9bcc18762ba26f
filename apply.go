package litefs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"litefs/internal/sqlite"
	"litefs/ltx"
)

var (
	// ErrPosMismatch is returned when an LTX file does not continue the database.
	ErrPosMismatch = errors.New("position mismatch")
	// ErrNotReplica is returned when a file is to be applied on a node that takes
	// writes.
	ErrNotReplica = errors.New("node is not a replica")
)

// A replica takes a transaction in one of two ways.
//
// If the database has a WAL, the transaction is appended to it and published in the
// wal-index, as a SQLite connection does (apply_wal.go). Readers keep the snapshots
// that they have. The file becomes part of the log before that. A crash before the
// transaction is published leaves the log ahead of the database; recovery applies the
// log. A loss of power may take more off the end of WAL and log (apply_log.go).
//
// Otherwise, and if the file is a snapshot, the pages are written to the database
// file while nobody reads it (apply_rollback.go). A mark (apply_mark.go) tells a
// start after a crash that this is to be done again. It is durable before the file
// becomes part of the log, and is taken away when the database file is durable.

// ApplyLTX applies received files, of which each must follow upon the one before,
// and the first upon the position of the database: otherwise the error is
// ErrPosMismatch. A snapshot follows upon a database that is empty. Several files
// are merged into one. What has been applied is part of the log; if it was appended to
// a WAL, it is durable there within a second or so, otherwise at once. The files are
// the caller's no more, whatever the result is.
//
// The node must be a replica (ErrNotReplica). Files that cannot be appended to a WAL
// wait for readers, until ctx is done.
func (db *DB) ApplyLTX(ctx context.Context, files ...*ReceivedLTX) error {
	db.applyMu.Lock()
	defer db.applyMu.Unlock()
	err := db.applyFiles(ctx, files)
	for _, f := range files {
		err = errors.Join(err, f.Discard())
	}
	if err != nil {
		return fmt.Errorf("apply to database %q: %w", db.name, err)
	}
	return nil
}

func (db *DB) applyFiles(ctx context.Context, files []*ReceivedLTX) error {
	resumed := db.unfinished != nil
	if err := db.checkReplica(ctx); err != nil {
		return err
	}
	if resumed { // then it may be these that an error had cut short
		pos := db.Pos()
		done := slices.IndexFunc(files, func(f *ReceivedLTX) bool { return f.posAfter() == pos })
		files = files[done+1:]
	}
	if len(files) > 1 && mergeable(files) {
		if err := db.checkContinues(files[0]); err != nil {
			return err
		}
		merged, err := db.compactReceived(ctx, files)
		switch {
		case err == nil:
			return errors.Join(db.applyOne(ctx, merged), merged.Discard())
		case errors.Is(err, ltx.ErrNotContiguous):
			return errors.Join(ErrPosMismatch, err)
		case !errors.Is(err, ltx.ErrMissingPage): // else they can be applied one by one
			return err
		}
	}
	for _, f := range files {
		if err := db.applyOne(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

// mergeable reports whether files can be one: a snapshot stays for itself, and so
// does the end of a database.
func mergeable(files []*ReceivedLTX) bool {
	for _, f := range files {
		if f.header.IsSnapshot() || f.header.Commit == 0 {
			return false
		}
	}
	return true
}

func (db *DB) applyOne(ctx context.Context, f *ReceivedLTX) error {
	if err := db.checkContinues(f); err != nil {
		return err
	}
	return db.apply(ctx, f, false)
}

// ApplyDifference applies a received file of the pages in which the database
// differs from another node's. Its pre-apply checksum must be that of the database
// (or it is a snapshot), whatever the transaction, otherwise the error is
// ErrPosMismatch. If its transactions do not follow upon those of the log, the log
// begins anew with it. The rest is as in ApplyLTX.
func (db *DB) ApplyDifference(ctx context.Context, f *ReceivedLTX) error {
	db.applyMu.Lock()
	defer db.applyMu.Unlock()
	err := db.checkReplica(ctx)
	if err == nil {
		pos := db.Pos()
		snapshot := f.header.IsSnapshot()
		if !snapshot && f.header.PreApplyChecksum != pos.PostApplyChecksum {
			err = fmt.Errorf("%w: file is made for checksum %s, database is at %s", ErrPosMismatch, f.header.PreApplyChecksum, pos)
		} else {
			follows := f.header.MinTXID == pos.TXID+1 || snapshot && f.header.MaxTXID > pos.TXID
			err = db.apply(ctx, f, !follows)
		}
	}
	if err = errors.Join(err, f.Discard()); err != nil {
		return fmt.Errorf("apply difference to database %q: %w", db.name, err)
	}
	return nil
}

// checkReplica makes sure that nobody else changes the database. What an error has
// cut short, the change of the role or the last apply, it brings to its end.
func (db *DB) checkReplica(ctx context.Context) error {
	if !db.following.Load() {
		if db.store.IsPrimary() {
			return ErrNotReplica
		}
		if err := db.stopWriting(ctx); err != nil {
			return err
		}
	}
	return db.finishApply(ctx)
}

// checkContinues checks that a file follows upon the position.
func (db *DB) checkContinues(f *ReceivedLTX) error {
	pos := db.Pos()
	if f.header.IsSnapshot() {
		if db.pages() == 0 && f.header.MaxTXID > pos.TXID {
			return nil
		}
	} else if f.header.PreApplyPos() == pos {
		return nil
	}
	return fmt.Errorf("%w: file of transactions %s-%s follows upon %s, database is at %s",
		ErrPosMismatch, f.header.MinTXID, f.header.MaxTXID, f.header.PreApplyPos(), pos)
}

// pages returns the number of pages at the position.
func (db *DB) pages() uint32 {
	db.captureMu.Lock()
	defer db.captureMu.Unlock()
	return db.sums.size()
}

// apply applies a file. anew has the log begin with it.
func (db *DB) apply(ctx context.Context, f *ReceivedLTX, anew bool) error {
	samePages, err := db.checkOutcome(f)
	if err != nil {
		return err
	}
	ctx, mount, cancel := db.store.mountContext(ctx)
	defer cancel()
	if mount.gone {
		return ErrClosed // programs may still have the files open
	}
	if mount.dir != "" {
		if err := db.attach(ctx, mount.dir); err != nil {
			return err
		}
	}
	if db.peer.attached() && samePages && !anew && !f.header.IsSnapshot() && f.header.Commit > 0 {
		return db.applyToWAL(ctx, f)
	}
	return db.applyInPlace(ctx, mount, f, anew)
}

// checkOutcome checks that the file leads to the checksum that it promises, before
// anything is changed, and reports whether the page size stays. A snapshot has been
// checked when it was received.
func (db *DB) checkOutcome(f *ReceivedLTX) (samePages bool, err error) {
	db.captureMu.Lock()
	defer db.captureMu.Unlock()
	samePages = f.header.PageSize == db.pageSize
	if f.header.IsSnapshot() {
		return samePages, nil
	}
	if !samePages {
		return false, fmt.Errorf("page size is %d, that of the file %d", db.pageSize, f.header.PageSize)
	}
	if sum := db.sums.after(f.header.Commit, f.sums); sum != f.trailer.PostApplyChecksum {
		return false, fmt.Errorf("%w: file leads to %s, it promises %s", ltx.ErrChecksumMismatch, sum, f.trailer.PostApplyChecksum)
	}
	return true, nil
}

// enterLog makes a file the newest of the log, durably. f.path is empty afterwards.
func (db *DB) enterLog(f *ReceivedLTX) error {
	file := f.entry()
	if err := db.log.commit(nil, f.path, file, false); err != nil {
		return err
	}
	f.path = ""
	if err := db.log.sync(); err != nil {
		return errors.Join(err, db.log.withdraw(file))
	}
	return nil
}

// adoptApplied publishes the position after a file that has been applied. cursor
// is where the WAL ends, nil if there is none.
func (db *DB) adoptApplied(f *ReceivedLTX, cursor *sqlite.WALCursor) error {
	db.captureMu.Lock()
	defer db.captureMu.Unlock()
	db.intake = intakeState{}
	db.tx.reset()
	db.sumsMu.Lock()
	if f.header.IsSnapshot() {
		db.sums = pageSums{}
	}
	db.sums.apply(f.header.Commit, f.sums)
	db.pageSize = f.header.PageSize
	db.sumsMu.Unlock()
	if cursor != nil {
		db.adoptCursor(*cursor)
		db.wal.ahead, db.wal.doubtful = false, false
	}
	if sum := db.sums.checksum(); sum != f.trailer.PostApplyChecksum {
		return fmt.Errorf("%w: database is at %s, file promises %s", ltx.ErrChecksumMismatch, sum, f.trailer.PostApplyChecksum)
	}
	db.setPos(f.posAfter())
	db.logger.Debug("applied", slog.Any("pos", f.posAfter()), slog.Any("min_txid", f.header.MinTXID), slog.Int("pages", len(f.sums)))
	return db.strictVerify()
}
