package vfs_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"litefs"
	"litefs/internal/fsx/faultfs"
	"litefs/internal/mounttest"
)

// sqliteFiles are the names of a file of each kind.
var sqliteFiles = []string{"db", "db-journal", "db-wal", "db-shm", "db-mj0123ABCDE"}

func TestAttributes(t *testing.T) {
	node := mounttest.Start(t, mounttest.Options{})
	for _, name := range sqliteFiles {
		t.Run(name, func(t *testing.T) {
			path := node.Path(name)
			f := create(t, path)
			mtime := time.Unix(1234567890, 123456789)
			if err := errors.Join(os.Chmod(path, 0o604), os.Chown(path, 12, 34), os.Chtimes(path, time.Unix(99, 0), mtime)); err != nil {
				t.Fatal(err)
			}
			check := func(info os.FileInfo, err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
				st := info.Sys().(*syscall.Stat_t)
				if info.Mode() != 0o604 || st.Uid != 12 || st.Gid != 34 || !info.ModTime().Equal(mtime) || st.Atim.Sec != 99 {
					t.Errorf("mode %v, owner %d:%d, mtime %v, atime %d", info.Mode(), st.Uid, st.Gid, info.ModTime(), st.Atim.Sec)
				}
			}
			check(os.Stat(path))
			check(f.Stat())
			backing := filepath.Join(node.DataDir(), "dbs", "db", "database"+strings.TrimPrefix(name, "db"))
			check(os.Stat(backing))
			if err := f.Chmod(0o640); err != nil {
				t.Fatal(err)
			}
			if info, err := os.Stat(path); err != nil || info.Mode() != 0o640 {
				t.Errorf("mode after fchmod: %v, %v", info.Mode(), err)
			}
		})
	}
}

func TestCreateMode(t *testing.T) {
	node := mounttest.Start(t, mounttest.Options{})
	f, err := os.OpenFile(node.Path("db"), os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if info, err := os.Stat(node.Path("db")); err != nil || info.Mode() != 0o640 {
		t.Errorf("mode %v, %v; want 0640", info.Mode(), err)
	}
}

// TestFsync has a sync reach the file behind, and its failure reach the program.
func TestFsync(t *testing.T) {
	node, disk := startOnDisk(t)
	for _, name := range sqliteFiles {
		t.Run(name, func(t *testing.T) {
			f := create(t, node.Path(name))
			want := "sync " + filepath.Join(node.DataDir(), "dbs", "db", "database"+strings.TrimPrefix(name, "db"))
			got := disk.during(func() {
				if err := f.Sync(); err != nil {
					t.Fatal(err)
				}
			})
			if !slices.Contains(got, want) {
				t.Errorf("steps %q, want %q", got, want)
			}
			disk.setFail(func(op faultfs.Op) error {
				if op.Kind == "sync" {
					return syscall.EIO
				}
				return nil
			})
			defer disk.setFail(nil)
			if err := f.Sync(); !errors.Is(err, syscall.EIO) {
				t.Errorf("sync on a disk that fails: %v, want EIO", err)
			}
		})
	}
}

// TestDiskFull has the error of the disk reach the program as it is, and nothing
// of the failed transaction stay.
func TestDiskFull(t *testing.T) {
	node, disk := startOnDisk(t)
	sqlite(t, node.Path("db"), "CREATE TABLE t (x); INSERT INTO t VALUES (1)")
	before := node.Pos(t, "db")
	for _, kind := range []string{"write", "create"} {
		disk.setFail(func(op faultfs.Op) error {
			if op.Kind == kind && strings.Contains(op.Name, "/ltx/") {
				return syscall.ENOSPC
			}
			return nil
		})
		out := sqliteFails(t, node.Path("db"), "INSERT INTO t VALUES (randomblob(100000))") // more than the tail of the log takes
		if !strings.Contains(out, "full") && !strings.Contains(out, "disk I/O error") {
			t.Errorf("%s: %s", kind, out)
		}
		disk.setFail(nil)
		if got := sqlite(t, node.Path("db"), "SELECT count(*) FROM t"); got != "1" {
			t.Errorf("%s: %s rows after the failure, want 1", kind, got)
		}
		if got := node.Pos(t, "db"); got != before {
			t.Errorf("%s: position %s, want %s", kind, got, before)
		}
	}
	sqlite(t, node.Path("db"), "INSERT INTO t VALUES (3)")
	if got := node.Pos(t, "db"); got.TXID != before.TXID+1 {
		t.Errorf("position %s after %s and one transaction", got, before)
	}
	f := create(t, node.Path("plain-mj0123ABCDE"))
	disk.setFail(func(op faultfs.Op) error {
		if op.Kind == "write" {
			return syscall.ENOSPC
		}
		return nil
	})
	defer disk.setFail(nil)
	if _, err := f.Write([]byte("x")); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write: %v, want ENOSPC", err)
	}
}

// TestDiskFullWAL has commits in the WAL go on while the log cannot be written,
// no checkpoint forget them, and all be captured once there is room again.
func TestDiskFullWAL(t *testing.T) {
	node, disk := startOnDisk(t)
	path := node.Path("db")
	sqlite(t, path, "PRAGMA journal_mode = wal; CREATE TABLE t (x)")
	before := node.Pos(t, "db")
	disk.setFail(func(op faultfs.Op) error {
		if op.Kind == "create" && strings.Contains(op.Name, "/ltx/") {
			return syscall.ENOSPC
		}
		return nil
	})
	defer disk.setFail(nil)
	for range 3 { // each ends with a checkpoint that fails and leaves the WAL
		sqlite(t, path, "INSERT INTO t VALUES (zeroblob(5000))")
		if info, err := os.Stat(path + "-wal"); err != nil || info.Size() == 0 {
			t.Fatalf("WAL: %v, %v", info, err)
		}
	}
	if out := sqliteFails(t, path, "SELECT count(*) FROM t; PRAGMA wal_checkpoint(TRUNCATE)"); !strings.Contains(out, "3\n") || !strings.Contains(out, "full") {
		t.Errorf("rows and result of the checkpoint: %q", out)
	}
	if _, err := os.ReadFile(path + "-pos"); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("position: %v, want ENOSPC", err)
	}
	if err := node.Store.DB("db").Alarm(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("alarm: %v, want ENOSPC", err)
	}
	disk.setFail(nil)
	if pos := node.Pos(t, "db"); pos.TXID != before.TXID+3 {
		t.Errorf("position %s after %s and three transactions", pos, before)
	}
	if err := node.Store.DB("db").Alarm(); err != nil {
		t.Errorf("alarm: %v", err)
	}
	if got := sqlite(t, path, "SELECT count(*) FROM t"); got != "3" {
		t.Errorf("%s rows, want 3", got)
	}
}

// TestUnlinkWhileOpen has files that are open outlive their name, apart from a
// new file of that name.
func TestUnlinkWhileOpen(t *testing.T) {
	for _, noPassthrough := range []bool{false, true} {
		node := mounttest.Start(t, mounttest.Options{NoPassthrough: noPassthrough})
		for _, name := range sqliteFiles {
			t.Run(name, func(t *testing.T) {
				path := node.Path(name)
				old := create(t, path)
				if _, err := old.Write([]byte("old content")); err != nil {
					t.Fatal(err)
				}
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
				if _, err := os.Stat(path); !errors.Is(err, syscall.ENOENT) {
					t.Errorf("stat after unlink: %v, want ENOENT", err)
				}
				fresh := create(t, path)
				if _, err := old.WriteAt([]byte("OLD"), 0); err != nil {
					t.Errorf("write after unlink: %v", err)
				}
				if err := errors.Join(old.Sync(), old.Truncate(7)); err != nil {
					t.Errorf("sync and truncate after unlink: %v", err)
				}
				if info, err := old.Stat(); err != nil || info.Size() != 7 {
					t.Errorf("stat of the old file: %v, %v", info, err)
				}
				b := make([]byte, 20)
				if n, err := old.ReadAt(b, 0); err != io.EOF || string(b[:n]) != "OLD con" {
					t.Errorf("old file holds %q, %v", b[:n], err)
				}
				if got, err := os.ReadFile(path); err != nil || len(got) != 0 {
					t.Errorf("new file holds %q, %v", got, err)
				}
				if err := errors.Join(old.Close(), fresh.Close(), os.Remove(path)); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestContent reads, writes, truncates and appends as any program may.
func TestContent(t *testing.T) {
	for _, noPassthrough := range []bool{false, true} {
		node := mounttest.Start(t, mounttest.Options{NoPassthrough: noPassthrough})
		for _, name := range sqliteFiles {
			t.Run(name, func(t *testing.T) {
				path := node.Path(name)
				content := bytes.Repeat([]byte("0123456789abcdef"), 200_000) // more than a request holds
				if err := os.WriteFile(path, content, 0o644); err != nil {
					t.Fatal(err)
				}
				if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
					t.Fatalf("read %d bytes, %v", len(got), err)
				}
				f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := f.Write([]byte("the end")); err != nil {
					t.Fatal(err)
				}
				b := make([]byte, 10)
				if n, err := f.ReadAt(b, int64(len(content))); err != io.EOF || string(b[:n]) != "the end" {
					t.Errorf("appended %q, %v", b[:n], err)
				}
				if err := errors.Join(f.Truncate(5), f.Close()); err != nil {
					t.Fatal(err)
				}
				if got, err := os.ReadFile(path); err != nil || string(got) != "01234" {
					t.Errorf("after truncation: %q, %v", got, err)
				}
				if err := os.WriteFile(path, []byte("new"), 0o644); err != nil {
					t.Fatal(err)
				}
				if err := os.Truncate(path, 2); err != nil {
					t.Fatal(err)
				}
				if got, err := os.ReadFile(path); err != nil || string(got) != "ne" {
					t.Errorf("after rewriting: %q, %v", got, err)
				}
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

// TestUncovered has a database kept from writes that nobody could capture.
func TestUncovered(t *testing.T) {
	node := mounttest.Start(t, mounttest.Options{})
	path := node.Path("db")
	sqlite(t, path, "CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(10000))")
	before := node.Pos(t, "db")
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("scribble"), 5000); !errors.Is(err, syscall.EIO) {
		t.Errorf("write: %v, want EIO", err)
	}
	if err := f.Truncate(4096); err == nil {
		t.Error("the database could be truncated to one page")
	}
	// What lies behind the last page is no part of the database.
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int64{1 << 20, info.Size()} {
		if err := f.Truncate(size); err != nil {
			t.Errorf("make the file %d bytes long: %v", size, err)
		}
	}
	if got := sqlite(t, path, "PRAGMA integrity_check"); got != "ok" {
		t.Error(got)
	}
	if got, err := node.Store.DB("db").Verify(t.Context()); err != nil || got != before {
		t.Errorf("position %s, %v; want %s", got, err, before)
	}
	if db := node.Store.DB("none"); db != nil {
		t.Errorf("database %v", db)
	}
	if _, err := node.Store.CreateDBIfNotExists("db-wal"); !errors.Is(err, litefs.ErrInvalidName) {
		t.Errorf("create database db-wal: %v", err)
	}
}
