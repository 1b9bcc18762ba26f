package litefs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"litefs/internal/fsx"
	"litefs/internal/sqlite"
	"litefs/ltx"
)

// ErrDivergedNotFound is returned for the ID of a copy that does not exist.
var ErrDivergedNotFound = errors.New("no such copy of a diverged database")

// DivergedCopy is a database that was set aside, with its log.
type DivergedCopy struct {
	DivergedInfo

	// ID names the copy within the data directory: the name of the database, a
	// slash, and that of the folder.
	ID string `json:"id"`
	// Dir is the path of the folder.
	Dir string `json:"dir"`
	// SizeBytes is the length of all its files.
	SizeBytes int64 `json:"size-bytes"`
	// LTXFiles are the names of the files of the log that it has, ascending.
	LTXFiles []string `json:"ltx-files"`

	fs fsx.FS
}

// Diverged returns what divergences have set aside, in the order of database names
// and time. The store need not be open: it looks at the disk only. What cannot be
// read is left out, and the error speaks of it.
func (s *Store) Diverged() ([]DivergedCopy, error) {
	databases, err := s.FS.ReadDir(s.DBDir())
	if isNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list diverged databases: %w", err)
	}
	var (
		copies []DivergedCopy
		errs   []error
	)
	for _, database := range databases {
		parent := filepath.Join(s.DBPath(database.Name()), divergedDir)
		entries, err := s.FS.ReadDir(parent)
		if isNotExist(err) || !database.IsDir() {
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("list diverged databases: %w", err))
		}
		for _, entry := range entries {
			if !entry.IsDir() || strings.HasSuffix(entry.Name(), tmpSuffix) {
				continue
			}
			c := DivergedCopy{ID: database.Name() + "/" + entry.Name(), Dir: filepath.Join(parent, entry.Name()), fs: s.FS}
			if err := c.load(); err != nil {
				errs = append(errs, fmt.Errorf("read copy %q: %w", c.ID, err))
				continue
			}
			copies = append(copies, c)
		}
	}
	return copies, errors.Join(errs...)
}

// DivergedCopy returns the copy with an ID, or ErrDivergedNotFound.
func (s *Store) DivergedCopy(id string) (DivergedCopy, error) {
	copies, err := s.Diverged()
	i := slices.IndexFunc(copies, func(c DivergedCopy) bool { return c.ID == id })
	if i < 0 {
		return DivergedCopy{}, errors.Join(fmt.Errorf("%w: %q", ErrDivergedNotFound, id), err)
	}
	return copies[i], nil
}

// load reads what the folder says of itself.
func (c *DivergedCopy) load() error {
	b, err := fsx.ReadFile(c.fs, filepath.Join(c.Dir, divergedInfoFile), maxInfoBytes)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, &c.DivergedInfo); err != nil {
		return err
	}
	if !sqlite.ValidPageSize(c.PageSize) {
		return fmt.Errorf("page size %d in %s", c.PageSize, divergedInfoFile)
	}
	if err := c.addSizes(c.Dir, func(string) {}); err != nil {
		return err
	}
	return c.addSizes(filepath.Join(c.Dir, divergedLTXDir), func(name string) { c.LTXFiles = append(c.LTXFiles, name) })
}

// addSizes adds up the lengths of the files of a folder, and calls fn with each name.
func (c *DivergedCopy) addSizes(dir string, fn func(name string)) error {
	entries, err := c.fs.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			continue
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		c.SizeBytes += info.Size()
		fn(entry.Name())
	}
	return nil
}

// Export copies the database to a new file, durably, and verifies that it is what was
// set aside. It is an ordinary SQLite database. The error is fs.ErrExist if there is a
// file of that name.
func (c *DivergedCopy) Export(ctx context.Context, path string) error {
	if c.Pages == 0 {
		return fmt.Errorf("export copy %q: the database had been dropped; there is only its log", c.ID)
	}
	taken, err := fsx.Exists(c.fs, path)
	if err == nil && taken {
		err = fmt.Errorf("%w: %q", fs.ErrExist, path)
	}
	if err != nil {
		return fmt.Errorf("export copy %q: %w", c.ID, err)
	}
	err = copyFile(ctx, c.fs, filepath.Join(c.Dir, divergedDatabase), path)
	if err == nil {
		err = c.verify(path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("export copy %q: %w", c.ID, err), removeIfExists(c.fs, path))
	}
	return c.fs.SyncDir(filepath.Dir(path))
}

// verify compares the content of a database file with the position of the copy.
func (c *DivergedCopy) verify(path string) (err error) {
	f, err := c.fs.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	total := ltx.ChecksumFlag
	page := make([]byte, c.PageSize)
	for pgno := range allPages(c.Pages, c.PageSize) {
		if err := readPageAt(f, pgno, page); err != nil {
			return err
		}
		total = total.Add(ltx.PageChecksum(pgno, page))
	}
	if total != c.Pos.PostApplyChecksum {
		return fmt.Errorf("%w: content has %s, it was set aside at %s", ltx.ErrChecksumMismatch, total, c.Pos)
	}
	return nil
}

// Remove deletes the copy for good. A crash in between leaves a folder that Diverged
// does not list, and that is removed when the next copy is made.
func (c *DivergedCopy) Remove() error {
	tmp := c.Dir + tmpSuffix
	err := c.fs.Rename(c.Dir, tmp)
	if err == nil {
		err = c.fs.RemoveAll(tmp)
	}
	if err != nil {
		return fmt.Errorf("remove copy %q: %w", c.ID, err)
	}
	return nil
}
