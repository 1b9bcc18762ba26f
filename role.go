package litefs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
)

// ReplicaWrites is what happens to a program that writes to a WAL-mode database
// on a replica. Under a rollback journal it is always told at once.
type ReplicaWrites string

// The choices of ReplicaWrites.
const (
	// ReplicaWritesWait has the writer wait, up to its busy timeout, as for any
	// other writer. It goes on if the node is made the primary meanwhile.
	ReplicaWritesWait ReplicaWrites = "wait"
	// ReplicaWritesReadonly has the writer told at once that the database is
	// read-only. Its connection stays so until it is opened again.
	ReplicaWritesReadonly ReplicaWrites = "readonly"
)

// PrimaryInfo says where the primary is.
type PrimaryInfo struct {
	Hostname     string `json:"hostname"`
	AdvertiseURL string `json:"advertise-url"`
}

// roleState is whether the node takes writes or follows another one.
//
// The node's role changes first, and with it no transaction begins any more that
// needs a new file. Then each database changes for itself (DB.following): a
// transaction that is under way may end before it does.
type roleState struct {
	changing sync.Mutex   // held while the role changes; outermost
	primary  *PrimaryInfo // guarded by Store.mu
	replica  bool         // guarded by Store.mu
}

// IsPrimary reports whether the node takes writes.
func (s *Store) IsPrimary() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.role.replica
}

// PrimaryInfo returns where the primary is. It is nil on the primary itself, and
// while the primary is not known.
func (s *Store) PrimaryInfo() *PrimaryInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.role.primary == nil {
		return nil
	}
	info := *s.role.primary
	return &info
}

// setRole changes what IsPrimary and PrimaryInfo say.
func (s *Store) setRole(replica bool, info *PrimaryInfo) {
	if info != nil {
		copied := *info
		info = &copied
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.role.replica, s.role.primary = replica, info
}

// BecomePrimary has the node take writes: the peers of the databases let their
// locks go, and what programs write from then on is captured. On an error the
// node is a replica still, with databases that take writes or not; call it again.
func (s *Store) BecomePrimary(ctx context.Context) error {
	s.role.changing.Lock()
	defer s.role.changing.Unlock()
	if s.IsPrimary() {
		return nil
	}
	err := s.eachDB(func(db *DB) error { return db.promote(ctx) })
	if err != nil {
		return fmt.Errorf("become primary: %w", err)
	}
	s.setRole(false, nil)
	// A database that was made meanwhile was made as a replica's.
	err = s.eachDB(func(db *DB) error { return db.promote(ctx) })
	s.Logger.Debug("node takes writes")
	return err
}

// BecomeReplica has the node refuse writes. Transactions that are under way come
// to their end or, when ctx is done, are waited for no longer; what they did is
// captured. Then the peers take their locks. info may be nil; to call
// BecomeReplica again changes it, and goes on with databases whose turn an error
// has cut short.
func (s *Store) BecomeReplica(ctx context.Context, info *PrimaryInfo) error {
	s.role.changing.Lock()
	defer s.role.changing.Unlock()
	s.setRole(true, info)
	if err := s.eachDB(func(db *DB) error { return db.demote(ctx) }); err != nil {
		return fmt.Errorf("become replica: %w", err)
	}
	s.Logger.Debug("node takes no writes")
	return nil
}

// eachDB calls fn with every database, all at a time, since one may have to wait.
func (s *Store) eachDB(fn func(*DB) error) error {
	var (
		mu   sync.Mutex
		errs []error
		wg   sync.WaitGroup
	)
	for _, db := range s.DBs() {
		wg.Go(func() {
			if err := fn(db); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, fmt.Errorf("database %q: %w", db.name, err))
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// promote has the database take writes.
func (db *DB) promote(ctx context.Context) error {
	db.applyMu.Lock()
	defer db.applyMu.Unlock()
	if !db.following.Load() {
		return nil
	}
	if err := db.finishApply(ctx); err != nil {
		return err
	}
	if db.peer != nil {
		if err := db.peer.retire(ctx); err != nil {
			db.logger.Warn("cannot end the WAL of a database that is not in WAL mode; SQLite will", slog.Any("error", err))
		}
	}
	if err := db.settleLog(); err != nil {
		return err
	}
	db.captureMu.Lock()
	db.following.Store(false)
	watched := db.follower != nil
	if db.files.wal != nil && !watched {
		db.startFollower() //nolint:contextcheck // it lives as long as the store
	}
	db.captureMu.Unlock()
	// Only now can a writer get the lock that it waits for.
	err := db.closePeer()
	db.releaseOpens()
	return err
}

// demote has the database take no writes any more. It waits until no writer is at
// work and keeps others from beginning, captures all that has been committed, and
// from then on refuses what is left.
func (db *DB) demote(ctx context.Context) error {
	db.applyMu.Lock()
	defer db.applyMu.Unlock()
	if db.following.Load() {
		return nil
	}
	return db.stopWriting(ctx)
}

func (db *DB) stopWriting(ctx context.Context) error {
	ctx, mount, cancel := db.store.mountContext(ctx)
	defer cancel()
	if mount.dir == "" || !db.Exists(FileTypeDatabase) {
		db.holdOpens(mount.dir == "")
		return db.stopCapture()
	}
	p, err := openPeer(db, mount.dir)
	if err != nil {
		return err
	}
	attached, err := p.stopWriters(ctx)
	if err != nil || !attached {
		return errors.Join(err, p.close())
	}
	db.peer = p
	return nil
}

// stopCapture captures all that has been committed, and no more from then on. The
// caller keeps writers out, or there are none. That a journal has been removed is
// made durable: it must not come back and be rolled back over what is applied.
func (db *DB) stopCapture() error {
	db.captureMu.Lock()
	defer db.captureMu.Unlock()
	err := db.captureAll()
	if err == nil {
		err = errors.Join(db.gatherLog(), db.log.sync())
	}
	if err == nil {
		err = errors.Join(db.dropSpare(), db.store.FS.SyncDir(db.dir))
	}
	if err == nil {
		db.following.Store(true)
	}
	return err
}
