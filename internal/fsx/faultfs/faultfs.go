// Package faultfs wraps an fsx.FS and asks a hook before every step that
// changes the disk.
package faultfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"litefs/internal/fsx"
)

// ErrInjected is the error that a hook returns when it has no better one.
var ErrInjected = errors.New("injected fault")

// Op is one step that changes the disk.
type Op struct {
	N    int    // 0 for the first step of this FS
	Kind string // create, write, sync, truncate, rename, remove, mkdir or syncdir
	Name string // the path; of a rename the new one
}

// String renders op for failure messages.
func (op Op) String() string { return fmt.Sprintf("#%d %s %s", op.N, op.Kind, op.Name) }

// FS calls Before ahead of each step; an error stops the step and is returned
// in its place. It is safe for concurrent use; Before is called under a lock.
type FS struct {
	fsx.FS
	before func(Op) error

	mu sync.Mutex
	n  int
}

// New wraps inner.
func New(inner fsx.FS, before func(Op) error) *FS {
	return &FS{FS: inner, before: before}
}

// Steps returns how many steps have been asked for.
func (f *FS) Steps() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n
}

func (f *FS) step(kind, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	op := Op{N: f.n, Kind: kind, Name: name}
	f.n++
	if err := f.before(op); err != nil {
		return &fs.PathError{Op: kind, Path: name, Err: err}
	}
	return nil
}

// OpenFile implements fsx.FS. Only an open that may create or truncate counts.
func (f *FS) OpenFile(name string, flag int, perm fs.FileMode) (fsx.File, error) {
	if flag&(os.O_CREATE|os.O_TRUNC) != 0 {
		if err := f.step("create", name); err != nil {
			return nil, err
		}
	}
	inner, err := f.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &file{File: inner, fs: f, name: name}, nil
}

// Rename implements fsx.FS.
func (f *FS) Rename(oldname, newname string) error {
	if err := f.step("rename", newname); err != nil {
		return err
	}
	return f.FS.Rename(oldname, newname)
}

// Remove implements fsx.FS.
func (f *FS) Remove(name string) error {
	if err := f.step("remove", name); err != nil {
		return err
	}
	return f.FS.Remove(name)
}

// RemoveAll implements fsx.FS.
func (f *FS) RemoveAll(name string) error {
	if err := f.step("remove", name); err != nil {
		return err
	}
	return f.FS.RemoveAll(name)
}

// MkdirAll implements fsx.FS.
func (f *FS) MkdirAll(name string, perm fs.FileMode) error {
	if err := f.step("mkdir", name); err != nil {
		return err
	}
	return f.FS.MkdirAll(name, perm)
}

// SyncDir implements fsx.FS.
func (f *FS) SyncDir(name string) error {
	if err := f.step("syncdir", name); err != nil {
		return err
	}
	return f.FS.SyncDir(name)
}

type file struct {
	fsx.File
	fs   *FS
	name string
}

func (f *file) Write(p []byte) (int, error) {
	if err := f.fs.step("write", f.name); err != nil {
		return 0, err
	}
	return f.File.Write(p)
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	if err := f.fs.step("write", f.name); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

func (f *file) Sync() error {
	if err := f.fs.step("sync", f.name); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *file) Truncate(size int64) error {
	if err := f.fs.step("truncate", f.name); err != nil {
		return err
	}
	return f.File.Truncate(size)
}
