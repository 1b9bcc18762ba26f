package sqlite

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
)

// Whatever a dead writer left past mxFrame, the next one cleans it up.
func TestWALIndexLeftovers(t *testing.T) {
	for _, c := range []struct{ committed, left, next int }{
		{0, 100, 50},
		{0, 5000, 10},
		{10, 100, 5},
		{10, 100, 200},
		{10, 5000, 1},
		{4061, 50, 20},
		{4062, 50, 20},
		{4000, 6000, 4500},
		{8158, 10, 5},
		{5000, 10, 20},
	} {
		t.Run(fmt.Sprintf("%d %d %d", c.committed, c.left, c.next), func(t *testing.T) {
			pgnos := somePgnos(c.committed)
			f := new(memFile)
			w := buildIndex(t, f, pgnos)
			for i := range c.left {
				if err := w.Append(uint32(c.committed+i+1), uint32(i%100+1)); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
			for i := range c.next {
				pgnos = append(pgnos, uint32(1400-i%90))
			}
			w = NewWALIndexWriter(NewWALIndex(f))
			for i := c.committed; i < len(pgnos); i++ {
				if err := w.Append(uint32(i+1), pgnos[i]); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Publish(WALIndexHeader{MaxFrame: uint32(len(pgnos))}); err != nil {
				t.Fatal(err)
			}
			testLookup(t, w.index, f.b, pgnos)
			region := indexRegion(uint32(len(pgnos)))
			block, want := f.b[region*indexRegionSize:], len(pgnos)-int(indexBase(region))
			if got := countNot0(block[indexPgnoStart(region):indexPgnoBytes], 4); got != want {
				t.Errorf("%d page numbers in the last region, want %d", got, want)
			}
			if got := countNot0(block[indexPgnoBytes:indexRegionSize], 2); got != want {
				t.Errorf("%d slots in the last region, want %d", got, want)
			}
		})
	}
}

// countNot0 counts the fields of n bytes that are not 0.
func countNot0(b []byte, n int) (count int) {
	for field := range slices.Chunk(b, n) {
		if !bytes.Equal(field, make([]byte, n)) {
			count++
		}
	}
	return count
}

// No write shows a reader a slot that is neither what it was, nor what it is
// to be, nor past every frame, in whatever order its bytes arrive.
func TestWALIndexFlushIsSafeForReaders(t *testing.T) {
	f := new(recorder)
	pgnos := somePgnos(3000)
	w := buildIndex(t, f, pgnos[:1000])
	for i := 1000; i < 1300; i++ {
		if err := w.Append(uint32(i+1), 1); err != nil { // to be cleaned up
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	w = NewWALIndexWriter(NewWALIndex(f))
	f.writes = nil
	for i := 1000; i < len(pgnos); i++ {
		if err := w.Append(uint32(i+1), pgnos[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	changed := 0
	for n, w := range f.writes {
		if w.off < indexPgnoBytes {
			if n != 0 {
				t.Errorf("write %d of page numbers comes after slots", n)
			}
			continue
		}
		for i := 0; i < len(w.after); i += 2 {
			if w.before[i] != w.after[i] && w.before[i+1] != w.after[i+1] {
				t.Fatalf("write %d changes both bytes of a slot", n)
			}
			was, is := binary.NativeEndian.Uint16(w.before[i:]), binary.NativeEndian.Uint16(w.after[i:])
			if was == is {
				continue
			}
			changed++
			if (was > 0 && was <= 1000) || (is > 0 && is <= 1000) {
				t.Fatalf("write %d changes a slot from %d to %d", n, was, is)
			}
		}
	}
	if changed == 0 {
		t.Error("no slot was changed")
	}
	testLookup(t, w.index, f.b, pgnos)
}

func TestWALIndexWriterErrors(t *testing.T) {
	w := NewWALIndexWriter(NewWALIndex(new(memFile)))
	if w.Append(0, 1) == nil || w.Append(1, 0) == nil {
		t.Error("frame 0 or page 0 is accepted")
	}
	w = NewWALIndexWriter(NewWALIndex(readFailer{new(memFile)}))
	if err := w.Append(1, 1); !errors.Is(err, errDisk) {
		t.Errorf("load: %v", err)
	}
	// Each write fails in its turn, and the writer recovers.
	for _, after := range []int64{0, 200, 400, indexRegionSize} {
		f := new(memFile)
		buildIndex(t, f, somePgnos(10))
		failing := &failingWriter{memFile: *f, after: after}
		w := NewWALIndexWriter(NewWALIndex(failing))
		if err := w.Append(11, 11); err != nil {
			t.Fatal(err)
		}
		if err := w.Publish(WALIndexHeader{MaxFrame: 11}); (err == nil) != (after == indexRegionSize) {
			t.Errorf("publish with writes failing after %d: %v", after, err)
		}
		failing.after = math.MaxInt64
		if err := errors.Join(w.Append(11, 12), w.Publish(WALIndexHeader{MaxFrame: 11})); err != nil {
			t.Fatal(err)
		}
		testLookup(t, w.index, failing.b, append(somePgnos(10), 12))
	}
	// A hash table without a free slot.
	f := &memFile{make([]byte, indexRegionSize)}
	for i := indexPgnoBytes; i < len(f.b); i++ {
		f.b[i] = 1
	}
	if err := NewWALIndexWriter(NewWALIndex(f)).Append(2, 1); !errors.Is(err, ErrWALIndexInvalid) {
		t.Errorf("full hash table: %v", err)
	}
}
