package litefs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"litefs"
	"litefs/internal/fsx"
	"litefs/internal/fsx/faultfs"
	"litefs/internal/fsx/memfs"
	"litefs/internal/mounttest"
	"litefs/ltx"
)

func TestSetAside(t *testing.T) {
	primary, replica := newOfflineNode(t), newOfflineNode(t)
	primary.change(tableOf("50")...)
	replica.follow()
	replica.apply(strings.NewReader(string(primary.difference(replica.sums()))))
	if replica.db().LastWriterIsSelf() || !primary.db().LastWriterIsSelf() {
		t.Error("last writer of what the primary has written is not the primary")
	}
	replica.change("DELETE FROM t WHERE id > 40")
	replica.change("DELETE FROM t WHERE id > 30")
	replica.follow()
	if !replica.db().LastWriterIsSelf() {
		t.Error("last writer is not the node that has written last")
	}
	replica.db().Now = func() time.Time { return time.UnixMilli(1700000000123) }
	before, content := replica.db().Pos(), replica.content()
	dir, err := replica.db().SetAside(t.Context(), "No longer the primary!")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := filepath.Base(dir), "20231114T221320.123Z-no-longer-the-primary"; got != want {
		t.Errorf("folder is %s, want %s", got, want)
	}
	if replica.db().Pos() != before || replica.content() != content || replica.store.DivergenceCount() != 1 {
		t.Error("the database is not what it was, or the copy was not counted")
	}
	if again, err := replica.db().SetAside(t.Context(), "No longer the primary!"); err != nil || again != dir+"-2" {
		t.Errorf("the second copy is %s (%v), want %s-2", again, err, dir)
	}
	copies, err := replica.store.Diverged()
	if err != nil || len(copies) != 2 {
		t.Fatalf("%d copies (%v), want 2", len(copies), err)
	}
	c := copies[0]
	own := []string{"0000000000000002-0000000000000002.ltx", "0000000000000003-0000000000000003.ltx"}
	if c.Pos != before || c.Database != "db" || c.Reason != "No longer the primary!" || c.Node != replica.store.ID() ||
		fmt.Sprint(c.LTXFiles) != fmt.Sprint(own) || c.SizeBytes < int64(len(content)) {
		t.Errorf("copy is %+v, want position %s and files %q", c, before, own)
	}
	path := filepath.Join(t.TempDir(), "exported")
	if err := c.Export(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	conn := startSQLite(t, path)
	conn.expect(t, "30", "SELECT count(*) FROM t")
	conn.expect(t, "ok", "PRAGMA integrity_check")
	conn.close(t)
	if err := c.Export(t.Context(), path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("export over another file: %v", err)
	}
	if err := c.Remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := replica.store.DivergedCopy(c.ID); !errors.Is(err, litefs.ErrDivergedNotFound) {
		t.Errorf("a copy that was removed: %v", err)
	}
	if left, err := replica.store.DivergedCopy(copies[1].ID); err != nil || left.Dir != dir+"-2" {
		t.Errorf("the other copy: %+v, %v", left, err)
	}
}

func TestSetAsideOddities(t *testing.T) {
	node := newOfflineNode(t)
	if dir, err := node.db().SetAside(t.Context(), ""); err != nil || dir != "" {
		t.Errorf("a database without transactions: %q, %v", dir, err)
	}
	node.change(tableOf("50")...)
	if err := node.db().RemoveDatabase(); err != nil {
		t.Fatal(err)
	}
	dir, err := node.db().SetAside(t.Context(), "…")
	if err != nil || !strings.HasSuffix(dir, "-unnamed") {
		t.Fatalf("a dropped database: %q, %v", dir, err)
	}
	copies, err := node.store.Diverged()
	if err != nil || len(copies) != 1 || copies[0].Pages != 0 || len(copies[0].LTXFiles) == 0 {
		t.Fatalf("copies are %+v (%v)", copies, err)
	}
	if err := copies[0].Export(t.Context(), filepath.Join(t.TempDir(), "exported")); err == nil {
		t.Error("a database that had been dropped was exported")
	}
	// A copy that is damaged is not exported, and does not hide the others.
	node.change(tableOf("50")...)
	if dir, err = node.db().SetAside(t.Context(), "damaged"); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "database"), 8192); err != nil {
		t.Fatal(err)
	}
	c, err := node.store.DivergedCopy("db/" + filepath.Base(dir))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "exported")
	if err := c.Export(t.Context(), path); !errors.Is(err, ltx.ErrChecksumMismatch) {
		t.Errorf("export of a damaged copy: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the export was left: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "info.json")); err != nil {
		t.Fatal(err)
	}
	if copies, err := node.store.Diverged(); err == nil || len(copies) != 1 {
		t.Errorf("%d copies (%v), want 1 and an error", len(copies), err)
	}
}

// A database in WAL mode that a program has open is set aside with what is in its
// WAL.
func TestSetAsideOnMount(t *testing.T) {
	for _, mode := range mountModes {
		t.Run(mode.name, func(t *testing.T) {
			node := mounttest.Start(t, mounttest.Options{NoPassthrough: mode.noPassthrough})
			conn := startSQLite(t, node.Path("db"))
			conn.expect(t, mode.mode, "PRAGMA journal_mode = "+mode.mode)
			conn.expect(t, "", tableOf("50")...)
			if _, err := node.Store.DB("db").SetAside(t.Context(), "test"); err != nil {
				t.Fatal(err)
			}
			conn.expect(t, "", "DELETE FROM t")
			copies, err := node.Store.Diverged()
			if err != nil || len(copies) != 1 {
				t.Fatalf("%d copies (%v)", len(copies), err)
			}
			path := filepath.Join(t.TempDir(), "exported")
			if err := copies[0].Export(t.Context(), path); err != nil {
				t.Fatal(err)
			}
			exported := startSQLite(t, path)
			exported.expect(t, "50", "SELECT count(*) FROM t")
			exported.close(t)
			conn.close(t)
		})
	}
}

// Whatever happens while a database is set aside, the database stays what it is, and
// there is either no copy or a whole one: a whole one in any case once SetAside has
// returned.
func TestSetAsideAcrossCrashes(t *testing.T) {
	r := newCrashRun(t)
	r.open()
	r.commit()
	r.commit()
	r.stops = nil
	if _, err := r.pager.db.SetAside(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	during := len(r.stops)
	r.stop("the end")
	if during < 10 {
		t.Fatalf("%d steps, want more", during)
	}
	for i, s := range r.stops[:during+1] {
		for kind, disk := range s.disks(3) {
			store := newCrashStore(disk)
			copies, err := store.Diverged()
			if err != nil || i == during && len(copies) != 1 {
				t.Errorf("%s, %s: %d copies, %v", s.at, kind, len(copies), err)
			}
			for _, c := range copies {
				if err := errors.Join(disk.MkdirAll("/var", 0o777), c.Export(t.Context(), "/var/exported")); err != nil {
					t.Errorf("%s, %s: %v", s.at, kind, err)
				} else if b, err := fsx.ReadFile(disk, "/var/exported", 1<<20); err != nil || string(b) != r.pager.content {
					t.Errorf("%s, %s: the copy is not the database (%v)", s.at, kind, err)
				}
			}
			if err := s.judge(t, disk, s.acknowledged(kind)); err != nil {
				t.Errorf("%s, %s: %v", s.at, kind, err)
			}
		}
	}
	r.close()
}

// A step that fails is reported, and leaves the database and no half of a copy.
func TestSetAsideAcrossFaults(t *testing.T) {
	failed := 0
	for setAsideWithFault(t, failed) {
		failed++
	}
	if failed < 10 {
		t.Errorf("%d steps, want more", failed)
	}
}

// setAsideWithFault has step k of setting a database aside fail, and reports whether
// there was such a step.
func setAsideWithFault(t *testing.T, k int) bool {
	t.Helper()
	disk := memfs.New()
	next := -1 // step to come, while a database is set aside
	store := newCrashStore(faultfs.New(disk, func(faultfs.Op) error {
		if next < 0 {
			return nil
		}
		next++
		if next-1 == k {
			return faultfs.ErrInjected
		}
		return nil
	}))
	if err := errors.Join(disk.MkdirAll("/var", 0o777), store.Open(t.Context())); err != nil {
		t.Fatal(err)
	}
	p, err := newPager(store, 1)
	if err == nil {
		err = p.commit(p.next())
	}
	if err != nil {
		t.Fatal(err)
	}
	before := p.db.Pos()
	next = 0
	_, err = p.db.SetAside(t.Context(), "test")
	there := next > k
	next = -1
	if there != errors.Is(err, faultfs.ErrInjected) {
		t.Errorf("step %d: error is %v", k, err)
	}
	copies, err := store.Diverged()
	for _, c := range copies {
		err = errors.Join(err, c.Export(t.Context(), "/var/exported"))
	}
	if err != nil {
		t.Errorf("step %d: %v", k, err)
	}
	if p.db.Pos() != before {
		t.Errorf("step %d: position went from %s to %s", k, before, p.db.Pos())
	}
	_, err = p.db.SetAside(t.Context(), "again")
	if err := errors.Join(err, p.close(), store.Close()); err != nil {
		t.Errorf("step %d: after it: %v", k, err)
	}
	return there
}
