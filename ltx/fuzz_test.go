package ltx

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	ref "github.com/superfly/ltx"
)

// addFiles seeds a fuzz target with files of every kind.
func addFiles(f *testing.F) {
	f.Helper()
	for _, name := range []string{"v0.5.3-lz4-blocks.ltx", "v0.5.0-lz4-frames.ltx", "literal-blocks.ltx"} {
		f.Add(golden(f, name))
	}
	for _, tt := range defects {
		raw := tt.base()
		tt.edit(&raw)
		f.Add(raw.bytes())
	}
	r := rand.New(rand.NewPCG(1, 1)) // the same seeds in every process
	for range 20 {
		file := randomFile(r, 512)
		f.Add(file.encode(f))
		raw := rawFile{header: file.header, post: uint64(file.post)}
		for _, p := range file.pages {
			raw.frames = append(raw.frames, lz4Frame(f, p.pgno, p.data))
		}
		f.Add(raw.bytes())
	}
}

// repair gives b, if nothing else is wrong with it, the checksums that its
// content calls for, without which hardly any mutation would be accepted.
func repair(b []byte) []byte {
	b = bytes.Clone(b)
	for range 2 {
		_, dec, err := decode(bytes.NewReader(b))
		var format *FormatError
		if !errors.Is(err, ErrChecksumMismatch) || !errors.As(err, &format) {
			return b
		}
		if format.What == "file" {
			binary.BigEndian.PutUint64(b[len(b)-8:], dec.crc|uint64(ChecksumFlag))
		} else {
			binary.BigEndian.PutUint64(b[len(b)-16:], uint64(dec.sum))
			_, dec, err = decode(bytes.NewReader(b))
			if errors.Is(err, ErrChecksumMismatch) {
				binary.BigEndian.PutUint64(b[len(b)-8:], dec.crc|uint64(ChecksumFlag))
			}
		}
	}
	return b
}

// FuzzDecoder decodes anything. What is accepted must have the same content
// after it has been encoded again, page by page as well, and the reference
// decoder must accept it too: this package is the stricter one.
func FuzzDecoder(f *testing.F) {
	addFiles(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		b = repair(b)
		got, dec, err := decode(bytes.NewReader(b))
		if err != nil {
			var format *FormatError
			if !errors.As(err, &format) || format.Offset < 0 || format.Offset > int64(len(b)) {
				t.Fatalf("%v is no FormatError within %d bytes", err, len(b))
			}
			return
		}
		if dec.N() != int64(len(b)) || dec.PageN() != len(got.pages) {
			t.Fatalf("N %d of %d, PageN %d of %d", dec.N(), len(b), dec.PageN(), len(got.pages))
		}
		if d := diff(mustDecode(t, got.encode(t)), got); d != "" {
			t.Fatalf("encoded again: %s", d)
		}
		checkIndex(t, b, got)
		if err := ref.NewDecoder(bytes.NewReader(b)).Verify(); err != nil {
			t.Fatalf("reference decoder: %v", err)
		}
	})
}

// FuzzIndex reads pages at random from anything. An index must not list more
// than fits in the file, and a file that a Decoder accepts must have one.
func FuzzIndex(f *testing.F) {
	addFiles(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := ReadIndex(bytes.NewReader(b), int64(len(b)))
		got, _, decodeErr := decode(bytes.NewReader(b))
		if err != nil {
			var format *FormatError
			if !errors.As(err, &format) {
				t.Fatalf("%v is no FormatError", err)
			}
			if decodeErr == nil {
				t.Fatalf("a valid file has no index: %v", err)
			}
			return
		}
		if x.PageN() > len(b)/PageHeaderSize {
			t.Fatalf("%d pages in %d bytes", x.PageN(), len(b))
		}
		if decodeErr == nil {
			checkIndex(t, b, got)
			return
		}
		buf := make([]byte, x.Header().PageSize)
		for i := range x.PageN() {
			var format *FormatError
			if err := x.ReadPage(x.Pgno(i), buf); err != nil && !errors.As(err, &format) {
				t.Fatalf("page %d: %v", x.Pgno(i), err)
			}
		}
	})
}

// FuzzCompactor merges any two files. What comes out must be valid, and the
// same as applying one after the other.
func FuzzCompactor(f *testing.F) {
	h := newHistory(512, database(512, 1, 2, 3), database(512, 1), database(512, 1, 4, 5, 6), database(1024, 1))
	for _, second := range h.files {
		f.Add(h.files[0].encode(f), second.encode(f))
		f.Add(h.files[1].encode(f), second.encode(f))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		a, b = repair(a), repair(b)
		var out bytes.Buffer
		if err := NewCompactor(&out, []io.Reader{bytes.NewReader(a), bytes.NewReader(b)}).Compact(t.Context()); err != nil {
			return
		}
		got, first, second := mustDecode(t, out.Bytes()), mustDecode(t, a), mustDecode(t, b)
		if got.header.Commit > 1000 || first.header.Commit > 1000 {
			return // too large to apply
		}
		if first.header.PageSize != second.header.PageSize {
			first.header.Commit, first.pages = 0, nil
		}
		if !bytes.Equal(got.apply(nil), second.apply(first.apply(nil))) {
			t.Fatal("another database")
		}
	})
}
