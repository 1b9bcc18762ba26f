package litefs_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"litefs"
	"litefs/internal/fsx"
	"litefs/internal/fsx/faultfs"
	"litefs/internal/fsx/memfs"
)

// A program that still has the files of a killed node open starts the WAL again
// while recovery copies it. Whatever part of that recovery has seen when it is
// killed too, what the next start finds is a state that the database has had.
func TestCrashWhileWALIsRestarted(t *testing.T) {
	r := newCrashRun(t)
	r.open()
	r.pager.mode = litefs.JournalModeWAL
	for range 45 {
		r.commit()
	}
	r.must(r.pager.checkpoint())
	acknowledged := r.done
	disk := r.disk.Kill() // here the node dies
	for range 40 {
		r.commit() // and the program goes on
	}
	wal, err := fsx.ReadFile(r.disk, r.pager.db.WALPath(), 1<<20)
	r.must(err)
	r.close()
	if len(wal) < 80<<10 {
		t.Fatalf("WAL has only %d bytes: it is copied in one go", len(wal))
	}

	s := stop{states: slices.Clone(r.states)}
	for at := range 6 { // the write to the copy before which the program writes
		for steps := 0; ; steps++ {
			found := restartDuringCopy(t, disk.Kill(), wal, at, steps)
			if found == nil {
				break
			}
			if err := s.judge(t, found, acknowledged); err != nil {
				t.Errorf("WAL restarted before write %d of the copy, kill %d steps later: %v", at, steps, err)
			}
		}
	}
}

// restartDuringCopy starts a node. Before write number at to the copy of the WAL,
// a program writes wal over the WAL of the earlier node; the disk that a kill
// leaves some steps later is returned, or nil if there are fewer.
func restartDuringCopy(t *testing.T, disk *memfs.FS, wal []byte, at, steps int) (found *memfs.FS) {
	t.Helper()
	tmp := filepath.Join(crashDataDir, "dbs", "db", "database-wal.tmp")
	zombie, err := disk.OpenFile(filepath.Join(crashDataDir, "dbs", "db", "database-wal"), 2, 0)
	if err != nil {
		t.Fatal(err)
	}
	since := -1
	store := newCrashStore(faultfs.New(disk, func(op faultfs.Op) error {
		if op.Kind == "write" && op.Name == tmp {
			if at--; at == -1 {
				since = 0
				if _, err := zombie.WriteAt(wal, 0); err != nil {
					t.Error(err)
				}
			}
		}
		if since >= 0 && !strings.HasSuffix(op.Name, "lock") {
			if since == steps {
				found = disk.Kill()
			}
			since++
		}
		return nil
	}))
	if err := store.Open(t.Context()); err != nil {
		t.Errorf("open: %v", err)
	}
	if err := store.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if err := zombie.Close(); err != nil {
		t.Error(err)
	}
	return found
}
