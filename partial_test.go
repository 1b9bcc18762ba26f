package litefs_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"litefs"
	"litefs/ltx"
)

// errBroken ends a stream that breaks off.
var errBroken = errors.New("connection reset")

// breakOff returns a stream that ends with errBroken after n bytes of a file.
func breakOff(file []byte, n int) io.Reader {
	return io.MultiReader(bytes.NewReader(file[:n]), errorReader{errBroken})
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }

// lose has the node receive a file that breaks off.
func (n *offlineNode) lose(file []byte, length int) {
	n.t.Helper()
	if _, err := n.db().ReceiveDifference(n.t.Context(), breakOff(file, length)); !errors.Is(err, errBroken) {
		n.t.Fatalf("a stream that breaks off: %v", err)
	}
}

// partialFiles returns the names of what is left of transfers.
func (n *offlineNode) partialFiles() string {
	n.t.Helper()
	names, err := filepath.Glob(filepath.Join(n.db().Path(), "partial", "*"))
	if err != nil {
		n.t.Fatal(err)
	}
	for i := range names {
		names[i] = filepath.Base(names[i])
	}
	return strings.Join(names, " ")
}

// A transfer that breaks off is taken up where it was, also if the database goes on
// meanwhile and the node is started anew, any number of times, and for a copy that
// has had no transaction as for one that has.
func TestBrokenTransfer(t *testing.T) {
	for _, test := range []struct {
		name    string
		primary [][]string // what happens before each attempt
		replica []string   // what the replica begins with
	}{
		{name: "first transaction", primary: [][]string{tableOf("300"), nil}},
		{name: "empty replica", primary: [][]string{
			tableOf("300"),
			{"UPDATE t SET x = randomblob(3000) WHERE id = 3 OR id = 299"},
			{"UPDATE t SET x = randomblob(3000) WHERE id = 7"},
		}},
		{name: "shrinks", primary: [][]string{tableOf("300"), {"DELETE FROM t WHERE id > 60", "VACUUM"}, nil}},
		{name: "grows", primary: [][]string{tableOf("300"), nil, {"INSERT INTO t(x) VALUES (randomblob(200000))"}}},
		{name: "other database", primary: [][]string{tableOf("300"), {"UPDATE t SET x = randomblob(3000) WHERE id = 3"}, nil}, replica: tableOf("50")},
		{
			name:    "other page size",
			primary: [][]string{tableOf("300"), {"UPDATE t SET x = randomblob(3000) WHERE id = 3"}, nil},
			replica: append([]string{"PRAGMA page_size = 8192"}, tableOf("50")...),
		},
		{name: "page size changes", primary: [][]string{tableOf("300"), {"PRAGMA page_size = 2048", "VACUUM"}, nil}},
		{name: "dropped and made again", primary: [][]string{tableOf("300"), {"DROP TABLE t", "VACUUM"}, tableOf("100")}},
	} {
		t.Run(test.name, func(t *testing.T) {
			primary, replica := newOfflineNode(t), newOfflineNode(t)
			if len(test.replica) > 0 {
				replica.change(test.replica...)
			}
			for i, stmts := range test.primary {
				if len(stmts) > 0 {
					primary.change(stmts...)
				}
				replica.follow()
				file := primary.difference(replica.sums())
				if i == len(test.primary)-1 {
					replica.apply(bytes.NewReader(file))
					break
				}
				replica.lose(file, len(file)*2/3)
				replica.stop() // what was received survives
				replica.start()
			}
			replica.expectEqual(primary)
			if left := replica.partialFiles(); left != "" {
				t.Errorf("files are left: %s", left)
			}
		})
	}
}

// What has come is not sent again.
func TestBrokenTransferSavesPages(t *testing.T) {
	primary, replica := newOfflineNode(t), newOfflineNode(t)
	primary.change(tableOf("300")...)
	replica.follow()
	file := primary.difference(replica.sums())
	all := pagesIn(t, file)
	for _, part := range []float64{0.5, 0.5, 0.5} {
		replica.lose(file, int(float64(len(file))*part))
		file = primary.difference(replica.sums())
	}
	// Half of a half of a half is left, and what an encoder keeps back.
	if got := pagesIn(t, file); got > all/8+80 {
		t.Errorf("%d of %d pages are sent again", got, all)
	}
	replica.apply(bytes.NewReader(file))
	replica.expectEqual(primary)
}

// A file that was complete but not applied when the process ended is of use, too.
func TestCompleteTransferIsNotLost(t *testing.T) {
	primary, replica := newOfflineNode(t), newOfflineNode(t)
	primary.change(tableOf("300")...)
	replica.follow()
	file := primary.difference(replica.sums())
	if _, err := replica.db().ReceiveDifference(t.Context(), bytes.NewReader(file)); err != nil {
		t.Fatal(err)
	}
	// As long as the process lives the file is whoever's has received it.
	if got, want := replica.partialFiles(), ".ltx"; !strings.HasSuffix(got, want) {
		t.Errorf("there is %q, want a file %s", got, want)
	}
	if _, sums := replica.sums(); sums.Len() > 0 {
		t.Error("pages of a file that is in use are offered")
	}
	replica.stop()
	replica.start()
	replica.follow()
	primary.change("UPDATE t SET x = randomblob(3000) WHERE id = 3")
	file = primary.difference(replica.sums())
	if got := pagesIn(t, file); got > 5 {
		t.Errorf("%d pages are sent again", got)
	}
	replica.apply(bytes.NewReader(file))
	replica.expectEqual(primary)
}

// What the disk has made of a page does no harm: another page is sent in its place.
func TestDamagedPartialTransfer(t *testing.T) {
	primary, replica := newOfflineNode(t), newOfflineNode(t)
	primary.change(tableOf("300")...)
	replica.follow()
	file := primary.difference(replica.sums())
	replica.lose(file, len(file)/2)
	replica.sums() // moves the pages to their places
	image := filepath.Join(replica.db().Path(), "partial", "4096.pages")
	f, err := os.OpenFile(image, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(bytes.Repeat([]byte("damage"), 2000), 30000)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	replica.apply(bytes.NewReader(primary.difference(replica.sums())))
	replica.expectEqual(primary)
}

func TestReceiveDifferenceRefuses(t *testing.T) {
	primary, replica := newOfflineNode(t), newOfflineNode(t)
	primary.change(tableOf("30")...)
	replica.change(tableOf("30")...)
	replica.follow()
	base, sums := replica.sums()
	stated := sums.Bytes()
	base.PostApplyChecksum ^= 1
	base.TXID = 5
	primary.change("UPDATE t SET x = randomblob(3000)")
	primarySums, _ := sumsOf([]byte(primary.content()[:8192]), 4096)
	foreign := primary.difference(base, bytes.NewReader(primarySums))
	if _, err := replica.db().ReceiveDifference(t.Context(), bytes.NewReader(foreign)); !errors.Is(err, litefs.ErrPosMismatch) {
		t.Errorf("a file for another position: %v", err)
	}
	// Pages that the sender was told are there, and that are not.
	base, _ = replica.sums()
	lacking := primary.difference(base, bytes.NewReader(primarySums))
	if _, err := replica.db().ReceiveDifference(t.Context(), bytes.NewReader(lacking)); !errors.Is(err, ltx.ErrChecksumMismatch) {
		t.Errorf("a file for other pages: %v", err)
	}
	damaged := primary.difference(base, bytes.NewReader(stated))
	damaged[len(damaged)/2] ^= 1
	if _, err := replica.db().ReceiveDifference(t.Context(), bytes.NewReader(damaged)); err == nil {
		t.Error("a damaged file was taken")
	}
	if got, _ := replica.sums(); got != base {
		t.Errorf("position went from %s to %s", base, got)
	}
	replica.apply(bytes.NewReader(primary.difference(replica.sums())))
	replica.expectEqual(primary)
}

func TestStalePartialTransferIsRemoved(t *testing.T) {
	primary, replica := newOfflineNode(t), newOfflineNode(t)
	primary.change(tableOf("300")...)
	replica.follow()
	file := primary.difference(replica.sums())
	replica.lose(file, len(file)/2)
	now := time.Now()
	replica.db().Now = func() time.Time { return now }
	replica.store.EnforceRetention(t.Context())
	if replica.partialFiles() == "" {
		t.Error("what was received is gone at once")
	}
	now = now.Add(25 * time.Hour)
	replica.store.EnforceRetention(t.Context())
	if left := replica.partialFiles(); left != "" {
		t.Errorf("after a day there is still %s", left)
	}
}
