// Package filelock takes advisory locks on byte ranges of files as open file
// description (OFD) locks: fcntl(2) with F_OFD_SETLK and F_OFD_GETLK, Linux 3.15
// and later. They are what a process needs to take part in the locking protocol
// of SQLite, whose own locks are the older POSIX ones (F_SETLK).
//
// # Semantics
//
// Shared locks on a byte coexist; an exclusive lock coexists with nothing of
// another owner. The rest follows from who the owner is:
//
//   - The owner of an OFD lock is the open file description, that is one open(2)
//     of the file. Two opens in one process conflict with each other exactly as
//     two processes do. Duplicates of a descriptor (dup, fork) are the same owner.
//     The owner of a POSIX lock is the process.
//   - OFD and POSIX locks conflict with each other, also within one process.
//   - All locks of a description are released when the last descriptor that refers
//     to it is closed, by close or by the end of the process, and not before.
//     POSIX locks, in contrast, go as soon as the process closes any descriptor of
//     the file, so that a lock taken here is safe from code elsewhere in the process
//     that opens and closes the same file.
//   - Locking a range again converts what the owner holds there. Shared to
//     exclusive may fail, and then the shared lock is still held. Exclusive to
//     shared never has to wait, and there is no moment without a lock in between.
//   - A lock is on bytes, which need not exist. Unlocking part of a locked range
//     splits it; neighbouring ranges of one owner and kind become one range.
//   - A shared lock needs a descriptor open for reading, an exclusive lock one open
//     for writing. Otherwise the error is EBADF.
//   - The kernel looks for deadlocks among POSIX locks only. Two owners that hold
//     shared locks and wait for exclusive ones wait until a context ends.
//
// The functions may be called from any goroutine. Goroutines that use one *os.File
// are one owner and do not exclude each other.
package filelock
