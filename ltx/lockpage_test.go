package ltx

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	ref "github.com/superfly/ltx"
)

// growth returns two files around the lock page: one that makes the database
// end before it, and one that makes it end after it.
func growth(pageSize uint32) (before, after file) {
	lock := LockPgno(pageSize)
	before = file{
		header: Header{PageSize: pageSize, Commit: lock - 2, MinTXID: 2, MaxTXID: 2, PreApplyChecksum: ChecksumFlag | 1},
		pages:  []page{{1, fill(pageSize, 1)}, {lock - 2, fill(pageSize, 2)}},
		post:   ChecksumFlag | 2,
	}
	after = file{
		header: Header{PageSize: pageSize, Commit: lock + 2, MinTXID: 3, MaxTXID: 3, PreApplyChecksum: ChecksumFlag | 2},
		pages:  []page{{1, fill(pageSize, 3)}, {lock - 1, fill(pageSize, 4)}, {lock + 1, fill(pageSize, 5)}, {lock + 2, fill(pageSize, 6)}},
		post:   ChecksumFlag | 3,
	}
	return before, after
}

// TestGrowthPastLockPage lets a database grow past the lock page, which no file
// may hold and none may miss.
func TestGrowthPastLockPage(t *testing.T) {
	for _, size := range pageSizes {
		before, after := growth(size)
		files := encodeAll(t, []file{before, after})
		got, err := compact(t, files, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := file{header: after.header, post: after.post}
		want.header.MinTXID, want.header.PreApplyChecksum = 2, before.header.PreApplyChecksum
		want.pages = append(want.pages, after.pages[0], before.pages[1])
		want.pages = append(want.pages, after.pages[1:]...)
		if d := diff(got, want); d != "" {
			t.Errorf("page size %d: %s", size, d)
		}
		if d := diff(refCompact(t, files), want); d != "" {
			t.Errorf("page size %d, reference compactor: %s", size, d)
		}
		after.pages[2].pgno = LockPgno(size)
		if err := after.encodeTo(NewEncoder(io.Discard)); !errors.Is(err, ErrInvalidPage) {
			t.Errorf("page size %d, lock page: %v", size, err)
		}
	}
}

// TestSnapshotPastLockPage writes a snapshot of more than 1 GiB, nearly all of
// it zeros, while it is read by a Decoder, and hands it to the ltx command.
func TestSnapshotPastLockPage(t *testing.T) {
	if testing.Short() {
		t.Skip("encodes and decodes more than 1 GiB")
	}
	const pageSize = 65536
	lock := LockPgno(pageSize)
	h := Header{PageSize: pageSize, Commit: lock + 2, MinTXID: 1, MaxTXID: 1}
	content := func(p []byte, pgno uint32) {
		clear(p)
		if pgno <= 2 || pgno >= lock-1 {
			binary.BigEndian.PutUint32(p[pageSize-4:], pgno)
		}
	}

	path := filepath.Join(t.TempDir(), FormatFilename(1, 1))
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	pr, pw := io.Pipe()
	encoded := make(chan error, 1)
	enc := NewEncoder(io.MultiWriter(out, pw))
	go func() {
		err := encodeZeros(enc, h, content)
		encoded <- errors.Join(err, pw.CloseWithError(err), out.Close())
	}()
	pages := checkZeros(t, NewDecoder(pr), h, content)
	pr.CloseWithError(errors.New("the decoder has given up"))
	if err := <-encoded; err != nil {
		t.Fatal(err)
	}
	if pages != lock+1 || enc.PageN() != int(pages) {
		t.Errorf("%d of %d pages read, want %d", pages, enc.PageN(), lock+1)
	}
	if got := runTool(t, buildTool(t), "verify", path); got != "ok" {
		t.Errorf("ltx verify: %s", got)
	}

	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	x, err := ReadIndex(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	got, want := make([]byte, pageSize), make([]byte, pageSize)
	for _, pgno := range []uint32{1, 2, 3, lock - 2, lock - 1, lock + 1, lock + 2} {
		content(want, pgno)
		if err := x.ReadPage(pgno, got); err != nil || !bytes.Equal(got, want) {
			t.Errorf("page %d: %v", pgno, err)
		}
	}
	if err := x.ReadPage(lock, got); !errors.Is(err, ErrPageNotFound) {
		t.Errorf("lock page: %v", err)
	}
	if ref.LockPgno(pageSize) != lock {
		t.Errorf("the reference library says %d", ref.LockPgno(pageSize))
	}
}

// encodeZeros writes a snapshot, and tries to write the lock page.
func encodeZeros(enc *Encoder, h Header, content func(p []byte, pgno uint32)) error {
	if err := enc.EncodeHeader(h); err != nil {
		return err
	}
	p := make([]byte, h.PageSize)
	for pgno := uint32(1); pgno <= h.Commit; pgno++ {
		content(p, pgno)
		err := enc.EncodePage(pgno, p)
		if pgno == LockPgno(h.PageSize) && errors.Is(err, ErrInvalidPage) {
			continue
		}
		if err != nil {
			return err
		}
	}
	enc.SetPostApplyChecksum(enc.SnapshotChecksum())
	return enc.Close()
}

// checkZeros reads what encodeZeros writes and returns the number of pages.
func checkZeros(t *testing.T, dec *Decoder, h Header, content func(p []byte, pgno uint32)) uint32 {
	t.Helper()
	if err := dec.DecodeHeader(); err != nil {
		t.Error(err)
		return 0
	}
	got, want := make([]byte, h.PageSize), make([]byte, h.PageSize)
	for n := uint32(0); ; n++ {
		var hdr PageHeader
		err := dec.DecodePage(&hdr, got)
		if errors.Is(err, io.EOF) {
			if err := dec.Close(); err != nil {
				t.Error(err)
			}
			return n
		}
		content(want, hdr.Pgno)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("page %d: %v", hdr.Pgno, err)
			return n
		}
	}
}
