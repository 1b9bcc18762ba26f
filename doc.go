// Package litefs takes part in SQLite's file locking as SQLite itself does, so that
// a process that is not SQLite can make a database hold still.
//
// # Vocabulary
//
// A LockType is one of the locks that SQLite keeps as byte ranges: PENDING, RESERVED
// and SHARED in the database file, and nine more in the wal-index, the -shm file of
// a database in WAL mode. A Guard is one owner's hold on one lock, and a GuardSet
// has the guards of one owner on one database. The owner is an open file
// description: the kernel alone decides who gets a lock, among guard sets of this
// process and SQLite connections of any process.
//
// In SQLite's own documentation, SHARED, RESERVED, PENDING and EXCLUSIVE are states
// of a connection, which hold one or more of these byte ranges. GuardSet.LockShared
// and GuardSet.LockExclusive reach two of these states.
package litefs
