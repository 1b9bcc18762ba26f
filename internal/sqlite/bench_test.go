package sqlite

import (
	"fmt"
	"path/filepath"
	"testing"
)

func BenchmarkChecksum(b *testing.B) {
	for _, bigEndian := range []bool{false, true} {
		b.Run(fmt.Sprintf("big-endian=%v", bigEndian), func(b *testing.B) {
			page := make([]byte, 4096)
			b.SetBytes(4096)
			var c Checksum
			for b.Loop() {
				c = c.Update(bigEndian, page)
			}
		})
	}
}

func BenchmarkWALScan(b *testing.B) {
	for _, pageSize := range []uint32{512, 4096, 65536} {
		b.Run(fmt.Sprint(pageSize), func(b *testing.B) {
			h := WALHeader{PageSize: pageSize}
			wal := makeWAL(b, h, make([]uint32, (4<<20)/pageSize)...)
			f := openFile(b, filepath.Join(b.TempDir(), "wal"))
			if _, err := f.WriteAt(wal.b, 0); err != nil {
				b.Fatal(err)
			}
			s := NewWALScanner(f, h.Start(), 1<<20)
			b.SetBytes(int64(len(wal.b)))
			b.ReportAllocs()
			for b.Loop() {
				s.Reset(h.Start(), 1<<20)
				for s.Next() {
				}
			}
			if s.Stop() != StopShort || s.Err() != nil {
				b.Fatal(s.Stop(), s.Err())
			}
		})
	}
}

func BenchmarkWALWrite(b *testing.B) {
	h := WALHeader{PageSize: 4096}
	f := openFile(b, filepath.Join(b.TempDir(), "wal"))
	w := NewWALWriter(f, h.Start())
	page := make([]byte, 4096)
	b.SetBytes(100 * 4096)
	b.ReportAllocs()
	for b.Loop() {
		w.Reset(h.Start())
		for pgno := range uint32(100) {
			if err := w.WriteFrame(pgno+1, 0, page); err != nil {
				b.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil {
			b.Fatal(err)
		}
	}
}

// A transaction of n frames: append and publish.
func BenchmarkWALIndexAppend(b *testing.B) {
	for _, n := range []uint32{1, 100, 4000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			f := openFile(b, filepath.Join(b.TempDir(), "shm"))
			w := NewWALIndexWriter(NewWALIndex(f))
			b.ReportAllocs()
			var frame uint32
			for b.Loop() {
				if frame > 20000 {
					frame = 0
				}
				for range n {
					frame++
					if err := w.Append(frame, frame%997+1); err != nil {
						b.Fatal(err)
					}
				}
				if err := w.Publish(WALIndexHeader{MaxFrame: frame}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/frame")
		})
	}
}

func BenchmarkWALIndexRead(b *testing.B) {
	f := openFile(b, filepath.Join(b.TempDir(), "shm"))
	const frames = 10000
	x := buildIndex(b, f, somePgnos(frames)).index
	b.Run("header", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := x.Header(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("find", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if frame, err := x.FindFrame(777, 1, frames); err != nil || frame == 0 {
				b.Fatal(frame, err)
			}
		}
	})
	b.Run("find none in 10000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if frame, err := x.FindFrame(9999, 1, frames); err != nil || frame != 0 {
				b.Fatal(frame, err)
			}
		}
	})
	b.Run("latest of 10000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if pages, err := x.LatestFrames(1, frames); err != nil || len(pages) == 0 {
				b.Fatal(len(pages), err)
			}
		}
	})
}
