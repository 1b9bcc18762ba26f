package ltx

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/pierrec/lz4/v4"
)

// TestEncoderRejects feeds an Encoder what cannot be a file.
func TestEncoderRejects(t *testing.T) {
	snapshot := Header{PageSize: 512, Commit: 3, MinTXID: 1, MaxTXID: 1}
	three := []page{{1, fill(512, 1)}, {2, fill(512, 2)}, {3, fill(512, 3)}}
	sum := databaseChecksum(bytes.Join([][]byte{three[0].data, three[1].data, three[2].data}, nil), 512)
	part := Header{PageSize: 512, Commit: 3, MinTXID: 2, MaxTXID: 2, PreApplyChecksum: ChecksumFlag | 1}
	none := Header{PageSize: 512, Commit: 3, MinTXID: 2, MaxTXID: 2, Flags: HeaderFlagNoChecksum}
	empty := part
	empty.Commit = 0
	lock := part
	lock.Commit = 1 << 31
	for _, tt := range []struct {
		name string
		f    file
		want error
	}{
		{"snapshot", file{snapshot, three, sum}, nil},
		{"change", file{part, three[1:2], sum}, nil},
		{"change without pages", file{part, nil, sum}, nil},
		{"change to no pages", file{empty, nil, ChecksumFlag}, nil},
		{"without checksums", file{none, three[1:2], 0}, nil},
		{"header", file{Header{}, nil, 0}, ErrInvalidHeader},
		{"page 0", file{part, []page{{0, fill(512, 1)}}, sum}, ErrInvalidPage},
		{"page beyond commit", file{part, []page{{4, fill(512, 1)}}, sum}, ErrInvalidPage},
		{"page twice", file{part, []page{three[1], three[1]}, sum}, ErrInvalidPage},
		{"page out of order", file{part, []page{three[1], three[0]}, sum}, ErrInvalidPage},
		{"short page", file{part, []page{{1, fill(511, 1)}}, sum}, ErrInvalidPage},
		{"long page", file{part, []page{{1, fill(513, 1)}}, sum}, ErrInvalidPage},
		{"lock page", file{lock, []page{{LockPgno(512), fill(512, 1)}}, sum}, ErrInvalidPage},
		{"snapshot without page 1", file{snapshot, three[1:], sum}, ErrMissingPage},
		{"snapshot without page 2", file{snapshot, []page{three[0], three[2]}, sum}, ErrMissingPage},
		{"snapshot without last page", file{snapshot, three[:2], sum}, ErrMissingPage},
		{"snapshot with another checksum", file{snapshot, three, sum ^ 1}, ErrChecksumMismatch},
		{"no post-apply checksum", file{part, nil, 0}, ErrInvalidTrailer},
		{"post-apply checksum without flag", file{part, nil, 1}, ErrInvalidTrailer},
		{"post-apply checksum under flag 0x2", file{none, nil, sum}, ErrInvalidTrailer},
		{"no pages, but a sum", file{empty, nil, sum}, ErrInvalidTrailer},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var buf bytes.Buffer
			if err := tt.f.encodeTo(NewEncoder(&buf)); !errors.Is(err, tt.want) {
				t.Fatalf("%v, want %v", err, tt.want)
			}
			if tt.want != nil {
				return
			}
			if d := diff(mustDecode(t, buf.Bytes()), tt.f); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestEncoderRetry puts right what Close has refused.
func TestEncoderRetry(t *testing.T) {
	var buf bytes.Buffer
	enc := NewEncoder(&buf)
	if err := enc.EncodeHeader(vector.header); err != nil {
		t.Fatal(err)
	}
	if err := enc.EncodePage(1, vector.pages[0].data); err != nil {
		t.Fatal(err)
	}
	if err := enc.Close(); !errors.Is(err, ErrMissingPage) {
		t.Fatalf("Close without page 2: %v", err)
	}
	if err := enc.EncodePage(3, vector.pages[1].data); !errors.Is(err, ErrInvalidPage) {
		t.Fatalf("page 3 of 2: %v", err)
	}
	if err := enc.EncodePage(2, vector.pages[1].data); err != nil {
		t.Fatal(err)
	}
	if err := enc.Close(); !errors.Is(err, ErrInvalidTrailer) {
		t.Fatalf("Close without checksum: %v", err)
	}
	enc.SetPostApplyChecksum(enc.SnapshotChecksum())
	if err := enc.Close(); err != nil {
		t.Fatal(err)
	}
	if err := enc.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if !bytes.Equal(buf.Bytes(), vector.encode(t)) {
		t.Error("the bytes differ")
	}
	if enc.N() != int64(buf.Len()) || enc.PageN() != 2 || enc.Header() != vector.header {
		t.Errorf("N %d, PageN %d, Header %+v", enc.N(), enc.PageN(), enc.Header())
	}
	if want := (Pos{1, vector.post}); enc.PostApplyPos() != want {
		t.Errorf("PostApplyPos %s", enc.PostApplyPos())
	}
}

func TestEncoderOrder(t *testing.T) {
	enc := NewEncoder(io.Discard)
	if err := enc.EncodePage(1, fill(512, 1)); err == nil {
		t.Error("page before header")
	}
	if err := enc.Close(); err == nil {
		t.Error("Close before header")
	}
	if err := vector.encodeTo(enc); err != nil {
		t.Fatal(err)
	}
	if err := enc.EncodePage(3, fill(512, 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("page after Close: %v", err)
	}
	if err := enc.EncodeHeader(vector.header); !errors.Is(err, ErrClosed) {
		t.Errorf("header after Close: %v", err)
	}
	enc.Reset(io.Discard)
	if err := enc.EncodeHeader(vector.header); err != nil {
		t.Fatal(err)
	}
	if err := enc.EncodeHeader(vector.header); err == nil {
		t.Error("two headers")
	}
}

// limitedWriter fails once it has taken n bytes, or takes less without failing.
type limitedWriter struct {
	n     int
	short bool
}

var errFull = errors.New("no space left")

func (w *limitedWriter) Write(b []byte) (int, error) {
	if len(b) <= w.n {
		w.n -= len(b)
		return len(b), nil
	}
	n := w.n
	w.n = 0
	if w.short {
		return n, nil
	}
	return n, errFull
}

// TestEncoderWriteErrors lets the writer fail at many places: with small pages
// and a page index of more than one write, and with pages of a write each.
func TestEncoderWriteErrors(t *testing.T) {
	enc := NewEncoder(nil)
	enc.SetCompression(false)
	for _, tt := range []struct {
		pageSize, pages uint32
	}{{512, 12_000}, {4096, 64}, {65536, 2}} {
		f := snapshotOf(make([]byte, tt.pageSize*tt.pages), tt.pageSize, 1)
		var all bytes.Buffer
		enc.Reset(&all)
		if err := f.encodeTo(enc); err != nil {
			t.Fatal(err)
		}
		size := all.Len()
		rooms := []int{0, size - 200, size - 100, size - TrailerSize, size - 1}
		for i := range 10 {
			rooms = append(rooms, size*i/10, size-8000*(i+1))
		}
		for _, room := range rooms {
			for _, short := range []bool{false, true} {
				want := errFull
				if short {
					want = io.ErrShortWrite
				}
				enc.Reset(&limitedWriter{n: max(room, 0), short: short})
				if err := f.encodeTo(enc); !errors.Is(err, want) {
					t.Fatalf("room for %d of %d bytes: %v, want %v", room, size, err, want)
				}
				if err := enc.Close(); !errors.Is(err, want) {
					t.Fatalf("Close after an error: %v", err)
				}
			}
		}
		enc.Reset(&limitedWriter{n: size})
		if err := f.encodeTo(enc); err != nil {
			t.Fatalf("after errors and Reset: %v", err)
		}
	}
}

// TestEncoderReuse writes files of all page sizes, with and without
// compression, by one Encoder and compares them with those of new ones.
func TestEncoderReuse(t *testing.T) {
	r := newRand(t)
	var buf bytes.Buffer
	reused := NewEncoder(&buf)
	for i := range 40 {
		f := randomFile(r, pageSizes[r.IntN(len(pageSizes))])
		buf.Reset()
		reused.Reset(&buf)
		reused.SetCompression(i%2 == 0)
		if err := f.encodeTo(reused); err != nil {
			t.Fatal(err)
		}
		var want bytes.Buffer
		fresh := NewEncoder(&want)
		fresh.SetCompression(i%2 == 0)
		if err := f.encodeTo(fresh); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(buf.Bytes(), want.Bytes()) || reused.Trailer() != fresh.Trailer() {
			t.Fatalf("file %d differs", i)
		}
	}
}

// TestEncoderAllocations checks that a reused Encoder allocates nothing for a
// page, whatever happens in between.
func TestEncoderAllocations(t *testing.T) {
	r := newRand(t)
	pages := make([][]byte, 50)
	for i := range pages {
		pages[i] = randomPage(r, 4096)
	}
	enc := NewEncoder(io.Discard)
	h := Header{PageSize: 4096, Commit: 50, MinTXID: 2, MaxTXID: 2, PreApplyChecksum: ChecksumFlag | 1}
	run := func() {
		enc.Reset(io.Discard)
		if err := enc.EncodeHeader(h); err != nil {
			t.Fatal(err)
		}
		for i, p := range pages {
			if err := enc.EncodePage(uint32(i+1), p); err != nil {
				t.Fatal(err)
			}
		}
		enc.SetPostApplyChecksum(ChecksumFlag | 2)
		if err := enc.Close(); err != nil {
			t.Fatal(err)
		}
	}
	run()
	if n := testing.AllocsPerRun(20, run); n > 5 {
		t.Errorf("%v allocations for a file of %d pages", n, len(pages))
	}
}

// TestPutLiterals checks that a block without compression expands to the page
// and fits where a compressed one does.
func TestPutLiterals(t *testing.T) {
	r := newRand(t)
	for _, size := range pageSizes {
		p := randomPage(r, size)
		dst := make([]byte, lz4.CompressBlockBound(len(p)))
		n := putLiterals(dst, p)
		got := make([]byte, size)
		if m, err := lz4.UncompressBlock(dst[:n], got); err != nil || m != len(p) || !bytes.Equal(got, p) {
			t.Errorf("page size %d: %d bytes, %v", size, m, err)
		}
	}
}

// TestPackedIndex checks the pieces of a large index and its size in memory.
func TestPackedIndex(t *testing.T) {
	var x packedIndex
	for round := range 2 {
		var want []byte
		offset := int64(HeaderSize)
		const pages = 300_000
		for i := range uint32(pages) {
			x.add(i+1, offset, 1700)
			want = appendIndexEntry(want, i+1, offset, 1700)
			offset += 1700
		}
		if !bytes.Equal(bytes.Join(x.chunks, nil), want) || x.size != int64(len(want)) {
			t.Fatalf("round %d: the index differs", round)
		}
		held := 0
		for _, c := range x.chunks {
			held += cap(c)
		}
		if perPage := float64(held) / pages; perPage > 15 {
			t.Errorf("%.1f bytes a page", perPage)
		}
		x.reset()
		if x.size != 0 || len(x.chunks) != 1 || cap(x.chunks[0]) != minIndexChunk {
			t.Errorf("after reset: %d bytes in %d pieces", x.size, len(x.chunks))
		}
	}
}
