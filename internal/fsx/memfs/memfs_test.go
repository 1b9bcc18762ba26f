package memfs_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"litefs/internal/fsx"
	"litefs/internal/fsx/memfs"
)

// disk is an fsx.FS with short ways to use it in a test.
type disk struct {
	t *testing.T
	fsx.FS
	dir string
}

func (d disk) path(name string) string { return filepath.Join(d.dir, name) }

func (d disk) ok(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d disk) openFile(name string, flag int) fsx.File {
	d.t.Helper()
	f, err := d.OpenFile(d.path(name), flag, 0o600)
	d.ok(err)
	d.t.Cleanup(func() { _ = f.Close() })
	return f
}

// write makes a file with a content, and syncs what is asked for.
func (d disk) write(name, content string, sync, syncDir bool) {
	d.t.Helper()
	f := d.openFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY)
	_, err := f.Write([]byte(content))
	d.ok(err)
	if sync {
		d.ok(f.Sync())
	}
	if syncDir {
		d.ok(d.SyncDir(d.path(filepath.Dir(name))))
	}
}

// tree lists names and contents, in order.
func (d disk) tree(dir string) string {
	d.t.Helper()
	var b strings.Builder
	entries, err := d.ReadDir(d.path(dir))
	d.ok(err)
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		if e.IsDir() {
			fmt.Fprintf(&b, "%s/ %s", name, d.tree(name))
			continue
		}
		data, err := fsx.ReadFile(d, d.path(name), 1<<20)
		d.ok(err)
		fmt.Fprintf(&b, "%s=%q ", name, data)
	}
	return b.String()
}

func newMem(t *testing.T) (*memfs.FS, disk) {
	t.Helper()
	m := memfs.New()
	return m, disk{t, m, "/"}
}

// TestLikeTheRealOne does the same on a real disk and in memory, and compares
// what can be seen of it.
func TestLikeTheRealOne(t *testing.T) {
	run := func(d disk) (seen []string) {
		note := func(what string, err error) {
			var number syscall.Errno
			errors.As(err, &number)
			seen = append(seen, fmt.Sprintf("%s: %v %v %v", what, number, errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrExist)))
		}
		_, err := d.OpenFile(d.path("none"), os.O_RDWR, 0)
		note("open of nothing", err)
		_, err = d.OpenFile(d.path("none/f"), os.O_CREATE|os.O_RDWR, 0)
		note("create in nothing", err)
		note("mkdir", d.MkdirAll(d.path("a/b"), 0o777))
		note("mkdir again", d.MkdirAll(d.path("a/b"), 0o777))
		d.write("a/f", "hello", true, true)
		_, err = d.OpenFile(d.path("a/f"), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0)
		note("create of what is there", err)
		_, err = d.OpenFile(d.path("a"), os.O_RDWR, 0)
		note("open of a directory", err)
		note("mkdir over a file", d.MkdirAll(d.path("a/f"), 0o777))
		note("file as a directory", func() error { _, err := d.Stat(d.path("a/f/g")); return err }())
		note("remove of a full directory", d.Remove(d.path("a")))
		note("rename of nothing", d.Rename(d.path("none"), d.path("a/g")))

		f := d.openFile("a/f", os.O_RDWR)
		buf := make([]byte, 3)
		n, err := f.Read(buf)
		seen = append(seen, fmt.Sprint(n, err, string(buf[:n])))
		n, err = f.Read(buf)
		seen = append(seen, fmt.Sprint(n, err, string(buf[:n])))
		n, err = f.Read(buf)
		seen = append(seen, fmt.Sprint(n, err))
		n, err = f.ReadAt(buf, 4)
		seen = append(seen, fmt.Sprint(n, errors.Is(err, io.EOF)))
		_, err = f.WriteAt([]byte("far"), 10)
		note("write beyond the end", err)
		note("truncate", f.Truncate(12))
		note("truncate to more", f.Truncate(14))
		_, err = d.openFile("a/f", os.O_RDONLY).WriteAt(buf, 0)
		note("write to a file that is open for reading", err)
		_, err = d.openFile("a/f", os.O_WRONLY).ReadAt(buf, 0)
		note("read from a file that is open for writing", err)

		d.write("a/other", "other", false, false)
		note("rename over a file", d.Rename(d.path("a/f"), d.path("a/other")))
		note("rename into another directory", d.Rename(d.path("a/other"), d.path("a/b/f")))
		note("rename onto itself", d.Rename(d.path("a/b/f"), d.path("a/b/f")))
		seen = append(seen, d.tree("."))
		info, err := d.Stat(d.path("a/b/f"))
		d.ok(err)
		seen = append(seen, fmt.Sprint(info.Name(), info.Size(), info.IsDir(), info.Mode()))
		note("remove", d.Remove(d.path("a/b/f")))
		info, err = f.Stat()
		d.ok(err)
		seen = append(seen, fmt.Sprint(info.Size()), d.tree("."))
		note("remove all", d.RemoveAll(d.path("a")))
		note("remove all of nothing", d.RemoveAll(d.path("a/b/c")))
		seen = append(seen, d.tree("."))
		note("close", f.Close())
		_, err = f.ReadAt(buf, 0)
		seen = append(seen, fmt.Sprint(errors.Is(err, fs.ErrClosed)))
		return seen
	}
	_, mem := newMem(t)
	got, want := run(mem), run(disk{t, fsx.OS{}, t.TempDir()})
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("step %d: %s, on a real disk %s", i, got[i], want[i])
		}
	}
	if open := mem.FS.(*memfs.FS).OpenFiles(); !slices.Contains(open, "/a/f") {
		t.Errorf("open files %q do not have those that are open", open)
	}
}

// What is not synced is lost, piece by piece.
func TestCrashLosesWhatIsNotSynced(t *testing.T) {
	m, d := newMem(t)
	d.ok(m.MkdirAll("/d", 0o777))
	d.ok(m.SyncDir("/"))
	d.write("d/synced", "old", true, true)
	d.write("d/noname", "x", true, false)
	d.write("d/nodata", "y", false, true) // syncs the name of noname, too
	d.write("d/lost", "z", true, false)
	d.write("d/synced", "new", false, false)
	d.ok(m.MkdirAll("/e/f", 0o777))

	crashed := disk{t, m.Crash(nil), "/"}
	if got, want := crashed.tree("."), `d/ d/nodata="" d/noname="x" d/synced="old" `; got != want {
		t.Errorf("after a power cut: %s, want %s", got, want)
	}
	killed := m.Kill()
	if got, want := (disk{t, killed, "/"}).tree("."), d.tree("."); got != want {
		t.Errorf("after a kill: %s, want %s", got, want)
	}
	if got, want := (disk{t, killed.Crash(nil), "/"}).tree("."), crashed.tree("."); got != want {
		t.Errorf("after a kill and a power cut: %s, want %s", got, want)
	}

	d.ok(d.openFile("d/synced", os.O_RDWR).Sync())
	d.ok(m.Rename("/d/nodata", "/d/synced"))
	d.ok(m.Remove("/d/noname"))
	if got, want := (disk{t, m.Crash(nil), "/"}).tree("d"), `d/nodata="" d/noname="x" d/synced="new" `; got != want {
		t.Errorf("after names changed: %s, want %s", got, want)
	}
	d.ok(m.SyncDir("/d"))
	if got, want := (disk{t, m.Crash(nil), "/"}).tree("d"), `d/lost="z" d/synced="" `; got != want {
		t.Errorf("after the directory was synced: %s, want %s", got, want)
	}
}

// Of what is not synced any part may survive, and a seed tells which.
func TestCrashKeepsARandomPart(t *testing.T) {
	m, d := newMem(t)
	d.write("f", strings.Repeat("a", 2048), true, true)
	d.write("g", "", true, true)
	f := d.openFile("f", os.O_RDWR)
	_, err := f.WriteAt([]byte(strings.Repeat("b", 1024)), 256)
	d.ok(err)
	d.ok(m.Rename("/g", "/h"))

	seen := make(map[string]int)
	for seed := range uint64(400) {
		found := disk{t, m.Crash(rand.New(rand.NewPCG(seed, 0))), "/"}.tree(".")
		if again := (disk{t, m.Crash(rand.New(rand.NewPCG(seed, 0))), "/"}).tree("."); again != found {
			t.Fatalf("seed %d gives two disks", seed)
		}
		seen[found]++
	}
	// Three blocks of the write and one rename: 16 disks.
	if len(seen) != 16 {
		t.Errorf("%d different disks, want 16", len(seen))
	}
	for found := range seen {
		if strings.Contains(found, "g=") == strings.Contains(found, "h=") {
			t.Errorf("rename was torn: %s", found)
		}
	}
}

// A rename from one directory to another is durable once one of them is synced.
func TestCrashTearsNoRename(t *testing.T) {
	for synced, want := range map[string][2]string{
		"":  {`a/ a/f="x" b/ `, `a/ b/ b/f="x" `},
		"a": {`a/ b/ b/f="x" `, `a/ b/ b/f="x" `},
		"b": {`a/ b/ b/f="x" `, `a/ b/ b/f="x" `},
	} {
		m, d := newMem(t)
		d.ok(errors.Join(m.MkdirAll("/a", 0o777), m.MkdirAll("/b", 0o777), m.SyncDir("/")))
		d.write("a/f", "x", true, true)
		d.ok(m.Rename("/a/f", "/b/f"))
		if synced != "" {
			d.ok(m.SyncDir("/" + synced))
		}
		if got := (disk{t, m.Kill().Crash(nil), "/"}).tree("."); got != want[0] {
			t.Errorf("synced %q: found %s, want %s", synced, got, want[0])
		}
		for seed := range uint64(20) {
			if got := (disk{t, m.Crash(rand.New(rand.NewPCG(seed, 0))), "/"}).tree("."); !slices.Contains(want[:], got) {
				t.Errorf("synced %q, seed %d: found %s", synced, seed, got)
			}
		}
	}
}
