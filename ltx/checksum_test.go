package ltx

import (
	"encoding/binary"
	"hash/crc64"
	"testing"
)

func TestCRC(t *testing.T) {
	table := crc64.MakeTable(crc64.ISO)
	if got := crcUpdate(0, []byte("123456789")); got != 0xB90956C775A41001 {
		t.Errorf("check value %016x", got)
	}
	if got := crcUpdate(0, nil); got != 0 {
		t.Errorf("CRC of nothing %016x", got)
	}
	r := newRand(t)
	b := make([]byte, 1000)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	for n := range b {
		if got, want := crcUpdate(0, b[:n]), crc64.Checksum(b[:n], table); got != want {
			t.Fatalf("CRC of %d bytes is %016x, want %016x", n, got, want)
		}
		cut := r.IntN(n + 1)
		if got, want := crcUpdate(crcUpdate(0, b[:cut]), b[cut:n]), crc64.Checksum(b[:n], table); got != want {
			t.Fatalf("CRC of %d and %d bytes is %016x, want %016x", cut, n-cut, got, want)
		}
	}
}

func FuzzCRC(f *testing.F) {
	f.Add(uint64(0), []byte("123456789"))
	f.Add(^uint64(0), make([]byte, 200))
	table := crc64.MakeTable(crc64.ISO)
	f.Fuzz(func(t *testing.T, crc uint64, b []byte) {
		if got, want := crcUpdate(crc, b), crc64.Update(crc, table, b); got != want {
			t.Fatalf("%016x, want %016x", got, want)
		}
	})
}

func TestPageChecksum(t *testing.T) {
	for _, tt := range []struct {
		pgno uint32
		fill byte
		want Checksum
	}{
		{1, 0, 0xefb1f44fecd99000},
		{2, 2, 0xc9c9554231044ddd},
	} {
		if got := PageChecksum(tt.pgno, fill(512, tt.fill)); got != tt.want {
			t.Errorf("page %d: %s, want %s", tt.pgno, got, tt.want)
		}
	}
	data := fill(4096, 7)
	if n := testing.AllocsPerRun(100, func() { PageChecksum(3, data) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestDatabaseChecksum(t *testing.T) {
	one, two := PageChecksum(1, fill(512, 0)), PageChecksum(2, fill(512, 2))
	sum := ChecksumFlag.Add(one).Add(two)
	if want := Checksum(0xa678a10ddddddddd); sum != want {
		t.Fatalf("sum is %s, want %s", sum, want)
	}
	if got := ChecksumFlag.Add(two).Add(one); got != sum {
		t.Errorf("in the other order %s", got)
	}
	if got := sum.Remove(one); got != ChecksumFlag.Add(two) {
		t.Errorf("without page 1 %s", got)
	}
	if got := sum.Remove(two).Remove(one); got != ChecksumFlag {
		t.Errorf("without pages %s, want the flag alone", got)
	}
	if got := Checksum(0).Add(one); got != one {
		t.Errorf("from the zero value %s, want %s", got, one)
	}
}

func TestLockPgno(t *testing.T) {
	want := map[uint32]uint32{
		512: 2097153, 1024: 1048577, 2048: 524289, 4096: 262145,
		8192: 131073, 16384: 65537, 32768: 32769, 65536: 16385,
	}
	for _, size := range pageSizes {
		if got := LockPgno(size); got != want[size] {
			t.Errorf("page size %d: %d, want %d", size, got, want[size])
		}
	}
}

func BenchmarkPageChecksum(b *testing.B) {
	data := fill(4096, 7)
	b.Run("ltx", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			PageChecksum(3, data)
		}
	})
	b.Run("hash/crc64", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		table := crc64.MakeTable(crc64.ISO)
		for b.Loop() {
			var prefix [4]byte
			binary.BigEndian.PutUint32(prefix[:], 3)
			crc64.Update(crc64.Update(0, table, prefix[:]), table, data)
		}
	})
}
