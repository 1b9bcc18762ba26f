package sqlite

import (
	"encoding/binary"
	"fmt"
)

// WALReadMarks is the number of read marks and of the locks that belong to
// them (wal.c WAL_NREADER).
const WALReadMarks = 5

// ReadMarkNotUsed is the value of a read mark that no reader has set
// (wal.c READMARK_NOT_USED).
const ReadMarkNotUsed = 0xffffffff

// Offsets in the wal-index (wal.c WalCkptInfo).
const (
	backfillOffset          = 96
	readMarkOffset          = 100
	backfillAttemptedOffset = 128
	checkpointInfoEnd       = 132
)

// tornReads bounds how often CheckpointInfo reads again when what it reads
// keeps changing.
const tornReads = 16

// CheckpointInfo is the part of the wal-index by which checkpointers and
// readers keep out of each other's way (walformat sections 2.1.2 and 2.1.3;
// wal.c WalCkptInfo).
type CheckpointInfo struct {
	// Backfill is the number of frames, from the first on, that the database
	// file has.
	Backfill uint32

	// BackfillAttempted is how far a checkpoint has tried to get; frames
	// from Backfill to here may or may not be in the database file.
	BackfillAttempted uint32

	// ReadMark holds, for each WALReadLock, the frame up to which readers
	// under that lock read the WAL. No frame past it may be backfilled while
	// the lock is held. Mark 0 is always 0: its readers ignore the WAL.
	ReadMark [WALReadMarks]uint32
}

// CheckpointInfo reads the checkpoint information. It reads until it has seen
// the same twice, since another process may change a field in the middle of a
// read; [ErrWALIndexTorn] says that it gave up. (wal.c walCkptInfo)
func (x *WALIndex) CheckpointInfo() (CheckpointInfo, error) {
	const size = checkpointInfoEnd - backfillOffset
	b, again := x.scratch[:size], x.scratch[size:2*size]
	for range tornReads {
		for _, b := range [][]byte{b, again} {
			// The lock bytes in between are read but not looked at.
			if err := x.read(b, backfillOffset); err != nil {
				return CheckpointInfo{}, fmt.Errorf("read checkpoint information: %w", err)
			}
		}
		if string(b) == string(again) {
			return parseCheckpointInfo(b), nil
		}
	}
	return CheckpointInfo{}, fmt.Errorf("read checkpoint information: %w", ErrWALIndexTorn)
}

func parseCheckpointInfo(b []byte) CheckpointInfo {
	u32 := func(off int) uint32 { return binary.NativeEndian.Uint32(b[off-backfillOffset:]) }
	info := CheckpointInfo{Backfill: u32(backfillOffset), BackfillAttempted: u32(backfillAttemptedOffset)}
	for i := range info.ReadMark {
		info.ReadMark[i] = u32(readMarkOffset + 4*i)
	}
	return info
}

// SetBackfill sets Backfill. The caller holds WALCkptLock and has the frames
// in the database file, synced if they are to survive a loss of power.
// (wal.c walCheckpoint)
//
// Readers load the field at any time without a lock and take it as a promise.
// It is therefore written one byte at a time from the least significant up:
// while it grows, every state in between is at most the new value, and too low
// a value only makes a reader look at more of the WAL.
func (x *WALIndex) SetBackfill(frame uint32) error {
	b := x.scratch[:4]
	binary.NativeEndian.PutUint32(b, frame)
	for i := range b {
		at := i
		if nativeBigEndian {
			at = len(b) - 1 - i
		}
		if _, err := x.shm.WriteAt(b[at:at+1], backfillOffset+int64(at)); err != nil {
			return fmt.Errorf("write wal-index backfill: %w", err)
		}
	}
	return nil
}

// SetBackfillAttempted sets BackfillAttempted. The caller holds WALCkptLock,
// and does this before it writes to the database file. (wal.c walCheckpoint)
func (x *WALIndex) SetBackfillAttempted(frame uint32) error {
	return x.setField("backfill attempted", backfillAttemptedOffset, frame)
}

// SetReadMark sets read mark i, from 1 to 4. The caller holds the mark's lock
// exclusively; readers look at the mark again when they have the lock, so a
// torn value cannot mislead them. (wal.c walTryBeginRead)
func (x *WALIndex) SetReadMark(i int, frame uint32) error {
	if i < 1 || i >= WALReadMarks {
		return fmt.Errorf("write wal-index read mark: no mark %d", i)
	}
	return x.setField("read mark", readMarkOffset+4*int64(i), frame)
}

func (x *WALIndex) setField(name string, off int64, v uint32) error {
	b := x.scratch[:4]
	binary.NativeEndian.PutUint32(b, v)
	if _, err := x.shm.WriteAt(b, off); err != nil {
		return fmt.Errorf("write wal-index %s: %w", name, err)
	}
	return nil
}
