package litefs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"litefs/internal/fsx"
	"litefs/ltx"
)

// When a node turns out to have transactions that the primary's history has not,
// they are set aside before the database is brought in line:
//
//	diverged/TIME-REASON/database      the database, as one file without a journal
//	diverged/TIME-REASON/ltx/          the files of the log that may not be the primary's
//	diverged/TIME-REASON/info.json     DivergedInfo
//
// The folder is written under a name that ends with ".tmp" and renamed when all of
// it is durable. A crash before that leaves a folder that means nothing, and that
// the next copy removes; the database is untouched then, and is set aside again. A
// crash after it leaves a copy, and perhaps a second one of the same.
const (
	divergedDir      = "diverged"
	divergedInfoFile = "info.json"
	divergedDatabase = "database"
	divergedLTXDir   = "ltx"
	// divergedTimeFormat makes names that sort by time.
	divergedTimeFormat = "20060102T150405.000Z"
	maxReasonBytes     = 40
	maxInfoBytes       = 1 << 16
)

// DivergedInfo says what a copy is of. It is kept as JSON beside it.
type DivergedInfo struct {
	Database string    `json:"database"`  // name
	Reason   string    `json:"reason"`    // why it was set aside
	Time     time.Time `json:"time"`      // when
	Node     string    `json:"node"`      // ID of the node
	Pos      ltx.Pos   `json:"pos"`       // of the database
	PageSize uint32    `json:"page-size"` // bytes
	Pages    uint32    `json:"pages"`     // 0 if the database had been dropped; there is no file then
}

// DivergenceCount returns how many databases have been set aside since the store was
// made.
func (s *Store) DivergenceCount() int64 { return s.diverged.Load() }

// SetAside copies the database, and the files of its log that this node may be alone
// in having, to a folder of their own, and returns its path. It is durable when
// SetAside returns, and nothing but the operator removes it. The copy is captured and
// verified as one that is sent is; if that is not possible, nothing must be done to
// the database. Reason is a word or two. If the database has had no transaction,
// nothing is copied and the path is empty.
func (db *DB) SetAside(ctx context.Context, reason string) (dir string, err error) {
	ctx, _, cancel := db.store.mountContext(ctx)
	defer cancel()
	dir, err = db.copyAside(ctx, reason)
	if errors.Is(err, ErrNoTransactions) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("set database %q aside: %w", db.name, err)
	}
	db.store.diverged.Add(1)
	db.logger.Error("database has transactions that the primary has not; they are set aside, see \"litefs diverged\"",
		slog.String("path", dir), slog.String("reason", reason), slog.Any("pos", db.Pos()))
	return dir, nil
}

func (db *DB) copyAside(ctx context.Context, reason string) (string, error) {
	fsys, parent := db.store.FS, filepath.Join(db.dir, divergedDir)
	if err := fsx.MkdirAllSync(fsys, parent, 0o777); err != nil {
		return "", err
	}
	if err := removeUnfinished(fsys, parent); err != nil {
		return "", err
	}
	now := db.Now().UTC()
	dir, err := freeName(fsys, filepath.Join(parent, now.Format(divergedTimeFormat)+"-"+slug(reason)))
	if err != nil {
		return "", err
	}
	tmp := dir + tmpSuffix
	if err := fsys.MkdirAll(filepath.Join(tmp, divergedLTXDir), 0o777); err != nil {
		return "", err
	}
	info := DivergedInfo{Database: db.name, Reason: reason, Time: now, Node: db.store.id}
	if err := db.fillCopy(ctx, tmp, info); err != nil {
		return "", errors.Join(err, fsys.RemoveAll(tmp))
	}
	if err := fsys.Rename(tmp, dir); err != nil {
		return "", err
	}
	return dir, fsys.SyncDir(parent)
}

// fillCopy writes all that the folder of a copy has, durably.
func (db *DB) fillCopy(ctx context.Context, dir string, info DivergedInfo) error {
	fsys := db.store.FS
	view, err := db.copyDatabase(ctx, filepath.Join(dir, divergedDatabase))
	if err != nil {
		return err
	}
	info.Pos, info.PageSize, info.Pages = view.pos, view.pageSize, view.pages
	if info.Pages == 0 {
		if err := fsys.Remove(filepath.Join(dir, divergedDatabase)); err != nil {
			return err
		}
	}
	if err := db.gatherLog(); err != nil {
		return err
	}
	for _, f := range db.ownFiles(info.Pos.TXID) {
		to := filepath.Join(dir, divergedLTXDir, ltx.FormatFilename(f.min, f.max))
		if err := copyFile(ctx, fsys, db.log.path(f), to); err != nil && !isNotExist(err) { // retention may be quicker
			return err
		}
	}
	b, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		return err
	}
	if err := fsx.WriteFileAtomic(fsys, filepath.Join(dir, divergedInfoFile), append(b, '\n'), 0o666); err != nil {
		return err
	}
	return errors.Join(fsys.SyncDir(filepath.Join(dir, divergedLTXDir)), fsys.SyncDir(dir))
}

// copyDatabase writes the database to a file, durably. The view that it returns can
// no longer be read.
func (db *DB) copyDatabase(ctx context.Context, path string) (*posView, error) {
	f, err := db.store.FS.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o666)
	if err != nil {
		return nil, err
	}
	view, err := db.stageInto(ctx, f, nil)
	if err == nil {
		err = view.each(ctx, func(uint32, []byte) error { return nil }) // verifies it
	}
	if err == nil {
		err = f.Truncate(int64(view.pages) * int64(view.pageSize))
	}
	if err == nil {
		err = f.Sync()
	}
	return view, errors.Join(err, f.Close())
}

// ownFiles returns the files, up to a transaction, since the last one that another
// node has written; what this node has received is on that other node, too. If even
// the newest came from another node, it returns all.
func (db *DB) ownFiles(through ltx.TXID) []ltxFile {
	files := db.log.published(through)
	for i := len(files) - 1; i >= 0; i-- {
		f, err := db.log.open(files[i])
		if err != nil {
			continue // better too many than too few
		}
		node := f.header.NodeID
		_ = f.Close() // it was only read
		if node != db.store.nodeNumber() && i < len(files)-1 {
			return files[i+1:]
		}
		if node != db.store.nodeNumber() {
			break
		}
	}
	return files
}

// removeUnfinished removes the copies that a crash has cut short.
func removeUnfinished(fsys fsx.FS, parent string) error {
	entries, err := fsys.ReadDir(parent)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), tmpSuffix) {
			if err := fsys.RemoveAll(filepath.Join(parent, entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// freeName returns a name that nothing has: path, or path and a number.
func freeName(fsys fsx.FS, path string) (string, error) {
	for i := 1; ; i++ {
		name := path
		if i > 1 {
			name = fmt.Sprintf("%s-%d", path, i)
		}
		if taken, err := fsx.Exists(fsys, name); err != nil || !taken {
			return name, err
		}
	}
}

// slug returns what of a text can be part of a file name anywhere.
func slug(text string) string {
	text = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(text))
	text = strings.Trim(text[:min(len(text), maxReasonBytes)], "-")
	if text == "" {
		return "unnamed"
	}
	return text
}

// copyFile copies a file to a new one, durably but for its name.
func copyFile(ctx context.Context, fsys fsx.FS, from, to string) (err error) {
	in, err := fsys.OpenFile(from, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := fsys.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return out.Sync()
}
