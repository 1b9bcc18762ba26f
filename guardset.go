package litefs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"litefs/internal/filelock"
)

// ErrLockHeld is returned by LockShared and LockExclusive when the set holds a lock
// of the database file already.
var ErrLockHeld = errors.New("lock of the database file already held")

// The locks of each file in the order in which SQLite acquires them: a writer in a
// rollback journal mode takes SHARED before RESERVED before PENDING; in WAL mode DMS
// and a read mark come before WRITE, CKPT before WRITE, WRITE before RECOVER.
var (
	databaseLocks = []LockType{LockTypeShared, LockTypeReserved, LockTypePending}

	shmLocks = []LockType{
		LockTypeDMS, LockTypeCkpt,
		LockTypeRead0, LockTypeRead1, LockTypeRead2, LockTypeRead3, LockTypeRead4,
		LockTypeWrite, LockTypeRecover,
	}
)

// LockFiles are the files that a GuardSet locks. The owner of its locks is the open
// file description, so each file must be opened for this set alone: two sets that
// share one would not exclude each other and would release each other's locks.
type LockFiles struct {
	Database *os.File // nil if the set is for the locks of the wal-index only
	SHM      *os.File // nil if the set is for the locks of the database file only
}

// GuardSet is a guard for each lock of one database, all of one owner. It does not
// own the files. To close a file releases its locks, but the guards do not notice:
// call Unlock first.
type GuardSet struct {
	files  LockFiles
	guards [len(lockInfo)]Guard
}

// NewGuardSet returns a set of unlocked guards on files.
func NewGuardSet(files LockFiles) *GuardSet {
	s := &GuardSet{files: files}
	for i := range lockInfo {
		g := &s.guards[i]
		g.lock, g.file = lockInfo[i].lock, files.Database
		if g.lock.InSHM() {
			g.file = files.SHM
		}
	}
	return s
}

// Guard returns the guard of a lock, each time the same. It never returns nil: for
// an invalid lock type, or if the set lacks the lock's file, the guard that it
// returns stays unlocked and answers with ErrNoLockFile.
func (s *GuardSet) Guard(lock LockType) *Guard {
	if i := lock.index(); i >= 0 {
		return &s.guards[i]
	}
	return &Guard{lock: lock}
}

// Unlock releases all locks in the reverse of the order in which SQLite acquires
// them. It goes on after an error, and returns all errors joined.
func (s *GuardSet) Unlock() error {
	return errors.Join(s.unlock(shmLocks), s.UnlockDatabase())
}

// UnlockDatabase releases the locks of the database file, as Unlock does, and
// leaves those of the wal-index alone.
func (s *GuardSet) UnlockDatabase() error { return s.unlock(databaseLocks) }

func (s *GuardSet) unlock(locks []LockType) error {
	var errs []error
	for _, lock := range slices.Backward(locks) {
		errs = append(errs, s.Guard(lock).Unlock())
	}
	return errors.Join(errs...)
}

// LockShared takes what SQLite calls a SHARED lock on the database: after it, no one
// else changes the database file. It waits while someone holds the database EXCLUSIVE
// or PENDING. If ctx is done before that, its error wraps context.Cause(ctx); after
// any error, the set holds no lock of the database file. The set must not hold one
// before either, otherwise the error is ErrLockHeld.
//
// A journal that a dead writer left is not looked for: that is up to the caller.
func (s *GuardSet) LockShared(ctx context.Context) error {
	return s.lockDatabase(filelock.Shared, func() error { return filelock.Poll(ctx, s.tryShared) })
}

// LockExclusive takes what SQLite calls an EXCLUSIVE lock on the database: after it,
// no one else reads or changes the database file. It waits until a writer in a
// rollback journal mode is done, then lets no new readers in and waits until those
// that are there are done; in WAL mode, a connection counts as a reader until it is
// closed. Contexts and errors are as in LockShared.
//
// To go on with a shared lock, without a gap, call TryRLock on the guard of
// LockTypeShared, then Unlock on those of LockTypePending and LockTypeReserved.
func (s *GuardSet) LockExclusive(ctx context.Context) error {
	return s.lockDatabase(filelock.Exclusive, func() error {
		if err := filelock.Poll(ctx, s.tryReserved); err != nil {
			return fmt.Errorf("acquire %s: %w", LockTypeReserved, err)
		}
		if err := s.Guard(LockTypePending).Lock(ctx); err != nil {
			return err
		}
		return s.Guard(LockTypeShared).Lock(ctx)
	})
}

// lockDatabase runs acquire on a database file without locks and undoes it if it
// fails.
func (s *GuardSet) lockDatabase(kind filelock.Kind, acquire func() error) error {
	if s.files.Database == nil {
		return fmt.Errorf("lock database %s: %w", kind, ErrNoLockFile)
	}
	name := s.files.Database.Name()
	for _, lock := range databaseLocks {
		if state := s.Guard(lock).State(); state != GuardStateUnlocked {
			return fmt.Errorf("lock database %q %s: %w: %s is %s", name, kind, ErrLockHeld, lock, state)
		}
	}
	if err := acquire(); err != nil {
		return errors.Join(fmt.Errorf("lock database %q %s: %w", name, kind, err), s.UnlockDatabase())
	}
	return nil
}

// tryShared takes SHARED while it holds PENDING shared, so that it cannot slip past
// a writer that waits for readers to finish. (os_unix.c unixLock)
func (s *GuardSet) tryShared() (bool, error) {
	pending := s.Guard(LockTypePending)
	if ok, err := pending.TryRLock(); !ok {
		return false, err
	}
	ok, err := s.Guard(LockTypeShared).TryRLock()
	if err := errors.Join(err, pending.Unlock()); err != nil {
		return false, err
	}
	return ok, nil
}

// tryReserved takes SHARED and RESERVED. If someone else has RESERVED it keeps
// neither: that writer can commit only when nobody else has SHARED, so to wait with
// it would be to wait for oneself (btree.c sqlite3BtreeBeginTrans). It looks first,
// so that its attempts do not get into the way of the commit.
func (s *GuardSet) tryReserved() (bool, error) {
	reserved := s.Guard(LockTypeReserved)
	if free, err := reserved.CanLock(); !free {
		return false, err
	}
	if ok, err := s.tryShared(); !ok {
		return false, err
	}
	ok, err := reserved.TryLock()
	if ok {
		return true, nil
	}
	return false, errors.Join(err, s.Guard(LockTypeShared).Unlock())
}
