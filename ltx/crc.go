package ltx

import "encoding/binary"

// CRC-64/GO-ISO, the checksum of the format: P = x⁶⁴ + x⁴ + x³ + x + 1,
// reflected, all ones before and after. hash/crc64 computes the same value
// with lookup tables at about a quarter of this speed.
//
// P is so sparse that no tables are needed. Modulo P, x⁶⁴ = x⁴+x³+x+1, which
// factors into (x+1)(x³+1). Squaring over GF(2) keeps the number of terms, so
// x²⁵⁶ = (x⁴+1)(x¹²+1): a 256-bit remainder is carried past the next 32 bytes
// of input by two shift-and-xor passes.
//
// Words are reflected: the top bit is x⁰, so that multiplying by xⁿ shifts a
// word right and pushes its low n bits into the word of the next higher power.

// crcUpdate returns the CRC-64 of the bytes that gave crc followed by p. The
// CRC of no bytes is 0.
func crcUpdate(crc uint64, p []byte) uint64 {
	crc = ^crc
	if len(p) >= 64 {
		crc, p = crcBlocks(crc, p)
	}
	for len(p) >= 8 {
		crc = mulX64(crc ^ binary.LittleEndian.Uint64(p))
		p = p[8:]
	}
	for _, b := range p {
		// Eight bits leave the register; they come back at x⁶⁴.
		out := uint64(byte(crc)^b) << 56
		out ^= out >> 1
		out ^= out >> 3
		crc = crc>>8 ^ out
	}
	return ^crc
}

// mulX64 multiplies v by x⁶⁴ modulo P.
func mulX64(v uint64) uint64 {
	out := v << 63 // what overflows in the pass by x+1, at x⁶⁴
	v ^= v >> 1
	out ^= out>>3 ^ v<<61 // and in the pass by x³+1
	v ^= v >> 3
	out ^= out >> 1
	out ^= out >> 3
	return v ^ out
}

// crcBlocks takes as many 32-byte blocks of p as there are, at least one, into
// the register crc and returns the register and the rest of p.
func crcBlocks(crc uint64, p []byte) (register uint64, rest []byte) {
	a := crc ^ binary.LittleEndian.Uint64(p)
	b := binary.LittleEndian.Uint64(p[8:])
	c := binary.LittleEndian.Uint64(p[16:])
	d := binary.LittleEndian.Uint64(p[24:])
	p = p[32:]
	for len(p) >= 32 {
		out := a << 60
		a ^= a>>4 ^ b<<60
		b ^= b>>4 ^ c<<60
		c ^= c>>4 ^ d<<60
		d ^= d >> 4

		out ^= out>>12 ^ a<<52
		a ^= a>>12 ^ b<<52
		b ^= b>>12 ^ c<<52
		c ^= c>>12 ^ d<<52
		d ^= d >> 12

		// What overflowed stands at x²⁵⁶ and is at most 16 bits long.
		out ^= out >> 4
		out ^= out >> 12

		a ^= binary.LittleEndian.Uint64(p)
		b ^= binary.LittleEndian.Uint64(p[8:])
		c ^= binary.LittleEndian.Uint64(p[16:])
		d ^= binary.LittleEndian.Uint64(p[24:]) ^ out
		p = p[32:]
	}
	return mulX64(mulX64(mulX64(mulX64(a)^b)^c) ^ d), p
}
