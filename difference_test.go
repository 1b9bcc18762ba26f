package litefs_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"litefs"
	"litefs/ltx"
)

// offlineNode is a node without a mount, whose databases SQLite changes while it is
// stopped.
type offlineNode struct {
	t     *testing.T
	dir   string
	store *litefs.Store
}

func newOfflineNode(t *testing.T) *offlineNode {
	t.Helper()
	n := &offlineNode{t: t, dir: t.TempDir()}
	n.start()
	if _, err := n.store.CreateDBIfNotExists("db"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.stop)
	return n
}

func (n *offlineNode) start() { n.store = openStore(n.t, n.dir) }

func (n *offlineNode) stop() {
	n.t.Helper()
	if err := n.store.Close(); err != nil {
		n.t.Error(err)
	}
}

func (n *offlineNode) db() *litefs.DB { return n.store.DB("db") }

// change has SQLite run statements, and captures what they do.
func (n *offlineNode) change(stmts ...string) {
	n.t.Helper()
	path := n.db().DatabasePath()
	n.stop()
	conn := startSQLite(n.t, path)
	conn.expect(n.t, "", stmts...)
	conn.close(n.t)
	n.start()
}

// follow makes the node a replica.
func (n *offlineNode) follow() {
	n.t.Helper()
	if err := n.store.BecomeReplica(n.t.Context(), nil); err != nil {
		n.t.Fatal(err)
	}
}

func (n *offlineNode) content() string {
	n.t.Helper()
	b, err := os.ReadFile(n.db().DatabasePath())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		n.t.Fatal(err)
	}
	return string(b)
}

// sums returns what the node states to get a difference.
func (n *offlineNode) sums() (ltx.Pos, *bytes.Buffer) {
	n.t.Helper()
	var sums bytes.Buffer
	base, err := n.db().WritePageSums(n.t.Context(), &sums)
	if err != nil {
		n.t.Fatal(err)
	}
	return base, &sums
}

// difference returns the file that another node is sent.
func (n *offlineNode) difference(base ltx.Pos, sums io.Reader) []byte {
	n.t.Helper()
	var file bytes.Buffer
	pos, err := n.db().WriteDifferenceTo(n.t.Context(), &file, base, sums)
	if err != nil {
		n.t.Fatal(err)
	}
	if pos != n.db().Pos() {
		n.t.Fatalf("difference leads to %s, position is %s", pos, n.db().Pos())
	}
	return file.Bytes()
}

// apply takes a difference and brings the node in line with it.
func (n *offlineNode) apply(r io.Reader) *litefs.ReceivedLTX {
	n.t.Helper()
	received, err := n.db().ReceiveDifference(n.t.Context(), r)
	if err != nil {
		n.t.Fatal(err)
	}
	if err := n.db().ApplyDifference(n.t.Context(), received); err != nil {
		n.t.Fatal(err)
	}
	if _, err := n.db().Verify(n.t.Context()); err != nil {
		n.t.Fatal(err)
	}
	return received
}

func (n *offlineNode) expectEqual(primary *offlineNode) {
	n.t.Helper()
	if got, want := n.db().Pos(), primary.db().Pos(); got != want {
		n.t.Errorf("position is %s, want %s", got, want)
	}
	if n.content() != primary.content() {
		n.t.Error("the content is not the primary's")
	}
}

// pagesIn returns the number of pages in an LTX file.
func pagesIn(t *testing.T, file []byte) int {
	t.Helper()
	x, err := ltx.ReadIndex(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	return x.PageN()
}

// differingPages returns the number of pages of a content that another has not.
func differingPages(have, want string, pageSize int) int {
	n := 0
	for at := 0; at < len(want); at += pageSize {
		if at+pageSize > len(have) || have[at:at+pageSize] != want[at:at+pageSize] {
			n++
		}
	}
	return n
}

// tableOf makes a table of n rows, one a page or two.
func tableOf(n string) []string {
	return []string{
		"CREATE TABLE t (id INTEGER PRIMARY KEY, x BLOB)",
		"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < " + n + ") INSERT INTO t SELECT i, randomblob(3000) FROM n",
	}
}

// Two nodes begin with the same database. Whatever happens to either then, the
// difference holds exactly the pages that differ, and makes the one what the other
// is.
func TestDifference(t *testing.T) {
	for _, test := range []struct {
		name     string
		primary  []string
		replica  []string
		min      ltx.TXID // of the file
		snapshot bool
	}{
		{name: "changed", primary: []string{"UPDATE t SET x = randomblob(3000) WHERE id % 17 = 0"}, min: 2},
		{name: "grown", primary: []string{"INSERT INTO t(x) VALUES (randomblob(100000))"}, min: 2},
		{name: "shrunk", primary: []string{"DELETE FROM t WHERE id > 30", "VACUUM"}, min: 2},
		{name: "diverged", primary: []string{"UPDATE t SET x = randomblob(3000) WHERE id = 5"}, replica: []string{"UPDATE t SET x = randomblob(3000) WHERE id = 90"}, min: 2},
		{name: "diverged and grown", primary: []string{"UPDATE t SET x = randomblob(3000) WHERE id = 5"}, replica: []string{"INSERT INTO t(x) VALUES (randomblob(100000))"}, min: 2},
		{name: "ahead", replica: []string{"DELETE FROM t WHERE id > 30", "VACUUM"}, min: 1, snapshot: true},
		{name: "page size", primary: []string{"PRAGMA page_size = 1024", "VACUUM"}, min: 1, snapshot: true},
		{name: "replica rewritten", primary: []string{"UPDATE t SET x = randomblob(3000) WHERE id = 5"}, replica: []string{"UPDATE t SET x = zeroblob(3000)"}, min: 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			primary, replica := newOfflineNode(t), newOfflineNode(t)
			primary.change(tableOf("120")...)
			replica.follow()
			base, sums := replica.sums()
			replica.apply(bytes.NewReader(primary.difference(base, sums)))
			replica.expectEqual(primary)

			if len(test.replica) > 0 {
				replica.change(test.replica...)
				replica.follow()
			}
			if len(test.primary) > 0 {
				primary.change(test.primary...)
			}
			had := replica.content()
			base, sums = replica.sums()
			file := primary.difference(base, sums)
			received := replica.apply(bytes.NewReader(file))
			if hdr := received.Header(); hdr.MinTXID != test.min || hdr.IsSnapshot() != test.snapshot || hdr.MaxTXID != primary.db().TXID() {
				t.Errorf("file has transactions %s-%s, want %s-%s", hdr.MinTXID, hdr.MaxTXID, test.min, primary.db().TXID())
			}
			want := differingPages(had, primary.content(), int(received.Header().PageSize))
			if test.snapshot {
				want = len(primary.content()) / int(received.Header().PageSize)
			}
			if got := pagesIn(t, file); got != want {
				t.Errorf("file has %d pages, want %d", got, want)
			}
			replica.expectEqual(primary)
		})
	}
}

func TestDifferenceOfNothing(t *testing.T) {
	primary := newOfflineNode(t)
	if _, err := primary.db().WriteSnapshotTo(t.Context(), io.Discard); !errors.Is(err, litefs.ErrNoTransactions) {
		t.Errorf("snapshot of a database without transactions: %v", err)
	}
	primary.change(tableOf("10")...)
	base := primary.db().Pos()
	replica := newOfflineNode(t)
	replica.follow()
	replica.apply(bytes.NewReader(primary.difference(replica.sums())))
	// A dropped database is one of no pages.
	if err := primary.db().RemoveDatabase(); err != nil {
		t.Fatal(err)
	}
	got, sums := replica.sums()
	if got != base {
		t.Errorf("replica is at %s, want %s", got, base)
	}
	replica.apply(bytes.NewReader(primary.difference(got, sums)))
	if replica.db().Pos() != primary.db().Pos() || replica.content() != "" {
		t.Errorf("replica is at %s with %d bytes, want %s and none", replica.db().Pos(), len(replica.content()), primary.db().Pos())
	}
}

func TestDifferenceRefusesTornSums(t *testing.T) {
	primary := newOfflineNode(t)
	primary.change(tableOf("10")...)
	_, err := primary.db().WriteDifferenceTo(t.Context(), io.Discard, ltx.Pos{}, bytes.NewReader(make([]byte, 12)))
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error is %v, want %v", err, io.ErrUnexpectedEOF)
	}
	// Checksums of pages that the database has not are read past.
	var file bytes.Buffer
	if _, err := primary.db().WriteDifferenceTo(t.Context(), &file, ltx.Pos{}, bytes.NewReader(make([]byte, 8<<16))); err != nil {
		t.Fatal(err)
	}
	checkSnapshot(t, file.Bytes(), primary.db().Pos(), "SELECT count(*) FROM t", "10")
}

// A database that is changed behind capture's back is not sent.
func TestDifferenceVerifiesContent(t *testing.T) {
	primary := newOfflineNode(t)
	primary.change(tableOf("10")...)
	f, err := os.OpenFile(primary.db().DatabasePath(), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	was := []byte(primary.content())[5000:5001]
	if _, err := f.WriteAt([]byte{^was[0]}, 5000); err != nil {
		t.Fatal(err)
	}
	if _, err := primary.db().WriteSnapshotTo(t.Context(), io.Discard); err == nil {
		t.Error("a snapshot was made of a database that is not what the position says")
	}
	if _, err := f.WriteAt(was, 5000); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := primary.db().WriteSnapshotTo(t.Context(), io.Discard); err != nil {
		t.Error(err)
	}
	names, err := filepath.Glob(filepath.Join(primary.db().Path(), "staging*"))
	if err != nil || len(names) > 0 {
		t.Errorf("files are left: %q (%v)", names, err)
	}
}
