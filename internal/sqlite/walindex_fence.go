package sqlite

import "encoding/binary"

// fencedVersion is a wal-index version that no SQLite knows.
const fencedVersion = 0xffffffff

// FencedWALIndexHeader returns the beginning of a wal-index, both copies of the
// header, that is intact but of a version that no SQLite knows. Whoever has the
// wal-index open finds it at the start of the next transaction, which then ends
// with SQLITE_CANTOPEN; the wal-index is not rebuilt. (wal.c walIndexReadHdr)
func FencedWALIndexHeader() []byte {
	b := WALIndexHeader{}.appendTo(nil)
	binary.NativeEndian.PutUint32(b, fencedVersion)
	b = appendNativePair(b[:walIndexSumOffset], Checksum{}.Update(nativeBigEndian, b[:walIndexSumOffset]))
	return append(b, b...)
}
