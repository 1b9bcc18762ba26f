package sqlite

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

func TestJournalHeaderLiteral(t *testing.T) {
	want := append([]byte{0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7}, be32(3, 0xdeadbeef, 10, 512, 1024)...)
	want = append(want, make([]byte, 512-28)...)
	h := JournalHeader{RecordCount: 3, Nonce: 0xdeadbeef, InitialPages: 10, SectorSize: 512, PageSize: 1024}
	sameBytes(t, "header", h.AppendTo(nil), want)
	if got, err := ParseJournalHeader(want); err != nil || got != h {
		t.Errorf("parsed %+v, %v", got, err)
	}
}

func TestParseJournalHeaderInvalid(t *testing.T) {
	good := JournalHeader{SectorSize: 512, PageSize: 1024}
	cases := map[string][]byte{
		"empty":             nil,
		"zeros":             make([]byte, 512),
		"short":             good.AppendTo(nil)[:27],
		"sector size 0":     JournalHeader{PageSize: 1024}.AppendTo(nil),
		"sector size 48":    JournalHeader{SectorSize: 48, PageSize: 1024}.AppendTo(nil),
		"sector size 16":    JournalHeader{SectorSize: 16, PageSize: 1024}.AppendTo(nil),
		"sector size 128Ki": JournalHeader{SectorSize: 128 << 10, PageSize: 1024}.AppendTo(nil),
		"page size 0":       JournalHeader{SectorSize: 512}.AppendTo(nil),
		"page size 1000":    JournalHeader{SectorSize: 512, PageSize: 1000}.AppendTo(nil),
		"page size 128Ki":   JournalHeader{SectorSize: 512, PageSize: 128 << 10}.AppendTo(nil),
	}
	for name, b := range cases {
		if _, err := ParseJournalHeader(b); !errors.Is(err, ErrJournalHeader) {
			t.Errorf("%s: error %v, want %v", name, err, ErrJournalHeader)
		}
	}
}

func TestJournalChecksum(t *testing.T) {
	page := make([]byte, 1024)
	for i := range page {
		page[i] = 1
	}
	// 824, 624, 424, 224 and 24 count.
	if got := JournalChecksum(100, page); got != 105 {
		t.Errorf("1024 bytes: %d", got)
	}
	// 600, 400 and 200 would, but byte 0 would not: 800 bytes are no page size.
	if got := JournalChecksum(100, page[:800]); got != 103 {
		t.Errorf("800 bytes: %d", got)
	}
	page[24] = 0xff
	if got := JournalChecksum(0xffffffff, page); got != 4+0xff-1 {
		t.Errorf("wrap around: %d", got)
	}
}

// journalBuilder composes journals.
type journalBuilder struct {
	b        []byte
	sector   uint32
	pageSize uint32
	pages    uint32
}

func (j *journalBuilder) segment(count, nonce uint32, pgnos ...uint32) *journalBuilder {
	if over := len(j.b) % int(j.sector); over != 0 {
		j.b = append(j.b, make([]byte, int(j.sector)-over)...)
	}
	j.b = JournalHeader{RecordCount: count, Nonce: nonce, InitialPages: j.pages, SectorSize: j.sector, PageSize: j.pageSize}.AppendTo(j.b)
	for _, pgno := range pgnos {
		j.b = AppendJournalRecord(j.b, nonce, pgno, bytes.Repeat([]byte{byte(pgno)}, int(j.pageSize)))
	}
	return j
}

func readPgnos(t *testing.T, b []byte, size int64) []uint32 {
	t.Helper()
	r, err := NewJournalReader(bytes.NewReader(b), size)
	if err != nil {
		t.Fatal(err)
	}
	var pgnos []uint32
	for r.Next() {
		if want := bytes.Repeat([]byte{byte(r.Pgno())}, int(r.Header().PageSize)); !bytes.Equal(r.Page(), want) {
			t.Errorf("page %d has the wrong content", r.Pgno())
		}
		pgnos = append(pgnos, r.Pgno())
	}
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	if r.Next() {
		t.Error("Next goes on after the end")
	}
	return pgnos
}

func TestJournalReader(t *testing.T) {
	newBuilder := func() *journalBuilder { return &journalBuilder{sector: 512, pageSize: 512, pages: 9} }
	corrupt := func(b []byte, at int) []byte { b[at] ^= 1; return b }
	record := 512 + 8
	cases := []struct {
		name string
		b    []byte
		want []uint32
	}{
		{"one segment", newBuilder().segment(2, 7, 3, 4).b, []uint32{3, 4}},
		{"count 0 rolls nothing back", newBuilder().segment(0, 7, 3, 4).b, nil},
		{"count below the records", newBuilder().segment(1, 7, 3, 4).b, []uint32{3}},
		{"count past the end", newBuilder().segment(9, 7, 3, 4).b, []uint32{3, 4}},
		{"no-sync", newBuilder().segment(JournalCountUnknown, 7, 3, 4, 5).b, []uint32{3, 4, 5}},
		{"two segments", newBuilder().segment(2, 7, 3, 4).segment(1, 8, 5).b, []uint32{3, 4, 5}},
		{"last segment not synced", newBuilder().segment(2, 7, 3, 4).segment(0, 8, 5).b, []uint32{3, 4}},
		{"empty segment in between", newBuilder().segment(1, 7, 3).segment(0, 8).segment(1, 9, 5).b, []uint32{3, 5}},
		{"page past the initial size", newBuilder().segment(3, 7, 3, 10, 4).b, []uint32{3, 4}},
		{"page 0", newBuilder().segment(3, 7, 3, 0, 4).segment(1, 8, 5).b, []uint32{3}},
		{"lock page", newBuilder().segment(3, 7, 3, LockPage(512), 4).b, []uint32{3}},
		{"bad checksum ends all", corrupt(newBuilder().segment(2, 7, 3, 4).segment(1, 8, 5).b, 512+record-1), nil},
		{"bad second checksum", corrupt(newBuilder().segment(2, 7, 3, 4).segment(1, 8, 5).b, 512+2*record-1), []uint32{3}},
		{"other nonce", newBuilder().segment(1, 7, 3).segment(1, 8, 4).b, []uint32{3, 4}},
		{"record cut short", newBuilder().segment(2, 7, 3, 4).b[:512+2*record-1], []uint32{3}},
		{"header alone", newBuilder().segment(2, 7).b, nil},
		{"super-journal", AppendSuperJournal(newBuilder().segment(JournalCountUnknown, 7, 3).b, 512, "/x-mj0123456789"), []uint32{3}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := readPgnos(t, c.b, int64(len(c.b))); !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
	t.Run("sector size 4096", func(t *testing.T) {
		b := (&journalBuilder{sector: 4096, pageSize: 1024, pages: 9}).segment(2, 7, 1, 2).segment(1, 8, 9).b
		if got := readPgnos(t, b, int64(len(b))); !slices.Equal(got, []uint32{1, 2, 9}) {
			t.Errorf("got %v", got)
		}
	})
	t.Run("file shorter than said", func(t *testing.T) {
		b := newBuilder().segment(2, 7, 3, 4).b
		if got := readPgnos(t, b[:len(b)-5], int64(len(b))); !slices.Equal(got, []uint32{3}) {
			t.Errorf("got %v", got)
		}
	})
	t.Run("too short", func(t *testing.T) {
		b := newBuilder().segment(0, 7).b
		if _, err := NewJournalReader(bytes.NewReader(b), 511); !errors.Is(err, ErrJournalHeader) {
			t.Errorf("error %v", err)
		}
	})
}

// A journal cut at any byte gives a prefix of its pages, and no error.
func TestJournalReaderTruncated(t *testing.T) {
	b := (&journalBuilder{sector: 512, pageSize: 512, pages: 9}).segment(2, 7, 3, 4).segment(2, 8, 5, 6).b
	want := []uint32{3, 4, 5, 6}
	for n := 512; n <= len(b); n++ {
		got := readPgnos(t, b[:n], int64(n))
		if len(got) > len(want) || !slices.Equal(got, want[:len(got)]) {
			t.Fatalf("%d bytes: %v", n, got)
		}
	}
}

type failingReader struct {
	io.ReaderAt
	after int64
}

var errDisk = errors.New("disk on fire")

func (r failingReader) ReadAt(b []byte, off int64) (int, error) {
	if off+int64(len(b)) > r.after {
		return 0, errDisk
	}
	return r.ReaderAt.ReadAt(b, off)
}

func TestJournalReaderError(t *testing.T) {
	b := (&journalBuilder{sector: 512, pageSize: 512, pages: 9}).segment(2, 7, 3, 4).b
	r, err := NewJournalReader(failingReader{bytes.NewReader(b), 512 + 520}, int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if !r.Next() || r.Next() || !errors.Is(r.Err(), errDisk) {
		t.Errorf("error %v, want %v after one page", r.Err(), errDisk)
	}
	if _, err := NewJournalReader(failingReader{bytes.NewReader(b), 1}, int64(len(b))); !errors.Is(err, errDisk) {
		t.Errorf("error %v, want %v", err, errDisk)
	}
}

func TestSuperJournal(t *testing.T) {
	const name = "/d/db-mjABCDEF901"
	record := append(be32(2097153), name...)
	record = append(record, be32(uint32(len(name)), 1211)...)
	record = append(record, JournalHeaderString...)
	sameBytes(t, "record", AppendSuperJournal(nil, 512, name), record)

	withUnsigned := AppendSuperJournal(nil, 512, "/\xff-mj012345901")
	copy(withUnsigned[len(withUnsigned)-12:], be32(superChecksum("/\xff-mj012345901")+256))
	cases := []struct {
		name string
		b    []byte
		want string
	}{
		{"good", AppendSuperJournal([]byte("journal"), 512, name), name},
		{"signed bytes", AppendSuperJournal(nil, 512, "/\xff-mj012345901"), "/\xff-mj012345901"},
		{"unsigned bytes", withUnsigned, "/\xff-mj012345901"},
		{"empty", nil, ""},
		{"no name", make([]byte, 512), ""},
		{"bad name", AppendSuperJournal(nil, 512, "/d/db-mjABCDEF801"), ""},
		{"not hex", AppendSuperJournal(nil, 512, "/d/db-mjABCDEG901"), ""},
		{"short name", AppendSuperJournal(nil, 512, "mjABCDEF901"), ""},
		{"longest name", AppendSuperJournal(nil, 512, strings.Repeat("/", 500)+"-mj012345901"), strings.Repeat("/", 500) + "-mj012345901"},
		{"name too long", AppendSuperJournal(nil, 512, strings.Repeat("/", 501)+"-mj012345901"), ""},
		{"length past the file", append(be32(30, 0), JournalHeaderString...), ""},
		{"checksum", append(AppendSuperJournal(nil, 512, name)[:len(record)-12], append(be32(1212), JournalHeaderString...)...), ""},
	}
	for _, c := range cases {
		if got, err := ReadSuperJournal(bytes.NewReader(c.b), int64(len(c.b))); err != nil || got != c.want {
			t.Errorf("%s: %q, %v, want %q", c.name, got, err, c.want)
		}
	}
}

func TestSuperJournalErrors(t *testing.T) {
	b := AppendSuperJournal(nil, 512, "/d/db-mjABCDEF901")
	size := int64(len(b))
	// The trailer is read first, and then the name in front of it.
	for _, r := range []io.ReaderAt{failingReader{bytes.NewReader(b), 1}, failingRange{bytes.NewReader(b), 4}} {
		if _, err := ReadSuperJournal(r, size); !errors.Is(err, errDisk) {
			t.Errorf("error %v, want %v", err, errDisk)
		}
	}
}

// failingRange fails reads that start at one offset.
type failingRange struct {
	io.ReaderAt
	at int64
}

func (r failingRange) ReadAt(b []byte, off int64) (int, error) {
	if off == r.at {
		return 0, errDisk
	}
	return r.ReaderAt.ReadAt(b, off)
}
