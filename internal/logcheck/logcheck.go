// Package logcheck checks, for tests, that the data directory of a stopped node
// is what it should be. For each database:
//
//   - the LTX files are valid, follow upon each other without a gap, each begins
//     with the checksum that the one before ends with, and their headers say what
//     their names say;
//   - the database has the checksum and the number of pages that the newest LTX
//     file ends with;
//   - the LTX files, if they reach back to the first transaction, reproduce the
//     database byte by byte.
//
// The judges are not the code under test: they are the public ltx tool, as far as
// it goes, and the sqlite3 shell. SQLite's files are copied before the shell brings together what
// is spread over them, and nothing in the data directory is changed.
package logcheck

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"litefs/ltx"
)

// Checker has the tools that it takes to check a data directory.
type Checker struct {
	LTX    string // path of the public ltx tool
	SQLite string // path of the sqlite3 shell
}

// CheckDir checks every database of the data directory and returns the
// positions that their logs end with, by name. Databases without a log have the
// zero position. The error joins all that is wrong.
func (c *Checker) CheckDir(ctx context.Context, dataDir string) (map[string]ltx.Pos, error) {
	entries, err := os.ReadDir(filepath.Join(dataDir, "dbs"))
	if err != nil {
		return nil, err
	}
	positions := make(map[string]ltx.Pos)
	var errs []error
	for _, entry := range entries {
		pos, err := c.checkDB(ctx, filepath.Join(dataDir, "dbs", entry.Name()))
		if err != nil {
			errs = append(errs, fmt.Errorf("database %q: %w", entry.Name(), err))
		}
		positions[entry.Name()] = pos
	}
	return positions, errors.Join(errs...)
}

func (c *Checker) checkDB(ctx context.Context, dir string) (ltx.Pos, error) {
	log, err := readLog(filepath.Join(dir, "ltx"))
	if err != nil {
		return log.pos(), err
	}
	if err := c.verifyFiles(ctx, log); err != nil {
		return log.pos(), err
	}
	scratch, err := os.MkdirTemp("", "logcheck-*")
	if err != nil {
		return log.pos(), err
	}
	err = c.checkContent(ctx, dir, scratch, log)
	return log.pos(), errors.Join(err, os.RemoveAll(scratch))
}

// logFile is an LTX file as it describes itself.
type logFile struct {
	path    string
	hdr     ltx.Header
	trailer ltx.Trailer
}

// ltxLog is the LTX files of a database, ascending.
type ltxLog []logFile

// pos returns the position that the log ends with, zero for an empty log.
func (l ltxLog) pos() ltx.Pos {
	if len(l) == 0 {
		return ltx.Pos{}
	}
	last := l[len(l)-1]
	return ltx.Pos{TXID: last.hdr.MaxTXID, PostApplyChecksum: last.trailer.PostApplyChecksum}
}

// paths returns the names of the files.
func (l ltxLog) paths() []string {
	paths := make([]string, len(l))
	for i := range l {
		paths[i] = l[i].path
	}
	return paths
}

// readLog reads the LTX files of a folder and checks that they are one chain.
func readLog(dir string) (ltxLog, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var log ltxLog
	for _, entry := range entries {
		f, err := readFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", entry.Name(), err)
		}
		log = append(log, f)
	}
	slices.SortFunc(log, func(a, b logFile) int { return int(int64(a.hdr.MaxTXID) - int64(b.hdr.MaxTXID)) })
	for i := 1; i < len(log); i++ {
		if err := follows(log[i-1], log[i]); err != nil {
			return log, err
		}
	}
	return log, nil
}

func readFile(path string) (logFile, error) {
	minTXID, maxTXID, err := ltx.ParseFilename(filepath.Base(path))
	if err != nil {
		return logFile{}, err
	}
	f, err := os.Open(path)
	if err != nil {
		return logFile{}, err
	}
	hdr, trailer, err := ltx.Verify(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return logFile{}, err
	}
	if hdr.MinTXID != minTXID || hdr.MaxTXID != maxTXID {
		return logFile{}, fmt.Errorf("header says %s to %s", hdr.MinTXID, hdr.MaxTXID)
	}
	return logFile{path, hdr, trailer}, nil
}

func follows(a, b logFile) error {
	switch {
	case b.hdr.MinTXID != a.hdr.MaxTXID+1:
		return fmt.Errorf("ltx file that begins with %s does not follow %s", b.hdr.MinTXID, a.hdr.MaxTXID)
	case b.hdr.PreApplyChecksum != a.trailer.PostApplyChecksum:
		return fmt.Errorf("ltx file that begins with %s starts from checksum %s, the one before ends with %s",
			b.hdr.MinTXID, b.hdr.PreApplyChecksum, a.trailer.PostApplyChecksum)
	}
	return nil
}

// verifyFiles has the ltx tool read every file.
func (c *Checker) verifyFiles(ctx context.Context, log ltxLog) error {
	for paths := range slices.Chunk(log.paths(), 1000) {
		if _, err := run(ctx, c.LTX, append([]string{"verify"}, paths...)...); err != nil {
			return err
		}
	}
	return nil
}

// run runs a tool and returns what it printed.
func run(ctx context.Context, tool string, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, tool, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s%s", filepath.Base(tool), args[0], err, stdout.Bytes(), stderr.Bytes())
	}
	return strings.TrimSpace(stdout.String()), nil
}
