package vfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"litefs"
	"litefs/internal/mounttest"
	"litefs/ltx"
)

// fuseMagic is FUSE_SUPER_MAGIC of linux/magic.h.
const fuseMagic = 0x65735546

func TestStatfs(t *testing.T) {
	node := mounttest.Start(t, mounttest.Options{})
	var got, want syscall.Statfs_t
	if err := errors.Join(syscall.Statfs(node.Dir(), &got), syscall.Statfs(node.DataDir(), &want)); err != nil {
		t.Fatal(err)
	}
	if got.Type != fuseMagic {
		t.Errorf("file system type %#x, want %#x", got.Type, fuseMagic)
	}
	if got.Bsize != want.Bsize || got.Blocks != want.Blocks || got.Bavail == 0 || got.Files != want.Files {
		t.Errorf("statfs %+v, that of the data directory is %+v", got, want)
	}
}

func TestReaddir(t *testing.T) {
	node := mounttest.Start(t, mounttest.Options{})
	names := func() []string {
		entries, err := os.ReadDir(node.Dir())
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, entry := range entries {
			if !entry.Type().IsRegular() {
				t.Errorf("%s is %v", entry.Name(), entry.Type())
			}
			names = append(names, entry.Name())
		}
		return names
	}
	if got, want := names(), []string{".lag"}; !slices.Equal(got, want) {
		t.Fatalf("names %q, want %q", got, want)
	}
	sqlite(t, node.Path("b.db"), "CREATE TABLE t (x)")
	create(t, node.Path("a"))
	create(t, node.Path("a-journal"))
	create(t, node.Path("a-wal"))
	create(t, node.Path("a-shm"))
	create(t, node.Path("a-mj0123456AB")) // a super-journal
	if got, want := names(), []string{".lag", "a", "a-journal", "a-mj0123456AB", "a-pos", "a-shm", "a-wal", "b.db", "b.db-pos"}; !slices.Equal(got, want) {
		t.Fatalf("names %q, want %q", got, want)
	}
	for _, name := range []string{"a-mj0123456AB", "a-shm", "a-wal", "a-journal", "a"} {
		if err := os.Remove(node.Path(name)); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := names(), []string{".lag", "b.db", "b.db-pos"}; !slices.Equal(got, want) {
		t.Fatalf("names %q, want %q", got, want)
	}
	for i := range 300 { // more than fit one answer
		create(t, node.Path(fmt.Sprintf("a-database-with-a-longer-name-%03d", i))).Close()
	}
	if got, want := len(names()), 3+2*300; got != want {
		t.Fatalf("%d names, want %d", got, want)
	}
}

// TestDirectorySync has the folder of a database synced when a program syncs the
// mount, and only if a name has changed.
func TestDirectorySync(t *testing.T) {
	node, disk := startOnDisk(t)
	create(t, node.Path("db"))
	create(t, node.Path("db-journal"))
	dir, err := os.Open(node.Dir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	syncDir := func() {
		if err := dir.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	want := "syncdir " + filepath.Join(node.DataDir(), "dbs", "db")
	if got := disk.during(syncDir); !slices.Contains(got, want) {
		t.Errorf("after creation: %q, want %q", got, want)
	}
	if got := disk.during(syncDir); len(got) > 0 {
		t.Errorf("without a change: %q", got)
	}
	if err := os.Remove(node.Path("db-journal")); err != nil {
		t.Fatal(err)
	}
	if got := disk.during(syncDir); !slices.Contains(got, want) {
		t.Errorf("after removal: %q, want %q", got, want)
	}
}

// TestRefused has everything refused that a flat directory of databases is not
// for, and the mount go on afterwards.
func TestRefused(t *testing.T) {
	node := mounttest.Start(t, mounttest.Options{})
	sqlite(t, node.Path("db"), "CREATE TABLE t (x)")
	db, other := node.Path("db"), node.Path("other")
	for name, op := range map[string]func() error{
		"rename":         func() error { return os.Rename(db, other) },
		"rename pos":     func() error { return os.Rename(db+"-pos", other) },
		"link":           func() error { return os.Link(db, other) },
		"symlink":        func() error { return os.Symlink(db, other) },
		"mkdir":          func() error { return os.Mkdir(other, 0o777) },
		"mknod":          func() error { return syscall.Mknod(other, syscall.S_IFIFO|0o600, 0) },
		"unlink pos":     func() error { return os.Remove(db + "-pos") },
		"unlink lag":     func() error { return os.Remove(node.Path(".lag")) },
		"create pos":     func() error { return touch(other + "-pos") },
		"create dot":     func() error { return touch(node.Path(".hidden")) },
		"create primary": func() error { return touch(node.Path(".primary")) },
		"create dot wal": func() error { return touch(node.Path(".hidden-wal")) },
		"create suffix":  func() error { return touch(node.Path("-journal")) },
		"create long":    func() error { return touch(node.Path(strings.Repeat("n", 250))) },
	} {
		t.Run(name, func(t *testing.T) {
			if err := op(); !errors.Is(err, syscall.EPERM) {
				t.Errorf("error %v, want EPERM", err)
			}
			if err := touch(node.Path("probe")); err != nil {
				t.Fatalf("a file can no longer be created: %v", err)
			}
			if err := os.Remove(node.Path("probe")); err != nil {
				t.Fatal(err)
			}
		})
	}
	if got := sqlite(t, db, "INSERT INTO t VALUES (7); SELECT x FROM t"); got != "7" {
		t.Errorf("database holds %q", got)
	}
}

// touch creates an empty file.
func touch(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

func TestCreate(t *testing.T) {
	node := mounttest.Start(t, mounttest.Options{})
	create(t, node.Path("db"))
	if err := touch(node.Path("db")); !errors.Is(err, syscall.EEXIST) {
		t.Errorf("create twice: %v, want EEXIST", err)
	}
	if _, err := os.Stat(node.Path("none")); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("stat: %v, want ENOENT", err)
	}
	if err := os.Remove(node.Path("none")); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("unlink: %v, want ENOENT", err)
	}
	if err := os.Remove(node.Path("db-wal")); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("unlink: %v, want ENOENT", err)
	}
	if err := touch(node.Path("a name with spaces, ünïcödé.sqlite")); err != nil {
		t.Error(err)
	}
	super := node.Path("db-mj0123ABCDE") // 9 hexadecimal digits
	if err := errors.Join(os.WriteFile(super, []byte("names"), 0o600), os.Remove(super)); err != nil {
		t.Errorf("super-journal: %v", err)
	}
}

// TestRootAttributes changes mode and owner of the directory itself.
func TestRootAttributes(t *testing.T) {
	node := mounttest.Start(t, mounttest.Options{})
	if err := errors.Join(os.Chmod(node.Dir(), 0o711), os.Chown(node.Dir(), 12, 34)); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(node.Dir())
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	if info.Mode() != os.ModeDir|0o711 || st.Uid != 12 || st.Gid != 34 {
		t.Errorf("mode %v, owner %d:%d", info.Mode(), st.Uid, st.Gid)
	}
}

func TestPosFile(t *testing.T) {
	node := mounttest.Start(t, mounttest.Options{})
	pos := node.Path("db-pos")
	if _, err := os.ReadFile(pos); !errors.Is(err, syscall.ENOENT) {
		t.Fatalf("without a database: %v, want ENOENT", err)
	}
	sqlite(t, node.Path("db"), "CREATE TABLE t (x)")
	for txid := ltx.TXID(1); txid <= 3; txid++ {
		var b []byte
		var err error
		// That the name was missing may be known to the kernel for a moment.
		for end := time.Now().Add(time.Second); time.Now().Before(end); {
			if b, err = os.ReadFile(pos); err == nil {
				break
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		want := node.Store.DB("db").Pos()
		if want.TXID != txid || string(b) != fmt.Sprintf("%016x/%016x\n", uint64(want.TXID), uint64(want.PostApplyChecksum)) {
			t.Fatalf("content %q at %s, want transaction %d", b, want, txid)
		}
		sqlite(t, node.Path("db"), "INSERT INTO t VALUES (1)")
	}
	if _, err := os.OpenFile(pos, os.O_RDWR, 0); !errors.Is(err, syscall.EACCES) {
		t.Errorf("open for writing: %v, want EACCES", err)
	}
	info, err := os.Stat(pos)
	if err != nil || info.Mode() != 0o444 {
		t.Errorf("stat: %v, %v", info, err)
	}
	f, err := os.Open(pos)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 16)
	if n, err := f.ReadAt(b, 17); n != 16 || err != nil || !strings.HasPrefix(node.Store.DB("db").Pos().PostApplyChecksum.String(), string(b[:4])) {
		t.Errorf("read of the checksum: %q, %v", b[:n], err)
	}
	if info, err := f.Stat(); err != nil || info.Size() != 34 {
		t.Errorf("size of an open file: %v, %v", info, err)
	}
	if err := os.Remove(node.Path("db")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.ReadFile(pos); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("after the drop: %v, want ENOENT", err)
	}
}

// The files that speak of the role come and go with it, whatever the kernel has been
// told before.
func TestRoleFiles(t *testing.T) {
	node := mounttest.Start(t, mounttest.Options{})
	check := func(lag, primary string) {
		t.Helper()
		if b, err := os.ReadFile(node.Path(".lag")); err != nil || string(b) != lag {
			t.Errorf(".lag: %q, %v, want %q", b, err, lag)
		}
		b, err := os.ReadFile(node.Path(".primary"))
		if string(b) != primary || (primary == "") != errors.Is(err, syscall.ENOENT) {
			t.Errorf(".primary: %q, %v, want %q", b, err, primary)
		}
		entries, err := os.ReadDir(node.Dir())
		listed := slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == ".primary" })
		if err != nil || listed != (primary != "") {
			t.Errorf(".primary is listed: %v, %v, want %v", listed, err, primary != "")
		}
	}
	become := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check("0\n", "")
	become(node.Store.BecomeReplica(t.Context(), nil))
	check("2147483647\n", "")
	become(node.Store.BecomeReplica(t.Context(), &litefs.PrimaryInfo{Hostname: "bert"}))
	check("2147483647\n", "bert\n")
	become(node.Store.BecomeReplica(t.Context(), &litefs.PrimaryInfo{Hostname: "ernie"}))
	check("2147483647\n", "ernie\n")
	if _, err := os.OpenFile(node.Path(".primary"), os.O_RDWR, 0); !errors.Is(err, syscall.EACCES) {
		t.Errorf("open of .primary for writing: %v, want EACCES", err)
	}
	if err := os.Remove(node.Path(".primary")); err == nil {
		t.Error(".primary was removed")
	}
	become(node.Store.BecomePrimary(t.Context()))
	check("0\n", "")
}

// A program that opens a database with O_EXCL has the kernel look the name up again.
// After that too the kernel drops what it has cached when it is told to.
func TestInvalidateAfterSecondLookup(t *testing.T) {
	node := mounttest.Start(t, mounttest.Options{})
	sqlite(t, node.Path("db"), "CREATE TABLE t (x); INSERT INTO t VALUES (1)")
	before, err := os.ReadFile(node.Path("db"))
	if err != nil {
		t.Fatal(err)
	}
	if f, err := os.OpenFile(node.Path("db"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err == nil {
		f.Close()
		t.Fatal("a database was created in place of another")
	}
	backing, err := os.OpenFile(node.Store.DB("db").DatabasePath(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer backing.Close()
	changed := bytes.Clone(before)
	changed[len(changed)-1] ^= 1
	for _, content := range [][]byte{changed, before} {
		if _, err := backing.WriteAt(content, 0); err != nil {
			t.Fatal(err)
		}
		if err := node.FS.InvalidateDB(node.Store.DB("db"), 0, int64(len(content))); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(node.Path("db")); err != nil || !bytes.Equal(got, content) {
			t.Errorf("the mount shows what was there before, %v", err)
		}
	}
}
