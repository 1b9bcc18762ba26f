package ltx

import (
	"bytes"
	"errors"
	"testing"

	ref "github.com/superfly/ltx"
)

// vector is the database of two pages whose files are known.
var vector = file{
	header: Header{PageSize: 512, Commit: 2, MinTXID: 1, MaxTXID: 1, Timestamp: 1000},
	pages:  []page{{1, fill(512, 1)}, {2, fill(512, 2)}},
	post:   0xad2dffe333333333,
}

// TestVectors decodes files of known bytes: two that the reference encoder
// made (its first release of version 3 and a later one), and their equivalents
// without compression. testdata is never rewritten.
func TestVectors(t *testing.T) {
	frames := []rawFrame{
		{pgno: 1, page: vector.pages[0].data, stored: storedLZ4Frame(t, vector.pages[0].data)},
		{pgno: 2, page: vector.pages[1].data, stored: storedLZ4Frame(t, vector.pages[1].data)},
	}
	for _, tt := range []struct {
		name string
		b    []byte
		size int
		sum  Checksum
	}{
		{"blocks", golden(t, "v0.5.3-lz4-blocks.ltx"), 206, 0xb74579e4e011aea1},
		{"frames", golden(t, "v0.5.0-lz4-frames.ltx"), 236, 0xa5cdd16b59f074eb},
		{"literal blocks", golden(t, "literal-blocks.ltx"), 1190, 0xf125f74cafbd01e8},
		{"stored frames", rawFile{header: vector.header, post: uint64(vector.post), frames: frames}.bytes(), 1214, 0xcf9d740a559aeef7},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, dec, err := decode(bytes.NewReader(tt.b))
			if err != nil {
				t.Fatal(err)
			}
			if d := diff(got, vector); d != "" {
				t.Error(d)
			}
			if len(tt.b) != tt.size || dec.N() != int64(tt.size) || dec.Trailer().FileChecksum != tt.sum {
				t.Errorf("%d bytes, file checksum %s", dec.N(), dec.Trailer().FileChecksum)
			}
			if err := ref.NewDecoder(bytes.NewReader(tt.b)).Verify(); err != nil {
				t.Errorf("reference decoder: %v", err)
			}
		})
	}
}

// storedLZ4Frame returns page as an LZ4 frame of one block that is not
// compressed, with the content checksum that the LZ4 library computes.
func storedLZ4Frame(t *testing.T, page []byte) []byte {
	t.Helper()
	b := lz4Frame(t, 1, page).stored
	n := len(page)
	out := append(bytes.Clone(b[:7]), byte(n), byte(n>>8), byte(n>>16), 0x80)
	return append(append(out, page...), b[len(b)-8:]...)
}

// TestEncodeVector compares what Encoder writes with known bytes.
func TestEncodeVector(t *testing.T) {
	var buf bytes.Buffer
	enc := NewEncoder(&buf)
	enc.SetCompression(false)
	if err := vector.encodeTo(enc); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(buf.Bytes(), golden(t, "literal-blocks.ltx")) {
		t.Error("without compression: the bytes differ")
	}
	// How well LZ4 compresses is up to the library; the reference encoder
	// happens to use the same one.
	var want bytes.Buffer
	spec := ref.FileSpec{
		Header: ref.Header{Version: ref.Version, PageSize: 512, Commit: 2, MinTXID: 1, MaxTXID: 1, Timestamp: 1000},
		Pages: []ref.PageSpec{
			{Header: ref.PageHeader{Pgno: 1}, Data: fill(512, 1)},
			{Header: ref.PageHeader{Pgno: 2}, Data: fill(512, 2)},
		},
		Trailer: ref.Trailer{PostApplyChecksum: 0xad2dffe333333333},
	}
	if _, err := spec.WriteTo(&want); err != nil {
		t.Fatal(err)
	}
	if got := vector.encode(t); !bytes.Equal(got, want.Bytes()) {
		t.Error("with compression: the bytes differ from the reference encoder's")
	}
}

// TestBitFlips turns over every bit of small files. Only inside an LZ4 block
// may that give a valid file, and only one with the same content: a match may
// begin at another place that holds the same bytes. The checksum of the file is
// of its pages as expanded, so it does not see such a change, nor has it to.
func TestBitFlips(t *testing.T) {
	for _, name := range []string{"v0.5.3-lz4-blocks.ltx", "v0.5.0-lz4-frames.ltx", "literal-blocks.ltx"} {
		t.Run(name, func(t *testing.T) {
			b := golden(t, name)
			accepted := 0
			for bit := range 8 * len(b) {
				bad := bytes.Clone(b)
				bad[bit/8] ^= 1 << (bit % 8)
				got, dec, err := decode(bytes.NewReader(bad))
				if err == nil {
					accepted++
					if d := diff(got, vector); d != "" || bit/8 < HeaderSize || int64(bit/8) >= dec.N()-TrailerSize {
						t.Errorf("bit %d of byte %d: accepted with another content: %s", bit%8, bit/8, d)
					}
					if name == "literal-blocks.ltx" {
						t.Errorf("bit %d of byte %d: accepted in a file without matches", bit%8, bit/8)
					}
					continue
				}
				var format *FormatError
				if !errors.As(err, &format) {
					t.Errorf("bit %d of byte %d: %v is no FormatError", bit%8, bit/8, err)
				}
			}
			t.Logf("%d of %d flips change no content", accepted, 8*len(b))
		})
	}
}

// TestTruncation cuts files at every byte.
func TestTruncation(t *testing.T) {
	for _, name := range []string{"v0.5.3-lz4-blocks.ltx", "v0.5.0-lz4-frames.ltx", "literal-blocks.ltx"} {
		b := golden(t, name)
		for n := range b {
			_, _, err := decode(bytes.NewReader(b[:n]))
			var format *FormatError
			if !errors.As(err, &format) || format.Offset > int64(n) {
				t.Errorf("%s cut to %d bytes: %v", name, n, err)
			}
			if x, err := ReadIndex(bytes.NewReader(b[:n]), int64(n)); err == nil {
				t.Errorf("%s cut to %d bytes: an index of %d pages", name, n, x.PageN())
			}
		}
	}
}
