package sqlite

import "encoding/binary"

// Checksum is the running checksum of a WAL or a wal-index header: two sums
// with Fibonacci weights. The zero value starts a checksum. (fileformat2
// section 4.2; wal.c walChecksumBytes)
type Checksum [2]uint32

// Update continues the checksum over b, read as 32-bit words in the given byte
// order. A rest of len(b) modulo 8 bytes is ignored; the formats have none.
// (wal.c walChecksumBytes)
func (c Checksum) Update(bigEndian bool, b []byte) Checksum {
	if bigEndian {
		return c.updateBig(b)
	}
	return c.updateLittle(b)
}

// updateLittle is unrolled to half of a cache line, and adds the word first:
// what is left on the path from one sum to the next is one addition a word.
func (c Checksum) updateLittle(b []byte) Checksum {
	s0, s1 := c[0], c[1]
	for ; len(b) >= 32; b = b[32:] {
		v := binary.LittleEndian.Uint64(b)
		s0 = (s0 + uint32(v)) + s1
		s1 = (s1 + uint32(v>>32)) + s0
		v = binary.LittleEndian.Uint64(b[8:])
		s0 = (s0 + uint32(v)) + s1
		s1 = (s1 + uint32(v>>32)) + s0
		v = binary.LittleEndian.Uint64(b[16:])
		s0 = (s0 + uint32(v)) + s1
		s1 = (s1 + uint32(v>>32)) + s0
		v = binary.LittleEndian.Uint64(b[24:])
		s0 = (s0 + uint32(v)) + s1
		s1 = (s1 + uint32(v>>32)) + s0
	}
	for ; len(b) >= 8; b = b[8:] {
		v := binary.LittleEndian.Uint64(b)
		s0 = (s0 + uint32(v)) + s1
		s1 = (s1 + uint32(v>>32)) + s0
	}
	return Checksum{s0, s1}
}

// updateBig is updateLittle for big-endian words: the first word of eight
// bytes is the upper half.
func (c Checksum) updateBig(b []byte) Checksum {
	s0, s1 := c[0], c[1]
	for ; len(b) >= 32; b = b[32:] {
		v := binary.BigEndian.Uint64(b)
		s0 = (s0 + uint32(v>>32)) + s1
		s1 = (s1 + uint32(v)) + s0
		v = binary.BigEndian.Uint64(b[8:])
		s0 = (s0 + uint32(v>>32)) + s1
		s1 = (s1 + uint32(v)) + s0
		v = binary.BigEndian.Uint64(b[16:])
		s0 = (s0 + uint32(v>>32)) + s1
		s1 = (s1 + uint32(v)) + s0
		v = binary.BigEndian.Uint64(b[24:])
		s0 = (s0 + uint32(v>>32)) + s1
		s1 = (s1 + uint32(v)) + s0
	}
	for ; len(b) >= 8; b = b[8:] {
		v := binary.BigEndian.Uint64(b)
		s0 = (s0 + uint32(v>>32)) + s1
		s1 = (s1 + uint32(v)) + s0
	}
	return Checksum{s0, s1}
}

// nativeBigEndian says that this machine stores the most significant byte
// first: the byte order of the wal-index and of its header checksum.
var nativeBigEndian = binary.NativeEndian.Uint16([]byte{0, 1}) == 1
