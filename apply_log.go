package litefs

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"

	"litefs/internal/fsx"
)

// What a replica appends to a WAL is neither durable in the log nor in the WAL when
// it is published: the primary has it, and does not wait for its replicas. Log and
// WAL are synced, in this order, before the database file gets anything of it, and
// the log again every second and when the node begins to take writes. So after a
// loss of power
//
//   - the database file has nothing that the log has not,
//   - the log has all up to the last sync, and any of the files after it, whole or
//     torn, and
//   - the WAL has all up to the last checkpoint, and some of the commits after it.
//     Each of them ends where a file of the log ends, or ended.
//
// The start takes the log up to the first file that is torn or missing. If the WAL
// ends before that, the log is applied; if it goes on behind that, what goes on is
// left out and set aside. Either way the database is at a position that it has had,
// and its primary sends the rest again.
//
// A file named "appending" tells the start that this is so. It is there, durably,
// from before the first file that is not synced until the log is durable and nobody
// appends to it any more. It holds one line, with the ID of the boot of the system:
//
//	appending BOOT
//
// In the same boot nothing was lost: what the WAL has behind the log was committed by
// a program, when the process that kept it from writing was killed, and is captured
// like anything else that is committed.
const (
	appendingName = "appending"
	bootIDPath    = "/proc/sys/kernel/random/boot_id"
	maxBootID     = 64
)

func (db *DB) appendingPath() string { return filepath.Join(db.dir, appendingName) }

// appendLog makes a file the newest of the log. It becomes durable later.
func (db *DB) appendLog(f *ReceivedLTX) error {
	if !db.appending {
		boot, err := db.store.bootID()
		if err != nil {
			return err
		}
		if err := db.writeMark(db.appendingPath(), fmt.Sprintf("appending %s\n", boot)); err != nil {
			return err
		}
		db.appending = true
	}
	if err := db.log.commit(nil, f.path, f.entry(), false); err != nil {
		return err
	}
	f.path = ""
	return nil
}

// syncAppended makes the log of a replica durable.
func (db *DB) syncAppended() {
	if !db.following.Load() {
		return
	}
	if err := db.log.sync(); err != nil {
		db.logger.Warn("cannot make the log durable; it is tried again", slog.Any("error", err))
	}
}

// settleLog makes the log durable, and says so.
func (db *DB) settleLog() error {
	if err := errors.Join(db.gatherLog(), db.log.sync()); err != nil || !db.appending {
		return err
	}
	if err := db.writeMark(db.appendingPath(), ""); err != nil {
		return err
	}
	db.appending = false
	return nil
}

// loadAppending finds out whether a loss of power may have taken some of the log.
func (db *DB) loadAppending() error {
	b, err := fsx.ReadFile(db.store.FS, db.appendingPath(), maxMarkBytes)
	if isNotExist(err) || err == nil && len(b) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	boot, err := db.store.bootID()
	if err != nil {
		return err
	}
	db.appending = true
	db.powerLost = boot == "" || string(b) != fmt.Sprintf("appending %s\n", boot)
	return nil
}

// bootID returns what differs from one boot of the system to the next, or "" if the
// system has nothing of the kind.
func (s *Store) bootID() (string, error) {
	b, err := fsx.ReadFile(s.FS, bootIDPath, maxBootID)
	if isNotExist(err) {
		return "", nil
	}
	return strings.TrimSpace(string(b)), err
}

// cutLog returns the files up to the first that a loss of power has torn or taken,
// and sets those after it aside. Files are not synced at the end of the log only, and
// together, without the newest, they have fewer than appliedFrames frames.
func (db *DB) cutLog(files []ltxFile) ([]ltxFile, error) {
	end, frames := len(files), 0
	var reason error
	for i := len(files) - 1; i >= 0 && frames < appliedFrames; i-- {
		pages := 0
		_, err := db.readPages(files[i], func(uint32, []byte) error { pages++; return nil })
		switch {
		case err != nil:
			end, reason = i, err
			continue
		case i > 0 && files[i].min != 1 && files[i].min != files[i-1].max+1:
			end, reason = i, fmt.Errorf("transactions before %s are missing", files[i].min)
		case files[i].min == 1:
			return files[:end], db.setAsideAll(files[end:], reason)
		}
		if i < len(files)-1 {
			frames += max(pages, 1)
		}
	}
	return files[:end], db.setAsideAll(files[end:], reason)
}

func (db *DB) setAsideAll(files []ltxFile, reason error) error {
	for _, f := range files {
		if err := db.setAside(f, reason); err != nil {
			return err
		}
	}
	return nil
}

// setAsideWAL moves a WAL that goes on behind the log to where it does no harm and is
// not lost. All that the log has of it is in the database file.
func (db *DB) setAsideWAL() error {
	if db.wal.cursor.PageSize == 0 {
		return nil // no WAL that SQLite would read
	}
	last, err := db.validCommit()
	if err != nil || last <= db.wal.cursor.Frame {
		return err
	}
	dir := filepath.Join(db.dir, damagedDir)
	if err := db.store.FS.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	to := filepath.Join(dir, fmt.Sprintf("%s%s", db.Pos().TXID, suffixWAL))
	db.logger.Warn("set aside the end of a WAL that the log does not have", slog.String("path", to), slog.Any("pos", db.Pos()))
	return errors.Join(db.store.FS.Rename(db.WALPath(), to), db.closeBacking(FileTypeWAL))
}
