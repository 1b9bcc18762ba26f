package vfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"litefs"
)

// cacheTimeout is how long the kernel may keep attributes and names without
// asking. Whatever changes behind its back is invalidated explicitly.
const cacheTimeout = time.Hour

// maxTransferBytes is the largest read or write in one request.
const maxTransferBytes = 1 << 20

// Options are the settings of a mount.
type Options struct {
	Dir         string // where to mount; made if it is missing
	AllowOther  bool   // let other users in, subject to file modes
	Passthrough bool   // pass WAL and wal-index through where the kernel can
	Debug       bool   // log every FUSE request
}

// FileSystem is a mounted Store. It implements litefs.Invalidator.
type FileSystem struct {
	store       *litefs.Store
	logger      *slog.Logger
	options     Options
	server      *fuse.Server
	root        *rootNode
	passthrough bool
	mountDir    string

	// ready is closed once all above is settled and the store knows of the mount. The
	// kernel lets programs in before that: what they open of a database waits. A file
	// that is open without passthrough could not be opened with it, by nobody.
	ready chan struct{}

	mu   sync.Mutex
	inos map[string]uint64 // by name, for files that exist
	inoN uint64            // the last number that was given out; see nextInoLocked
}

var _ litefs.Invalidator = (*FileSystem)(nil)

// Mount serves store at options.Dir. A mount that an earlier process left there
// dead is cleared first. The caller must call Unmount.
func Mount(store *litefs.Store, options Options) (*FileSystem, error) {
	dir, err := filepath.Abs(options.Dir)
	if err != nil {
		return nil, err
	}
	options.Dir = dir
	fsys := &FileSystem{
		store: store, logger: store.Logger, options: options, mountDir: dir,
		ready: make(chan struct{}), inos: make(map[string]uint64),
		inoN: rand.Uint64() >> 16,
	}
	if err := fsys.mount(); err != nil {
		return nil, fmt.Errorf("mount %q: %w", dir, err)
	}
	return fsys, nil
}

func (f *FileSystem) mount() error {
	if err := clearDeadMount(f.options.Dir, f.logger); err != nil {
		return err
	}
	if err := os.MkdirAll(f.options.Dir, 0o777); err != nil {
		return err
	}
	info, err := os.Stat(f.options.Dir)
	if err != nil {
		return err
	}
	f.root = newRootNode(f, info)
	timeout := cacheTimeout
	f.server, err = gofs.Mount(f.options.Dir, f.root, &gofs.Options{
		MountOptions:    f.mountOptions(),
		EntryTimeout:    &timeout,
		AttrTimeout:     &timeout,
		NegativeTimeout: &timeout,
		NullPermissions: true,
	})
	if err != nil {
		return err
	}
	f.passthrough = f.options.Passthrough && f.probePassthrough()
	err = errors.Join(closeOnExec(), f.teachNoFlush())
	if err == nil {
		f.store.SetMount(f.options.Dir, f.passthrough, f)
	}
	close(f.ready)
	if err != nil {
		return errors.Join(err, f.server.Unmount())
	}
	return nil
}

func (f *FileSystem) mountOptions() fuse.MountOptions {
	return fuse.MountOptions{
		AllowOther:               f.options.AllowOther,
		FsName:                   "litefs",
		Name:                     "litefs",
		DirectMount:              os.Geteuid() == 0,
		DisableXAttrs:            true,
		DisableReadDirPlus:       true,
		ExplicitDataCacheControl: true,
		MaxStackDepth:            1,
		MaxWrite:                 maxTransferBytes,
		Debug:                    f.options.Debug,
		// The kernel checks file modes, as it does on a disk. SQLite takes a
		// database that may not be written as read-only.
		Options: []string{"default_permissions"},
	}
}

// admit returns once programs may open files. When the mount is about to go they may
// not any more, and it returns litefs.ErrClosed: the node has let go of SQLite's locks,
// and who is the first to open a wal-index makes a new one, which the node has not
// fenced off. What such a program committed would not be captured.
func (f *FileSystem) admit() error {
	<-f.ready
	if f.store.MountDir() == "" {
		return litefs.ErrClosed
	}
	return nil
}

// teachNoFlush has the kernel find out that FLUSH is not implemented, before
// anybody, ourselves included, holds a file open.
func (f *FileSystem) teachNoFlush() error {
	_, err := os.ReadFile(filepath.Join(f.options.Dir, lagName))
	return err
}

// probePassthrough reports whether the kernel lets us pass files through.
func (f *FileSystem) probePassthrough() bool {
	probe, err := os.CreateTemp(f.store.Path(), ".passthrough-*")
	if err != nil {
		return false
	}
	defer func() { _, _ = probe.Close(), os.Remove(probe.Name()) }()
	id, errno := f.server.RegisterBackingFd(&fuse.BackingMap{Fd: int32(probe.Fd())})
	if errno == 0 {
		errno = f.server.UnregisterBackingFd(id)
	}
	if errno != 0 {
		f.logger.Info("kernel does not pass files through; journals, WAL and wal-index are served by ordinary requests, which is slower", slog.Any("error", errno))
	}
	return errno == 0
}

// Passthrough reports whether WAL and wal-index are passed through.
func (f *FileSystem) Passthrough() bool { return f.passthrough }

// Dir returns where the file system is mounted.
func (f *FileSystem) Dir() string { return f.mountDir }

// Wait returns once the file system is unmounted and all requests are done.
func (f *FileSystem) Wait() { f.server.Wait() }

// WaitIdle returns once no other program has a file of the mount open, or ctx is done.
func (f *FileSystem) WaitIdle(ctx context.Context) {
	for pause := 5 * time.Millisecond; len(openFileUsers(f.options.Dir)) > 0; pause = min(2*pause, 100*time.Millisecond) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// Unmount takes the mount away. While programs hold files open it tries again
// until ctx is done, and then detaches the mount, so that the programs are left
// with errors and the directory is free. It names the programs in the log.
func (f *FileSystem) Unmount(ctx context.Context) error {
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		err := f.server.Unmount()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			for _, user := range openFileUsers(f.options.Dir) {
				f.logger.Warn("a program still has files open", slog.Int("pid", user.pid), slog.String("command", user.command), slog.String("path", user.path))
			}
			if err := detach(f.options.Dir); err != nil {
				return fmt.Errorf("unmount %q: %w", f.options.Dir, err)
			}
			return nil
		case <-time.After(pause):
		}
	}
}

// clearDeadMount detaches what a killed process has left mounted on dir.
func clearDeadMount(dir string, logger *slog.Logger) error {
	// The attributes of the directory may be in the kernel's cache; those of the
	// file system never are.
	var st unix.Statfs_t
	err := unix.Statfs(dir, &st)
	if !errors.Is(err, unix.ENOTCONN) {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	logger.Warn("clearing a dead mount that an earlier process has left", slog.String("dir", dir))
	return detach(dir)
}

// detach unmounts dir lazily: at once for new users, for the rest when they
// close their files.
func detach(dir string) error {
	err := unix.Unmount(dir, unix.MNT_DETACH)
	if !errors.Is(err, unix.EPERM) {
		return os.NewSyscallError("umount", err)
	}
	out, err := exec.Command("fusermount3", "-u", "-z", "--", dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("fusermount3: %w: %s", err, out)
	}
	return nil
}
