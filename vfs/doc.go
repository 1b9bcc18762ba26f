// Package vfs serves a Store's databases as a directory, through FUSE.
//
// It translates requests of the kernel into calls of the litefs package and
// knows nothing of capture or replication. There is one node type for each role
// that a file can have:
//
//	databaseNode      reads are cached by the kernel, writes come to us
//	journalNode       passthrough: the kernel reads, writes and maps the backing
//	walNode, shmNode  file; truncation, sync and unlink come to us
//	superJournalNode  a plain local file
//	textNode          NAME-pos, .primary and .lag: made when opened
//
// Rules that keep the mount from hanging:
//
//   - No handler touches the mount itself.
//   - No mutex that a handler may need is held while the kernel is asked to
//     invalidate something: it waits for requests in flight.
//   - FLUSH is answered with ENOSYS, and Mount makes the kernel learn that at
//     once. Otherwise a daemon that is killed with files of its own mount open
//     would wait for itself for ever in close.
//   - File locks are not asked for (EnableLocks): the kernel resolves them
//     between all processes of the machine without asking us. Extended
//     attributes are off: the kernel would ask for one before every write.
package vfs
