package litefs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"litefs/internal/fsx"
	"litefs/ltx"
)

// While the pages of an LTX file are written to the database file, a file named
// "applying" says so. It holds one line:
//
//	MIN-MAX.ltx LENGTH NAME
//
// the file that is being applied, the length of the line as a check that it is
// whole, and the temporary name of that file if the log begins anew with it ("-" if
// it does not). An empty file says nothing.
//
// As long as the line is there, all that the database had been is in the database
// file, so that a WAL is void, and every page that the LTX file does not have is as
// it was. So to write the pages of the LTX file, if it is the newest of the log,
// gives the database after it, however much of that had been done already.
const markName = "applying"

// replaceSuffix marks an LTX file that is to be the only one of the log.
const replaceSuffix = ".anew"

// maxMarkBytes bounds the line.
const maxMarkBytes = 256

func (db *DB) markPath() string { return filepath.Join(db.dir, markName) }

// setMark writes the mark, durably.
func (db *DB) setMark(line string) error { return db.writeMark(db.markPath(), line) }

// writeMark gives a file a line, or none, durably.
func (db *DB) writeMark(path, line string) (err error) {
	there, err := fsx.Exists(db.store.FS, path)
	if err != nil {
		return err
	}
	f, err := db.store.FS.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err = f.Truncate(0); err == nil && line != "" {
		_, err = f.WriteAt([]byte(line), 0)
	}
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil && !there {
		err = db.store.FS.SyncDir(db.dir)
	}
	return err
}

// clearMark takes the mark away, durably: once the database goes on, it must not
// come back.
func (db *DB) clearMark() error { return db.setMark("") }

// markLine returns the mark for a file.
func markLine(file ltxFile, anew bool) string {
	name, temp := ltx.FormatFilename(file.min, file.max), "-"
	if anew {
		temp = name + replaceSuffix
	}
	return fmt.Sprintf("%s %d %s\n", name, len(name)+len(temp), temp)
}

// readMark returns the file that the mark names, and whether the log begins anew
// with it. A line that is not whole was not durable: nothing had begun.
func (db *DB) readMark() (file ltxFile, anew, ok bool, err error) {
	b, err := fsx.ReadFile(db.store.FS, db.markPath(), maxMarkBytes)
	if isNotExist(err) {
		return file, false, false, nil
	}
	if err != nil {
		return file, false, false, err
	}
	name, _, _ := strings.Cut(string(b), " ")
	minTXID, maxTXID, err := ltx.ParseFilename(name)
	if err != nil {
		return file, false, false, nil
	}
	file = ltxFile{min: minTXID, max: maxTXID}
	switch string(b) {
	case markLine(file, true):
		return file, true, true, nil
	case markLine(file, false):
		return file, false, true, nil
	default:
		return file, false, false, nil
	}
}

// enterLogMarked sets the mark and then makes a file the newest of the log, or the
// only one. An error leaves neither.
func (db *DB) enterLogMarked(f *ReceivedLTX, anew bool) error {
	file := f.entry()
	if err := db.log.sync(); err != nil { // or it may be cut off from what precedes it
		return err
	}
	if anew {
		if err := db.log.syncFile(f.path); err != nil {
			return err
		}
		replacement := db.log.path(file) + replaceSuffix
		if err := db.store.FS.Rename(f.path, replacement); err != nil {
			return err
		}
		f.path = replacement
		if err := db.store.FS.SyncDir(db.log.dir); err != nil {
			return err
		}
	}
	if err := db.setMark(markLine(file, anew)); err != nil {
		return errors.Join(err, db.clearMark())
	}
	if !anew {
		if err := db.enterLog(f); err != nil {
			return errors.Join(err, db.clearMark())
		}
		return nil
	}
	// There is no way back from here: the old log is gone. What is left of this
	// is done by the next start.
	if err := db.log.replaceAll(f.path, file); err != nil {
		return err
	}
	f.path = ""
	return nil
}

// replaceAll makes the file at path the only one of the log, durably.
func (l *ltxLog) replaceAll(path string, file ltxFile) error {
	entries, err := l.fs.ReadDir(l.dir)
	if err != nil {
		return err
	}
	l.adopt(nil)
	for _, entry := range entries {
		if _, _, err := ltx.ParseFilename(entry.Name()); err != nil {
			continue
		}
		if err := l.fs.Remove(filepath.Join(l.dir, entry.Name())); err != nil {
			return err
		}
	}
	if err := l.fs.Rename(path, l.path(file)); err != nil {
		return err
	}
	l.adopt([]ltxFile{file})
	return l.sync()
}

// resumeReplace goes on with a log that was to begin anew when a crash came. It
// comes before the log is opened.
func (db *DB) resumeReplace() error {
	file, anew, ok, err := db.readMark()
	if err != nil || !ok || !anew {
		return err
	}
	replacement := db.log.path(file) + replaceSuffix
	there, err := fsx.Exists(db.store.FS, replacement)
	if err != nil || !there {
		return err
	}
	return db.log.replaceAll(replacement, file)
}

// redoApply writes the pages of the newest file of the log to the database file
// again, if a crash has cut that short. What it does can be cut short, and is done
// again at the next start.
func (db *DB) redoApply(ctx context.Context, last *ltxTail) error {
	file, _, ok, err := db.readMark()
	if err != nil || !ok {
		return err
	}
	if last == nil || last.hdr.MinTXID != file.min || last.hdr.MaxTXID != file.max {
		return db.clearMark() // it never became part of the log
	}
	// The crash may have come before it was durable there.
	if err := errors.Join(db.log.syncFile(db.log.path(file)), db.log.syncNames()); err != nil {
		return err
	}
	if err := db.removeWAL(); err != nil {
		return err
	}
	if last.hdr.Commit == 0 {
		err = db.removeBacking(FileTypeDatabase)
	} else {
		err = db.rewriteDatabase(ctx, file, last.hdr)
	}
	if err != nil {
		return err
	}
	db.logger.Info("applied the newest file of the log again, which a crash had cut short", slog.Any("pos", last.pos))
	return errors.Join(db.store.FS.SyncDir(db.dir), db.clearMark())
}

// rewriteDatabase writes the pages of a file of the log to the database file while
// nobody has it open.
func (db *DB) rewriteDatabase(ctx context.Context, file ltxFile, hdr ltx.Header) error {
	if db.files.database == nil {
		f, err := db.store.FS.OpenFile(db.DatabasePath(), os.O_CREATE|os.O_RDWR, 0o666)
		if err != nil {
			return err
		}
		db.files.database = f
	}
	w := &pageWriter{db: db, file: db.files.database}
	return w.writeAll(ctx, file, hdr)
}
