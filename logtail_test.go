package litefs_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"litefs/internal/crashtest"
	"litefs/internal/fsx/faultfs"
	"litefs/internal/mounttest"
	"litefs/ltx"
)

// logNames returns the files of the log by their transactions.
func (r *crashRun) logNames() []string {
	r.t.Helper()
	entries, err := r.disk.ReadDir(r.pager.db.LTXDir())
	r.must(err)
	var names []string
	for _, entry := range entries {
		minTXID, maxTXID, err := ltx.ParseFilename(entry.Name())
		r.must(err)
		names = append(names, fmt.Sprintf("%d-%d", minTXID, maxTXID))
	}
	return names
}

// Small durable transactions gather in the tail until somebody looks at the log, and do
// not while somebody follows it.
func TestTailGathers(t *testing.T) {
	r := newCrashRun(t)
	expect := func(when string, want ...string) {
		t.Helper()
		if got := r.logNames(); !slices.Equal(got, want) {
			t.Errorf("files %s: %q, want %q", when, got, want)
		}
	}
	r.open()
	r.commit()
	expect("after the first transaction, a snapshot", "1-1")
	db, first := r.pager.db, r.pager.db.Pos()
	for range 3 {
		r.commit()
	}
	f, err := db.OpenLTXAfter(first)
	r.must(err)
	r.must(f.Close())
	expect("once somebody has asked for them", "1-1", "2-4")
	subscriber := r.store.Subscribe()
	r.commit()
	expect("with a subscriber", "1-1", "2-4", "5-5")
	r.must(subscriber.Close())
	r.commit()
	r.commit()
	expect("without one", "1-1", "2-4", "5-5")
	r.close()
	expect("after a stop", "1-1", "2-4", "5-5", "6-7")
	if _, err := r.disk.Stat(db.Path() + "/log-tail"); !os.IsNotExist(err) {
		t.Errorf("a stop leaves the tail: %v", err)
	}
}

// More transactions than the tail has room for become files on the way.
func TestTailFull(t *testing.T) {
	r := newCrashRun(t)
	r.fs = faultfs.New(r.disk, func(faultfs.Op) error { return nil }) // the disk of each step is not needed
	r.open()
	const commits = 150
	for range commits {
		r.commit()
	}
	if n := len(r.logNames()); n < 2 || n > commits/10 {
		t.Errorf("%d transactions have become %d files", commits, n)
	}
	pos, err := r.pager.db.Verify(t.Context())
	r.must(err)
	r.must(crashtest.CheckLog(r.disk, r.pager.db.LTXDir(), pos, []byte(r.pager.content)))
	if pos.TXID != commits {
		t.Errorf("position is %s after %d transactions", pos, commits)
	}
	r.close()
}

// The tail cannot be written: the commit is an error, SQLite rolls back, and all is well
// again with the next.
func TestFaultOfTail(t *testing.T) {
	for _, mode := range []string{"delete", "truncate", "persist"} {
		n := newFaultNode(t, mode, mode != "truncate")
		for name, fail := range map[string]func(faultfs.Op) error{
			"write": failing("write", "/log-tail\n", syscall.EIO),
			"full":  failing("write", "/log-tail\n", syscall.ENOSPC),
			"sync":  failing("sync", "/log-tail\n", syscall.EIO),
		} {
			n.insert("")
			before, alarms := n.db().Pos(), n.alarms()
			n.disk.set(fail)
			n.insert("disk")
			if n.alarms() == alarms || n.db().Pos() != before {
				t.Errorf("%s, %s: position is %s, was %s; want an alarm", mode, name, n.db().Pos(), before)
			}
			n.read()
			if n.disk.set(nil) == 0 {
				t.Errorf("%s, %s: nothing has failed", mode, name)
			}
			n.insert("")
			n.read()
			if n.alarmed() {
				t.Errorf("%s, %s: alarm after recovery: %v", mode, name, n.db().Alarm())
			}
		}
		n.conn.expect(t, "ok", "PRAGMA integrity_check")
	}
}

// What is in the tail cannot be made a file: commits go on, as long as the tail has
// room, and nothing is lost.
func TestFaultOfGathering(t *testing.T) {
	faults := logFaults()
	faults["sync"] = failing("sync", "/ltx/", syscall.EIO)
	faults["wipe"] = failing("write", "/log-tail\n", syscall.EIO)
	n := newFaultNode(t, "delete", true)
	for name, fail := range faults {
		n.insert("")
		n.disk.set(fail)
		if err := n.db().GatherLog(); err == nil {
			t.Errorf("%s: gathering works all the same", name)
		}
		if name != "wipe" {
			n.insert("")
		}
		if n.disk.set(nil) == 0 {
			t.Errorf("%s: nothing has failed", name)
		}
		n.insert("")
		if err := n.db().GatherLog(); err != nil {
			t.Errorf("%s: after recovery: %v", name, err)
		}
		n.read()
	}
	n.conn.expect(t, "ok", "PRAGMA integrity_check")
}

// A journal that a program removes is gone from the mount, and the next one is empty and
// of the rights and the owner that it would have anyway. What a program still has open
// stays as it is.
func TestSpareJournal(t *testing.T) {
	node := mounttest.Start(t, mounttest.Options{})
	journal, backing := node.Path("db-journal"), ""
	conn := startSQLite(t, node.Path("db"))
	conn.expect(t, "delete", "PRAGMA journal_mode = delete")
	conn.expect(t, "", "CREATE TABLE t (x)")
	backing = node.Store.DB("db").JournalPath()
	ino := func() uint64 {
		t.Helper()
		var st syscall.Stat_t
		if err := syscall.Stat(backing, &st); err != nil {
			t.Fatal(err)
		}
		return st.Ino
	}
	gone := func(when string) {
		t.Helper()
		if _, err := os.Stat(journal); !os.IsNotExist(err) {
			t.Errorf("journal is there %s: %v", when, err)
		}
		if _, err := os.Open(journal); !os.IsNotExist(err) {
			t.Errorf("journal opens %s: %v", when, err)
		}
		entries, err := os.ReadDir(node.Dir())
		if err != nil || slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return strings.HasSuffix(e.Name(), "-journal") }) {
			t.Errorf("journal is listed %s: %v, %v", when, entries, err)
		}
	}
	gone("after a commit")
	first := ino()
	conn.expect(t, "", "BEGIN", "INSERT INTO t VALUES (randomblob(3000))")
	if info, err := os.Stat(journal); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("journal of a transaction: %v, %v", info, err)
	}
	conn.expect(t, "", "COMMIT")
	gone("after the second commit")
	if ino() != first {
		t.Error("the file of the journal was not used again")
	}

	conn.expect(t, "", "BEGIN", "INSERT INTO t VALUES (randomblob(3000))")
	read := holdOpen(t, journal)
	conn.expect(t, "", "COMMIT")
	gone("while a program has it open")
	if got := read(); !strings.HasPrefix(got, "\xd9\xd5\x05\xf9") {
		t.Errorf("the journal that a program has open begins with %x", got)
	}
	conn.expect(t, "", "INSERT INTO t VALUES (1)")
	gone("after the next commit")

	if err := os.Chmod(node.Path("db"), 0o600); err != nil {
		t.Fatal(err)
	}
	conn.expect(t, "", "BEGIN", "INSERT INTO t VALUES (randomblob(3000))")
	if info, err := os.Stat(journal); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("journal of a database with mode 0600: %v, %v", info, err)
	}
	conn.expect(t, "", "ROLLBACK")
	gone("after a rollback")
	conn.expect(t, "ok", "PRAGMA integrity_check")
}

// holdOpen has another program open a file. The function that it returns has that
// program read and close it.
func holdOpen(t *testing.T, path string) (read func() string) {
	t.Helper()
	cmd := exec.Command("sh", "-c", `exec 3<"$0"; echo; read -r _ || true; exec cat <&3`, path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return func() string {
		t.Helper()
		closeErr := in.Close() // what the program waits for
		content, err := io.ReadAll(out)
		if err := errors.Join(closeErr, err, cmd.Wait()); err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
}

// That a journal is gone is durable once the directory is synced.
func TestSpareJournalIsSynced(t *testing.T) {
	r := newCrashRun(t)
	var steps []string
	r.fs = faultfs.New(r.disk, func(op faultfs.Op) error {
		steps = append(steps, op.Kind+" "+op.Name[strings.LastIndexByte(op.Name, '/')+1:])
		return nil
	})
	r.open()
	r.commit()
	r.commit()
	steps = nil
	r.must(r.pager.db.SyncDir())
	r.must(r.pager.db.SyncDir())
	if want := []string{"sync database-journal"}; !slices.Equal(steps, want) {
		t.Errorf("steps of two syncs of the directory: %q, want %q", steps, want)
	}
	r.close()
}
