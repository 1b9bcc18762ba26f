package sqlite

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// Geometry of the index blocks (walformat section 2.2; wal.c HASHTABLE_*).
const (
	indexRegionSize  = 32768
	indexSlots       = 8192
	indexFrames      = 4096
	indexFramesFirst = indexFrames - WALIndexHeaderSize/4
	indexPgnoBytes   = 4 * indexFrames // also the offset of the hash table
	indexSlotBytes   = 2 * indexSlots
)

// indexRegion returns the number, from 0, of the region that has a frame's
// entry. The frame is at least 1. (wal.c walFramePage)
func indexRegion(frame uint32) int64 {
	return (int64(frame) + indexFrames - indexFramesFirst - 1) / indexFrames
}

// indexBase returns the number of the frame before the region's first; an
// entry's 1-based index is its frame's number less this. (wal.c walHashGet)
func indexBase(region int64) uint32 {
	return indexLast(region - 1)
}

// indexLast returns the number of the last frame whose entry a region has.
func indexLast(region int64) uint32 {
	return uint32(min(max(0, indexFramesFirst+region*indexFrames), math.MaxUint32))
}

// indexPgnoStart returns where in a region the page numbers begin.
func indexPgnoStart(region int64) int {
	if region == 0 {
		return WALIndexHeaderSize
	}
	return 0
}

// indexHash returns the slot where the search for a page number starts.
// (walformat section 2.2; wal.c walHash)
func indexHash(pgno uint32) uint32 { return pgno * 383 % indexSlots }

// PageFrame says which frame holds a page.
type PageFrame struct {
	Pgno  uint32
	Frame uint32
}

// FindFrame returns the last frame from minFrame to maxFrame that holds page
// pgno, or 0 if none does. A reader has mxFrame of its snapshot for maxFrame
// and one more than the backfill for minFrame, and keeps the WAL from being
// restarted meanwhile. (wal.c walFindFrame)
//
// It goes by the page numbers and leaves the hash table alone. The entries up
// to maxFrame do not change under a reader, but a slot that another process is
// filling at this moment can appear half written through ReadAt and lead to an
// older frame. The price is up to 16 KiB read for each 4096 frames; to look up
// many pages use [WALIndex.LatestFrames].
func (x *WALIndex) FindFrame(pgno, minFrame, maxFrame uint32) (uint32, error) {
	minFrame = max(minFrame, 1)
	for last := maxFrame; last >= minFrame; {
		first := max(minFrame, indexBase(indexRegion(last))+1)
		entries, err := x.readPgnos(first, last)
		if err != nil {
			return 0, fmt.Errorf("look page %d up in wal-index: %w", pgno, err)
		}
		for i := len(entries) - 4; i >= 0; i -= 4 {
			if binary.NativeEndian.Uint32(entries[i:]) == pgno {
				return first + uint32(i)/4, nil
			}
		}
		last = first - 1
	}
	return 0, nil
}

// LatestFrames returns, in ascending order of page numbers, every page that
// has a frame from number first to last, with its newest one in that range.
// The caller holds WALCkptLock or otherwise keeps the WAL from being
// restarted. (wal.c walIteratorInit, walIteratorNext)
//
// A checkpoint calls it with one more than the backfill and the last frame
// that is safe for all readers, and skips pages past the page count of the
// header. The memory in use is about 16 bytes for each page returned, or for
// each frame of a few regions if that is more; who wants less may divide the
// range, and so copy some pages more than once.
func (x *WALIndex) LatestFrames(first, last uint32) ([]PageFrame, error) {
	var pages []PageFrame
	limit := 4 * indexFrames
	for first = max(first, 1); first <= last; {
		end := min(last, indexLast(indexRegion(first)))
		entries, err := x.readPgnos(first, end)
		if err != nil {
			return nil, fmt.Errorf("list pages of wal-index: %w", err)
		}
		for i := 0; i < len(entries); i += 4 {
			pgno := binary.NativeEndian.Uint32(entries[i:])
			if pgno == 0 {
				return nil, fmt.Errorf("list pages of wal-index: %w: frame %d has no page number", ErrWALIndexInvalid, first+uint32(i)/4)
			}
			pages = append(pages, PageFrame{Pgno: pgno, Frame: first + uint32(i)/4})
		}
		if len(pages) >= limit {
			pages = newestOfEach(pages)
			limit = max(limit, 2*len(pages))
		}
		if first = end + 1; first == 0 {
			break
		}
	}
	return newestOfEach(pages), nil
}

// newestOfEach sorts by page number and drops all but the newest frame of each
// page, in place.
func newestOfEach(pages []PageFrame) []PageFrame {
	key := func(p PageFrame) uint64 { return uint64(p.Pgno)<<32 | uint64(^p.Frame) }
	slices.SortFunc(pages, func(a, b PageFrame) int { return cmp.Compare(key(a), key(b)) })
	return slices.CompactFunc(pages, func(a, b PageFrame) bool { return a.Pgno == b.Pgno })
}

// readPgnos returns the encoded page numbers of frames first to last of one
// region, in scratch space.
func (x *WALIndex) readPgnos(first, last uint32) ([]byte, error) {
	region := indexRegion(first)
	b := x.scratch[:4*(last-first+1)]
	off := region*indexRegionSize + int64(indexPgnoStart(region)) + 4*int64(first-indexBase(region)-1)
	return b, x.read(b, off)
}
