package ltx

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	ref "github.com/superfly/ltx"
)

// compact merges files with a Compactor that setup may change.
func compact(tb testing.TB, files [][]byte, setup func(*Compactor)) (file, error) {
	tb.Helper()
	inputs := make([]io.Reader, len(files))
	for i, b := range files {
		inputs[i] = bytes.NewReader(b)
	}
	var out bytes.Buffer
	c := NewCompactor(&out, inputs)
	if setup != nil {
		setup(c)
	}
	if err := c.Compact(tb.Context()); err != nil {
		return file{}, err
	}
	f, dec, err := decode(bytes.NewReader(out.Bytes()))
	if err != nil {
		tb.Fatalf("decode the output: %v", err)
	}
	if c.Header() != f.header || c.Trailer() != dec.Trailer() {
		tb.Errorf("Header %+v, Trailer %+v", c.Header(), c.Trailer())
	}
	if err := ref.NewDecoder(bytes.NewReader(out.Bytes())).Verify(); err != nil {
		tb.Errorf("reference decoder: %v", err)
	}
	return f, nil
}

// database returns a database with one page for each byte, filled with it.
func database(pageSize uint32, pages ...byte) []byte {
	var db []byte
	for _, b := range pages {
		db = append(db, fill(pageSize, b)...)
	}
	return db
}

// history is a chain of databases and the files between them.
type history struct {
	states [][]byte // states[0] is empty
	files  []file   // files[i] makes states[i+1] of states[i]
}

// newHistory returns the history of a database that is created and changed.
func newHistory(pageSize uint32, states ...[]byte) history {
	h := history{states: append([][]byte{nil}, states...)}
	for i, db := range states {
		if i == 0 {
			h.files = append(h.files, snapshotOf(db, pageSize, 1))
		} else {
			h.files = append(h.files, changeOf(states[i-1], db, pageSize, TXID(i+1)))
		}
	}
	return h
}

func encodeAll(tb testing.TB, files []file) [][]byte {
	tb.Helper()
	out := make([][]byte, len(files))
	for i, f := range files {
		out[i] = f.encode(tb)
	}
	return out
}

func TestCompactHeader(t *testing.T) {
	h := newHistory(512, database(512, 1, 2), database(512, 1, 3), database(512, 1, 3, 4))
	for i := range h.files {
		h.files[i].header.NodeID = 7
		h.files[i].header.WALOffset, h.files[i].header.WALSize, h.files[i].header.WALSalt1 = 32, 1, 2
	}
	got, err := compact(t, encodeAll(t, h.files[1:]), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := file{
		header: Header{
			PageSize: 512, Commit: 3, MinTXID: 2, MaxTXID: 3, Timestamp: 3000,
			PreApplyChecksum: databaseChecksum(h.states[1], 512),
		},
		pages: []page{{2, fill(512, 3)}, {3, fill(512, 4)}},
		post:  databaseChecksum(h.states[3], 512),
	}
	if got.header != want.header {
		t.Errorf("header %+v, want %+v", got.header, want.header)
	}
	if d := diff(got, want); d != "" {
		t.Error(d)
	}
	whole, err := compact(t, encodeAll(t, h.files), func(c *Compactor) { c.SetCompression(false) })
	if err != nil {
		t.Fatal(err)
	}
	snapshot := snapshotOf(h.states[3], 512, 3)
	snapshot.header.Timestamp = 3000
	if d := diff(whole, snapshot); d != "" {
		t.Error("all files:", d)
	}
}

// TestCompactShrinkAndGrow drops pages and adds them again.
func TestCompactShrinkAndGrow(t *testing.T) {
	db := func(pages ...byte) []byte { return database(512, pages...) }
	h := newHistory(512, db(1, 2, 3, 4, 5, 6), db(1, 2, 3, 14, 15, 16), db(1, 20), db(1, 20, 33, 34, 35))
	for from := range h.files {
		for to := from + 1; to <= len(h.files); to++ {
			got, err := compact(t, encodeAll(t, h.files[from:to]), nil)
			if err != nil {
				t.Fatal(err)
			}
			if db := got.apply(h.states[from]); !bytes.Equal(db, h.states[to]) {
				t.Errorf("files %d to %d make another database", from+1, to)
			}
			for _, p := range got.pages {
				if p.pgno > got.header.Commit {
					t.Errorf("files %d to %d: page %d of %d", from+1, to, p.pgno, got.header.Commit)
				}
			}
		}
	}
}

// TestCompactMissingPage leaves out a page that the database gains: an older
// version of it must not come back, wherever it is.
func TestCompactMissingPage(t *testing.T) {
	db := func(pages ...byte) []byte { return database(512, pages...) }
	h := newHistory(512, db(1, 2, 3, 4), db(1, 2, 13, 14), db(1), db(1, 22, 23, 24), db(1, 22, 23, 34))
	h.files[3].pages = slices.Delete(h.files[3].pages, 1, 2) // page 3
	for _, r := range [][2]int{{2, 4}, {1, 4}, {1, 5}, {2, 5}} {
		if _, err := compact(t, encodeAll(t, h.files[r[0]:r[1]]), nil); !errors.Is(err, ErrMissingPage) {
			t.Errorf("files %d to %d: %v, want ErrMissingPage", r[0]+1, r[1], err)
		}
	}
	// The last page is missing, so that no page shows the gap.
	h.files[3].pages = h.files[3].pages[:1]
	if _, err := compact(t, encodeAll(t, h.files[2:4]), nil); !errors.Is(err, ErrMissingPage) {
		t.Errorf("last page: %v, want ErrMissingPage", err)
	}
	// Alone, the file that adds pages cannot be judged.
	if _, err := compact(t, encodeAll(t, h.files[3:]), nil); err != nil {
		t.Errorf("growth first: %v", err)
	}
}

// TestCompactPageSize changes the page size, as VACUUM can.
func TestCompactPageSize(t *testing.T) {
	before := newHistory(512, database(512, 1, 2, 3, 4), database(512, 1, 2, 3, 5))
	small, large := before.states[2], database(1024, 6, 7)
	f := snapshotOf(large, 1024, 3)
	f.header.MinTXID, f.header.PreApplyChecksum = 3, databaseChecksum(small, 512)
	after := changeOf(large, database(1024, 6, 8, 9), 1024, 4)
	files := slices.Concat(before.files, []file{f, after})
	for from := range 3 {
		got, err := compact(t, encodeAll(t, files[from:]), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got.header.PageSize != 1024 || got.header.MinTXID != TXID(from+1) || got.header.MaxTXID != 4 {
			t.Errorf("from file %d: header %+v", from+1, got.header)
		}
		if db := got.apply(nil); !bytes.Equal(db, database(1024, 6, 8, 9)) {
			t.Errorf("from file %d: another database", from+1)
		}
	}
	files[2].pages = files[2].pages[:1] // page 2 comes with file 4
	if _, err := compact(t, encodeAll(t, files), nil); err != nil {
		t.Errorf("page written later: %v", err)
	}
	files[2].pages = nil
	if _, err := compact(t, encodeAll(t, files), nil); !errors.Is(err, ErrMissingPage) {
		t.Errorf("incomplete after the page size changed: %v, want ErrMissingPage", err)
	}
}

func TestCompactNotContiguous(t *testing.T) {
	f := func(lo, hi TXID, pre, post Checksum) file {
		f := file{header: Header{PageSize: 512, Commit: 1, MinTXID: lo, MaxTXID: hi, PreApplyChecksum: ChecksumFlag | pre}, post: ChecksumFlag | post}
		if pre == 0 {
			f.header.Flags, f.header.PreApplyChecksum, f.post = HeaderFlagNoChecksum, 0, 0
		}
		return f
	}
	for _, tt := range []struct {
		name  string
		files []file
		want  error
	}{
		{"one", []file{f(2, 4, 1, 2)}, nil},
		{"adjacent", []file{f(2, 4, 1, 2), f(5, 5, 2, 3), f(6, 9, 3, 4)}, nil},
		{"overlapping", []file{f(2, 4, 1, 2), f(3, 6, 9, 3)}, nil},
		{"same start", []file{f(2, 4, 1, 2), f(2, 6, 1, 3)}, nil},
		{"without checksums", []file{f(2, 4, 0, 0), f(5, 5, 0, 0)}, nil},
		{"one without checksums", []file{f(2, 4, 1, 2), f(5, 5, 0, 0), f(6, 6, 7, 8)}, nil},
		{"to the greatest", []file{f(2, 4, 1, 2), f(5, 1<<64-1, 2, 3)}, nil},
		{"gap", []file{f(2, 4, 1, 2), f(6, 6, 2, 3)}, ErrNotContiguous},
		{"twice", []file{f(2, 4, 1, 2), f(2, 4, 1, 2)}, ErrNotContiguous},
		{"contained", []file{f(2, 6, 1, 2), f(3, 5, 2, 3)}, ErrNotContiguous},
		{"backwards", []file{f(5, 5, 2, 3), f(2, 4, 1, 2)}, ErrNotContiguous},
		{"after the greatest", []file{f(2, 1<<64-1, 1, 2), f(2, 3, 2, 3)}, ErrNotContiguous},
		{"another checksum", []file{f(2, 4, 1, 2), f(5, 5, 3, 4)}, ErrNotContiguous},
	} {
		got, err := compact(t, encodeAll(t, tt.files), nil)
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
		last := tt.files[len(tt.files)-1]
		if err == nil && (got.header.MinTXID != tt.files[0].header.MinTXID || got.header.MaxTXID != last.header.MaxTXID || got.post != last.post) {
			t.Errorf("%s: %+v", tt.name, got)
		}
	}
	if _, err := compact(t, nil, nil); err == nil {
		t.Error("no inputs: no error")
	}
}

func TestCompactNoChecksum(t *testing.T) {
	h := newHistory(512, database(512, 1, 2), database(512, 1, 3), database(512, 1, 4))
	without := func(f file) file {
		f.header.Flags, f.header.PreApplyChecksum, f.post = HeaderFlagNoChecksum, 0, 0
		return f
	}
	for _, tt := range []struct {
		name  string
		files []file
		force bool
		none  bool
	}{
		{"all", h.files, false, false},
		{"all, forced", h.files, true, true},
		{"first without, a snapshot", []file{without(h.files[0]), h.files[1], h.files[2]}, false, false},
		{"first without, no snapshot", []file{without(h.files[1]), h.files[2]}, false, true},
		{"middle without", []file{h.files[0], without(h.files[1]), h.files[2]}, false, false},
		{"last without", []file{h.files[0], h.files[1], without(h.files[2])}, false, true},
	} {
		got, err := compact(t, encodeAll(t, tt.files), func(c *Compactor) { c.SetNoChecksum(tt.force) })
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got.header.NoChecksum() != tt.none || (got.post == 0) != tt.none {
			t.Errorf("%s: header %+v, post-apply checksum %s", tt.name, got.header, got.post)
		}
	}
}

// TestCompactBadInput breaks one input at a time, at any place.
func TestCompactBadInput(t *testing.T) {
	h := newHistory(512, database(512, 1, 2), database(512, 1, 3), database(512, 4, 4))
	files := encodeAll(t, h.files)
	for i := range files {
		for n := range files[i] {
			bad := slices.Clone(files)
			bad[i] = bad[i][:n]
			if _, err := compact(t, bad, nil); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("input %d cut to %d bytes: %v", i, n, err)
			}
		}
	}
	// Page 2 of the snapshot is replaced, but must still be right.
	bad := slices.Clone(files)
	bad[0] = bytes.Clone(bad[0])
	bad[0][len(bad[0])-1] ^= 1
	if _, err := compact(t, bad, nil); !errors.Is(err, ErrChecksumMismatch) {
		t.Errorf("checksum of an input: %v", err)
	}
	large := snapshotOf(make([]byte, 1<<20), 4096, 1)
	for _, room := range []int{10, 200_000} {
		var in bytes.Buffer
		enc := NewEncoder(&in)
		enc.SetCompression(false)
		if err := large.encodeTo(enc); err != nil {
			t.Fatal(err)
		}
		c := NewCompactor(&limitedWriter{n: room}, []io.Reader{&in})
		if err := c.Compact(t.Context()); !errors.Is(err, errFull) {
			t.Errorf("writer with room for %d bytes: %v", room, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := NewCompactor(io.Discard, []io.Reader{bytes.NewReader(files[0])})
	if err := c.Compact(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("context: %v", err)
	}
}

// randomHistory returns a database that grows, shrinks and changes at random.
func randomHistory(r *rand.Rand, pageSize uint32, n int) history {
	var states [][]byte
	db := []byte{}
	for range n {
		db = slices.Clone(db)
		size := (1 + r.IntN(20)) * int(pageSize)
		if r.IntN(2) == 0 {
			size = max(len(db), int(pageSize))
		}
		for size > len(db) {
			db = append(db, randomPage(r, pageSize)...)
		}
		db = db[:size]
		for range r.IntN(5) {
			copy(db[r.IntN(size/int(pageSize))*int(pageSize):], randomPage(r, pageSize))
		}
		states = append(states, db)
	}
	return newHistory(pageSize, states...)
}

// TestCompactRandom compacts random parts of random histories, then parts of
// those, and compares the result with applying the files one by one and with
// the reference compactor.
func TestCompactRandom(t *testing.T) {
	r := newRand(t)
	for range 60 {
		h := randomHistory(r, pageSizes[r.IntN(4)], 8)
		files := encodeAll(t, h.files)
		from := r.IntN(len(files) - 1)
		to := from + 2 + r.IntN(len(files)-from-1)
		got, err := compact(t, files[from:to], nil)
		if err != nil {
			t.Fatal(err)
		}
		if db := got.apply(h.states[from]); !bytes.Equal(db, h.states[to]) {
			t.Fatalf("files %d to %d make another database", from+1, to)
		}
		if d := diff(got, refCompact(t, files[from:to])); d != "" {
			t.Fatalf("the reference compactor: %s", d)
		}
		cut := from + 1 + r.IntN(to-from-1)
		var parts [2]file
		for i, part := range [][][]byte{files[from:cut], files[cut:to]} {
			if parts[i], err = compact(t, part, nil); err != nil {
				t.Fatal(err)
			}
		}
		again, err := compact(t, encodeAll(t, parts[:]), nil)
		if err != nil {
			t.Fatal(err)
		}
		if d := diff(again, got); d != "" {
			t.Fatalf("compacted in two steps: %s", d)
		}
	}
}

// refCompact merges files with the reference compactor.
func refCompact(tb testing.TB, files [][]byte) file {
	tb.Helper()
	inputs := make([]io.Reader, len(files))
	for i, b := range files {
		inputs[i] = bytes.NewReader(b)
	}
	var out bytes.Buffer
	c, err := ref.NewCompactor(&out, inputs)
	if err != nil {
		tb.Fatal(err)
	}
	if err := c.Compact(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return mustDecode(tb, out.Bytes())
}
