package litefs

import (
	"testing"
	"time"

	"litefs/internal/fsx"
)

// removeHookFS calls a function when a file is removed.
type removeHookFS struct {
	fsx.FS
	before func()
}

func (f *removeHookFS) Remove(name string) error {
	f.before()
	return f.FS.Remove(name)
}

// A snapshot takes the place of all older files of the log while retention is at
// work. It must stay: it is the newest file.
func TestRetentionWhileSnapshotIsTaken(t *testing.T) {
	fsys := &removeHookFS{FS: fsx.OS{}}
	log := newLTXLog(fsys, t.TempDir(), nil)
	snapshot := ltxFile{min: 1, max: 5, sizeBytes: 100}
	for i := range snapshot.max - 1 {
		log.files = append(log.files, ltxFile{min: i + 1, max: i + 1, sizeBytes: 100})
		log.unsynced++
	}
	removals := 0
	fsys.before = func() {
		if removals++; removals > 1 {
			return
		}
		log.files = append(log.files, snapshot)
		log.unsynced++
		if err := log.removeBefore(snapshot); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := log.enforceRetention(time.Now(), 150); err != nil {
		t.Fatal(err)
	}
	if got := log.snapshot(); len(got) != 1 || got[0] != snapshot {
		t.Errorf("the log holds %v, want the snapshot", got)
	}
	if log.unsynced != 1 {
		t.Errorf("%d files are to be synced, want 1", log.unsynced)
	}
}
