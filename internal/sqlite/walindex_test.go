package sqlite

import (
	"encoding/binary"
	"errors"
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
