package litefs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"litefs/internal/fsx"
	"litefs/ltx"
)

// Default settings of a Store.
const (
	DefaultRetentionDuration        = 10 * time.Minute
	DefaultRetentionMonitorInterval = time.Minute
	DefaultMaxLogSizeBytes          = 1 << 30
	DefaultReconnectDelay           = time.Second
)

// Store is a set of databases in one data directory. Set the exported fields
// before Open; they must not change afterwards.
//
// The store owns every goroutine that it or its databases start; Close stops
// them and waits for them.
type Store struct {
	// FS is the disk. NewStore sets it to the real one.
	FS fsx.FS
	// Logger receives one line per event that matters. NewStore sets it to one
	// that discards.
	Logger *slog.Logger
	// RetentionDuration is how long LTX files are kept; 0 keeps them for ever.
	RetentionDuration time.Duration
	// RetentionMonitorInterval is the time between two looks at the log.
	RetentionMonitorInterval time.Duration
	// MaxLogSizeBytes bounds the LTX log of each database; 0 is no bound. The
	// newest file stays whatever its size.
	MaxLogSizeBytes int64
	// Compress has pages compressed in LTX files.
	Compress bool
	// BackgroundCheckpoint has WALs checkpointed before the application's own
	// threshold is reached. It takes effect once SetMount has been called.
	BackgroundCheckpoint bool
	// ReplicaWrites is what happens to programs that write to a WAL-mode database
	// while the node is a replica. NewStore sets it to ReplicaWritesWait.
	ReplicaWrites ReplicaWrites
	// StrictVerify recomputes the checksum of the whole database after every
	// capture. It is for tests: a commit then costs O(database).
	StrictVerify bool
	// ReconnectDelay is the pause before a node that has lost the primary, or found
	// none, looks for it again.
	ReconnectDelay time.Duration
	// StepDown, if set, takes part when a primary gives its role up of its own accord:
	// it calls demote, with which writes end, and returns when the replicas that are
	// connected have what was written, or ctx is done. The lease is given back after.
	StepDown func(ctx context.Context, demote func(context.Context) error) error
	// Replicated, if set, returns the latest position of each database that is known to
	// be on another node. RunLease keeps it beside the lease, for whoever leads next.
	Replicated func() map[string]ltx.Pos

	path      string
	candidate bool
	id        string
	lock      fsx.File

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	watch  *watcher

	cluster   cluster
	readiness *readiness

	mu          sync.Mutex // guards what follows
	dbs         map[string]*DB
	role        roleState
	mountDir    string
	passthrough bool
	invalidator Invalidator
	detached    context.Context // done once the mount is about to go; nil without one
	detach      context.CancelFunc
	closed      bool

	subMu       sync.Mutex // guards subscribers; nothing is locked under it but a Subscriber
	subscribers map[*Subscriber]struct{}

	encoders sync.Pool // of *ltx.Encoder

	stagings atomic.Uint64 // number of staging files made
	noClone  atomic.Bool   // the file system cannot clone files
	diverged atomic.Int64  // number of databases set aside
}

// NewStore returns a store over the data directory at path. A candidate may
// become the primary.
func NewStore(path string, candidate bool) *Store {
	return &Store{
		FS:                       fsx.OS{},
		Logger:                   slog.New(slog.DiscardHandler),
		RetentionDuration:        DefaultRetentionDuration,
		RetentionMonitorInterval: DefaultRetentionMonitorInterval,
		MaxLogSizeBytes:          DefaultMaxLogSizeBytes,
		Compress:                 true,
		ReconnectDelay:           DefaultReconnectDelay,
		readiness:                newReadiness(),
		ReplicaWrites:            ReplicaWritesWait,
		path:                     path,
		candidate:                candidate,
		dbs:                      make(map[string]*DB),
		subscribers:              make(map[*Subscriber]struct{}),
	}
}

// Path returns the data directory.
func (s *Store) Path() string { return s.path }

// DBDir returns the folder that holds the folders of the databases.
func (s *Store) DBDir() string { return filepath.Join(s.path, "dbs") }

// DBPath returns the folder of one database.
func (s *Store) DBPath(name string) string { return filepath.Join(s.DBDir(), name) }

// ID returns the node's identifier. It is made once and survives restarts.
func (s *Store) ID() string { return s.id }

// Candidate reports whether the node may become the primary.
func (s *Store) Candidate() bool { return s.candidate }

// Open locks the data directory, recovers every database in it, and starts the
// background work. ErrDataDirLocked tells that another process is at work there.
func (s *Store) Open(ctx context.Context) error {
	if err := s.open(ctx); err != nil {
		return errors.Join(fmt.Errorf("open data directory %q: %w", s.path, err), s.Close())
	}
	return nil
}

func (s *Store) open(ctx context.Context) (err error) {
	if err := s.makeDirs(); err != nil {
		return err
	}
	if s.lock, err = lockDataDir(s.FS, s.path); err != nil {
		return err
	}
	if s.id, err = loadNodeID(s.FS, s.path); err != nil {
		return err
	}
	if err = s.loadCluster(); err != nil {
		return err
	}
	if s.watch, err = newWatcher(); err != nil {
		return err
	}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	s.wg.Go(s.watch.run)
	if err := s.openDatabases(ctx); err != nil {
		return err
	}
	s.wg.Go(func() { s.monitorRetention(s.ctx) })
	s.wg.Go(func() { s.settleJournals(s.ctx) })
	return nil
}

// makeDirs makes the data directory. Names that an earlier start has made and not
// lived to sync are made durable now: what is committed must not go with them.
func (s *Store) makeDirs() error {
	if err := fsx.MkdirAllSync(s.FS, s.DBDir(), 0o777); err != nil {
		return err
	}
	return errors.Join(s.FS.SyncDir(s.path), s.FS.SyncDir(s.DBDir()))
}

// openDatabases recovers the databases, as many at a time as there are cores.
// One that cannot be opened is reported and left out; it stops no other.
func (s *Store) openDatabases(ctx context.Context) error {
	entries, err := s.FS.ReadDir(s.DBDir())
	if err != nil {
		return err
	}
	var (
		opening sync.WaitGroup
		slots   = make(chan struct{}, runtime.GOMAXPROCS(0))
		opened  = make([]*DB, len(entries))
	)
	for i, entry := range entries {
		name, typ, err := ParseFilename(entry.Name())
		if !entry.IsDir() || err != nil || typ != FileTypeDatabase {
			s.Logger.Warn("ignoring what is not the folder of a database", slog.String("path", s.DBPath(entry.Name())))
			continue
		}
		slots <- struct{}{}
		opening.Go(func() {
			defer func() { <-slots }()
			db := newDB(s, name)
			if err := db.open(ctx); err != nil {
				err = errors.Join(err, db.closeFiles())
				db.logger.Error("database cannot be opened and is left out", slog.Any("error", err))
				return
			}
			opened[i] = db
		})
	}
	opening.Wait()
	for _, db := range opened {
		if db != nil {
			if !s.IsPrimary() { // it became a replica before it was opened
				db.following.Store(true)
				db.holdOpens(true)
			}
			s.dbs[db.name] = db
		}
	}
	return context.Cause(ctx)
}

// Close stops the background work, captures what is outstanding, saves the page
// checksums for a quick start, and gives the data directory free. The mount must
// be gone by then.
func (s *Store) Close() error {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return nil
	}
	if s.cancel != nil {
		s.cancel()
	}
	var errs []error
	if s.watch != nil {
		errs = append(errs, s.watch.close())
	}
	s.wg.Wait()
	for _, db := range s.DBs() {
		if err := db.close(); err != nil {
			errs = append(errs, fmt.Errorf("close database %q: %w", db.name, err))
		}
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}

// DB returns a database by name, or nil. A database that has been dropped is
// still there, without files.
func (s *Store) DB(name string) *DB {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dbs[name]
}

// DBs returns all databases, ordered by name.
func (s *Store) DBs() []*DB {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.dbs), func(a, b *DB) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
}

// CreateDBIfNotExists returns the database with the given name, and makes an
// empty one if there is none.
func (s *Store) CreateDBIfNotExists(name string) (*DB, error) {
	if _, typ, err := ParseFilename(name); err != nil || typ != FileTypeDatabase {
		return nil, errors.Join(err, fmt.Errorf("create database %q: %w", name, ErrInvalidName))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.detached != nil && s.mountDir == "" {
		return nil, fmt.Errorf("create database %q: %w", name, ErrClosed)
	}
	if db := s.dbs[name]; db != nil {
		return db, nil
	}
	db := newDB(s, name)
	if err := db.create(); err != nil {
		return nil, fmt.Errorf("create database %q: %w", name, err)
	}
	if s.role.replica {
		db.following.Store(true)
		db.holdOpens(s.mountDir == "")
	}
	s.dbs[name] = db
	return db, nil
}

// PosMap returns the position of every database.
func (s *Store) PosMap() map[string]ltx.Pos {
	m := make(map[string]ltx.Pos)
	for _, db := range s.DBs() {
		m[db.name] = db.Pos()
	}
	return m
}

// SetMount tells the store where its databases are mounted, and whether the
// kernel passes WAL and wal-index through to the backing files. From then on the
// databases act as SQLite peers through the mount, and invalidator is told of
// changes that the kernel's caches do not know of. It must not be called from a
// FUSE handler.
func (s *Store) SetMount(dir string, passthrough bool, invalidator Invalidator) {
	s.mu.Lock()
	s.mountDir, s.passthrough, s.invalidator = dir, passthrough, invalidator
	s.detached, s.detach = context.WithCancel(context.Background())
	s.mu.Unlock()
	for _, db := range s.DBs() {
		db.wakeFollower()
		if db.following.Load() {
			db.attachSoon()
		}
	}
}

// Detach tells the store that the mount is about to go: it closes what it has
// open there.
func (s *Store) Detach() {
	s.mu.Lock()
	s.mountDir = ""
	if s.detach != nil {
		s.detach()
	}
	s.mu.Unlock()
	for _, db := range s.DBs() {
		db.detach()
	}
}

// Passthrough reports whether programs map the backing files themselves.
func (s *Store) Passthrough() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.passthrough
}

// invalidate has the kernel drop what it has cached of a part of a database file.
func (s *Store) invalidate(db *DB, offset, size int64) error {
	s.mu.Lock()
	invalidator := s.invalidator
	s.mu.Unlock()
	if invalidator == nil {
		return nil
	}
	return invalidator.InvalidateDB(db, offset, size)
}

// invalidateEntry has the kernel drop what it knows of a name in the mount.
func (s *Store) invalidateEntry(name string) error {
	s.mu.Lock()
	invalidator := s.invalidator
	s.mu.Unlock()
	if invalidator == nil {
		return nil
	}
	return invalidator.InvalidateEntry(name)
}

// mountedAt is where the databases are mounted.
type mountedAt struct {
	dir  string // "" if they are not
	gone bool   // they were, and programs may still have files open
}

// mountContext returns where the databases are mounted, and a context that is done
// when ctx is or when the mount is about to go: what is open there must not keep it.
// The caller must call the function that it returns.
func (s *Store) mountContext(ctx context.Context) (context.Context, mountedAt, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	s.mu.Lock()
	detached, mount := s.detached, mountedAt{dir: s.mountDir, gone: s.detached != nil && s.mountDir == ""}
	s.mu.Unlock()
	if detached == nil {
		return ctx, mount, func() { cancel(nil) }
	}
	stop := context.AfterFunc(detached, func() { cancel(ErrClosed) })
	return ctx, mount, func() { stop(); cancel(nil) }
}

// MountDir returns where the databases are mounted, or "".
func (s *Store) MountDir() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mountDir
}

// lockDataDir takes the lock that keeps a second process out.
func lockDataDir(fsys fsx.FS, dir string) (fsx.File, error) {
	f, err := fsys.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flock(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// isNotExist reports whether err says that a file is not there.
func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
