package mounttest

import (
	"bytes"
	"errors"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"litefs/ltx"
)

// ltxTool builds the public ltx tool, once, into the build cache.
var ltxTool = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "tool", "-n", "ltx").Output()
	return strings.TrimSpace(string(out)), err
})

// Check checks every database of the data directory of a node that is stopped:
//
//   - each file of its LTX log passes "ltx verify", and the files follow upon each
//     other from a snapshot on: pre-apply position equals the post-apply position
//     of the file before;
//   - the checksum of the database, after SQLite has folded journal and WAL into a
//     copy of it, is that of the last position;
//   - "ltx apply" of the whole log makes the same file, byte for byte;
//   - SQLite's integrity check passes.
//
// The data directory is not changed.
func Check(tb testing.TB, dataDir string) {
	tb.Helper()
	check(tb, dataDir, false)
}

// CheckTail is Check for a node that has not kept its whole log. What the log makes is
// looked at only of those that begin with a snapshot.
func CheckTail(tb testing.TB, dataDir string) {
	tb.Helper()
	check(tb, dataDir, true)
}

func check(tb testing.TB, dataDir string, tail bool) {
	tb.Helper()
	entries, err := os.ReadDir(filepath.Join(dataDir, "dbs"))
	if err != nil {
		tb.Errorf("check: %v", err)
		return
	}
	for _, entry := range entries {
		c := checker{t: tb, dir: filepath.Join(dataDir, "dbs", entry.Name()), name: entry.Name(), tail: tail}
		c.run()
	}
}

// checker checks one database.
type checker struct {
	t    testing.TB
	dir  string // its folder
	name string
	tail bool // the log may begin anywhere
}

// logFile is one file of the log.
type logFile struct {
	path string
	hdr  ltx.Header
	post ltx.Checksum
}

func (c *checker) run() {
	c.t.Helper()
	files := c.readLog()
	content := c.fold()
	if len(files) == 0 {
		if info, err := os.Stat(content); err == nil && info.Size() > 0 && c.isDatabase(content) {
			c.errorf("there is a database of %d bytes and no log", info.Size())
		}
		return
	}
	c.checkChain(files)
	last := files[len(files)-1]
	if last.hdr.Commit == 0 {
		if info, err := os.Stat(content); err == nil && info.Size() > 0 {
			c.errorf("the log ends with an empty database, the file has %d bytes", info.Size())
		}
		return // the tool takes the checksum of an empty database for 0
	}
	if sum := c.command(c.tool(), "checksum", content); sum != last.post.String() {
		c.errorf("content has checksum %s, position is %s/%s", sum, last.hdr.MaxTXID, last.post)
	}
	if files[0].hdr.MinTXID == 1 {
		c.checkApplied(files, content)
	}
	if out := c.command("sqlite3", "-batch", "file:"+(&url.URL{Path: content}).EscapedPath()+"?immutable=1", "PRAGMA integrity_check"); out != "ok" {
		c.errorf("integrity check: %s", out)
	}
}

// checkApplied checks that the log, which begins with a snapshot, makes content.
func (c *checker) checkApplied(files []logFile, content string) {
	c.t.Helper()
	applied := filepath.Join(c.t.TempDir(), "applied")
	args := []string{"apply", "-db", applied}
	for _, f := range files {
		args = append(args, f.path)
	}
	c.command(c.tool(), args...)
	c.compare(content, applied)
}

// readLog verifies the files of the log and returns them in order.
func (c *checker) readLog() []logFile {
	c.t.Helper()
	paths, err := filepath.Glob(filepath.Join(c.dir, "ltx", "*"))
	if err != nil {
		c.errorf("%v", err)
	}
	slices.Sort(paths)
	var files []logFile
	for _, path := range paths {
		if minTXID, maxTXID, err := ltx.ParseFilename(filepath.Base(path)); err != nil {
			c.errorf("stray file in the log: %s", path)
		} else if f, ok := c.readLogFile(path); ok {
			if f.hdr.MinTXID != minTXID || f.hdr.MaxTXID != maxTXID {
				c.errorf("%s holds transactions %s-%s", path, f.hdr.MinTXID, f.hdr.MaxTXID)
			}
			files = append(files, f)
		}
	}
	for some := range slices.Chunk(files, 500) { // bounds the length of the command line
		args := []string{"verify"}
		for _, f := range some {
			args = append(args, f.path)
		}
		c.command(c.tool(), args...)
	}
	return files
}

func (c *checker) readLogFile(path string) (logFile, bool) {
	c.t.Helper()
	f, err := os.Open(path)
	if err != nil {
		c.errorf("%v", err)
		return logFile{}, false
	}
	hdr, trailer, err := ltx.Verify(f)
	if err := errors.Join(err, f.Close()); err != nil {
		c.errorf("%s: %v", path, err)
		return logFile{}, false
	}
	return logFile{path, hdr, trailer.PostApplyChecksum}, true
}

// checkChain checks that the files follow upon each other.
func (c *checker) checkChain(files []logFile) {
	c.t.Helper()
	if first := files[0].hdr.MinTXID; first != 1 && !c.tail {
		c.errorf("log starts with transaction %s", first)
	}
	for i := 1; i < len(files); i++ {
		before, f := files[i-1], files[i]
		if f.hdr.MinTXID != before.hdr.MaxTXID+1 || f.hdr.PreApplyChecksum != before.post {
			c.errorf("file %s expects %s/%s, the one before ends at %s/%s", filepath.Base(f.path),
				f.hdr.MinTXID-1, f.hdr.PreApplyChecksum, before.hdr.MaxTXID, before.post)
		}
	}
}

// fold returns the path of a file with the whole content of the database: the
// database file itself, or, if there is a journal or a WAL beside it, a copy that
// SQLite has opened and closed, which ends both.
func (c *checker) fold() string {
	c.t.Helper()
	path := filepath.Join(c.dir, "database")
	var beside []string
	for _, suffix := range []string{"-journal", "-wal"} {
		if info, err := os.Stat(path + suffix); err == nil && info.Size() > 0 {
			beside = append(beside, suffix)
		}
	}
	if _, err := os.Stat(path); err != nil || len(beside) == 0 {
		return path
	}
	copied := filepath.Join(c.t.TempDir(), "database")
	for _, suffix := range append(beside, "") {
		c.command("cp", "--sparse=auto", path+suffix, copied+suffix)
	}
	c.command("sqlite3", "-batch", copied, "SELECT count(*) FROM sqlite_schema; PRAGMA wal_checkpoint(TRUNCATE)")
	return copied
}

// isDatabase reports whether a file begins as SQLite databases do.
func (c *checker) isDatabase(path string) bool {
	c.t.Helper()
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	magic := make([]byte, 16)
	_, err = io.ReadFull(f, magic)
	return errors.Join(err, f.Close()) == nil && string(magic) == "SQLite format 3\x00"
}

// compare checks that two files are equal.
func (c *checker) compare(content, applied string) {
	c.t.Helper()
	out, err := exec.Command("cmp", content, applied).CombinedOutput()
	if err != nil {
		c.errorf("the log makes another file than the database: %s", bytes.TrimSpace(out))
	}
}

func (c *checker) tool() string {
	c.t.Helper()
	path, err := ltxTool()
	if err != nil {
		c.t.Fatalf("build the ltx tool: %v", err)
	}
	return path
}

// command runs a program and returns its output without the space around it.
func (c *checker) command(name string, args ...string) string {
	c.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		c.errorf("%s %s: %v: %s", filepath.Base(name), args[0], err, bytes.TrimSpace(out))
	}
	return string(bytes.TrimSpace(out))
}

func (c *checker) errorf(format string, args ...any) {
	c.t.Helper()
	c.t.Errorf("database %q: "+format, append([]any{c.name}, args...)...)
}
