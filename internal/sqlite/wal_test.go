package sqlite

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

// plainChecksum is the algorithm as fileformat2 section 4.2 writes it down.
func plainChecksum(c Checksum, order binary.ByteOrder, b []byte) Checksum {
	for i := 0; i+8 <= len(b); i += 8 {
		c[0] += order.Uint32(b[i:]) + c[1]
		c[1] += order.Uint32(b[i+4:]) + c[0]
	}
	return c
}

func TestChecksum(t *testing.T) {
	b := []byte{1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 4}
	if got, want := (Checksum{}).Update(false, b[:8]), (Checksum{1, 3}); got != want {
		t.Errorf("little-endian: %v, want %v", got, want)
	}
	if got, want := (Checksum{1, 3}).Update(true, b[8:]), (Checksum{7, 14}); got != want {
		t.Errorf("big-endian: %v, want %v", got, want)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for n := range 300 {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		start := Checksum{random.Uint32(), random.Uint32()}
		if got, want := start.Update(false, b), plainChecksum(start, binary.LittleEndian, b); got != want {
			t.Fatalf("little-endian, %d bytes: %x, want %x", n, got, want)
		}
		if got, want := start.Update(true, b), plainChecksum(start, binary.BigEndian, b); got != want {
			t.Fatalf("big-endian, %d bytes: %x, want %x", n, got, want)
		}
	}
}

func TestWALHeaderLiteral(t *testing.T) {
	little := []byte{
		0x37, 0x7f, 0x06, 0x82, 0x00, 0x2d, 0xe2, 0x18, 0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x01,
		0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x02,
	}
	sum := plainChecksum(Checksum{}, binary.LittleEndian, little)
	little = append(little, be32(sum[0], sum[1])...)
	h := WALHeader{PageSize: 4096, Sequence: 1, Salt: Salt{1, 2}}
	sameBytes(t, "little-endian", h.AppendTo(nil), little)
	if got, err := ParseWALHeader(little); err != nil || got != h {
		t.Errorf("parsed %+v, %v", got, err)
	}
	// The same header for big-endian checksums.
	h.BigEndian = true
	big := h.AppendTo([]byte("x"))[1:]
	if big[3] != 0x83 {
		t.Errorf("magic number %x", big[:4])
	}
	if got := decodeChecksum(big[24:]); got != plainChecksum(Checksum{}, binary.BigEndian, big[:24]) {
		t.Errorf("big-endian checksum %x", got)
	}
	if got := h.Start(); got != (WALCursor{BigEndian: true, PageSize: 4096, Salt: Salt{1, 2}, Checksum: decodeChecksum(big[24:])}) {
		t.Errorf("start %+v", got)
	}
	if got := h.Next(77); got != (WALHeader{BigEndian: true, PageSize: 4096, Sequence: 2, Salt: Salt{2, 77}}) {
		t.Errorf("next %+v", got)
	}
}

func TestParseWALHeaderInvalid(t *testing.T) {
	good := WALHeader{PageSize: 4096}.AppendTo(nil)
	version := append([]byte(nil), good[:24]...)
	version[7]++
	sum := plainChecksum(Checksum{}, binary.LittleEndian, version)
	version = append(version, be32(sum[0], sum[1])...)
	flip := func(i int) []byte {
		b := append([]byte(nil), good...)
		b[i] ^= 4
		return b
	}
	cases := []struct {
		name string
		b    []byte
		want error
	}{
		{"empty", nil, ErrWALHeader},
		{"short", good[:31], ErrWALHeader},
		{"zeros", make([]byte, 32), ErrWALHeader},
		{"magic", flip(3), ErrWALHeader},
		{"page size 0", WALHeader{}.AppendTo(nil), ErrWALHeader},
		{"page size 256", WALHeader{PageSize: 256}.AppendTo(nil), ErrWALHeader},
		{"page size 1", WALHeader{PageSize: 1}.AppendTo(nil), ErrWALHeader},
		{"salt", flip(17), ErrWALHeader},
		{"checksum", flip(31), ErrWALHeader},
		{"version and checksum", flip(7), ErrWALHeader},
		{"version", version, ErrWALVersion},
	}
	for _, c := range cases {
		if _, err := ParseWALHeader(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", c.name, err, c.want)
		}
		if _, err := ReadWALHeader(bytes.NewReader(c.b)); !errors.Is(err, c.want) {
			t.Errorf("%s: read: error %v, want %v", c.name, err, c.want)
		}
	}
	if _, err := ReadWALHeader(failingReader{bytes.NewReader(good), 0}); !errors.Is(err, errDisk) {
		t.Errorf("error %v, want %v", err, errDisk)
	}
}

func TestWALFrameLiteral(t *testing.T) {
	h := WALFrameHeader{Pgno: 7, Commit: 9, Salt: Salt{1, 2}, Checksum: Checksum{3, 4}}
	b := be32(7, 9, 1, 2, 3, 4)
	sameBytes(t, "frame header", h.AppendTo(nil), b)
	if got := ParseWALFrameHeader(b); got != h {
		t.Errorf("parsed %+v", got)
	}
	for _, c := range []struct {
		frame, pageSize uint32
		want            int64
	}{{1, 4096, 32}, {2, 4096, 32 + 4120}, {3, 512, 32 + 2*536}, {1 << 31, 65536, 32 + (1<<31-1)*65560}} {
		if got := WALFrameOffset(c.frame, c.pageSize); got != c.want {
			t.Errorf("offset of frame %d: %d, want %d", c.frame, got, c.want)
		}
	}
	for _, c := range []struct {
		size int64
		want uint32
	}{{0, 0}, {32, 0}, {32 + 535, 0}, {32 + 536, 1}, {32 + 3*536 - 1, 2}, {1 << 60, 1<<32 - 1}} {
		if got := WALFrames(c.size, 512); got != c.want {
			t.Errorf("frames in %d bytes: %d, want %d", c.size, got, c.want)
		}
	}
}

// makeWAL writes a WAL with one frame for each entry of commits, which are the
// page counts of the frame headers. Frame n holds page n.
func makeWAL(tb testing.TB, h WALHeader, commits ...uint32) *memFile {
	tb.Helper()
	f := new(memFile)
	if err := WriteWALHeader(f, h); err != nil {
		tb.Fatal(err)
	}
	w := NewWALWriter(f, h.Start())
	for i, commit := range commits {
		if err := w.WriteFrame(uint32(i+1), commit, bytes.Repeat([]byte{byte(i + 1)}, int(h.PageSize))); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		tb.Fatal(err)
	}
	if got := w.Cursor(); got.Frame != uint32(len(commits)) || got.Offset() != int64(len(f.b)) {
		tb.Fatalf("cursor %+v after %d frames in %d bytes", got, len(commits), len(f.b))
	}
	return f
}

func TestWALScanner(t *testing.T) {
	for _, bigEndian := range []bool{false, true} {
		for _, pageSize := range pageSizes {
			t.Run(fmt.Sprintf("%d big-endian %v", pageSize, bigEndian), func(t *testing.T) {
				h := WALHeader{BigEndian: bigEndian, PageSize: pageSize, Salt: Salt{5, 6}}
				testWALScanner(t, h, makeWAL(t, h, 0, 0, 3, 4, 0, 6, 0))
			})
		}
	}
}

func testWALScanner(t *testing.T, h WALHeader, f *memFile) {
	t.Helper()
	s := NewWALScanner(f, h.Start(), 1000)
	cursors := []WALCursor{s.Cursor()}
	for s.Next() {
		n := s.Cursor().Frame
		if s.Frame().Frame != n || s.Frame().Pgno != n || !bytes.Equal(s.Page(), bytes.Repeat([]byte{byte(n)}, int(h.PageSize))) {
			t.Fatalf("frame %d: %+v", n, s.Frame())
		}
		cursors = append(cursors, s.Cursor())
	}
	if s.Err() != nil || s.Stop() != StopShort || len(cursors) != 8 {
		t.Fatalf("%d cursors, stop %v, error %v", len(cursors), s.Stop(), s.Err())
	}
	if c, n := s.Commit(); n != 6 || c != cursors[6] {
		t.Errorf("commit %+v with %d pages", c, n)
	}
	// From any cursor to any limit.
	for from := range cursors {
		if holds, err := cursors[from].Holds(f); err != nil || !holds {
			t.Errorf("WAL does not hold cursor %d: %v", from, err)
		}
		for limit := range 10 {
			s.Reset(cursors[from], uint32(limit))
			n := from
			for s.Next() {
				n++
			}
			want, reason := max(from, min(limit, 7)), StopLimit
			if limit > 7 {
				reason = StopShort
			}
			if n != want || s.Cursor() != cursors[want] || s.Stop() != reason {
				t.Errorf("from %d to limit %d: frame %d, stop %v", from, limit, n, s.Stop())
			}
		}
	}
	s.Reset(cursors[6], 1000)
	for s.Next() {
	}
	if _, n := s.Commit(); n != 0 {
		t.Errorf("commit of %d pages behind the last one", n)
	}
}

func TestWALScannerStops(t *testing.T) {
	h := WALHeader{PageSize: 512, Salt: Salt{5, 6}}
	frame := func(n uint32) int { return int(WALFrameOffset(n, 512)) }
	cases := []struct {
		name   string
		change func(b []byte) []byte
		frames uint32
		stop   StopReason
	}{
		{"page number", func(b []byte) []byte { b[frame(3)+3]++; return b }, 2, StopChecksum},
		{"page number 0", func(b []byte) []byte { b[frame(3)+3] = 0; return b }, 2, StopPgno},
		{"commit", func(b []byte) []byte { b[frame(3)+7]++; return b }, 2, StopChecksum},
		{"salt 1", func(b []byte) []byte { b[frame(3)+11]++; return b }, 2, StopSalt},
		{"salt 2", func(b []byte) []byte { b[frame(3)+15]++; return b }, 2, StopSalt},
		{"checksum", func(b []byte) []byte { b[frame(3)+23]++; return b }, 2, StopChecksum},
		{"page", func(b []byte) []byte { b[frame(3)+24+511]++; return b }, 2, StopChecksum},
		{"first frame", func(b []byte) []byte { b[frame(1)+24]++; return b }, 0, StopChecksum},
		{"cut in page", func(b []byte) []byte { return b[:frame(4)-1] }, 2, StopShort},
		{"cut in header", func(b []byte) []byte { return b[:frame(3)+10] }, 2, StopShort},
		{"header alone", func(b []byte) []byte { return b[:32] }, 0, StopShort},
		{"zeros", func(b []byte) []byte { clear(b[frame(3):]); return b }, 2, StopSalt},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f := makeWAL(t, h, 1, 2, 3, 4)
			f.b = c.change(f.b)
			s := NewWALScanner(f, h.Start(), 1000)
			for s.Next() {
			}
			if got := s.Cursor().Frame; got != c.frames || s.Stop() != c.stop || s.Err() != nil {
				t.Errorf("%d frames, stop %v, error %v; want %d, %v", got, s.Stop(), s.Err(), c.frames, c.stop)
			}
			if s.Next() {
				t.Error("Next goes on after the end")
			}
		})
	}
}

// A WAL cut at any byte gives a prefix of its frames.
func TestWALScannerTruncated(t *testing.T) {
	h := WALHeader{PageSize: 512, Salt: Salt{5, 6}}
	f := makeWAL(t, h, 0, 2, 0, 4)
	for n := WALHeaderSize; n <= len(f.b); n++ {
		s := NewWALScanner(&memFile{f.b[:n]}, h.Start(), 1000)
		for s.Next() {
		}
		frames := WALFrames(int64(n), 512)
		if _, pages := s.Commit(); s.Cursor().Frame != frames || pages != frames/2*2 || s.Stop() != StopShort {
			t.Fatalf("%d bytes: %d frames, %d pages committed, stop %v", n, s.Cursor().Frame, pages, s.Stop())
		}
	}
}

func TestWALScannerErrors(t *testing.T) {
	h := WALHeader{PageSize: 65536}
	f := makeWAL(t, h, 1, 2, 3, 4, 5, 6, 7, 8)
	s := NewWALScanner(failingReader{f, WALFrameOffset(5, 65536)}, h.Start(), 1000)
	for s.Next() {
	}
	if s.Stop() != StopError || !errors.Is(s.Err(), errDisk) || s.Cursor().Frame >= 5 {
		t.Errorf("stop %v, error %v, frame %d", s.Stop(), s.Err(), s.Cursor().Frame)
	}
	s.Reset(WALCursor{PageSize: 1 << 31}, 10)
	if s.Next() || s.Err() == nil || s.Stop() != StopError {
		t.Error("impossible page size is accepted")
	}
	for r, want := range map[StopReason]string{StopNone: "none", StopError: "error", 200: "unknown"} {
		if got := r.String(); got != want {
			t.Errorf("reason %d: %q, want %q", r, got, want)
		}
	}
}

func TestWALScannerDoesNotAllocate(t *testing.T) {
	h := WALHeader{PageSize: 4096}
	f := makeWAL(t, h, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
	s := NewWALScanner(f, h.Start(), 1000)
	if n := testing.AllocsPerRun(100, func() {
		s.Reset(h.Start(), 1000)
		for s.Next() {
		}
	}); n != 0 {
		t.Errorf("%v allocations a scan", n)
	}
	if s.Cursor().Frame != 10 {
		t.Errorf("frame %d", s.Cursor().Frame)
	}
}

func TestWALCursorHolds(t *testing.T) {
	h := WALHeader{PageSize: 512, Salt: Salt{5, 6}}
	f := makeWAL(t, h, 1, 2, 3)
	s := NewWALScanner(f, h.Start(), 2)
	for s.Next() {
	}
	cursor := s.Cursor()
	other := cursor
	other.Checksum[0]++
	moved := h.Start()
	moved.Salt[1]++
	cases := []struct {
		name   string
		cursor WALCursor
		b      []byte
		want   bool
	}{
		{"same", cursor, f.b, true},
		{"start", h.Start(), f.b, true},
		{"start of another", moved, f.b, false},
		{"other checksum", other, f.b, false},
		{"empty WAL", cursor, nil, false},
		{"start of an empty WAL", h.Start(), nil, false},
		{"shorter WAL", cursor, f.b[:WALFrameOffset(2, 512)+20], false},
		{"restarted WAL", cursor, append(h.Next(9).AppendTo(nil), f.b[32:]...), false},
		{"other byte order", cursor, append(WALHeader{PageSize: 512, Salt: h.Salt, BigEndian: true}.AppendTo(nil), f.b[32:]...), false},
		{"other page size", cursor, append(WALHeader{PageSize: 1024, Salt: h.Salt}.AppendTo(nil), f.b[32:]...), false},
	}
	for _, c := range cases {
		if got, err := c.cursor.Holds(&memFile{c.b}); err != nil || got != c.want {
			t.Errorf("%s: %v, %v, want %v", c.name, got, err, c.want)
		}
	}
	for _, after := range []int64{10, 40} {
		if _, err := cursor.Holds(failingReader{f, after}); !errors.Is(err, errDisk) {
			t.Errorf("error %v, want %v", err, errDisk)
		}
	}
}

// failingWriter fails, or writes short, from some offset on.
type failingWriter struct {
	memFile
	after int64
	short bool
}

func (w *failingWriter) WriteAt(b []byte, off int64) (int, error) {
	if off+int64(len(b)) <= w.after {
		return w.memFile.WriteAt(b, off)
	}
	if w.short {
		return len(b) - 1, nil
	}
	return 0, errDisk
}

func TestWALWriterErrors(t *testing.T) {
	h := WALHeader{PageSize: 512}
	page := make([]byte, 512)
	w := NewWALWriter(new(memFile), h.Start())
	for name, err := range map[string]error{
		"page size": w.WriteFrame(1, 0, page[:511]),
		"page 0":    w.WriteFrame(0, 0, page),
		"lock page": w.WriteFrame(LockPage(512), 0, page),
	} {
		if err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if w.Cursor() != h.Start() {
		t.Error("a refused frame moved the cursor")
	}
	for _, short := range []bool{false, true} {
		f := &failingWriter{after: WALFrameOffset(2, 512), short: short}
		w := NewWALWriter(f, h.Start())
		for pgno := range uint32(2) {
			if err := w.WriteFrame(pgno+1, 0, page); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(); err == nil || (!short && !errors.Is(err, errDisk)) {
			t.Errorf("flush: %v", err)
		}
		if err := w.WriteFrame(3, 0, page); err == nil {
			t.Error("a spent writer goes on")
		}
		w.Reset(h.Start())
		if err := errors.Join(w.WriteFrame(3, 1, page), w.Flush()); err != nil {
			t.Errorf("after reset: %v", err)
		}
		if holds, err := w.Cursor().Holds(&memFile{append(h.AppendTo(nil), f.b[32:]...)}); err != nil || !holds {
			t.Errorf("holds %v, %v", holds, err)
		}
	}
	if err := WriteWALHeader(&failingWriter{}, h); !errors.Is(err, errDisk) {
		t.Errorf("header: %v", err)
	}
}
