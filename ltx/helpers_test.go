package ltx

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"hash/crc64"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/pierrec/lz4/v4"
)

var pageSizes = []uint32{512, 1024, 2048, 4096, 8192, 16384, 32768, 65536}

var seedFlag = flag.Uint64("seed", 0, "seed of the random tests; 0 takes a new one")

// newRand returns a source of random numbers whose seed is in the test's log.
func newRand(tb testing.TB) *rand.Rand {
	tb.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	tb.Logf("to repeat: -seed=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// page is one page of a file.
type page struct {
	pgno uint32
	data []byte
}

// file is a file in memory: what is encoded, and what decoding gives back.
type file struct {
	header Header
	pages  []page
	post   Checksum
}

// fill returns a page of n bytes, all of them b.
func fill(n uint32, b byte) []byte { return bytes.Repeat([]byte{b}, int(n)) }

// randomPage returns a page that compresses like a database page does.
func randomPage(r *rand.Rand, n uint32) []byte {
	p := make([]byte, n)
	for i := range p {
		if i >= 16 && r.IntN(3) > 0 {
			p[i] = p[i-16]
		} else if r.IntN(2) == 0 {
			p[i] = byte(r.Uint32())
		}
	}
	return p
}

// databaseChecksum computes the checksum of a database file from scratch, with
// the CRC of the standard library.
func databaseChecksum(db []byte, pageSize uint32) Checksum {
	table := crc64.MakeTable(crc64.ISO)
	sum := ChecksumFlag
	for i := uint32(0); uint64(i)*uint64(pageSize) < uint64(len(db)); i++ {
		if i == 0x40000000/pageSize {
			continue
		}
		crc := crc64.Update(0, table, binary.BigEndian.AppendUint32(nil, i+1))
		crc = crc64.Update(crc, table, db[uint64(i)*uint64(pageSize):][:pageSize])
		sum ^= Checksum(crc)
	}
	return sum | ChecksumFlag
}

// encodeTo writes f with enc.
func (f file) encodeTo(enc *Encoder) error {
	if err := enc.EncodeHeader(f.header); err != nil {
		return err
	}
	for _, p := range f.pages {
		if err := enc.EncodePage(p.pgno, p.data); err != nil {
			return err
		}
	}
	enc.SetPostApplyChecksum(f.post)
	return enc.Close()
}

// encode returns the bytes of f.
func (f file) encode(tb testing.TB) []byte {
	tb.Helper()
	var buf bytes.Buffer
	if err := f.encodeTo(NewEncoder(&buf)); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

// decode reads a whole file and returns the decoder as well.
func decode(r io.Reader) (file, *Decoder, error) {
	dec := NewDecoder(r)
	f, err := readAll(dec)
	return f, dec, err
}

// readAll reads a whole file with dec.
func readAll(dec *Decoder) (file, error) {
	if err := dec.DecodeHeader(); err != nil {
		return file{}, err
	}
	f := file{header: dec.Header()}
	for {
		var hdr PageHeader
		data := make([]byte, f.header.PageSize)
		if err := dec.DecodePage(&hdr, data); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return f, err
		}
		f.pages = append(f.pages, page{hdr.Pgno, data})
	}
	if err := dec.Close(); err != nil {
		return f, err
	}
	f.post = dec.Trailer().PostApplyChecksum
	return f, nil
}

// mustDecode is decode for files that must be valid.
func mustDecode(tb testing.TB, b []byte) file {
	tb.Helper()
	f, _, err := decode(bytes.NewReader(b))
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

// diff compares two files; it returns "" if they are equal.
func diff(got, want file) string {
	switch {
	case got.header != want.header:
		return "headers differ"
	case got.post != want.post:
		return "post-apply checksums differ"
	case !slices.EqualFunc(got.pages, want.pages, func(a, b page) bool {
		return a.pgno == b.pgno && bytes.Equal(a.data, b.data)
	}):
		return "pages differ"
	}
	return ""
}

// snapshotOf returns a snapshot of the database db up to the transaction txid.
func snapshotOf(db []byte, pageSize uint32, txid TXID) file {
	f := file{
		header: Header{PageSize: pageSize, Commit: uint32(len(db) / int(pageSize)), MinTXID: 1, MaxTXID: txid, Timestamp: 1000},
		post:   databaseChecksum(db, pageSize),
	}
	for i := range f.header.Commit {
		f.pages = append(f.pages, page{i + 1, db[i*pageSize:][:pageSize]})
	}
	return f
}

// changeOf returns the file that takes the database before to after.
func changeOf(before, after []byte, pageSize uint32, txid TXID) file {
	f := file{
		header: Header{
			PageSize: pageSize, Commit: uint32(len(after) / int(pageSize)), MinTXID: txid, MaxTXID: txid,
			Timestamp: int64(txid) * 1000, PreApplyChecksum: databaseChecksum(before, pageSize),
		},
		post: databaseChecksum(after, pageSize),
	}
	for at := 0; at < len(after); at += int(pageSize) {
		data := after[at:][:pageSize]
		if at+len(data) > len(before) || !bytes.Equal(before[at:][:pageSize], data) {
			f.pages = append(f.pages, page{uint32(at)/pageSize + 1, data})
		}
	}
	return f
}

// apply returns the database that f makes of db.
func (f file) apply(db []byte) []byte {
	db = slices.Clone(db)
	size := int(f.header.Commit) * int(f.header.PageSize)
	if len(db) < size {
		db = append(db, make([]byte, size-len(db))...)
	}
	for _, p := range f.pages {
		copy(db[int(p.pgno-1)*int(f.header.PageSize):], p.data)
	}
	return db[:size]
}

// rawFile composes files, right and wrong, without any code of the package.
type rawFile struct {
	header   Header
	reserved byte // fills the reserved part of the header
	frames   []rawFrame
	post     uint64
	index    func(exact []byte) []byte // replaces the page index, length and all
	length   func(exact uint64) uint64 // replaces the length of the page index
}

// rawFrame is one page frame.
type rawFrame struct {
	pgno   uint32
	flags  uint16
	page   []byte // what is hashed
	stored []byte // what stands after the header, or after the length if flags is 1
}

// block returns the frame of a page as an LZ4 block of literals.
func block(pgno uint32, page []byte) rawFrame {
	return rawFrame{pgno: pgno, flags: 1, page: page, stored: literals(page)}
}

func literals(page []byte) []byte {
	b := []byte{0xF0}
	n := len(page) - 15
	for ; n >= 255; n -= 255 {
		b = append(b, 255)
	}
	return append(append(b, byte(n)), page...)
}

// lz4Frame returns the frame of a page as an LZ4 frame.
func lz4Frame(tb testing.TB, pgno uint32, page []byte, opts ...lz4.Option) rawFrame {
	tb.Helper()
	var buf bytes.Buffer
	w := lz4.NewWriter(&buf)
	if err := w.Apply(append([]lz4.Option{lz4.BlockSizeOption(lz4.Block64Kb)}, opts...)...); err != nil {
		tb.Fatal(err)
	}
	if _, err := w.Write(page); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return rawFrame{pgno: pgno, page: page, stored: buf.Bytes()}
}

func (f rawFile) bytes() []byte {
	h := f.header
	be := binary.BigEndian
	b := append([]byte("LTX1"), make([]byte, 76)...)
	be.PutUint32(b[4:], h.Flags)
	be.PutUint32(b[8:], h.PageSize)
	be.PutUint32(b[12:], h.Commit)
	be.PutUint64(b[16:], uint64(h.MinTXID))
	be.PutUint64(b[24:], uint64(h.MaxTXID))
	be.PutUint64(b[32:], uint64(h.Timestamp))
	be.PutUint64(b[40:], uint64(h.PreApplyChecksum))
	be.PutUint64(b[48:], uint64(h.WALOffset))
	be.PutUint64(b[56:], uint64(h.WALSize))
	be.PutUint32(b[64:], h.WALSalt1)
	be.PutUint32(b[68:], h.WALSalt2)
	be.PutUint64(b[72:], h.NodeID)
	b = append(b, bytes.Repeat([]byte{f.reserved}, 20)...)
	hashed := slices.Clone(b)
	var index []byte
	for _, p := range f.frames {
		at := len(b)
		b = be.AppendUint32(b, p.pgno)
		b = be.AppendUint16(b, p.flags)
		if p.flags == 1 {
			b = be.AppendUint32(b, uint32(len(p.stored)))
		}
		hashed = append(append(hashed, b[at:]...), p.page...)
		b = append(b, p.stored...)
		for _, v := range []int{int(p.pgno), at, len(b) - at} {
			index = binary.AppendUvarint(index, uint64(v))
		}
	}
	index = append(index, 0)
	length := uint64(len(index))
	if f.length != nil {
		length = f.length(length)
	}
	index = be.AppendUint64(index, length)
	if f.index != nil {
		index = f.index(index)
	}
	end := append(make([]byte, 6), index...)
	end = be.AppendUint64(end, f.post)
	b, hashed = append(b, end...), append(hashed, end...)
	return be.AppendUint64(b, 1<<63|crc64.Checksum(hashed, crc64.MakeTable(crc64.ISO)))
}

// golden returns a file of testdata.
func golden(tb testing.TB, name string) []byte {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}
