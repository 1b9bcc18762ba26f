package sqlite

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

func TestRebuild(t *testing.T) {
	h := WALHeader{BigEndian: true, PageSize: 512, Sequence: 4, Salt: Salt{5, 6}}
	wal := makeWAL(t, h, 0, 2, 3, 0)
	s := NewWALScanner(wal, h.Start(), 3)
	for s.Next() {
	}
	committed := WALIndexHeader{
		BigEndian: true, PageSize: 512, MaxFrame: 3, PageCount: 3, FrameChecksum: s.Cursor().Checksum, Salt: h.Salt,
	}
	version := append([]byte(nil), wal.b...)
	version[7]++
	sum := plainChecksum(Checksum{}, binary.BigEndian, version[:24])
	copy(version[24:], be32(sum[0], sum[1]))

	used := [5]uint32{0, 11, 12, 13, 14}
	empty := [5]uint32{0, ReadMarkNotUsed, ReadMarkNotUsed, ReadMarkNotUsed, ReadMarkNotUsed}
	cases := []struct {
		name   string
		wal    []byte
		size   int // less than the file
		locked []int
		want   WALIndexHeader
		marks  [5]uint32
		err    error
	}{
		{"committed", wal.b, 0, []int{1, 2, 3, 4}, committed, [5]uint32{0, 3, ReadMarkNotUsed, ReadMarkNotUsed, ReadMarkNotUsed}, nil},
		{"live readers", wal.b, 0, []int{2, 4}, committed, [5]uint32{0, 11, ReadMarkNotUsed, 13, ReadMarkNotUsed}, nil},
		{"nothing committed", wal.b[:32+536], 0, []int{1, 2, 3, 4}, WALIndexHeader{BigEndian: true, Salt: h.Salt}, empty, nil},
		{"no WAL", nil, 0, []int{1, 2, 3, 4}, WALIndexHeader{}, empty, nil},
		{"header alone", wal.b[:32], 0, []int{1, 2, 3, 4}, WALIndexHeader{}, empty, nil},
		{"size of the header", wal.b, len(wal.b) - 32, nil, WALIndexHeader{}, used, nil},
		{"damaged header", append([]byte{0}, wal.b[1:]...), 0, nil, WALIndexHeader{}, used, nil},
		{"version", version, 0, nil, WALIndexHeader{}, used, ErrWALVersion},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f := new(memFile)
			x := NewWALIndex(f)
			for i := 1; i < WALReadMarks; i++ {
				if err := x.SetReadMark(i, used[i]); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(x.SetBackfill(100), x.SetBackfillAttempted(101)); err != nil {
				t.Fatal(err)
			}
			got, err := NewWALIndexWriter(x).Rebuild(bytes.NewReader(c.wal), int64(len(c.wal)-c.size), c.locked...)
			if !errors.Is(err, c.err) || got != c.want {
				t.Fatalf("rebuilt %+v, %v", got, err)
			}
			if c.err != nil {
				return
			}
			if read, err := x.Header(); err != nil || read != got {
				t.Errorf("header %+v, %v", read, err)
			}
			if len(f.b) != indexRegionSize {
				t.Errorf("%d bytes", len(f.b))
			}
			want := CheckpointInfo{BackfillAttempted: c.want.MaxFrame, ReadMark: c.marks}
			if info, err := x.CheckpointInfo(); err != nil || info != want {
				t.Errorf("checkpoint information %+v, %v, want %+v", info, err, want)
			}
		})
	}
}

// A rebuild that fails at any write returns the error and publishes nothing.
func TestRebuildErrors(t *testing.T) {
	h := WALHeader{PageSize: 512}
	wal := makeWAL(t, h, 1, 2)
	for failAt := 0; ; failAt++ {
		f := &failingAt{n: failAt}
		_, err := NewWALIndexWriter(NewWALIndex(f)).Rebuild(wal, int64(len(wal.b)), 1, 2, 3, 4)
		if f.n >= 0 {
			if failAt < 10 || err != nil {
				t.Errorf("%d writes, %v", failAt, err)
			}
			break
		}
		if !errors.Is(err, errDisk) {
			t.Errorf("write %d: error %v, want %v", failAt, err, errDisk)
		}
		if _, err := NewWALIndex(f).Header(); err == nil {
			t.Errorf("write %d: a header was published", failAt)
		}
	}
	x := NewWALIndex(new(memFile))
	for _, after := range []int64{0, 32} {
		if _, err := NewWALIndexWriter(x).Rebuild(failingReader{wal, after}, int64(len(wal.b))); !errors.Is(err, errDisk) {
			t.Errorf("error %v, want %v", err, errDisk)
		}
	}
	if _, err := NewWALIndexWriter(NewWALIndex(readFailer{x.shm})).Rebuild(new(memFile), 0); !errors.Is(err, errDisk) {
		t.Errorf("error %v, want %v", err, errDisk)
	}
}

// failingAt fails its n-th write, counted from 0.
type failingAt struct {
	memFile
	n int
}

func (f *failingAt) WriteAt(b []byte, off int64) (int, error) {
	if f.n--; f.n == -1 {
		return 0, errDisk
	}
	return f.memFile.WriteAt(b, off)
}

func TestRestart(t *testing.T) {
	f := new(memFile)
	w := buildIndex(t, f, somePgnos(10))
	x := w.index
	before, err := x.Header()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(x.SetBackfill(10), x.SetBackfillAttempted(10), x.SetReadMark(1, 10), x.SetReadMark(2, 9)); err != nil {
		t.Fatal(err)
	}
	after, err := w.Restart(before, 0xabcd)
	if err != nil {
		t.Fatal(err)
	}
	want := before
	want.MaxFrame, want.Salt = 0, Salt{before.Salt[0] + 1, 0xabcd}
	if read, err := x.Header(); err != nil || after != want || read != want {
		t.Errorf("header %+v, %+v, %v, want %+v", after, read, err, want)
	}
	wantInfo := CheckpointInfo{ReadMark: [5]uint32{0, 0, ReadMarkNotUsed, ReadMarkNotUsed, ReadMarkNotUsed}}
	if info, err := x.CheckpointInfo(); err != nil || info != wantInfo {
		t.Errorf("checkpoint information %+v, %v, want %+v", info, err, wantInfo)
	}

	// Were the process to die after any of the writes, the backfill would
	// not be past mxFrame.
	for failAt := 0; ; failAt++ {
		f := &failingAt{memFile: memFile{bytes.Clone(f.b)}, n: 1 << 20}
		x := NewWALIndex(f)
		if err := errors.Join(x.WriteHeader(before), x.SetBackfill(10)); err != nil {
			t.Fatal(err)
		}
		f.n = failAt
		_, err := NewWALIndexWriter(x).Restart(before, 1)
		if f.n >= 0 {
			if failAt < 10 || err != nil {
				t.Errorf("%d writes, %v", failAt, err)
			}
			break
		}
		if !errors.Is(err, errDisk) {
			t.Errorf("write %d: error %v, want %v", failAt, err, errDisk)
		}
		info, err := x.CheckpointInfo()
		if err != nil {
			t.Fatal(err)
		}
		if h, err := x.Header(); err == nil && info.Backfill > h.MaxFrame {
			t.Errorf("write %d: backfill %d, mxFrame %d", failAt, info.Backfill, h.MaxFrame)
		} else if err != nil && !errors.Is(err, ErrWALIndexTorn) {
			t.Errorf("write %d: header: %v", failAt, err)
		}
	}
}
