package litefs_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"litefs"
	"litefs/ltx"
)

func TestHistory(t *testing.T) {
	node := newOfflineNode(t)
	if got := node.db().History(ltx.Pos{}); got != litefs.HistoryEqual {
		t.Errorf("of two databases without transactions: %s", got)
	}
	var at []ltx.Pos
	node.change(tableOf("10")...)
	at = append(at, node.db().Pos())
	for range 3 {
		node.change("UPDATE t SET x = randomblob(3000)")
		at = append(at, node.db().Pos())
	}
	wrong := at[1]
	wrong.PostApplyChecksum ^= 1
	wrongEnd := at[3]
	wrongEnd.PostApplyChecksum ^= 1
	for _, test := range []struct {
		name string
		pos  ltx.Pos
		want litefs.History
	}{
		{"the same", at[3], litefs.HistoryEqual},
		{"before", at[2], litefs.HistoryOnLog},
		{"long before", at[0], litefs.HistoryOnLog},
		{"nothing", ltx.Pos{}, litefs.HistoryOnLog},
		{"other content", wrong, litefs.HistoryDiverged},
		{"other content at the end", wrongEnd, litefs.HistoryDiverged},
		{"ahead", ltx.Pos{TXID: at[3].TXID + 1, PostApplyChecksum: ltx.ChecksumFlag}, litefs.HistoryDiverged},
	} {
		if got := node.db().History(test.pos); got != test.want {
			t.Errorf("%s: history is %s, want %s", test.name, got, test.want)
		}
	}

	// Retention takes the old end away; what is open stays readable.
	first, err := node.db().OpenLTXAfter(ltx.Pos{})
	if err != nil {
		t.Fatal(err)
	}
	node.store.RetentionDuration = 1
	node.store.EnforceRetention(t.Context())
	content, err := io.ReadAll(first)
	if err := errors.Join(err, first.Close()); err != nil || int64(len(content)) != first.SizeBytes() {
		t.Fatalf("%d bytes of %d (%v)", len(content), first.SizeBytes(), err)
	}
	if hdr, _, err := ltx.Verify(bytes.NewReader(content)); err != nil || hdr != first.Header() {
		t.Errorf("file that retention has removed: %+v, %v", hdr, err)
	}
	for _, test := range []struct {
		name string
		pos  ltx.Pos
		want litefs.History
		ok   bool
	}{
		{"the same", at[3], litefs.HistoryEqual, false},
		{"before", at[2], litefs.HistoryOnLog, true},
		{"long before", at[0], litefs.HistoryUnknown, false},
		{"nothing", ltx.Pos{}, litefs.HistoryUnknown, false},
		{"other content", wrong, litefs.HistoryUnknown, false},
	} {
		if got := node.db().History(test.pos); got != test.want {
			t.Errorf("after retention, %s: history is %s, want %s", test.name, got, test.want)
		}
		f, err := node.db().OpenLTXAfter(test.pos)
		if test.ok {
			if err != nil || f.Header().PreApplyPos() != test.pos {
				t.Errorf("after retention, %s: %v", test.name, err)
				continue
			}
			err = f.Close()
		} else if errors.Is(err, litefs.ErrLTXNotFound) {
			err = nil
		}
		if err != nil {
			t.Errorf("after retention, %s: %v", test.name, err)
		}
	}
}

// A transaction that is in the log but not yet committed is nobody's history.
func TestHistoryEndsAtPosition(t *testing.T) {
	r := newCrashRun(t)
	r.open()
	r.commit()
	db, before := r.pager.db, r.pager.db.Pos()
	next := r.pager.next()
	r.must(r.pager.writeJournal(next))
	r.must(r.pager.writePages(next)) // ends with a sync, at which the log gets the transaction
	r.must(db.GatherLog())
	if _, err := r.disk.Stat(db.LTXPath(before.TXID+1, before.TXID+1)); err != nil {
		t.Fatalf("the log is not ahead: %v", err)
	}
	if _, err := db.OpenLTXAfter(before); !errors.Is(err, litefs.ErrLTXNotFound) || db.History(before) != litefs.HistoryEqual {
		t.Errorf("a transaction that is not committed can be had (%v), or is history: %s", err, db.History(before))
	}
	r.must(r.pager.endJournal())
	r.pager.content = next
	r.states = append(r.states, next)
	f, err := db.OpenLTXAfter(before)
	if err != nil {
		t.Fatal(err)
	}
	r.must(f.Close())
	if got := db.History(before); got != litefs.HistoryOnLog {
		t.Errorf("history of the position before is %s", got)
	}
	r.close()
}
