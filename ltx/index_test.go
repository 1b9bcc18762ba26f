package ltx

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"testing"
)

// varints returns the numbers in LEB128.
func varints(v ...uint64) []byte {
	var b []byte
	for _, n := range v {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

// withIndex returns changeFile with other entries in its page index, the length
// being right, and the end of the pages mark as it is.
func withIndex(entries []byte) []byte {
	f := changeFile()
	f.index = func([]byte) []byte {
		return binary.BigEndian.AppendUint64(append([]byte{}, entries...), uint64(len(entries)))
	}
	return f.bytes()
}

func TestReadIndexRejects(t *testing.T) {
	good := changeFile().bytes()
	overlong := append(varints(2, 100, 525, 4, 625), 0x8d, 0x84, 0x00, 0) // 525 in three bytes
	for _, tt := range []struct {
		name string
		b    []byte
		want error
	}{
		{"unchanged", withIndex(varints(2, 100, 525, 4, 625, 525, 0)), nil},
		{"empty file", nil, io.ErrUnexpectedEOF},
		{"130 bytes", good[:130], io.ErrUnexpectedEOF},
		{"magic", append([]byte("LTX2"), good[4:]...), ErrInvalidHeader},
		{"header", append(append(bytes.Clone(good[:8]), 0, 0, 0, 1), good[12:]...), ErrInvalidHeader},
		{"trailer", good[:len(good)-1], ErrInvalidTrailer},
		{"no entries", withIndex([]byte{0}), ErrInvalidIndex},
		{"no length", withIndex(nil), ErrInvalidIndex},
		{"one entry missing", withIndex(varints(2, 100, 525, 0)), ErrInvalidIndex},
		{"first entry missing", withIndex(varints(4, 625, 525, 0)), ErrInvalidIndex},
		{"one entry too many", withIndex(varints(2, 100, 525, 4, 625, 525, 5, 1150, 7, 0)), ErrInvalidIndex},
		{"gap", withIndex(varints(2, 100, 524, 4, 625, 525, 0)), ErrInvalidIndex},
		{"overlap", withIndex(varints(2, 100, 526, 4, 625, 525, 0)), ErrInvalidIndex},
		{"twice the same frame", withIndex(varints(2, 100, 525, 4, 100, 525, 0)), ErrInvalidIndex},
		{"last frame too short", withIndex(varints(2, 100, 525, 4, 625, 524, 0)), ErrInvalidIndex},
		{"last frame too long", withIndex(varints(2, 100, 525, 4, 625, 526, 0)), ErrInvalidIndex},
		{"tiny frame", withIndex(varints(2, 100, 6, 4, 106, 1044, 0)), ErrInvalidIndex},
		{"greatest offset", withIndex(varints(2, 100, 525, 4, 1<<64-1, 525, 0)), ErrInvalidIndex},
		{"greatest length", withIndex(varints(2, 100, 525, 4, 625, 1<<64-1, 0)), ErrInvalidIndex},
		{"page beyond commit", withIndex(varints(2, 100, 525, 6, 625, 525, 0)), ErrInvalidIndex},
		{"page of 33 bits", withIndex(varints(2, 100, 525, 1<<32|4, 625, 525, 0)), ErrInvalidIndex},
		{"page twice", withIndex(varints(2, 100, 525, 2, 625, 525, 0)), ErrInvalidIndex},
		{"pages out of order", withIndex(varints(4, 100, 525, 2, 625, 525, 0)), ErrInvalidIndex},
		{"data after the end", withIndex(varints(2, 100, 525, 4, 625, 525, 0, 0)), ErrInvalidIndex},
		{"no end", withIndex(varints(2, 100, 525, 4, 625, 525)), io.ErrUnexpectedEOF},
		{"longer form", withIndex(overlong), ErrInvalidIndex},
		{"number of 65 bits", withIndex(append(bytes.Repeat([]byte{0xff}, 9), 2)), ErrInvalidIndex},
		{"number without end", withIndex(bytes.Repeat([]byte{0xff}, 12)), ErrInvalidIndex},
	} {
		x, err := ReadIndex(bytes.NewReader(tt.b), int64(len(tt.b)))
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		var format *FormatError
		if tt.want != nil && (x != nil || !errors.As(err, &format)) {
			t.Errorf("%s: %v is no FormatError", tt.name, err)
		}
	}
}

// TestReadIndexSnapshot checks that an index of a snapshot must be complete.
func TestReadIndexSnapshot(t *testing.T) {
	f := snapshotFile()
	f.frames = f.frames[:1]
	b := f.bytes()
	if _, err := ReadIndex(bytes.NewReader(b), int64(len(b))); !errors.Is(err, ErrInvalidIndex) || !errors.Is(err, ErrMissingPage) {
		t.Errorf("%v, want ErrInvalidIndex and ErrMissingPage", err)
	}
}

// TestReadIndexEnd checks the mark before the index.
func TestReadIndexEnd(t *testing.T) {
	b := changeFile().bytes()
	b[1150+3] = 1
	var format *FormatError
	if _, err := ReadIndex(bytes.NewReader(b), int64(len(b))); !errors.As(err, &format) || format.Offset != 1150 {
		t.Errorf("%v, want a FormatError at 1150", err)
	}
}

func TestReadPageRejects(t *testing.T) {
	good := changeFile().bytes()
	frame := lz4Frame(t, 2, fill(512, 2))
	mixed := changeFile()
	mixed.frames[0] = frame
	padded := changeFile()
	padded.frames[0].stored = append(padded.frames[0].stored, 1, 2, 3) // 518 bytes
	for _, tt := range []struct {
		name string
		b    []byte
		at   int
		v    byte
	}{
		{"page number", good, 103, 1},
		{"page flags", good, 105, 3},
		{"LZ4 frame where a block is", good, 105, 1},
		{"block where an LZ4 frame is", mixed.bytes(), 105, 1},
		{"longer block", good, 109, 4},
		{"shorter block", good, 109, 3},
		{"right block in a longer frame", padded.bytes(), 109, 515 ^ 518},
		{"much longer block", good, 106, 0xff},
		{"shorter page", good, 112, 2},
		{"LZ4 frame content", mixed.bytes(), 100 + 6 + 12, 1},
	} {
		b := bytes.Clone(tt.b)
		b[tt.at] ^= tt.v
		x, err := ReadIndex(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		buf := make([]byte, 512)
		var format *FormatError
		if err := x.ReadPage(2, buf); !errors.Is(err, ErrInvalidPage) || !errors.As(err, &format) || format.Offset != 100 {
			t.Errorf("%s: %v, want a FormatError with ErrInvalidPage", tt.name, err)
		}
		if err := x.ReadPage(4, buf); err != nil || !bytes.Equal(buf, fill(512, 4)) {
			t.Errorf("%s: the page beside it: %v", tt.name, err)
		}
	}
}

func TestReadPage(t *testing.T) {
	b := changeFile().bytes()
	x, err := ReadIndex(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 512)
	for _, pgno := range []uint32{0, 1, 3, 5, 1<<32 - 1} {
		if err := x.ReadPage(pgno, buf); !errors.Is(err, ErrPageNotFound) {
			t.Errorf("page %d: %v", pgno, err)
		}
	}
	if err := x.ReadPage(2, buf[:511]); err == nil {
		t.Error("short buffer")
	}
	// The file shrinks after its index has been read.
	x.r = bytes.NewReader(b[:700])
	if err := x.ReadPage(4, buf); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("page past the end: %v", err)
	}
}

// failingReaderAt fails from the n-th call on.
type failingReaderAt struct {
	r io.ReaderAt
	n int
}

var errGone = errors.New("file is gone")

func (f *failingReaderAt) ReadAt(b []byte, offset int64) (int, error) {
	if f.n--; f.n < 0 {
		return 0, errGone
	}
	return f.r.ReadAt(b, offset)
}

// TestReadIndexErrors lets the reader fail at every call: its own error must
// come back, and not as a FormatError.
func TestReadIndexErrors(t *testing.T) {
	b := changeFile().bytes()
	for n := 0; ; n++ {
		x, err := ReadIndex(&failingReaderAt{bytes.NewReader(b), n}, int64(len(b)))
		if err == nil {
			err = x.ReadPage(2, make([]byte, 512))
		}
		if err == nil {
			if n < 5 {
				t.Errorf("only %d calls", n)
			}
			return
		}
		var format *FormatError
		if !errors.Is(err, errGone) || errors.As(err, &format) {
			t.Fatalf("error at call %d: %v", n, err)
		}
	}
}

// TestReadPageConcurrently is for the race detector.
func TestReadPageConcurrently(t *testing.T) {
	f := changeFile()
	f.frames[1] = lz4Frame(t, 4, fill(512, 4))
	b := f.bytes()
	x, err := ReadIndex(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			buf := make([]byte, 512)
			for range 100 {
				for _, pgno := range []uint32{2, 4} {
					if err := x.ReadPage(pgno, buf); err != nil || !bytes.Equal(buf, fill(512, byte(pgno))) {
						t.Errorf("page %d: %v", pgno, err)
					}
				}
			}
		})
	}
	wg.Wait()
}
