package ltx

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"
)

const (
	benchPageSize = 4096
	benchPages    = 256
)

// benchDatabase returns 1 MiB of pages that compress to about a half.
func benchDatabase() []byte {
	r := rand.New(rand.NewPCG(1, 1))
	var db []byte
	for range benchPages {
		p := make([]byte, benchPageSize)
		for at := 0; at < len(p); {
			row := []byte("customer|active|2024-01-01T00:00:00Z|")
			for range 24 {
				row = append(row, byte(r.Uint32()))
			}
			at += copy(p[at:], row)
		}
		db = append(db, p...)
	}
	return db
}

func BenchmarkEncode(b *testing.B) {
	db := benchDatabase()
	change := changeOf(nil, db, benchPageSize, 2)
	for _, bb := range []struct {
		name     string
		f        file
		compress bool
	}{
		{"change", change, true},
		{"change-uncompressed", change, false},
		{"snapshot", snapshotOf(db, benchPageSize, 1), true},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.SetBytes(int64(len(db)))
			b.ReportAllocs()
			enc := NewEncoder(io.Discard)
			enc.SetCompression(bb.compress)
			for b.Loop() {
				enc.Reset(io.Discard)
				if err := bb.f.encodeTo(enc); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(enc.N())/float64(len(db)), "ratio")
		})
	}
}

// BenchmarkCommit encodes a transaction of four pages, as most are.
func BenchmarkCommit(b *testing.B) {
	f := changeOf(nil, benchDatabase()[:4*benchPageSize], benchPageSize, 2)
	for _, compress := range []bool{true, false} {
		name := "compressed"
		if !compress {
			name = "uncompressed"
		}
		b.Run(name, func(b *testing.B) {
			b.SetBytes(4 * benchPageSize)
			b.ReportAllocs()
			enc := NewEncoder(io.Discard)
			enc.SetCompression(compress)
			for b.Loop() {
				enc.Reset(io.Discard)
				if err := f.encodeTo(enc); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	db := benchDatabase()
	for _, bb := range []struct {
		name string
		f    file
	}{
		{"change", changeOf(nil, db, benchPageSize, 2)},
		{"snapshot", snapshotOf(db, benchPageSize, 1)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			data := bb.f.encode(b)
			src := bytes.NewReader(data)
			dec := NewDecoder(src)
			page := make([]byte, benchPageSize)
			b.SetBytes(int64(len(db)))
			b.ReportAllocs()
			for b.Loop() {
				src.Reset(data)
				dec.Reset(src)
				if err := dec.DecodeHeader(); err != nil {
					b.Fatal(err)
				}
				var hdr PageHeader
				for dec.DecodePage(&hdr, page) == nil {
					continue
				}
				if err := dec.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	db := benchDatabase()
	data := snapshotOf(db, benchPageSize, 1).encode(b)
	b.SetBytes(int64(len(db)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Verify(bytes.NewReader(data)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReadPage(b *testing.B) {
	db := benchDatabase()
	data := snapshotOf(db, benchPageSize, 1).encode(b)
	x, err := ReadIndex(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		b.Fatal(err)
	}
	page := make([]byte, benchPageSize)
	b.SetBytes(benchPageSize)
	b.ReportAllocs()
	for b.Loop() {
		if err := x.ReadPage(100, page); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCompact merges a snapshot and eight changes of an eighth of it each.
func BenchmarkCompact(b *testing.B) {
	db := benchDatabase()
	files := []file{snapshotOf(db, benchPageSize, 1)}
	for i := range TXID(8) {
		after := bytes.Clone(db)
		for pgno := int(i); pgno < benchPages; pgno += 8 {
			after[pgno*benchPageSize]++
		}
		files = append(files, changeOf(db, after, benchPageSize, i+2))
		db = after
	}
	encoded := encodeAll(b, files)
	b.SetBytes(2 * benchPages * benchPageSize)
	b.ReportAllocs()
	for b.Loop() {
		inputs := make([]io.Reader, len(encoded))
		for i, data := range encoded {
			inputs[i] = bytes.NewReader(data)
		}
		if err := NewCompactor(io.Discard, inputs).Compact(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
