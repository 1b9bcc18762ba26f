package litefs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"litefs"
	"litefs/internal/mounttest"
	"litefs/ltx"
)

// imageOf applies an LTX file to the content of a database, as plainly as can be,
// and returns what comes of it.
func imageOf(t *testing.T, before, file []byte) ([]byte, ltx.Header, ltx.Trailer) {
	t.Helper()
	dec := ltx.NewDecoder(bytes.NewReader(file))
	if err := dec.DecodeHeader(); err != nil {
		t.Fatal(err)
	}
	hdr := dec.Header()
	image := make([]byte, int(hdr.Commit)*int(hdr.PageSize))
	copy(image, before)
	page := make([]byte, hdr.PageSize)
	for {
		var frame ltx.PageHeader
		err := dec.DecodePage(&frame, page)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		copy(image[int(frame.Pgno-1)*len(page):], page)
	}
	if err := dec.Close(); err != nil {
		t.Fatal(err)
	}
	return image, hdr, dec.Trailer()
}

// sumsOf returns the page checksums of a content, in the form of the wire, and the
// checksum of it all.
func sumsOf(content []byte, pageSize int) ([]byte, ltx.Checksum) {
	var wire bytes.Buffer
	total := ltx.ChecksumFlag
	for pgno := uint32(1); len(content) > 0; pgno++ {
		sum := ltx.PageChecksum(pgno, content[:pageSize])
		total = total.Add(sum)
		_, _ = fmt.Fprintf(&wire, "%s", [8]byte{
			byte(sum >> 56), byte(sum >> 48), byte(sum >> 40), byte(sum >> 32),
			byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum),
		})
		content = content[pageSize:]
	}
	return wire.Bytes(), total
}

// checkSnapshot has the public ltx tool and SQLite judge a snapshot.
func checkSnapshot(t *testing.T, file []byte, pos ltx.Pos, query, want string) {
	t.Helper()
	image, hdr, trailer := imageOf(t, nil, file)
	if !hdr.IsSnapshot() || hdr.MaxTXID != pos.TXID || trailer.PostApplyChecksum != pos.PostApplyChecksum {
		t.Errorf("snapshot is %s-%s %s, want 1-%s", hdr.MinTXID, hdr.MaxTXID, trailer.PostApplyChecksum, pos)
	}
	if _, sum := sumsOf(image, int(hdr.PageSize)); sum != pos.PostApplyChecksum {
		t.Errorf("content has checksum %s, position is %s", sum, pos)
	}
	dir := t.TempDir()
	path, db := filepath.Join(dir, "snapshot.ltx"), filepath.Join(dir, "db")
	if err := errors.Join(os.WriteFile(path, file, 0o600), os.WriteFile(db, image, 0o600)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "tool", "ltx", "verify", path).CombinedOutput(); err != nil {
		t.Errorf("ltx verify: %v: %s", err, out)
	}
	out, err := exec.Command("sqlite3", db, "PRAGMA integrity_check; "+query).CombinedOutput()
	if got := strings.TrimSpace(string(out)); err != nil || got != "ok\n"+want {
		t.Errorf("%s answered %q (%v), want %q", query, got, err, want)
	}
}

// mountModes are the kinds of databases and mounts that a transfer may meet.
var mountModes = []struct {
	name          string
	mode          string
	noPassthrough bool
}{
	{"wal", "wal", false},
	{"wal without passthrough", "wal", true},
	{"delete", "delete", false},
	{"persist", "persist", false},
}

// slowWriter is a transfer that takes its time: it hands the floor to others
// between any two pieces.
type slowWriter struct {
	bytes.Buffer

	pause time.Duration
	begun chan struct{} // closed with the first piece
}

func (w *slowWriter) Write(p []byte) (int, error) {
	if w.Len() == 0 {
		close(w.begun)
	}
	time.Sleep(w.pause)
	return w.Buffer.Write(p)
}

func TestSnapshotOfMount(t *testing.T) {
	for _, mode := range mountModes {
		t.Run(mode.name, func(t *testing.T) {
			node := mounttest.Start(t, mounttest.Options{NoPassthrough: mode.noPassthrough})
			conn := startSQLite(t, node.Path("db"))
			conn.expect(t, mode.mode, "PRAGMA journal_mode = "+mode.mode)
			conn.expect(t, "", "CREATE TABLE t (x)")
			for range 20 {
				conn.expect(t, "", "INSERT INTO t VALUES (randomblob(9000))")
			}
			conn.expect(t, "", "DELETE FROM t WHERE rowid % 3 = 0")
			var file bytes.Buffer
			pos, err := node.Store.DB("db").WriteSnapshotTo(t.Context(), &file)
			if err != nil {
				t.Fatal(err)
			}
			if want := node.Pos(t, "db"); pos != want {
				t.Errorf("snapshot has position %s, want %s", pos, want)
			}
			checkSnapshot(t, file.Bytes(), pos, "SELECT count(*) FROM t", "14")
			conn.close(t)
		})
	}
}

// A program may keep the database for itself, hold a transaction open, or be killed
// and leave a WAL that nobody vouches for.
func TestSnapshotDespitePrograms(t *testing.T) {
	for _, test := range []struct {
		name   string
		mode   string
		before []string // before the table is made
		after  []string
		kill   bool
	}{
		{name: "wal for itself", mode: "wal", before: []string{"PRAGMA locking_mode = EXCLUSIVE"}},
		{name: "wal for itself later", mode: "wal", after: []string{"PRAGMA locking_mode = EXCLUSIVE", "UPDATE t SET x = 1 WHERE rowid = 1"}},
		{name: "delete for itself", mode: "delete", before: []string{"PRAGMA locking_mode = EXCLUSIVE"}},
		{name: "wal with an open transaction", mode: "wal", after: []string{"BEGIN IMMEDIATE", "DELETE FROM t"}},
		{name: "delete with an open transaction", mode: "delete", after: []string{"BEGIN IMMEDIATE", "DELETE FROM t"}},
		{name: "delete with a spilt transaction", mode: "delete", after: []string{"PRAGMA cache_size = 2", "BEGIN IMMEDIATE", "UPDATE t SET x = randomblob(9000) WHERE rowid > 15"}},
		{name: "wal left behind", mode: "wal", kill: true},
		{name: "journal left behind", mode: "delete", after: []string{"BEGIN IMMEDIATE", "DELETE FROM t"}, kill: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			node := mounttest.Start(t, mounttest.Options{})
			conn := startSQLite(t, node.Path("db"))
			for _, stmt := range test.before {
				conn.exec(t, stmt)
			}
			conn.expect(t, test.mode, "PRAGMA journal_mode = "+test.mode)
			conn.expect(t, "", "CREATE TABLE t (x)")
			for range 20 {
				conn.expect(t, "", "INSERT INTO t VALUES (randomblob(9000))")
			}
			for _, stmt := range test.after {
				conn.exec(t, stmt)
			}
			if test.kill {
				_ = conn.cmd.Process.Kill()
				_ = conn.cmd.Wait() // it was killed
			}
			var file bytes.Buffer
			pos, err := node.Store.DB("db").WriteSnapshotTo(t.Context(), &file)
			if test.name == "delete with a spilt transaction" {
				// The file holds pages that may yet be rolled back, and its program
				// keeps readers out.
				if err == nil {
					t.Error("a snapshot was made in the middle of a transaction")
				}
				conn.expect(t, "", "ROLLBACK")
				file.Reset()
				pos, err = node.Store.DB("db").WriteSnapshotTo(t.Context(), &file)
			}
			if err != nil {
				t.Fatal(err)
			}
			checkSnapshot(t, file.Bytes(), pos, "SELECT count(*) FROM t", "20")
			conn.close(t)
		})
	}
}

// Programs go on writing while a transfer is under way, and none is ever told that
// the database is busy, although the helper has no busy timeout. In the rollback
// journal modes any reader may be in the way of a commit for a moment; there the
// helper gets a timeout, which is far shorter than the transfer.
func TestWritersDoNotWaitForSnapshot(t *testing.T) {
	for _, mode := range mountModes {
		t.Run(mode.name, func(t *testing.T) {
			node := mounttest.Start(t, mounttest.Options{
				NoPassthrough: mode.noPassthrough,
				Configure:     func(s *litefs.Store) { s.StrictVerify, s.BackgroundCheckpoint = false, true },
			})
			conn := startSQLite(t, node.Path("db"))
			conn.expect(t, mode.mode, "PRAGMA journal_mode = "+mode.mode)
			if mode.mode != "wal" {
				conn.expect(t, "250", "PRAGMA busy_timeout = 250")
			}
			conn.expect(t, "", "PRAGMA synchronous = NORMAL", "CREATE TABLE t (x)")
			for range 10 {
				conn.expect(t, "", "INSERT INTO t VALUES (randomblob(100000))")
			}
			w := &slowWriter{pause: 20 * time.Millisecond, begun: make(chan struct{})}
			type result struct {
				pos ltx.Pos
				err error
			}
			done := make(chan result, 1)
			go func() {
				pos, err := node.Store.DB("db").WriteSnapshotTo(t.Context(), w)
				done <- result{pos, err}
			}()
			var got result
			during, rows := 0, 10
			for running := true; running; {
				conn.expect(t, "", "INSERT INTO t VALUES (randomblob(2000))")
				rows++
				if rows%40 == 0 && mode.mode == "wal" {
					conn.exec(t, "PRAGMA wal_checkpoint(PASSIVE)")
				}
				select {
				case <-w.begun:
					during++
				default:
				}
				select {
				case got = <-done:
					running = false
				default:
				}
			}
			if got.err != nil {
				t.Fatal(got.err)
			}
			if during < 10 {
				t.Errorf("%d transactions during the transfer, want more", during)
			}
			image, _, _ := imageOf(t, nil, w.Bytes())
			path := filepath.Join(t.TempDir(), "db")
			if err := os.WriteFile(path, image, 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command("sqlite3", path, "SELECT count(*) FROM t").Output()
			n, convErr := strconv.Atoi(strings.TrimSpace(string(out)))
			if err := errors.Join(err, convErr); err != nil || n < 10 || n > rows {
				t.Fatalf("%q rows in the snapshot (%v), want 10 to %d", out, err, rows)
			}
			checkSnapshot(t, w.Bytes(), got.pos, "SELECT count(*) FROM t", strconv.Itoa(n))
			conn.expect(t, strconv.Itoa(rows), "SELECT count(*) FROM t")
			conn.close(t)
			t.Logf("%d transactions during the transfer", during)
		})
	}
}
