package sqlite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
)

// native encodes words in native byte order.
func native(words ...uint32) []byte {
	var b []byte
	for _, w := range words {
		b = binary.NativeEndian.AppendUint32(b, w)
	}
	return b
}

func TestWALIndexHeaderLiteral(t *testing.T) {
	h := WALIndexHeader{
		Change: 7, BigEndian: true, PageSize: 65536, MaxFrame: 3, PageCount: 4,
		FrameChecksum: Checksum{5, 6}, Salt: Salt{0x01020304, 8},
	}
	want := native(3007000, 0, 7)
	want = append(want, 1, 1)
	want = binary.NativeEndian.AppendUint16(want, 1)
	want = append(want, native(3, 4, 5, 6)...)
	want = append(want, 1, 2, 3, 4, 0, 0, 0, 8)
	sum := plainChecksum(Checksum{}, binary.NativeEndian, want)
	want = append(want, native(sum[0], sum[1])...)
	want = append(want, want...)

	f := new(memFile)
	x := NewWALIndex(f)
	if err := x.WriteHeader(h); err != nil {
		t.Fatal(err)
	}
	sameBytes(t, "header", f.b, want)
	if got, err := x.Header(); err != nil || got != h {
		t.Errorf("read %+v, %v", got, err)
	}
}

func TestWALIndexHeaderInvalid(t *testing.T) {
	good := WALIndexHeader{PageSize: 4096, MaxFrame: 3}.appendTo(nil)
	// resum makes the checksum right again after a change.
	resum := func(at int, v byte) []byte {
		b := slices.Clone(good)
		b[at] = v
		sum := plainChecksum(Checksum{}, binary.NativeEndian, b[:40])
		return append(b[:40], native(sum[0], sum[1])...)
	}
	flip := func(at int) []byte {
		b := slices.Clone(good)
		b[at] ^= 1
		return b
	}
	old := WALIndexHeader{PageSize: 4096, MaxFrame: 2}.appendTo(nil)
	cases := []struct {
		name     string
		one, two []byte
		want     error
	}{
		{"missing", nil, nil, ErrWALIndexInvalid},
		{"truncated by an opener", make([]byte, 3), nil, ErrWALIndexInvalid},
		{"short", good, good[:47], ErrWALIndexInvalid},
		{"zeros", make([]byte, 48), make([]byte, 48), ErrWALIndexInvalid},
		{"copy two is newer", old, good, ErrWALIndexTorn},
		{"copies differ in the checksum", good, flip(47), ErrWALIndexTorn},
		{"copies differ in the padding", good, resum(4, 1), ErrWALIndexTorn},
		{"not initialized", resum(12, 0), resum(12, 0), ErrWALIndexInvalid},
		{"checksum", flip(16), flip(16), ErrWALIndexInvalid},
		{"version", resum(0, 0xff), resum(0, 0xff), ErrWALVersion},
		{"page size", resum(14, 3), resum(14, 3), ErrWALIndexInvalid},
	}
	for _, c := range cases {
		f := &memFile{append(slices.Clone(c.one), c.two...)}
		if _, err := NewWALIndex(f).Header(); !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", c.name, err, c.want)
		}
	}
	f := &failingWriter{}
	if _, err := NewWALIndex(readFailer{f}).Header(); !errors.Is(err, errDisk) {
		t.Errorf("error %v, want %v", err, errDisk)
	}
	if err := NewWALIndex(f).WriteHeader(WALIndexHeader{}); !errors.Is(err, errDisk) {
		t.Errorf("error %v, want %v", err, errDisk)
	}
}

// readFailer fails every read.
type readFailer struct{ SharedMemory }

func (readFailer) ReadAt([]byte, int64) (int, error) { return 0, errDisk }

func TestWALIndexHeaderOrder(t *testing.T) {
	f := &recorder{}
	if err := NewWALIndex(f).WriteHeader(WALIndexHeader{MaxFrame: 1}); err != nil {
		t.Fatal(err)
	}
	if len(f.writes) != 2 || f.writes[0].off != 48 || f.writes[1].off != 0 {
		t.Errorf("writes %+v, want copy two and then copy one", f.writes)
	}
}

// recorder remembers writes, and what they replaced.
type recorder struct {
	memFile
	writes []write
}

type write struct {
	off           int64
	before, after []byte
}

func (r *recorder) WriteAt(b []byte, off int64) (int, error) {
	before := make([]byte, len(b))
	if off < int64(len(r.b)) {
		copy(before, r.b[off:])
	}
	r.writes = append(r.writes, write{off, before, slices.Clone(b)})
	return r.memFile.WriteAt(b, off)
}

func TestWALIndexHeaderCommit(t *testing.T) {
	h := WALIndexHeader{Change: 9, PageSize: 512, MaxFrame: 1, PageCount: 1}
	cursor := WALCursor{BigEndian: true, PageSize: 4096, Salt: Salt{1, 2}, Frame: 5, Checksum: Checksum{3, 4}}
	got := h.Commit(cursor, 77)
	if want := (WALIndexHeader{Change: 10, BigEndian: true, PageSize: 4096, MaxFrame: 5, PageCount: 77, FrameChecksum: Checksum{3, 4}, Salt: Salt{1, 2}}); got != want {
		t.Errorf("commit %+v", got)
	}
	if c, ok := got.Cursor(); !ok || c != cursor {
		t.Errorf("cursor %+v, %v", c, ok)
	}
	if _, ok := (WALIndexHeader{}).Cursor(); ok {
		t.Error("an empty WAL has a cursor")
	}
}

func TestCheckpointInfoLiteral(t *testing.T) {
	f := &memFile{make([]byte, 96)}
	f.b = append(f.b, native(10, 0, 20, ReadMarkNotUsed, 40, 50)...)
	f.b = append(f.b, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8) // lock bytes
	f.b = append(f.b, native(12, 13)...)
	x := NewWALIndex(f)
	want := CheckpointInfo{Backfill: 10, BackfillAttempted: 12, ReadMark: [5]uint32{0, 20, ReadMarkNotUsed, 40, 50}}
	if got, err := x.CheckpointInfo(); err != nil || got != want {
		t.Fatalf("read %+v, %v", got, err)
	}
	if err := errors.Join(x.SetBackfill(0x01020304), x.SetBackfillAttempted(15), x.SetReadMark(1, 21), x.SetReadMark(4, 51)); err != nil {
		t.Fatal(err)
	}
	wantBytes := append(make([]byte, 96), native(0x01020304, 0, 21, ReadMarkNotUsed, 40, 51)...)
	wantBytes = append(wantBytes, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8)
	sameBytes(t, "checkpoint information", f.b, append(wantBytes, native(15, 13)...))
	for _, i := range []int{-1, 0, 5} {
		if err := x.SetReadMark(i, 1); err == nil {
			t.Errorf("read mark %d is accepted", i)
		}
	}
}

func TestCheckpointInfoErrors(t *testing.T) {
	if _, err := NewWALIndex(new(memFile)).CheckpointInfo(); !errors.Is(err, ErrWALIndexInvalid) {
		t.Errorf("missing: %v", err)
	}
	if _, err := NewWALIndex(readFailer{new(memFile)}).CheckpointInfo(); !errors.Is(err, errDisk) {
		t.Errorf("read: %v", err)
	}
	x := NewWALIndex(&restless{memFile{make([]byte, 136)}})
	if _, err := x.CheckpointInfo(); !errors.Is(err, ErrWALIndexTorn) {
		t.Errorf("restless: %v", err)
	}
	x = NewWALIndex(&failingWriter{})
	if err := x.SetBackfill(1); !errors.Is(err, errDisk) {
		t.Errorf("backfill: %v", err)
	}
	if err := x.SetReadMark(1, 1); !errors.Is(err, errDisk) {
		t.Errorf("read mark: %v", err)
	}
}

// restless changes with every read.
type restless struct{ memFile }

func (r *restless) ReadAt(b []byte, off int64) (int, error) {
	r.b[100]++
	return r.memFile.ReadAt(b, off)
}

// While the backfill grows no reader may see more than the new value.
func TestSetBackfillIsMonotonic(t *testing.T) {
	values := []uint32{0, 1, 0xff, 0x100, 0x1ff, 0x203, 0xfffe, 0x10001, 0xffffff, 0x01000000, math.MaxUint32}
	for i, from := range values {
		for _, to := range values[i:] {
			f := &recorder{}
			x := NewWALIndex(f)
			if _, err := f.WriteAt(native(from), backfillOffset); err != nil {
				t.Fatal(err)
			}
			f.writes = nil
			if err := x.SetBackfill(to); err != nil {
				t.Fatal(err)
			}
			state := native(from)
			for _, w := range f.writes {
				if len(w.after) != 1 {
					t.Fatalf("a write of %d bytes", len(w.after))
				}
				state[w.off-backfillOffset] = w.after[0]
				if v := binary.NativeEndian.Uint32(state); v > to {
					t.Errorf("from %#x to %#x by way of %#x", from, to, v)
				}
			}
			if v := binary.NativeEndian.Uint32(state); v != to {
				t.Errorf("from %#x to %#x ends at %#x", from, to, v)
			}
		}
	}
}

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
			entries := 0
			last := f.b[indexRegion(uint32(len(pgnos)))*indexRegionSize:]
			for i := indexPgnoBytes; i < indexRegionSize; i += 2 {
				if binary.NativeEndian.Uint16(last[i:]) != 0 {
					entries++
				}
			}
			if want := len(pgnos) - int(indexBase(indexRegion(uint32(len(pgnos))))); entries != want {
				t.Errorf("%d slots in the last region, want %d", entries, want)
			}
		})
	}
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
