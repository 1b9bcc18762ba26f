package ltx

import (
	"bytes"
	"testing"

	ref "github.com/superfly/ltx"
)

// refHeader converts a header to that of the reference library.
func refHeader(h Header) ref.Header {
	return ref.Header{
		Version: ref.Version, Flags: h.Flags, PageSize: h.PageSize, Commit: h.Commit,
		MinTXID: ref.TXID(h.MinTXID), MaxTXID: ref.TXID(h.MaxTXID), Timestamp: h.Timestamp,
		PreApplyChecksum: ref.Checksum(h.PreApplyChecksum), WALOffset: h.WALOffset, WALSize: h.WALSize,
		WALSalt1: h.WALSalt1, WALSalt2: h.WALSalt2, NodeID: h.NodeID,
	}
}

// refEncode writes f with the reference encoder.
func refEncode(tb testing.TB, f file) []byte {
	tb.Helper()
	spec := ref.FileSpec{Header: refHeader(f.header), Trailer: ref.Trailer{PostApplyChecksum: ref.Checksum(f.post)}}
	for _, p := range f.pages {
		spec.Pages = append(spec.Pages, ref.PageSpec{Header: ref.PageHeader{Pgno: p.pgno}, Data: p.data})
	}
	var buf bytes.Buffer
	if _, err := spec.WriteTo(&buf); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

// checkRef reads b with the reference decoder and compares it with want.
func checkRef(tb testing.TB, b []byte, want file) {
	tb.Helper()
	var spec ref.FileSpec
	if _, err := spec.ReadFrom(bytes.NewReader(b)); err != nil {
		tb.Fatal(err)
	}
	got := file{header: want.header, post: Checksum(spec.Trailer.PostApplyChecksum)}
	if spec.Header != refHeader(want.header) {
		tb.Fatalf("header %+v", spec.Header)
	}
	for _, p := range spec.Pages {
		got.pages = append(got.pages, page{p.Header.Pgno, p.Data})
	}
	if d := diff(got, want); d != "" {
		tb.Fatal(d)
	}
}

// TestReference exchanges random files with the reference library, both ways.
func TestReference(t *testing.T) {
	r := newRand(t)
	for _, size := range pageSizes {
		for range 15 {
			f := randomFile(r, size)
			b := f.encode(t)
			checkRef(t, b, f)
			if f.header.Commit == 0 && f.header.NoChecksum() {
				continue // the reference encoder refuses an empty database without checksums
			}
			theirs := refEncode(t, f)
			if d := diff(mustDecode(t, theirs), f); d != "" {
				t.Fatal(d)
			}
			checkIndex(t, theirs, f)
			if !bytes.Equal(b, theirs) {
				t.Error("the bytes differ")
			}
			var stored bytes.Buffer
			enc := NewEncoder(&stored)
			enc.SetCompression(false)
			if err := f.encodeTo(enc); err != nil {
				t.Fatal(err)
			}
			checkRef(t, stored.Bytes(), f)
			checkIndex(t, stored.Bytes(), f)
		}
	}
}

// TestReferenceLZ4Frames reads random files whose pages are LZ4 frames.
func TestReferenceLZ4Frames(t *testing.T) {
	r := newRand(t)
	for _, size := range pageSizes {
		f := randomFile(r, size)
		raw := rawFile{header: f.header, post: uint64(f.post)}
		for _, p := range f.pages {
			raw.frames = append(raw.frames, lz4Frame(t, p.pgno, p.data))
		}
		b := raw.bytes()
		checkRef(t, b, f)
		checkIndex(t, b, f)
		if d := diff(mustDecode(t, b), f); d != "" {
			t.Fatal(d)
		}
		got, err := compact(t, [][]byte{b}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if d := diff(got, cleared(f)); d != "" {
			t.Fatalf("compacted: %s", d)
		}
	}
}

// cleared returns f without what a Compactor leaves out.
func cleared(f file) file {
	h := &f.header
	h.WALOffset, h.WALSize, h.WALSalt1, h.WALSalt2, h.NodeID = 0, 0, 0, 0, 0
	return f
}
