// Package memfs is an fsx.FS in memory that can lose power.
//
// For every file and directory it keeps two states: what a program sees, and what
// a disk would hold for certain if the machine stopped now. Sync of a file brings
// its content and length from the one to the other, SyncDir the names of a
// directory. What lies between the two is a list of changes in the order in which
// they were made; each write, truncation, new name, removal and rename is one.
//
// There are three ways to go on after a stop:
//
//	Kill         the process ended, the machine did not: all is as it was seen
//	Crash(nil)   the power failed, and only what was synced survives
//	Crash(rng)   the power failed, and of what was not synced each change
//	             survives or not by the toss of a coin; of a write, each
//	             block of 512 bytes
//
// They return a new FS and leave the old one as it is, so that one run can be
// stopped at many points. An FS is harsher than real ones: a new name is not
// durable because the file was synced, and changes of a directory survive in any
// combination, except that a rename is never torn.
//
// An FS is safe for concurrent use. Paths are absolute; there are no links, no
// permissions, and locks are not needed: Fd returns an invalid descriptor.
package memfs

import (
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"litefs/internal/fsx"
)

// FS implements fsx.FS.
type FS struct {
	mu    sync.Mutex
	root  *node
	clock time.Duration // advances with every change, and is what times count from
	open  map[*file]string
}

var _ fsx.FS = (*FS)(nil)

// New returns an FS with an empty root directory.
func New() *FS { return newFS(newDir(0o777)) }

func newFS(root *node) *FS { return &FS{root: root, open: make(map[*file]string)} }

// OpenFiles returns the names under which the files were opened that are not
// closed yet, sorted.
func (f *FS) OpenFiles() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Values(f.open))
}

// walk returns the node of a name, nil if there is none, and its directory. The
// directory of the root is nil. The error says that the directory is missing.
func (f *FS) walk(op, name string) (dir, n *node, base string, err error) {
	name = filepath.Clean(name)
	if !filepath.IsAbs(name) {
		return nil, nil, "", pathError(op, name, syscall.EINVAL)
	}
	n = f.root
	for elem := range strings.SplitSeq(strings.Trim(name, "/"), "/") {
		if elem == "" {
			return nil, f.root, "/", nil
		}
		if n == nil {
			return nil, nil, "", pathError(op, name, syscall.ENOENT)
		}
		if !n.isDir() {
			return nil, nil, "", pathError(op, name, syscall.ENOTDIR)
		}
		dir, n, base = n, n.seen.names[elem], elem
	}
	return dir, n, base, nil
}

// lookup returns the node of a name that must exist.
func (f *FS) lookup(op, name string) (dir, n *node, base string, err error) {
	dir, n, base, err = f.walk(op, name)
	if err == nil && n == nil {
		err = pathError(op, name, syscall.ENOENT)
	}
	return dir, n, base, err
}

// OpenFile implements fsx.FS. Of the flags it knows the access modes, O_CREATE,
// O_EXCL and O_TRUNC; others are an error.
func (f *FS) OpenFile(name string, flag int, perm fs.FileMode) (fsx.File, error) {
	const accmode = os.O_RDONLY | os.O_WRONLY | os.O_RDWR
	f.mu.Lock()
	defer f.mu.Unlock()
	if flag&^(accmode|os.O_CREATE|os.O_EXCL|os.O_TRUNC) != 0 {
		return nil, pathError("open", name, syscall.EINVAL)
	}
	dir, n, base, err := f.walk("open", name)
	switch {
	case err != nil:
		return nil, err
	case n == nil && flag&os.O_CREATE == 0:
		return nil, pathError("open", name, syscall.ENOENT)
	case n == nil:
		n = &node{mode: perm.Perm(), mtime: f.tick()}
		dir.change(change{kind: link, name: base, node: n}, f.tick())
	case flag&os.O_CREATE != 0 && flag&os.O_EXCL != 0:
		return nil, pathError("open", name, syscall.EEXIST)
	case n.isDir():
		return nil, pathError("open", name, syscall.EISDIR)
	case flag&os.O_TRUNC != 0:
		n.change(change{kind: truncate}, f.tick())
	}
	handle := &file{fs: f, node: n, name: name, access: flag & accmode}
	f.open[handle] = name
	return handle, nil
}

// Rename implements fsx.FS. A file that has the new name is replaced.
func (f *FS) Rename(oldname, newname string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir, n, base, err := f.lookup("rename", oldname)
	if err != nil {
		return err
	}
	newDir, target, newBase, err := f.walk("rename", newname)
	switch {
	case err != nil:
		return err
	case dir == nil || newDir == nil:
		return pathError("rename", newname, syscall.EINVAL)
	case target == n:
		return nil
	case target != nil && target.isDir():
		return pathError("rename", newname, syscall.EISDIR)
	case dir == newDir:
		dir.change(change{kind: rename, name: newBase, from: base, node: n}, f.tick())
		return nil
	}
	m := &move{}
	newDir.change(change{kind: link, name: newBase, node: n, move: m}, f.tick())
	dir.change(change{kind: unlink, name: base, move: m}, f.tick())
	return nil
}

// Remove implements fsx.FS. A directory must be empty.
func (f *FS) Remove(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir, n, base, err := f.lookup("remove", name)
	switch {
	case err != nil:
		return err
	case dir == nil:
		return pathError("remove", name, syscall.EINVAL)
	case len(n.seen.names) > 0:
		return pathError("remove", name, syscall.ENOTEMPTY)
	}
	dir.change(change{kind: unlink, name: base}, f.tick())
	return nil
}

// RemoveAll implements fsx.FS. Nothing at the name is no error.
func (f *FS) RemoveAll(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir, n, base, err := f.walk("remove", name)
	if err == nil && n != nil && dir != nil {
		dir.change(change{kind: unlink, name: base}, f.tick())
	}
	return nil
}

// MkdirAll implements fsx.FS.
func (f *FS) MkdirAll(name string, perm fs.FileMode) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.root
	for elem := range strings.SplitSeq(strings.Trim(filepath.Clean(name), "/"), "/") {
		if elem == "" {
			break
		}
		child := n.seen.names[elem]
		if child == nil {
			child = newDir(perm.Perm())
			child.mtime = f.tick()
			n.change(change{kind: link, name: elem, node: child}, f.tick())
		}
		if !child.isDir() {
			return pathError("mkdir", name, syscall.ENOTDIR)
		}
		n = child
	}
	return nil
}

// Stat implements fsx.FS.
func (f *FS) Stat(name string) (fs.FileInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, n, base, err := f.lookup("stat", name)
	if err != nil {
		return nil, err
	}
	return n.info(base), nil
}

// ReadDir implements fsx.FS.
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, n, _, err := f.lookup("open", name)
	if err != nil {
		return nil, err
	}
	if !n.isDir() {
		return nil, pathError("readdir", name, syscall.ENOTDIR)
	}
	var entries []fs.DirEntry
	for _, base := range slices.Sorted(maps.Keys(n.seen.names)) {
		entries = append(entries, fs.FileInfoToDirEntry(n.seen.names[base].info(base)))
	}
	return entries, nil
}

// SyncDir implements fsx.FS.
func (f *FS) SyncDir(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, n, _, err := f.lookup("sync", name)
	if err != nil {
		return err
	}
	if !n.isDir() {
		return pathError("sync", name, syscall.ENOTDIR)
	}
	n.sync()
	return nil
}

// tick returns the time of a change.
func (f *FS) tick() time.Time {
	f.clock += time.Microsecond
	return epoch.Add(f.clock)
}

// epoch is what times in an FS start from. It is arbitrary.
var epoch = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

func pathError(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: path.Clean(name), Err: err}
}
