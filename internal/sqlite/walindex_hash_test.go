package sqlite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
)

func TestIndexGeometry(t *testing.T) {
	cases := []struct {
		frame  uint32
		region int64
		base   uint32
	}{
		{1, 0, 0},
		{4062, 0, 0},
		{4063, 1, 4062},
		{8158, 1, 4062},
		{8159, 2, 8158},
		{math.MaxUint32, 1048576, 4062 + 1048575*4096},
	}
	for _, c := range cases {
		if got := indexRegion(c.frame); got != c.region {
			t.Errorf("region of frame %d: %d, want %d", c.frame, got, c.region)
		}
		if got := indexBase(c.region); got != c.base {
			t.Errorf("base of region %d: %d, want %d", c.region, got, c.base)
		}
	}
	if got := indexLast(1048576); got != math.MaxUint32 {
		t.Errorf("last frame of all: %d", got)
	}
	if got := indexHash(3); got != 1149 {
		t.Errorf("hash of page 3: %d", got)
	}
}

// buildIndex enters frames 1 to len(pgnos) and publishes them.
func buildIndex(tb testing.TB, f SharedMemory, pgnos []uint32) *WALIndexWriter {
	tb.Helper()
	w := NewWALIndexWriter(NewWALIndex(f))
	for i, pgno := range pgnos {
		if err := w.Append(uint32(i+1), pgno); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Publish(WALIndexHeader{PageSize: 512, MaxFrame: uint32(len(pgnos))}); err != nil {
		tb.Fatal(err)
	}
	return w
}

// somePgnos is a row of page numbers with many repetitions.
func somePgnos(n int) []uint32 {
	pgnos := make([]uint32, n)
	for i := range pgnos {
		pgnos[i] = 1 + uint32(i*i+i/7)%1500
	}
	return pgnos
}

// hashFind looks up as SQLite does: through the hash table alone.
// (wal.c walFindFrame)
func hashFind(b []byte, pgno, maxFrame uint32) uint32 {
	for region := indexRegion(maxFrame); region >= 0; region-- {
		block := b[region*indexRegionSize:][:indexRegionSize]
		var found uint32
		for key := indexHash(pgno); ; key = (key + 1) % indexSlots {
			entry := uint32(binary.NativeEndian.Uint16(block[indexPgnoBytes+2*key:]))
			if entry == 0 {
				break
			}
			at := indexPgnoStart(region) + 4*int(entry-1)
			if frame := indexBase(region) + entry; frame <= maxFrame && binary.NativeEndian.Uint32(block[at:]) == pgno {
				found = frame
			}
		}
		if found != 0 {
			return found
		}
	}
	return 0
}

func TestWALIndexLookup(t *testing.T) {
	for _, n := range []int{1, 2, 4061, 4062, 4063, 8157, 8158, 8159, 9000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			pgnos := somePgnos(n)
			f := new(memFile)
			x := buildIndex(t, f, pgnos).index
			if len(f.b)%indexRegionSize != 0 {
				t.Errorf("%d bytes are not whole regions", len(f.b))
			}
			for _, bound := range []int{1, n / 2, n - 1, n} {
				if bound == 0 {
					continue
				}
				testLookup(t, x, f.b, pgnos[:bound])
			}
		})
	}
}

func testLookup(t *testing.T, x *WALIndex, b []byte, pgnos []uint32) {
	t.Helper()
	last := uint32(len(pgnos))
	want := map[uint32]uint32{}
	for i, pgno := range pgnos {
		want[pgno] = uint32(i + 1)
	}
	for pgno := uint32(1); pgno <= 1501; pgno++ {
		if got := hashFind(b, pgno, last); got != want[pgno] {
			t.Fatalf("hash table: page %d up to frame %d: %d, want %d", pgno, last, got, want[pgno])
		}
		if pgno%5 != 1 {
			continue
		}
		if got, err := x.FindFrame(pgno, 0, last); err != nil || got != want[pgno] {
			t.Fatalf("page %d up to frame %d: %d, %v, want %d", pgno, last, got, err, want[pgno])
		}
		if got, err := x.FindFrame(pgno, want[pgno]+1, last); err != nil || got != 0 {
			t.Fatalf("page %d from frame %d: %d, %v, want 0", pgno, want[pgno]+1, got, err)
		}
	}
	for _, first := range []uint32{0, last / 2, last, last + 1} {
		pages, err := x.LatestFrames(first, last)
		if err != nil {
			t.Fatal(err)
		}
		var wantPages []PageFrame
		for pgno := uint32(1); pgno <= 1500; pgno++ {
			if frame := want[pgno]; frame >= first && frame != 0 {
				wantPages = append(wantPages, PageFrame{pgno, frame})
			}
		}
		if !slices.Equal(pages, wantPages) {
			t.Fatalf("frames %d to %d: %d pages, want %d", first, last, len(pages), len(wantPages))
		}
	}
}

// The list of pages stays right, and short, over many regions.
func TestLatestFramesOfManyRegions(t *testing.T) {
	const frames = 60000
	for _, distinct := range []uint32{700, 50000} {
		pgnos := make([]uint32, frames)
		for i := range pgnos {
			pgnos[i] = 1 + uint32(i)*7919%distinct
		}
		pages, err := buildIndex(t, new(memFile), pgnos).index.LatestFrames(1, frames)
		if err != nil {
			t.Fatal(err)
		}
		if len(pages) != int(distinct) || cap(pages) > max(2*int(distinct), 6*indexFrames)*5/4 {
			t.Errorf("%d pages in a list of %d, want %d", len(pages), cap(pages), distinct)
		}
		for i, p := range pages {
			if p.Pgno != uint32(i+1) || pgnos[p.Frame-1] != p.Pgno || frames-p.Frame >= distinct {
				t.Fatalf("entry %d is %+v", i, p)
			}
		}
	}
}

func TestWALIndexLookupErrors(t *testing.T) {
	f := new(memFile)
	x := buildIndex(t, f, somePgnos(100)).index
	for name, find := range map[string]func() error{
		"find":   func() error { _, err := x.FindFrame(1501, 1, 5000); return err },
		"latest": func() error { _, err := x.LatestFrames(1, 5000); return err },
		"hole":   func() error { _, err := x.LatestFrames(1, 101); return err },
		"far":    func() error { _, err := x.LatestFrames(1, math.MaxUint32); return err },
		"last":   func() error { _, err := x.LatestFrames(math.MaxUint32, math.MaxUint32); return err },
	} {
		if err := find(); !errors.Is(err, ErrWALIndexInvalid) {
			t.Errorf("%s: error %v, want %v", name, err, ErrWALIndexInvalid)
		}
	}
}
