package sqlite

import (
	"encoding/binary"
	"errors"
	"io"
)

// fencedVersion is a wal-index version that no SQLite knows.
const fencedVersion = 0xffffffff

// FenceWALIndex gives both copies of the header a version that no SQLite knows.
// Whoever has the wal-index open finds it at the start of the next transaction,
// which then ends with SQLITE_CANTOPEN; the wal-index is not rebuilt. (wal.c
// walIndexReadHdr)
//
// All else stays as it is, for the sake of a transaction that is under way: its
// writer overwrites frames in place if they lie behind the mxFrame that it finds
// there, and takes them for its own. (wal.c walFrames) So mxFrame may be too
// large, never too small. Nobody should be able to commit between this function's
// read and its write.
func FenceWALIndex(shm SharedMemory) error {
	b := make([]byte, 2*walIndexCopySize)
	if _, err := shm.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	one, two := b[:walIndexCopySize], b[walIndexCopySize:]
	fenced := one
	if binary.NativeEndian.Uint32(two[16:]) > binary.NativeEndian.Uint32(one[16:]) {
		fenced = two
	}
	binary.NativeEndian.PutUint32(fenced, fencedVersion)
	fenced[12] = 1 // initialized: nobody shall rebuild it
	sum := Checksum{}.Update(nativeBigEndian, fenced[:walIndexSumOffset])
	fenced = appendNativePair(fenced[:walIndexSumOffset:walIndexSumOffset], sum)
	_, err := shm.WriteAt(append(fenced, fenced...), 0)
	return err
}
