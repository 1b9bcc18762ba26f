package ltx

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

// randomFile returns a file with pages of the given size: a snapshot or not,
// with database checksums or without, at times around the lock page.
func randomFile(r *rand.Rand, pageSize uint32) file {
	f := file{header: Header{
		PageSize: pageSize, Commit: uint32(r.IntN(12)), MinTXID: TXID(1 + r.IntN(2)),
		Timestamp: r.Int64() - r.Int64(), NodeID: r.Uint64(),
	}}
	f.header.MaxTXID = f.header.MinTXID + TXID(r.IntN(5))
	if r.IntN(2) == 0 {
		f.header.WALOffset, f.header.WALSize = 32+r.Int64N(1000), r.Int64N(1000)
		f.header.WALSalt1, f.header.WALSalt2 = r.Uint32(), r.Uint32()
	}
	first := uint32(1)
	if !f.header.IsSnapshot() && r.IntN(3) == 0 {
		first = LockPgno(pageSize) - 2
		f.header.Commit += first
	}
	for pgno := first; pgno <= f.header.Commit; pgno++ {
		if pgno != LockPgno(pageSize) && (f.header.IsSnapshot() || r.IntN(2) == 0) {
			f.pages = append(f.pages, page{pgno, randomPage(r, pageSize)})
		}
	}
	if r.IntN(3) == 0 {
		f.header.Flags = HeaderFlagNoChecksum
		return f
	}
	f.post = ChecksumFlag
	if f.header.IsSnapshot() {
		for _, p := range f.pages {
			f.post = f.post.Add(PageChecksum(p.pgno, p.data))
		}
		return f
	}
	f.header.PreApplyChecksum = ChecksumFlag | Checksum(r.Uint64())
	if f.header.Commit > 0 {
		f.post |= Checksum(r.Uint64())
	}
	return f
}

// TestRoundTrip encodes random files and reads them back, whole and page by
// page, through readers that give the data in odd pieces.
func TestRoundTrip(t *testing.T) {
	r := newRand(t)
	readers := []func(io.Reader) io.Reader{
		func(r io.Reader) io.Reader { return r },
		iotest.HalfReader, iotest.DataErrReader, iotest.OneByteReader,
	}
	for _, size := range pageSizes {
		for range 20 {
			want := randomFile(r, size)
			b := want.encode(t)
			got, dec, err := decode(readers[r.IntN(len(readers))](bytes.NewReader(b)))
			if err != nil {
				t.Fatal(err)
			}
			if d := diff(got, want); d != "" {
				t.Fatal(d)
			}
			if dec.N() != int64(len(b)) || dec.PageN() != len(want.pages) {
				t.Errorf("N %d of %d, PageN %d of %d", dec.N(), len(b), dec.PageN(), len(want.pages))
			}
			if pos := dec.PostApplyPos(); pos != (Pos{want.header.MaxTXID, want.post}) {
				t.Errorf("PostApplyPos %s", pos)
			}
			if pos := dec.PreApplyPos(); pos != (Pos{want.header.MinTXID - 1, want.header.PreApplyChecksum}) {
				t.Errorf("PreApplyPos %s", pos)
			}
			if h, tr, err := Verify(bytes.NewReader(b)); err != nil || h != want.header || tr != dec.Trailer() {
				t.Errorf("Verify: %+v, %+v, %v", h, tr, err)
			}
			checkIndex(t, b, want)
		}
	}
}

// checkIndex compares what random access to the file b gives with want.
func checkIndex(t *testing.T, b []byte, want file) {
	t.Helper()
	x, err := ReadIndex(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if x.Header() != want.header || x.Trailer().PostApplyChecksum != want.post || x.PageN() != len(want.pages) {
		t.Fatalf("index: header %+v, trailer %+v, %d pages", x.Header(), x.Trailer(), x.PageN())
	}
	buf := make([]byte, want.header.PageSize)
	for i, p := range want.pages {
		if x.Pgno(i) != p.pgno {
			t.Fatalf("page %d of the index is %d, want %d", i, x.Pgno(i), p.pgno)
		}
		if err := x.ReadPage(p.pgno, buf); err != nil || !bytes.Equal(buf, p.data) {
			t.Fatalf("page %d read from the index: %v", p.pgno, err)
		}
	}
}

// TestDecoderReuse reads files of all page sizes with one Decoder, each after
// another has failed.
func TestDecoderReuse(t *testing.T) {
	r := newRand(t)
	dec := NewDecoder(nil)
	for range 40 {
		want := randomFile(r, pageSizes[r.IntN(len(pageSizes))])
		b := want.encode(t)
		for _, bad := range []bool{true, false} {
			dec.Reset(bytes.NewReader(b))
			if bad {
				dec.Reset(bytes.NewReader(b[:r.IntN(len(b))]))
			}
			got, err := readAll(dec)
			if (err != nil) != bad {
				t.Fatalf("bad file %v: %v", bad, err)
			}
			if bad {
				continue
			}
			if d := diff(got, want); d != "" {
				t.Fatal(d)
			}
		}
	}
}

// TestDecoderAllocations checks that a reused Decoder allocates nothing for a
// page.
func TestDecoderAllocations(t *testing.T) {
	r := newRand(t)
	db := make([]byte, 0, 50*4096)
	for range 50 {
		db = append(db, randomPage(r, 4096)...)
	}
	b := snapshotOf(db, 4096, 1).encode(t)
	src := bytes.NewReader(b)
	dec := NewDecoder(src)
	buf := make([]byte, 4096)
	run := func() {
		src.Reset(b)
		dec.Reset(src)
		if err := dec.DecodeHeader(); err != nil {
			t.Fatal(err)
		}
		var hdr PageHeader
		for dec.DecodePage(&hdr, buf) == nil {
			continue
		}
		if err := dec.Close(); err != nil {
			t.Fatal(err)
		}
	}
	run()
	if n := testing.AllocsPerRun(20, run); n > 5 {
		t.Errorf("%v allocations for a file of 50 pages", n)
	}
}
