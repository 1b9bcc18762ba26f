package ltx

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/pierrec/lz4/v4"
	ref "github.com/superfly/ltx"
)

const flagBit = uint64(ChecksumFlag)

// changeFile returns a file of pages 2 and 4 of 5 that is not a snapshot.
func changeFile() rawFile {
	return rawFile{
		header: Header{PageSize: 512, Commit: 5, MinTXID: 7, MaxTXID: 9, PreApplyChecksum: ChecksumFlag | 5},
		frames: []rawFrame{block(2, fill(512, 2)), block(4, fill(512, 4))},
		post:   flagBit | 6,
	}
}

// snapshotFile returns a snapshot of two pages.
func snapshotFile() rawFile {
	return rawFile{
		header: vector.header,
		frames: []rawFrame{block(1, fill(512, 1)), block(2, fill(512, 2))},
		post:   uint64(vector.post),
	}
}

// defect is one file that must be accepted or rejected.
type defect struct {
	name string
	base func() rawFile
	edit func(f *rawFile)
	want error // nil: accepted
	what string
	at   int64 // offset in the error
}

// Frames of literals for pages of 512 bytes are 525 bytes long.
var defects = []defect{
	{"change", changeFile, func(*rawFile) {}, nil, "", 0},
	{"snapshot", snapshotFile, func(*rawFile) {}, nil, "", 0},
	{"reserved bytes set", changeFile, func(f *rawFile) { f.reserved = 0xff }, nil, "", 0},
	{"no pages", changeFile, func(f *rawFile) { f.frames = nil }, nil, "", 0},
	{"deletion", changeFile, func(f *rawFile) { f.header.Commit, f.frames, f.post = 0, nil, flagBit }, nil, "", 0},
	{"no checksums", changeFile, func(f *rawFile) { f.header.Flags, f.header.PreApplyChecksum, f.post = 2, 0, 0 }, nil, "", 0},
	{"snapshot without checksums", snapshotFile, func(f *rawFile) { f.header.Flags, f.post = 2, 0 }, nil, "", 0},
	{"empty snapshot", snapshotFile, func(f *rawFile) { f.header.Commit, f.frames, f.post = 0, nil, flagBit }, nil, "", 0},

	{"unknown header flag", changeFile, func(f *rawFile) { f.header.Flags = 1 }, ErrInvalidHeader, "header", 0},
	{"page size 3", changeFile, func(f *rawFile) { f.header.PageSize = 3 }, ErrInvalidHeader, "header", 0},
	{"transaction 0", changeFile, func(f *rawFile) { f.header.MinTXID = 0 }, ErrInvalidHeader, "header", 0},
	{"no pre-apply checksum", changeFile, func(f *rawFile) { f.header.PreApplyChecksum = 0 }, ErrInvalidHeader, "header", 0},

	{"page twice", changeFile, func(f *rawFile) { f.frames[1].pgno = 2 }, ErrInvalidPage, "page", 625},
	{"pages out of order", changeFile, func(f *rawFile) { f.frames[1].pgno = 1 }, ErrInvalidPage, "page", 625},
	{"page beyond commit", changeFile, func(f *rawFile) { f.frames[1].pgno = 6 }, ErrInvalidPage, "page", 625},
	{"page 0 with flags", changeFile, func(f *rawFile) { f.frames[0].pgno = 0 }, ErrInvalidPage, "page", 100},
	{"lock page", changeFile, func(f *rawFile) { f.header.Commit, f.frames[1].pgno = 1<<31, LockPgno(512) }, ErrInvalidPage, "page", 625},
	{"unknown page flag", changeFile, func(f *rawFile) { f.frames[0].flags = 3 }, ErrInvalidPage, "page", 100},
	{"page of 511 bytes", changeFile, func(f *rawFile) { f.frames[0] = block(2, fill(511, 2)) }, ErrInvalidPage, "page", 100},
	{"page of 511 bytes hashed as 512", changeFile, func(f *rawFile) { f.frames[0].stored = literals(fill(511, 2)) }, ErrInvalidPage, "page", 100},
	{"page of 513 bytes", changeFile, func(f *rawFile) { f.frames[0] = block(2, fill(513, 2)) }, ErrInvalidPage, "page", 100},
	{"empty block", changeFile, func(f *rawFile) { f.frames[0].stored = nil }, ErrInvalidPage, "page", 100},
	{"bad block", changeFile, func(f *rawFile) { f.frames[0].stored = []byte{0x0f, 0, 0, 0xff} }, ErrInvalidPage, "page", 100},
	{"block too long", changeFile, func(f *rawFile) { f.frames[0].stored = make([]byte, 512+2+17) }, ErrInvalidPage, "page", 100},

	{"snapshot without page 1", snapshotFile, func(f *rawFile) { f.frames = f.frames[1:] }, ErrMissingPage, "page", 100},
	{"snapshot with gap", snapshotFile, func(f *rawFile) { f.header.Commit, f.frames[1].pgno = 3, 3 }, ErrMissingPage, "page", 625},
	{"snapshot without last page", snapshotFile, func(f *rawFile) { f.frames = f.frames[:1] }, ErrMissingPage, "page", 625},
	{"snapshot without pages", snapshotFile, func(f *rawFile) { f.frames = nil }, ErrMissingPage, "page", 100},
	{"snapshot with another checksum", snapshotFile, func(f *rawFile) { f.post ^= 1 }, ErrChecksumMismatch, "trailer", 1174},

	{"no page index", changeFile, func(f *rawFile) { f.index = func([]byte) []byte { return nil } }, io.ErrUnexpectedEOF, "page index", 1156},
	{"empty page index", changeFile, func(f *rawFile) {
		f.index = func([]byte) []byte { return []byte{0, 0, 0, 0, 0, 0, 0, 0, 1} }
	}, ErrInvalidIndex, "page index", 1156},
	{"another offset in the page index", changeFile, func(f *rawFile) { f.index = editByte(1) }, ErrInvalidIndex, "page index", 1156},
	{"another page in the page index", changeFile, func(f *rawFile) { f.index = editByte(0) }, ErrInvalidIndex, "page index", 1156},
	{"another length in the page index", changeFile, func(f *rawFile) { f.index = editByte(2) }, ErrInvalidIndex, "page index", 1156},
	{"page index not ended", changeFile, func(f *rawFile) { f.index = editByte(9) }, ErrInvalidIndex, "page index", 1156},
	{"page index in another order", changeFile, func(f *rawFile) {
		f.index = func(b []byte) []byte { return bytes.Join([][]byte{b[4:9], b[:4], b[9:]}, nil) }
	}, ErrInvalidIndex, "page index", 1156},
	{"page index with a longer number", changeFile, func(f *rawFile) {
		f.index = func(b []byte) []byte { return append([]byte{0x82, 0}, b[1:]...) }
		f.length = func(n uint64) uint64 { return n + 1 }
	}, ErrInvalidIndex, "page index", 1156},
	{"length of the page index", changeFile, func(f *rawFile) { f.length = func(n uint64) uint64 { return n - 1 } }, ErrInvalidIndex, "page index", 1156},
	{"great length of the page index", changeFile, func(f *rawFile) { f.length = func(uint64) uint64 { return 1 << 63 } }, ErrInvalidIndex, "page index", 1156},

	{"no post-apply checksum", changeFile, func(f *rawFile) { f.post = 0 }, ErrInvalidTrailer, "trailer", 1174},
	{"post-apply checksum without flag", changeFile, func(f *rawFile) { f.post = 6 }, ErrInvalidTrailer, "trailer", 1174},
	{"post-apply checksum under flag 0x2", changeFile, func(f *rawFile) { f.header.Flags, f.header.PreApplyChecksum = 2, 0 }, ErrInvalidTrailer, "trailer", 1174},
	{"deletion with a sum", changeFile, func(f *rawFile) { f.header.Commit, f.frames = 0, nil }, ErrInvalidTrailer, "trailer", 115},
}

// editByte returns an edit of the page index that changes its i-th byte.
func editByte(i int) func([]byte) []byte {
	return func(b []byte) []byte {
		b = bytes.Clone(b)
		b[i] ^= 1
		return b
	}
}

func TestDecoderDefects(t *testing.T) {
	for _, tt := range defects {
		t.Run(tt.name, func(t *testing.T) {
			raw := tt.base()
			tt.edit(&raw)
			b := raw.bytes()
			_, dec, err := decode(bytes.NewReader(b))
			if tt.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				if err := ref.NewDecoder(bytes.NewReader(b)).Verify(); err != nil {
					t.Errorf("reference decoder: %v", err)
				}
				return
			}
			var format *FormatError
			if !errors.Is(err, tt.want) || !errors.As(err, &format) {
				t.Fatalf("%v, want a FormatError with %v", err, tt.want)
			}
			if format.What != tt.what || format.Offset != tt.at {
				t.Errorf("%s at %d, want %s at %d", format.What, format.Offset, tt.what, tt.at)
			}
			if again := dec.Close(); !errors.Is(again, tt.want) {
				t.Errorf("Close after the error: %v", again)
			}
			if _, _, err := Verify(bytes.NewReader(b)); !errors.Is(err, tt.want) {
				t.Errorf("Verify: %v", err)
			}
		})
	}
}

func TestDecoderFileDefects(t *testing.T) {
	good := changeFile().bytes()
	last := len(good) - 1
	cutBlock := func(length byte) []byte { return append(bytes.Clone(good[:108]), 2, length) }
	for _, tt := range []struct {
		name string
		b    []byte
		want error
		what string
		at   int64
	}{
		{"empty", nil, io.ErrUnexpectedEOF, "header", 0},
		{"magic", append([]byte("LTX2"), good[4:]...), ErrInvalidHeader, "header", 0},
		{"longest block, cut", cutBlock(512 + 2 + 16 - 512), io.ErrUnexpectedEOF, "page", 100},
		{"longer block, cut", cutBlock(512 + 2 + 17 - 512), ErrInvalidPage, "page", 100},
		{"trailing byte", append(bytes.Clone(good), 0), ErrTrailingData, "file", int64(len(good))},
		{"two files", append(bytes.Clone(good), good...), ErrTrailingData, "file", int64(len(good))},
		{"file checksum", append(bytes.Clone(good[:last]), good[last]^1), ErrChecksumMismatch, "file", 0},
		{"file checksum without flag", append(append(bytes.Clone(good[:last-7]), good[last-7]^0x80), good[last-6:]...), ErrInvalidTrailer, "trailer", int64(last - 15)},
	} {
		_, _, err := decode(bytes.NewReader(tt.b))
		var format *FormatError
		if !errors.Is(err, tt.want) || !errors.As(err, &format) {
			t.Errorf("%s: %v, want a FormatError with %v", tt.name, err, tt.want)
		} else if format.What != tt.what || format.Offset != tt.at {
			t.Errorf("%s: %s at %d, want %s at %d", tt.name, format.What, format.Offset, tt.what, tt.at)
		}
	}
}

// TestDecoderLZ4Frames reads pages stored as LZ4 frames with every option a
// writer has, and frames that must be rejected.
func TestDecoderLZ4Frames(t *testing.T) {
	r := newRand(t)
	p := randomPage(r, 4096)
	stored := func(opts ...lz4.Option) []byte { return lz4Frame(t, 2, p, opts...).stored }
	edit := func(i int, v byte) []byte {
		b := stored()
		b[(i+len(b))%len(b)] ^= v
		return b
	}
	var twoBlocks bytes.Buffer
	w := lz4.NewWriter(&twoBlocks)
	for _, part := range [][]byte{p[:1000], p[1000:]} {
		if _, err := w.Write(part); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	legacy := lz4Frame(t, 2, p, lz4.LegacyOption(true)).stored
	var manyBlocks []byte
	manyBlocks = append(manyBlocks, stored()[:7]...)
	for range 3000 {
		manyBlocks = append(manyBlocks, 0, 0, 0, 0x80|1)
	}
	for _, tt := range []struct {
		name   string
		stored []byte
		ok     bool
	}{
		{"plain", stored(), true},
		{"content size", stored(lz4.SizeOption(4096)), true},
		{"block checksums", stored(lz4.BlockChecksumOption(true)), true},
		{"4 MiB blocks", stored(lz4.BlockSizeOption(lz4.Block4Mb)), true},
		{"two blocks", twoBlocks.Bytes(), true},
		{"no content checksum", stored(lz4.ChecksumOption(false)), false},
		{"wrong content checksum", edit(-1, 1), false},
		{"wrong header checksum", edit(6, 1), false},
		{"dictionary", edit(4, 1), false},
		{"magic", edit(0, 1), false},
		{"version", edit(4, 0x80), false},
		{"wrong block size", edit(5, 0x08), false},
		{"legacy frame", legacy, false},
		{"skippable frame", append([]byte{0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0}, stored()...), false},
		{"page of 4095 bytes", lz4Frame(t, 2, p[:4095]).stored, false},
		{"page of 4097 bytes", lz4Frame(t, 2, append(bytes.Clone(p), 0)).stored, false},
		{"blocks without end", manyBlocks, false},
		{"block of 2 GiB", append(stored()[:7], 0xff, 0xff, 0xff, 0x7f), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			raw := rawFile{
				header: Header{PageSize: 4096, Commit: 3, MinTXID: 7, MaxTXID: 9, PreApplyChecksum: ChecksumFlag | 5},
				frames: []rawFrame{block(1, fill(4096, 1)), {pgno: 2, page: p, stored: tt.stored}, block(3, p)},
				post:   flagBit | 6,
			}
			b := raw.bytes()
			got, _, err := decode(bytes.NewReader(b))
			if !tt.ok {
				var format *FormatError
				if !errors.Is(err, ErrInvalidPage) || !errors.As(err, &format) || format.Offset != 100+10+4096+18 {
					t.Fatalf("%v, want ErrInvalidPage in the second frame", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := file{header: raw.header, pages: []page{{1, fill(4096, 1)}, {2, p}, {3, p}}, post: Checksum(raw.post)}
			if d := diff(got, want); d != "" {
				t.Error(d)
			}
			checkIndex(t, b, want)
			if got, err = compact(t, [][]byte{b}, nil); err != nil || diff(got, want) != "" {
				t.Errorf("compacted: %v %s", err, diff(got, want))
			}
			if err := ref.NewDecoder(bytes.NewReader(b)).Verify(); err != nil {
				t.Errorf("reference decoder: %v", err)
			}
		})
	}
}

// TestDecoderMemory reads files that claim great lengths.
func TestDecoderMemory(t *testing.T) {
	base := changeFile()
	good := base.bytes()
	claim := func(at int, v uint32) []byte {
		b := bytes.Clone(good)
		binary.BigEndian.PutUint32(b[at:], v)
		return b
	}
	for name, b := range map[string][]byte{
		"block length": claim(HeaderSize+PageHeaderSize, 1<<32-1),
		"page size":    claim(8, 1<<31),
		"index length": claim(len(good)-TrailerSize-8, 1<<31),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _, err := decode(bytes.NewReader(b))
		_, err2 := ReadIndex(bytes.NewReader(b), int64(len(b)))
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
		if err2 == nil && !strings.HasPrefix(name, "block") {
			t.Errorf("%s: index accepted", name)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
			t.Errorf("%s: %d bytes allocated", name, n)
		}
	}
}

func TestDecoderOrder(t *testing.T) {
	b := vector.encode(t)
	dec := NewDecoder(bytes.NewReader(b))
	var hdr PageHeader
	buf := make([]byte, 512)
	if err := dec.DecodePage(&hdr, buf); err == nil {
		t.Error("page before header")
	}
	if err := dec.DecodeHeader(); err != nil {
		t.Fatal(err)
	}
	if err := dec.DecodeHeader(); err == nil {
		t.Error("two headers")
	}
	if err := dec.DecodePage(&hdr, buf[:511]); err == nil {
		t.Error("short buffer")
	}
	if err := dec.Close(); err == nil {
		t.Error("Close before the pages")
	}
	for range 2 {
		if err := dec.DecodePage(&hdr, buf); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := dec.DecodePage(&hdr, buf); err != io.EOF || !hdr.IsZero() { //nolint:errorlint // must be io.EOF itself, as for any reader
			t.Errorf("after the last page: %v, %+v", err, hdr)
		}
	}
	for range 2 {
		if err := dec.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if err := dec.DecodePage(&hdr, buf); !errors.Is(err, ErrClosed) {
		t.Errorf("page after Close: %v", err)
	}
}

// TestDecoderReadErrors lets the reader fail at every byte: its own error must
// come back, and not as a FormatError.
func TestDecoderReadErrors(t *testing.T) {
	b := vector.encode(t)
	errDisk := errors.New("disk on fire")
	for n := range len(b) + 1 {
		_, _, err := Verify(io.MultiReader(bytes.NewReader(b[:n]), iotest.ErrReader(errDisk)))
		var format *FormatError
		if !errors.Is(err, errDisk) || errors.As(err, &format) {
			t.Fatalf("error at byte %d: %v", n, err)
		}
	}
}
