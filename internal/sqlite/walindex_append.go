package sqlite

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// WALIndexWriter enters frames into the wal-index and publishes them. It lives
// while its owner holds WALWriteLock and not longer: it remembers the region
// at which it is working, which no one else can change meanwhile. Make a new
// one, or call Forget, after the lock was given up and taken again. One
// goroutine at a time may use it.
type WALIndexWriter struct {
	index  *WALIndex
	region int64                 // that is loaded, or -1
	short  bool                  // the file ends inside the region
	block  [indexRegionSize]byte // the region as it is to be
	slots  [indexSlotBytes]byte  // the hash table as the file has it
	pgnos  span                  // bytes of block to write
	keys   []uint32              // slots of block to write
}

// span is a range of byte offsets, empty if lo is hi.
type span struct{ lo, hi int }

func (s *span) add(lo, hi int) {
	if s.lo == s.hi {
		*s = span{lo, hi}
		return
	}
	*s = span{min(s.lo, lo), max(s.hi, hi)}
}

// NewWALIndexWriter returns a writer for the holder of WALWriteLock.
func NewWALIndexWriter(index *WALIndex) *WALIndexWriter {
	return &WALIndexWriter{index: index, region: -1}
}

// Forget drops what the writer remembers and has not flushed.
func (w *WALIndexWriter) Forget() {
	w.region, w.short, w.pgnos, w.keys = -1, false, span{}, w.keys[:0]
}

// Append enters that a frame holds page pgno. Frames come in order, the first
// being one more than mxFrame. Entries that a writer left behind when it died
// or rolled back are removed on the way. The entry may stay in memory until
// Flush or Publish. (wal.c walIndexAppend)
func (w *WALIndexWriter) Append(frame, pgno uint32) error {
	if frame == 0 || pgno == 0 {
		return fmt.Errorf("append to wal-index: frame %d, page %d", frame, pgno)
	}
	region := indexRegion(frame)
	if err := w.load(region); err != nil {
		return fmt.Errorf("append frame %d to wal-index: %w", frame, err)
	}
	entry := frame - indexBase(region) // 1-based, as in the slots
	at := indexPgnoStart(region) + 4*int(entry-1)
	if entry == 1 || binary.NativeEndian.Uint32(w.block[at:]) != 0 {
		w.cleanup(at, entry-1)
	}
	key := indexHash(pgno)
	for occupied := uint32(0); w.slot(key) != 0; key = (key + 1) % indexSlots {
		if occupied++; occupied > entry {
			return fmt.Errorf("append frame %d to wal-index: %w: hash table too full", frame, ErrWALIndexInvalid)
		}
	}
	binary.NativeEndian.PutUint32(w.block[at:], pgno)
	w.pgnos.add(at, at+4)
	w.setSlot(key, uint16(entry))
	return nil
}

// Publish flushes and then writes the header: with it the frames up to
// h.MaxFrame become visible to readers. The frames themselves must have been
// written before. (wal.c walFrames)
func (w *WALIndexWriter) Publish(h WALIndexHeader) error {
	if err := w.Flush(); err != nil {
		return err
	}
	return w.index.WriteHeader(h)
}

// Flush writes the entries that are still in memory. Readers cannot use them
// before a header with a higher mxFrame is published.
//
// Page numbers are written before slots, so that a writer that finds a
// half-written state finds a page number past mxFrame and cleans up. Readers
// walk the slots meanwhile and must not see one half changed: 0 on its way to
// 0x0123 could be 0x0023 for a moment, an older frame of the same page. A slot
// is changed in three writes, each of one of its bytes: the upper one to 0xff,
// which makes it an entry past any reader's mxFrame, then the lower one, then
// the upper one to its value.
func (w *WALIndexWriter) Flush() error {
	if w.region < 0 || (w.pgnos == span{} && len(w.keys) == 0 && !w.short) {
		return nil
	}
	err := w.flushRegion()
	if err != nil {
		err = fmt.Errorf("write wal-index region %d: %w", w.region, err)
		w.Forget()
	}
	return err
}

func (w *WALIndexWriter) flushRegion() error {
	base := w.region * indexRegionSize
	if start := indexPgnoStart(w.region); w.short {
		// Nobody maps what is not there. SQLite needs regions to be whole.
		if _, err := w.index.shm.WriteAt(w.block[start:], base+int64(start)); err != nil {
			return err
		}
	} else {
		p := w.pgnos
		if _, err := w.index.shm.WriteAt(w.block[p.lo:p.hi], base+int64(p.lo)); err != nil {
			return err
		}
		if err := w.flushSlots(base + indexPgnoBytes); err != nil {
			return err
		}
	}
	copy(w.slots[:], w.block[indexPgnoBytes:])
	w.short, w.pgnos, w.keys = false, span{}, w.keys[:0]
	return nil
}

// flushSlots writes the range that has the slots in keys to the hash table at
// offset base, three times.
func (w *WALIndexWriter) flushSlots(base int64) error {
	if len(w.keys) == 0 {
		return nil
	}
	lo, hi := 2*slices.Min(w.keys), 2*slices.Max(w.keys)+2
	b := w.index.scratch[:copy(w.index.scratch[:], w.slots[lo:hi])]
	steps := [...]func(from, to uint16) uint16{
		func(from, _ uint16) uint16 { return from | 0xff00 },
		func(_, to uint16) uint16 { return to | 0xff00 },
		func(_, to uint16) uint16 { return to },
	}
	for _, step := range steps {
		for _, key := range w.keys {
			if from, to := binary.NativeEndian.Uint16(w.slots[2*key:]), w.slot(key); from != to {
				binary.NativeEndian.PutUint16(b[2*key-lo:], step(from, to))
			}
		}
		if _, err := w.index.shm.WriteAt(b, base+int64(lo)); err != nil {
			return err
		}
	}
	return nil
}

// load makes region the one that is worked at. A region that the file does not
// have yet, or not whole, is taken as zeros.
func (w *WALIndexWriter) load(region int64) error {
	if w.region == region {
		return nil
	}
	if err := w.Flush(); err != nil {
		return err
	}
	w.Forget()
	n, err := readFullAt(w.index.shm, w.block[:], region*indexRegionSize)
	if err != nil && !isShort(err) {
		return err
	}
	clear(w.block[n:])
	copy(w.slots[:], w.block[indexPgnoBytes:])
	w.region, w.short = region, err != nil
	return nil
}

// cleanup removes the entries past limit, whose page numbers begin at byte at.
// (wal.c walCleanupHash; with limit 0 what walIndexAppend does for the first
// entry of a block)
func (w *WALIndexWriter) cleanup(at int, limit uint32) {
	for key := range uint32(indexSlots) {
		if uint32(w.slot(key)) > limit {
			w.setSlot(key, 0)
		}
	}
	clear(w.block[at:indexPgnoBytes])
	w.pgnos.add(at, indexPgnoBytes)
}

func (w *WALIndexWriter) slot(key uint32) uint16 {
	return binary.NativeEndian.Uint16(w.block[indexPgnoBytes+2*key:])
}

func (w *WALIndexWriter) setSlot(key uint32, entry uint16) {
	binary.NativeEndian.PutUint16(w.block[indexPgnoBytes+2*key:], entry)
	w.keys = append(w.keys, key)
}
