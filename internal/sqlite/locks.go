package sqlite

// Lock bytes in the database file (os.h; https://www.sqlite.org/lockingv3.html).
// They lie on the lock page, which holds no data: see [LockPage].
const (
	PendingByte  = 0x40000000
	ReservedByte = PendingByte + 1
	SharedFirst  = PendingByte + 2
	SharedSize   = 510 // bytes from SharedFirst on
)

// Lock bytes in the wal-index file (walformat section 2.1.3; the dead man
// switch is UNIX_SHM_DMS of os_unix.c). Whoever has the wal-index open holds
// WALDMSLock shared; who finds it free holds it exclusively while it truncates
// the file, since nobody is left who would vouch for the content.
const (
	WALWriteLock   = 120
	WALCkptLock    = 121
	WALRecoverLock = 122
	WALReadLock0   = 123 // for readers that ignore the WAL
	WALReadLock1   = 124
	WALReadLock2   = 125
	WALReadLock3   = 126
	WALReadLock4   = 127
	WALDMSLock     = 128
)

// LockPage returns the number of the page that the lock bytes lie on. It is
// part of no b-tree and is never journaled or logged. The page size must be
// valid. (fileformat2 section 1.4; pager.c PAGER_SJ_PGNO)
func LockPage(pageSize uint32) uint32 { return PendingByte/pageSize + 1 }
