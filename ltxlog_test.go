package litefs_test

import (
	"io/fs"
	"path/filepath"
	"sync/atomic"
	"testing"

	"litefs"
	"litefs/internal/fsx"
	"litefs/internal/fsx/memfs"
)

// countingFS counts the LTX files that are open.
type countingFS struct {
	fsx.FS
	open, most atomic.Int64
}

func (c *countingFS) OpenFile(name string, flag int, perm fs.FileMode) (fsx.File, error) {
	f, err := c.FS.OpenFile(name, flag, perm)
	if err != nil || filepath.Ext(name) != ".ltx" {
		return f, err
	}
	c.most.Store(max(c.most.Load(), c.open.Add(1)))
	return &countedFile{f, c}, nil
}

type countedFile struct {
	fsx.File
	fs *countingFS
}

func (f *countedFile) Close() error {
	f.fs.open.Add(-1)
	return f.File.Close()
}

// A log may have more files to sync than a process may have open.
func TestSyncLongLog(t *testing.T) {
	const commits = 1200
	fsys := &countingFS{FS: memfs.New()}
	store := newCrashStore(fsys)
	if err := store.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	p, err := newPager(store, 1)
	if err != nil {
		t.Fatal(err)
	}
	p.full, p.mode = false, litefs.JournalModeWAL
	for range commits {
		if err := p.commit(p.next()); err != nil {
			t.Fatal(err)
		}
		if err := p.db.Gate(); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.close(); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if most := fsys.most.Load(); most == 0 || most > 300 {
		t.Errorf("%d LTX files were open at a time", most)
	}
	if open := fsys.open.Load(); open != 0 {
		t.Errorf("%d LTX files are still open", open)
	}
}
