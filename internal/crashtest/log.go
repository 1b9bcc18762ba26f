// Package crashtest kills nodes and programs at random moments and checks that
// nothing that was acknowledged is lost. CheckLog is the part of the check that
// other tests use too.
//
// The harness itself is the package's tests. Each round starts the built litefs
// command, lets SQLite writers in other processes report every commit that
// SQLite has acknowledged to them, kills the node or the writers, starts again,
// and compares: the commits that were reported, the content of the database as
// SQLite reads it through the mount, the position, and the LTX log as the public
// ltx tool reads it.
package crashtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"litefs/internal/fsx"
	"litefs/ltx"
)

// CheckLog checks the LTX files in dir: they follow upon each other, transaction
// by transaction and checksum by checksum, the last ends at pos, and if the log
// goes back to a snapshot, the files make content. A folder that is missing is an
// empty log, whose position is zero.
func CheckLog(fsys fsx.FS, dir string, pos ltx.Pos, content []byte) error {
	entries, err := fsys.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var c logCheck
	for _, entry := range entries { // sorted by name, and so by TXID
		if err := c.file(fsys, filepath.Join(dir, entry.Name())); err != nil {
			return fmt.Errorf("log file %s: %w", entry.Name(), err)
		}
	}
	switch {
	case c.pos != pos:
		return fmt.Errorf("log ends at %s, the position is %s", c.pos, pos)
	case c.whole && !bytes.Equal(c.content, content):
		return fmt.Errorf("log makes %d bytes that are not the %d bytes of the database", len(c.content), len(content))
	}
	return nil
}

// logCheck is what has been read of a log.
type logCheck struct {
	pos     ltx.Pos
	started bool
	whole   bool // content is known: the log began with a snapshot
	content []byte
}

// file reads the next file of the log.
func (c *logCheck) file(fsys fsx.FS, name string) (err error) {
	minTXID, maxTXID, err := ltx.ParseFilename(filepath.Base(name))
	if err != nil {
		return err
	}
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	dec := ltx.NewDecoder(f)
	if err := dec.DecodeHeader(); err != nil {
		return err
	}
	hdr := dec.Header()
	switch {
	case hdr.MinTXID != minTXID || hdr.MaxTXID != maxTXID:
		return fmt.Errorf("file holds transactions %s-%s", hdr.MinTXID, hdr.MaxTXID)
	case c.started && hdr.PreApplyPos() != c.pos:
		return fmt.Errorf("file follows upon %s, the one before ends at %s", hdr.PreApplyPos(), c.pos)
	case hdr.IsSnapshot():
		c.whole = true
	}
	if err := c.apply(dec); err != nil {
		return err
	}
	c.started, c.pos = true, dec.PostApplyPos()
	return nil
}

// apply makes the changes of a file, and verifies it.
func (c *logCheck) apply(dec *ltx.Decoder) error {
	pageSize := int(dec.Header().PageSize)
	c.resize(int(dec.Header().Commit) * pageSize)
	page := make([]byte, pageSize)
	for {
		var hdr ltx.PageHeader
		err := dec.DecodePage(&hdr, page)
		if errors.Is(err, io.EOF) {
			return dec.Close()
		}
		if err != nil {
			return err
		}
		copy(c.content[int(hdr.Pgno-1)*pageSize:], page)
	}
}

func (c *logCheck) resize(size int) {
	if size > len(c.content) {
		c.content = append(c.content, make([]byte, size-len(c.content))...)
	}
	c.content = c.content[:size]
}
