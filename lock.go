package litefs

import (
	"fmt"

	"litefs/internal/filelock"
	"litefs/internal/sqlite"
)

// The bytes that SQLite locks, under its own names.
//
//nolint:staticcheck // SQLite's documentation and source spell them so
const (
	// The database file (os.h; https://www.sqlite.org/lockingv3.html).
	PENDING_BYTE  = sqlite.PendingByte
	RESERVED_BYTE = sqlite.ReservedByte
	SHARED_FIRST  = sqlite.SharedFirst
	SHARED_SIZE   = sqlite.SharedSize // bytes from SHARED_FIRST on

	// The wal-index, which is the -shm file
	// (https://www.sqlite.org/walformat.html#wal_locks). wal.c uses these names for
	// indexes that count from 0; here they are the bytes that os_unix.c locks.
	WAL_WRITE_LOCK   = sqlite.WALWriteLock
	WAL_CKPT_LOCK    = sqlite.WALCkptLock
	WAL_RECOVER_LOCK = sqlite.WALRecoverLock
	WAL_READ_LOCK0   = sqlite.WALReadLock0
	WAL_READ_LOCK1   = sqlite.WALReadLock1
	WAL_READ_LOCK2   = sqlite.WALReadLock2
	WAL_READ_LOCK3   = sqlite.WALReadLock3
	WAL_READ_LOCK4   = sqlite.WALReadLock4
	UNIX_SHM_DMS     = sqlite.WALDMSLock // the dead man's switch
)

// LockType is one of the locks of SQLite. Its value is the offset of the first
// byte that the lock covers in its file.
type LockType int

// The locks of the database file.
const (
	// LockTypePending keeps new readers out while its owner waits for those that
	// are there. Readers hold it shared for the moment in which they take SHARED.
	LockTypePending LockType = PENDING_BYTE

	// LockTypeReserved is held exclusive by the one connection that prepares a
	// write transaction in a rollback journal mode.
	LockTypeReserved LockType = RESERVED_BYTE

	// LockTypeShared is held shared by readers, by connections to a database in WAL
	// mode as long as they are open, and exclusive by who changes the database file
	// in a rollback journal mode.
	LockTypeShared LockType = SHARED_FIRST
)

// The locks of the wal-index.
const (
	// LockTypeWrite is held exclusive by the one connection that appends to the WAL.
	LockTypeWrite LockType = WAL_WRITE_LOCK

	// LockTypeCkpt is held exclusive by the one connection that runs a checkpoint.
	LockTypeCkpt LockType = WAL_CKPT_LOCK

	// LockTypeRecover is held exclusive while the wal-index is rebuilt from the WAL.
	LockTypeRecover LockType = WAL_RECOVER_LOCK

	// LockTypeRead0 to LockTypeRead4 are held shared by readers, each on the read
	// mark that it uses: Read0 by those that need only the database file. Exclusive
	// they are held for the moment in which a mark is changed, and Read0 by a
	// checkpoint while it writes the database file.
	LockTypeRead0 LockType = WAL_READ_LOCK0
	LockTypeRead1 LockType = WAL_READ_LOCK1
	LockTypeRead2 LockType = WAL_READ_LOCK2
	LockTypeRead3 LockType = WAL_READ_LOCK3
	LockTypeRead4 LockType = WAL_READ_LOCK4

	// LockTypeDMS, the dead man's switch, is held shared by everyone who has the
	// wal-index open. Who finds it free may not trust the content: it takes the lock
	// exclusive, truncates the file and goes on with a shared lock.
	LockTypeDMS LockType = UNIX_SHM_DMS
)

// lockInfo lists the locks by the offset of their first byte.
var lockInfo = [...]struct {
	lock LockType
	name string
}{
	{LockTypeWrite, "WRITE"},
	{LockTypeCkpt, "CKPT"},
	{LockTypeRecover, "RECOVER"},
	{LockTypeRead0, "READ0"},
	{LockTypeRead1, "READ1"},
	{LockTypeRead2, "READ2"},
	{LockTypeRead3, "READ3"},
	{LockTypeRead4, "READ4"},
	{LockTypeDMS, "DMS"},
	{LockTypePending, "PENDING"},
	{LockTypeReserved, "RESERVED"},
	{LockTypeShared, "SHARED"},
}

// index returns the position of t in lockInfo, or -1.
func (t LockType) index() int {
	for i := range lockInfo {
		if lockInfo[i].lock == t {
			return i
		}
	}
	return -1
}

// IsValid reports whether t is one of the LockType constants.
func (t LockType) IsValid() bool { return t.index() >= 0 }

// String returns SQLite's name of the lock, as in "SHARED" or "READ0".
func (t LockType) String() string {
	if i := t.index(); i >= 0 {
		return lockInfo[i].name
	}
	return fmt.Sprintf("LockType(%d)", int(t))
}

// Offset returns the offset in its file of the first byte that the lock covers.
func (t LockType) Offset() int64 { return int64(t) }

// Len returns the number of bytes that the lock covers: SHARED_SIZE for
// LockTypeShared, otherwise 1.
func (t LockType) Len() int64 {
	if t == LockTypeShared {
		return SHARED_SIZE
	}
	return 1
}

// InSHM reports whether the lock lives in the wal-index (-shm) file. The others
// live in the database file.
func (t LockType) InSHM() bool { return t >= LockTypeWrite && t <= LockTypeDMS }

// bytes returns the range that the lock covers.
func (t LockType) bytes() filelock.Range { return filelock.Range{Start: t.Offset(), Len: t.Len()} }

// ParseLockRange returns the locks that cover a byte from start to end, both
// included as in the lock requests of FUSE, in the order of their bytes. If start
// is beyond end there are none.
//
// The locks of the database file and those of the wal-index lie in different files
// but at offsets that differ, so that one function serves both. For a range that
// spans more than the locks of its file, such as an unlock of the whole file, the
// caller keeps those whose InSHM fits.
func ParseLockRange(start, end uint64) []LockType {
	var locks []LockType
	for i := range lockInfo {
		lock := lockInfo[i].lock
		first := uint64(lock.Offset())
		last := first + uint64(lock.Len()) - 1
		if start <= end && start <= last && first <= end {
			locks = append(locks, lock)
		}
	}
	return locks
}
