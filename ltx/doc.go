// Package ltx reads and writes LTX files, version 3 of the format: sets of
// SQLite pages that take a database from one transaction to a later one.
//
// # Terms
//
//	TXID       number of a transaction; the first one is 1
//	commit     size of the database, in pages, after the file is applied
//	snapshot   a file whose first TXID is 1; it holds the whole database
//	lock page  the page at byte 0x40000000, which SQLite never uses
//	position   a TXID and the checksum of the database after it
//
// # Layout
//
// Integers of fixed width are big-endian. No field holds the version: all
// versions of the format share one magic, and 1 and 2 cannot be read.
//
//	+----------------+ 0
//	| header         |
//	+----------------+ 100
//	| page frame     | any number, page numbers ascending
//	| ...            |
//	+----------------+
//	| 6 bytes of 00  | end of the pages
//	+----------------+
//	| page index     |
//	+----------------+ size - 16
//	| trailer        |
//	+----------------+ size
//
// Header, 100 bytes:
//
//	offset size field
//	0      4    magic "LTX1"
//	4      4    flags: 0x2 = no database checksums; other bits must be 0
//	8      4    page size in bytes, a power of two from 512 to 65536
//	12     4    commit
//	16     8    first TXID, at least 1
//	24     8    last TXID, at least the first
//	32     8    timestamp, milliseconds since 1970, signed
//	40     8    pre-apply checksum: of the database before the first TXID
//	48     8    WAL offset: where the source WAL held the transaction; 0 = no WAL
//	56     8    WAL size in bytes; needs a WAL offset
//	64     4    WAL salt-1; needs a WAL offset
//	68     4    WAL salt-2; needs a WAL offset
//	72     8    ID of the node that wrote the file; 0 = not set
//	80     20   reserved, written as 0 and not interpreted
//
// The pre-apply checksum is 0 in a snapshot and under flag 0x2; elsewhere bit
// 63 of it is set.
//
// Page frame, one LZ4 block (written and read):
//
//	offset size field
//	0      4    page number
//	4      2    page flags = 0x0001
//	6      4    n, length of the block
//	10     n    LZ4 block that expands to exactly one page
//
// Page frame, one LZ4 frame (read only; the oldest writers of version 3):
//
//	offset size field
//	0      4    page number
//	4      2    page flags = 0x0000
//	6      n    LZ4 frame, with content checksum, that expands to exactly one page
//
// Page index: for every page frame, in order, three unsigned LEB128 numbers in
// their shortest form; then a zero and the length of what stands before it.
//
//	page number, offset of its frame in the file, length of its frame
//	...
//	00
//	8 bytes: length of all of the above, the 00 included
//
// Trailer, 16 bytes:
//
//	offset size field
//	0      8    post-apply checksum: of the database after the last TXID
//	8      8    file checksum
//
// The post-apply checksum is 0 under flag 0x2; otherwise bit 63 of it is set.
// Bit 63 of the file checksum is always set.
//
// # Checksums
//
// All are CRC-64 with the ISO polynomial (reflected, initially and finally
// inverted), with bit 63 set as a flag when they are stored, so that no stored
// checksum is 0.
//
//	page      CRC of the page number (4 bytes) and the page
//	database  XOR of the page checksums of pages 1..commit without the lock
//	          page; the flag alone if there are none. Also called rolling:
//	          replacing a page costs one XOR for the old and one for the new.
//	file      CRC of header; per frame its 6-byte header, the length if there
//	          is one and the page as expanded; the 6 zero bytes; the page
//	          index; the post-apply checksum
//
// # Invariants
//
// Encoder writes only files that meet these, Decoder accepts only such files:
//
//  1. Page numbers ascend, lie in 1..commit and are never the lock page.
//  2. A snapshot holds every page of 1..commit but the lock page, and without
//     flag 0x2 its post-apply checksum is the one of its pages.
//  3. The page index lists exactly the page frames.
//  4. The file checksum is right and nothing follows it.
//  5. A database of no pages has the flag alone for its post-apply checksum,
//     or 0 under flag 0x2.
//
// One more rule is not visible in a single file, and Compactor relies on it:
// a file that makes the database larger, or gives it another page size, holds
// every page that this adds.
//
// No part of the package holds a file's pages in memory. Encoder keeps the
// page index as it goes to disk (up to 15 bytes a page), Decoder a constant
// amount, Index 12 bytes a page. No length read from a file is allocated
// before it has been bounded.
package ltx
