// Package sqlite reads and writes the file formats of SQLite: the database
// header, the rollback journal, the write-ahead log (WAL), the wal-index, and
// the positions of the lock bytes. It holds formats and no policy: it opens no
// file, takes no lock, and decides nothing about when to read or write.
//
// The sources are https://www.sqlite.org/fileformat2.html ("fileformat2"),
// https://www.sqlite.org/walformat.html ("walformat") and SQLite's own C
// files, cited by file and function.
//
// # Vocabulary
//
//   - page: the unit of the database file, 512 to 65536 bytes, a power of two;
//     pages are numbered from 1.
//   - page count: the size of the database in pages.
//   - frame: one page in the WAL with its header; frames are numbered from 1.
//   - commit frame: a frame whose header states a page count other than 0;
//     it ends a transaction.
//   - mxFrame: the last committed frame that the wal-index publishes.
//   - backfill: to copy frames into the database file, as a checkpoint does.
//
// # Database header (fileformat2 section 1.3), big-endian
//
//	 0  16  "SQLite format 3\x00"
//	16   2  page size; 1 stands for 65536
//	18   1  write version: 1 rollback journal, 2 WAL
//	19   1  read version: 1 rollback journal, 2 WAL
//	20   1  bytes reserved at the end of each page
//	21   3  64, 32, 32
//	24   4  change counter
//	28   4  page count, valid if not 0 and offset 24 equals offset 92
//	36   4  number of freelist pages
//	40   4  schema cookie
//	52   4  largest root page; not 0 with auto-vacuum
//	60   4  user version
//	64   4  not 0 with incremental vacuum
//	68   4  application ID
//	92   4  change counter for which offsets 28 and 96 are valid
//	96   4  version of the SQLite library that wrote last
//
// # Rollback journal (fileformat2 section 3), big-endian
//
// One or more segments, each of them a header padded to the sector size and
// then page records; a header starts at a multiple of the sector size. The
// name of a super-journal may follow the last record.
//
//	header                           record
//	 0  8  d9d505f920a163d7           0  4  page number
//	 8  4  number of records          4  P  page as it was
//	12  4  nonce                    4+P  4  checksum: nonce and every
//	16  4  page count at the start            200th byte of the page
//	20  4  sector size
//	24  4  page size                super-journal
//	                                  0  4  number of the lock page
//	                                  4  N  name
//	                                4+N  4  N
//	                                8+N  4  sum of the signed bytes of the name
//	                               12+N  8  d9d505f920a163d7
//
// # Write-ahead log (fileformat2 section 4), big-endian
//
//	header                           frame
//	 0  4  377f0682 or 377f0683       0  4  page number
//	 4  4  3007000                    4  4  page count, in a commit frame
//	 8  4  page size                  8  8  salts of the header
//	12  4  checkpoint sequence       16  8  checksum
//	16  8  salts                     24  P  page
//	24  8  checksum of bytes 0-23
//
// The checksum of a frame continues that of the frame before (of the header
// for frame 1) over bytes 0 to 7 of the frame header and the page. It reads
// its input as 32-bit words, big-endian if the magic number is odd.
//
// # Wal-index (walformat section 2), native byte order
//
//	 0   4  3007000                  96   4  nBackfill
//	 8   4  change counter          100  20  read marks 0 to 4
//	12   1  1 if initialized        120   8  lock bytes
//	13   1  1 if WAL checksums are  128   4  nBackfillAttempted
//	        big-endian              136      first index block
//	14   2  page size; 1 is 65536
//	16   4  mxFrame
//	20   4  page count
//	24   8  checksum of frame mxFrame
//	32   8  salts, bytes as in the WAL
//	40   8  checksum of bytes 0-39
//	48  48  copy of bytes 0-47
//
// The file is a row of 32 KiB regions, one index block each: the page numbers
// of 4096 frames (4062 in the first region, behind the header), 4 bytes each,
// then at 16 KiB a hash table of 8192 slots of 2 bytes that leads from a page
// number to entries of the same block.
//
// # Order of calls
//
// To follow a WAL that others write, without a lock: [WALIndex.Header], again
// if it is torn; [ReadWALHeader], which must have the same salts; if the cursor
// is still there ([WALCursor.Holds]) a [WALScanner] from it, else from
// [WALHeader.Start], up to MaxFrame.
//
// To append a transaction, under WALWriteLock: [WALIndex.Header] and its
// cursor, or [WriteWALHeader] if there is none; for each page
// [WALWriter.WriteFrame] and [WALIndexWriter.Append]; [WALWriter.Flush] and, if
// the transaction is to be durable, a sync; then [WALIndexWriter.Publish] with
// [WALIndexHeader.Commit].
//
// To checkpoint, under WALCkptLock: [WALIndex.Header] and
// [WALIndex.CheckpointInfo]; each read mark below MaxFrame either has its lock
// free, and is set to MaxFrame (mark 1) or [ReadMarkNotUsed] under it, or
// lowers the last safe frame to itself; WALReadLock0 exclusively; the header
// again, which must have the same salts; [WALIndex.SetBackfillAttempted]; a
// sync of the WAL; [WALIndex.LatestFrames], the pages, a sync of the database;
// [WALIndex.SetBackfill]. (wal.c walCheckpoint)
//
// # Invariants
//
//   - Every integer read from a file is bounded before it sizes an allocation
//     or a loop. No input makes this package panic.
//   - The wal-index is used through ReadAt and WriteAt alone and is never
//     memory-mapped. A page fault on a file that this same process serves as a
//     file system cannot be pre-empted by the Go scheduler: the thread that
//     faults would wait for a goroutine that the garbage collector may have
//     stopped until that thread stops too.
//   - A WriteAt is not atomic for a process that has the wal-index mapped: the
//     kernel may copy byte by byte. What others read without a lock is written
//     so that every state between the old and the new bytes is harmless to
//     them; [WALIndex.SetBackfill] and [WALIndexWriter.Flush] say how.
package sqlite
