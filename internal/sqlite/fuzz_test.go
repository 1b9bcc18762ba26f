package sqlite

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
)

func FuzzDatabaseHeader(f *testing.F) {
	f.Add(literalHeader(), uint32(3))
	f.Fuzz(func(t *testing.T, b []byte, n uint32) {
		h, err := ParseDatabaseHeader(b)
		if IsDatabase(b) != (err == nil) {
			t.Fatal("IsDatabase disagrees")
		}
		if err != nil {
			return
		}
		if !ValidPageSize(h.PageSize) || LockPage(h.PageSize) == 0 {
			t.Fatalf("page size %d", h.PageSize)
		}
		if got := h.PageCount(0); got != 0 && got != h.StatedPageCount {
			t.Fatalf("page count %d", got)
		}
		b = bytes.Clone(b)
		SetPageCount(b, n)
		SetChangeCounter(b, n+1)
		SetFormatVersion(b, VersionWAL)
		h.StatedPageCount, h.ChangeCounter, h.VersionValidFor = n, n+1, n+1
		h.ReadVersion, h.WriteVersion = VersionWAL, VersionWAL
		if got, err := ParseDatabaseHeader(b); err != nil || got != h {
			t.Fatalf("set %+v, %v, want %+v", got, err, h)
		}
	})
}

func FuzzJournalReader(f *testing.F) {
	b := (&journalBuilder{sector: 512, pageSize: 512, pages: 9}).segment(2, 7, 3, 4).segment(JournalCountUnknown, 8, 5).b
	f.Add(b, int64(len(b)))
	f.Add(AppendSuperJournal(b, 512, "/d/db-mj012345901"), int64(len(b)))
	f.Add((&journalBuilder{sector: 32, pageSize: 1024, pages: 9}).segment(0, 7).segment(1, 7, 3).b, int64(1)<<40)
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		if name, err := ReadSuperJournal(bytes.NewReader(b), int64(len(b))); err != nil || (name != "" && !bytes.Contains(b, []byte(name))) {
			t.Fatalf("super-journal %q, %v", name, err)
		}
		r, err := NewJournalReader(bytes.NewReader(b), size)
		if err != nil {
			return
		}
		h := r.Header()
		h.RecordCount = 0
		records := h.AppendTo(nil)
		for r.Next() {
			if r.Pgno() == 0 || r.Pgno() > h.InitialPages {
				t.Fatalf("page %d of %d", r.Pgno(), h.InitialPages)
			}
			records = AppendJournalRecord(records, h.Nonce, r.Pgno(), r.Page())
			h.RecordCount++
		}
		if int(h.RecordCount)*int(h.PageSize) > len(b) {
			t.Fatalf("%d records in %d bytes", h.RecordCount, len(b))
		}
		// What was accepted, written again, is accepted again.
		copy(records, h.AppendTo(nil)[:JournalHeaderSize])
		if len(records) < minFirstHeader {
			return
		}
		r, err = NewJournalReader(bytes.NewReader(records), int64(len(records)))
		if err != nil {
			t.Fatal(err)
		}
		for n := h.RecordCount; n > 0; n-- {
			if !r.Next() {
				t.Fatalf("%d records are missing", n)
			}
		}
	})
}

// repairWAL makes the header and every whole frame of b valid, so that the
// fuzzer gets past the checksums.
func repairWAL(b []byte) []byte {
	if len(b) < WALHeaderSize {
		return b
	}
	b = bytes.Clone(b)
	h := WALHeader{
		BigEndian: b[3]&1 != 0,
		PageSize:  512 << (b[11] % 8),
		Sequence:  binary.BigEndian.Uint32(b[12:]),
		Salt:      decodeSalt(b[16:]),
	}
	copy(b, h.AppendTo(nil))
	cursor := h.Start()
	for n := WALFrames(int64(len(b)), h.PageSize); cursor.Frame < n; {
		frame := b[cursor.Offset():][:walFrameSize(h.PageSize)]
		old := ParseWALFrameHeader(frame)
		var fixed WALFrameHeader
		fixed, cursor = cursor.next(old.Pgno, old.Commit, frame[WALFrameHeaderSize:])
		copy(frame, fixed.AppendTo(nil))
	}
	return b
}

func FuzzWALScanner(f *testing.F) {
	for _, bigEndian := range []bool{false, true} {
		f.Add(makeWAL(f, WALHeader{BigEndian: bigEndian, PageSize: 512, Salt: Salt{5, 6}}, 0, 2, 0, 4).b, false, uint32(100))
	}
	f.Add(make([]byte, 4000), true, uint32(3))
	f.Fuzz(func(t *testing.T, b []byte, repair bool, limit uint32) {
		if repair {
			b = repairWAL(b)
		}
		h, err := ParseWALHeader(b)
		if err != nil {
			return
		}
		again := &memFile{h.AppendTo(nil)}
		w := NewWALWriter(again, h.Start())
		s := NewWALScanner(bytes.NewReader(b), h.Start(), limit)
		for s.Next() {
			if s.Frame().Pgno == LockPage(h.PageSize) {
				return // valid for SQLite too, but WALWriter refuses it
			}
			if err := w.WriteFrame(s.Frame().Pgno, s.Frame().Commit, s.Page()); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if s.Err() != nil || s.Cursor().Frame > limit || w.Cursor() != s.Cursor() {
			t.Fatalf("scan to %+v, written to %+v, %v", s.Cursor(), w.Cursor(), s.Err())
		}
		if !bytes.Equal(again.b, b[:len(again.b)]) {
			t.Fatal("what was accepted encodes to something else")
		}
		if holds, err := s.Cursor().Holds(bytes.NewReader(b)); err != nil || !holds {
			t.Fatalf("holds %v, %v", holds, err)
		}
		if commit, pages := s.Commit(); (pages != 0) != (commit.Frame != 0) {
			t.Fatalf("commit %+v with %d pages", commit, pages)
		}
	})
}

// FuzzWALIndex writes patch at some offset over a good wal-index, cut to size
// bytes: inputs stay small, and most of what they lead to is nearly right.
func FuzzWALIndex(f *testing.F) {
	wal := makeWAL(f, WALHeader{PageSize: 512, Salt: Salt{5, 6}}, 0, 2, 3, 0).b
	good := new(memFile)
	buildIndex(f, good, somePgnos(4100))
	size := uint32(len(good.b))
	header := WALIndexHeader{Change: 1, PageSize: 512, MaxFrame: 4000}.appendTo(nil)
	f.Add(append(header, header...), uint32(0), size, wal, uint32(4100), uint32(3))
	f.Add(native(7, 1, 2, 3, 4, 5), uint32(backfillOffset), size, wal, uint32(4101), uint32(3))
	f.Add([]byte{0, 0, 0, 0}, uint32(400), uint32(40000), wal, uint32(50), uint32(1))
	f.Add(bytes.Repeat([]byte{1}, 100), uint32(indexPgnoBytes), size, []byte(nil), uint32(1), uint32(7))
	f.Add([]byte(nil), uint32(0), uint32(3), []byte(nil), uint32(1), uint32(7))
	f.Fuzz(func(t *testing.T, patch []byte, at, size uint32, wal []byte, frame, pgno uint32) {
		shm := &memFile{bytes.Clone(good.b)}
		copy(shm.b[int(at)%len(shm.b):], patch)
		shm.b = shm.b[:min(int(size), len(shm.b))]
		x := NewWALIndex(shm)
		if h, err := x.Header(); err == nil {
			other := NewWALIndex(new(memFile))
			if err := other.WriteHeader(h); err != nil {
				t.Fatal(err)
			}
			if got, err := other.Header(); err != nil || got != h {
				t.Fatalf("wrote %+v, read %+v, %v", h, got, err)
			}
		}
		if info, err := x.CheckpointInfo(); err == nil {
			if err := x.SetBackfill(info.Backfill); err != nil {
				t.Fatal(err)
			}
			if got, err := x.CheckpointInfo(); err != nil || got != info {
				t.Fatalf("read %+v and then %+v, %v", info, got, err)
			}
		}
		checkLookup(t, x, pgno, frame)

		frame %= 3 * indexFrames // each further region is 32 KiB in memory
		w := NewWALIndexWriter(x)
		if err := w.Append(frame, pgno); err == nil {
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
			if got, err := x.FindFrame(pgno, frame, frame); err != nil || got != frame {
				t.Fatalf("appended frame %d, found %d, %v", frame, got, err)
			}
		}
		if h, err := w.Rebuild(bytes.NewReader(wal), int64(len(wal)), 1, 2, 3, 4); err == nil {
			if got, err := x.Header(); err != nil || got != h {
				t.Fatalf("rebuilt %+v, read %+v, %v", h, got, err)
			}
			checkLookup(t, x, pgno, h.MaxFrame)
		}
	})
}

// checkLookup compares the two ways to look a page up.
func checkLookup(t *testing.T, x *WALIndex, pgno, last uint32) {
	t.Helper()
	pages, err := x.LatestFrames(1, last)
	if err != nil {
		return
	}
	if !slices.IsSortedFunc(pages, func(a, b PageFrame) int { return int(a.Pgno) - int(b.Pgno) }) {
		t.Fatal("pages are not sorted")
	}
	var want uint32
	for _, p := range pages {
		if p.Pgno == pgno {
			want = p.Frame
		}
	}
	if got, err := x.FindFrame(pgno, 1, last); err != nil || got != want {
		t.Fatalf("page %d: frame %d, %v, want %d", pgno, got, err, want)
	}
}
