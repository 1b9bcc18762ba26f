package litefs

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"litefs/ltx"
)

// damagedDir is where recovery puts what it cannot use.
const damagedDir = "damaged"

// ltxTail is the newest file of a log.
type ltxTail struct {
	hdr ltx.Header
	pos ltx.Pos // after it
}

// openLog loads the log: the longest run of files, from the newest intact one
// back, that follow upon each other. Files that are damaged or that do not
// belong to the run are set aside, and the log says so. It returns the newest
// file, or nil for an empty log.
//
// Only the newest file is read whole, since a crash can tear no other: a file is
// synced before SQLite forgets what it holds, and only unsynced files are torn.
func (db *DB) openLog() (*ltxTail, error) {
	files, err := db.log.load()
	if err != nil {
		return nil, err
	}
	if db.powerLost {
		if files, err = db.cutLog(files); err != nil {
			return nil, err
		}
	}
	var tail *ltxTail
	for len(files) > 0 && tail == nil {
		newest := files[len(files)-1]
		if tail, err = db.readTail(newest); err != nil {
			if err := db.setAside(newest, err); err != nil {
				return nil, err
			}
			files = files[:len(files)-1]
		}
	}
	start := 0
	for i := len(files) - 1; i > 0; i-- {
		if files[i].min == 1 || files[i-1].max+1 != files[i].min {
			start = i
			break
		}
	}
	db.log.adopt(slices.Clone(files[start:]))
	if start > 0 {
		// What covers the files that go now must be durable before they do.
		if err := db.log.sync(); err != nil {
			return nil, err
		}
	}
	for _, f := range files[:start] {
		if err := db.dropDisjoint(f, files[start]); err != nil {
			return nil, err
		}
	}
	return tail, nil
}

// dropDisjoint removes a file that a snapshot covers, and sets aside one that is
// cut off from the log by a gap.
func (db *DB) dropDisjoint(f, first ltxFile) error {
	if first.min == 1 {
		return removeIfExists(db.store.FS, db.log.path(f))
	}
	return db.setAside(f, fmt.Errorf("transactions up to %s are missing", first.min))
}

// setAside moves a file of the log to where it does no harm and is not lost.
func (db *DB) setAside(f ltxFile, reason error) error {
	dir := filepath.Join(db.dir, damagedDir)
	if err := db.store.FS.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	to := filepath.Join(dir, filepath.Base(db.log.path(f)))
	db.logger.Warn("set aside a file of the log", slog.String("path", to), slog.Any("reason", reason))
	return db.store.FS.Rename(db.log.path(f), to)
}

// readTail verifies a file of the log.
func (db *DB) readTail(f ltxFile) (tail *ltxTail, err error) {
	file, err := db.store.FS.OpenFile(db.log.path(f), os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	hdr, trailer, err := ltx.Verify(file)
	if err != nil {
		return nil, err
	}
	if hdr.MinTXID != f.min || hdr.MaxTXID != f.max {
		return nil, fmt.Errorf("file holds transactions %s-%s", hdr.MinTXID, hdr.MaxTXID)
	}
	return &ltxTail{hdr: hdr, pos: ltx.Pos{TXID: hdr.MaxTXID, PostApplyChecksum: trailer.PostApplyChecksum}}, nil
}

// readPages calls fn with every page of a file of the log, and returns its header.
func (db *DB) readPages(f ltxFile, fn func(pgno uint32, page []byte) error) (hdr ltx.Header, err error) {
	file, err := db.store.FS.OpenFile(db.log.path(f), os.O_RDONLY, 0)
	if err != nil {
		return hdr, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	dec := ltx.NewDecoder(file)
	if err := dec.DecodeHeader(); err != nil {
		return hdr, err
	}
	page := make([]byte, dec.Header().PageSize)
	for {
		var frame ltx.PageHeader
		err := dec.DecodePage(&frame, page)
		if errors.Is(err, io.EOF) {
			return dec.Header(), dec.Close()
		}
		if err != nil {
			return hdr, err
		}
		if err := fn(frame.Pgno, page); err != nil {
			return hdr, err
		}
	}
}
