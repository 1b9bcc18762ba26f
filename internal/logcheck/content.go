package logcheck

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"litefs/ltx"
)

// maxToolBytes bounds what ltx apply has to read for a replay.
const maxToolBytes = 16 << 30

// maxToolArgs bounds the command line of ltx apply, in bytes.
const maxToolArgs = 1 << 20

// checkContent compares the database in dir with its log.
func (c *Checker) checkContent(ctx context.Context, dir, scratch string, log ltxLog) error {
	content := filepath.Join(scratch, "database")
	isDatabase, err := c.settle(ctx, dir, content)
	switch {
	case err != nil:
		return err
	case isDatabase && len(log) == 0:
		return errors.New("there is a database but no log")
	case isDatabase && log[len(log)-1].hdr.Commit == 0:
		return errors.New("there is a database, but in the log it is dropped or empty")
	case !isDatabase:
		return nil // a file that SQLite does not take for a database is left alone
	}
	last := log[len(log)-1]
	if err := trim(content, last); err != nil {
		return err
	}
	sum, err := run(ctx, c.LTX, "checksum", content)
	if err != nil {
		return err
	}
	if want := last.trailer.PostApplyChecksum.String(); sum != want {
		return fmt.Errorf("database has checksum %s, its log ends at %s", sum, log.pos())
	}
	return c.replay(ctx, log, content)
}

// settle copies the database to a file at path, has SQLite fold WAL and rollback
// journal into the copy, and reports whether there is a database with anything in
// it.
func (c *Checker) settle(ctx context.Context, dir, path string) (bool, error) {
	for _, suffix := range []string{"", "-wal", "-journal"} {
		err := copyFile(path+suffix, filepath.Join(dir, "database"+suffix))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		if err != nil && suffix == "" {
			return false, nil
		}
	}
	_, err := run(ctx, c.SQLite, path, "PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA schema_version")
	switch {
	case err == nil:
	case strings.Contains(err.Error(), "file is not a database"):
		return false, nil
	case strings.Contains(err.Error(), "malformed"):
		err = nil // the log has that too
	}
	info, statErr := os.Stat(path)
	if err := errors.Join(err, statErr); err != nil {
		return false, err
	}
	return info.Size() > 0, nil
}

// trim checks the number of pages in a database file, and cuts or extends the
// file to it: SQLite may leave free pages at the end unwritten, and room behind
// them.
func trim(path string, last logFile) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	hdr := make([]byte, 100)
	if _, err := io.ReadFull(f, hdr); err != nil {
		return err
	}
	pageSize := int64(last.hdr.PageSize)
	held := (info.Size() + pageSize - 1) / pageSize
	pages := held
	// The header's own count holds if the change counter beside it is the one
	// that it was written with.
	if count := binary.BigEndian.Uint32(hdr[28:]); count != 0 && bytes.Equal(hdr[24:28], hdr[92:96]) {
		pages = min(int64(count), held)
	}
	// A WAL may state pages that the file has been given ahead of use
	// (SQLITE_FCNTL_CHUNK_SIZE).
	commit := int64(last.hdr.Commit)
	if pages != commit && (pages > commit || held < commit) {
		return fmt.Errorf("database has %d pages, its log ends with %d", pages, commit)
	}
	return f.Truncate(commit * pageSize)
}

// replay applies the log to an empty file and compares that with the database.
func (c *Checker) replay(ctx context.Context, log ltxLog, content string) error {
	if !log[0].hdr.IsSnapshot() {
		return nil
	}
	replayed := content + "-replayed"
	if log.fitsTool() {
		if _, err := run(ctx, c.LTX, append([]string{"apply", "-db", replayed}, log.paths()...)...); err != nil {
			return err
		}
	} else if err := log.apply(replayed); err != nil {
		return err
	}
	return compare(content, replayed, int64(log[len(log)-1].hdr.PageSize))
}

// fitsTool reports whether ltx apply can replay the log, and in reasonable time:
// it takes the checksum of a database without pages for 0, it reads the whole
// database twice for each file, and the names must fit its command line.
func (l ltxLog) fitsTool() bool {
	work, args := int64(0), 0
	for _, f := range l {
		if f.hdr.Commit == 0 {
			return false
		}
		work += 2 * int64(f.hdr.Commit) * int64(f.hdr.PageSize)
		args += len(f.path) + 9
	}
	return work <= maxToolBytes && args <= maxToolArgs
}

// apply writes the pages of every file to the file at path.
func (l ltxLog) apply(path string) (err error) {
	out, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	for _, f := range l {
		if err := f.apply(out); err != nil {
			return fmt.Errorf("apply %s: %w", filepath.Base(f.path), err)
		}
	}
	return nil
}

func (f logFile) apply(out *os.File) (err error) {
	in, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	dec := ltx.NewDecoder(in)
	if err := dec.DecodeHeader(); err != nil {
		return err
	}
	page := make([]byte, f.hdr.PageSize)
	for {
		var hdr ltx.PageHeader
		err := dec.DecodePage(&hdr, page)
		if errors.Is(err, io.EOF) {
			return out.Truncate(int64(f.hdr.Commit) * int64(f.hdr.PageSize))
		}
		if err != nil {
			return err
		}
		if _, err := out.WriteAt(page, int64(hdr.Pgno-1)*int64(f.hdr.PageSize)); err != nil {
			return err
		}
	}
}

// compare names the first page in which two files differ, if any.
func compare(want, got string, pageSize int64) (err error) {
	a, err := os.Open(want)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	b, err := os.Open(got)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	bufA, bufB := make([]byte, pageSize), make([]byte, pageSize)
	for pgno := 1; ; pgno++ {
		n, errA := io.ReadFull(a, bufA)
		m, errB := io.ReadFull(b, bufB)
		if !bytes.Equal(bufA[:n], bufB[:m]) {
			return fmt.Errorf("page %d is not what the log says", pgno)
		}
		if errors.Is(errA, io.EOF) && errors.Is(errB, io.EOF) {
			return nil
		}
		if errA != nil {
			return errA
		}
	}
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return errors.Join(err, in.Close())
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, in.Close(), out.Close())
}
