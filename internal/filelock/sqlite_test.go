package filelock_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"litefs/internal/filelock"
)

// SQLite's lock bytes: https://www.sqlite.org/src/file/src/os.h for those of the
// database file, https://www.sqlite.org/walformat.html#wal_locks for those of the
// wal-index.
var (
	pendingByte  = filelock.Range{Start: 0x40000000, Len: 1}
	reservedByte = filelock.Range{Start: 0x40000001, Len: 1}
	sharedBytes  = filelock.Range{Start: 0x40000002, Len: 510}

	writeByte   = filelock.Range{Start: 120, Len: 1}
	ckptByte    = filelock.Range{Start: 121, Len: 1}
	recoverByte = filelock.Range{Start: 122, Len: 1}
	dmsByte     = filelock.Range{Start: 128, Len: 1}
)

const busy = "database is locked"

// newDatabase makes a database with one table in the given journal mode and starts
// a process that has it open. In WAL mode the log holds a few frames.
func newDatabase(t *testing.T, journalMode string) (path string, h *helper) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "db")
	h = startHelper(t, "sqlite", path)
	h.expect(t, journalMode, "PRAGMA journal_mode = "+journalMode)
	h.expect(t, "", "CREATE TABLE t (x)", "INSERT INTO t VALUES (1)")
	return path, h
}

// locksOn returns the locks that processes other than this one hold on path, in
// the order of their bytes.
func locksOn(t *testing.T, path string) []filelock.Holder {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var locks []filelock.Holder
	var walk func(start, end int64)
	walk = func(start, end int64) {
		if start >= end {
			return
		}
		h, found, err := filelock.Conflict(f, filelock.Range{Start: start, Len: end - start}, exclusive)
		if err != nil {
			t.Fatal(err)
		}
		if found {
			walk(start, h.Range.Start)
			locks = append(locks, h)
			walk(h.Range.Start+h.Range.Len, end)
		}
	}
	walk(0, 1<<62)
	return locks
}

// TestSQLiteHolds compares what a connection of another process locks with what
// the protocol says.
func TestSQLiteHolds(t *testing.T) {
	type locks map[filelock.Range]filelock.Kind
	for _, test := range []struct {
		name        string
		journalMode string
		statements  []string
		database    locks
		shm         locks
	}{
		{"idle", "delete", nil, locks{}, nil},
		{"read", "delete", []string{"BEGIN", "SELECT x FROM t"}, locks{sharedBytes: shared}, nil},
		{
			"immediate", "delete",
			[]string{"BEGIN IMMEDIATE"},
			locks{reservedByte: exclusive, sharedBytes: shared},
			nil,
		},
		{
			// The three ranges touch, so the kernel reports them as one.
			"exclusive", "delete",
			[]string{"BEGIN EXCLUSIVE"},
			locks{{Start: pendingByte.Start, Len: 512}: exclusive},
			nil,
		},
		{"WAL idle", "wal", nil, locks{sharedBytes: shared}, locks{dmsByte: shared}},
		{
			"WAL read", "wal",
			[]string{"BEGIN", "SELECT x FROM t"},
			locks{sharedBytes: shared},
			locks{{Start: 124, Len: 1}: shared, dmsByte: shared},
		},
		{
			// All of the log is in the database file, so the reader needs no mark.
			"WAL read after a checkpoint", "wal",
			[]string{"PRAGMA wal_checkpoint", "BEGIN", "SELECT x FROM t"},
			locks{sharedBytes: shared},
			locks{{Start: 123, Len: 1}: shared, dmsByte: shared},
		},
		{
			"WAL immediate", "wal",
			[]string{"BEGIN IMMEDIATE"},
			locks{sharedBytes: shared},
			locks{writeByte: exclusive, {Start: 124, Len: 1}: shared, dmsByte: shared},
		},
		{
			"WAL exclusive", "wal",
			[]string{"BEGIN EXCLUSIVE"},
			locks{sharedBytes: shared},
			locks{writeByte: exclusive, {Start: 124, Len: 1}: shared, dmsByte: shared},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			path, h := newDatabase(t, test.journalMode)
			for _, stmt := range test.statements {
				h.send(t, stmt)
				if got := h.receive(t); got == busy {
					t.Fatalf("%s: %s", stmt, got)
				}
			}
			check := func(path string, want locks) {
				t.Helper()
				got := locks{}
				for _, holder := range locksOn(t, path) {
					got[holder.Range] = holder.Kind
					if holder.PID != h.pid() {
						t.Errorf("%s: held by process %d, want %d", holder, holder.PID, h.pid())
					}
				}
				if fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("locks on %s: %v, want %v", filepath.Base(path), got, want)
				}
			}
			check(path, test.database)
			if test.shm != nil {
				check(path+"-shm", test.shm)
			}
		})
	}
}

// TestSQLiteHoldsPending has a writer that wants to commit while another process
// reads.
func TestSQLiteHoldsPending(t *testing.T) {
	path, writer := newDatabase(t, "delete")
	reader := startHelper(t, "sqlite", path)
	reader.expect(t, "", "BEGIN")
	reader.expect(t, "1", "SELECT x FROM t")
	writer.expect(t, "", "BEGIN IMMEDIATE", "INSERT INTO t VALUES (2)")
	writer.expect(t, busy, "COMMIT")

	want := filelock.Holder{Kind: exclusive, Range: filelock.Range{Start: 0x40000000, Len: 2}, PID: writer.pid()}
	if got := locksOn(t, path); !slices.Contains(got, want) {
		t.Errorf("locks %v, want %v among them", got, want)
	}
	reader.expect(t, "", "COMMIT")
	writer.expect(t, "", "COMMIT")
}

// TestSQLiteHoldsCheckpoint has a checkpoint that waits for a reader.
func TestSQLiteHoldsCheckpoint(t *testing.T) {
	path, checkpointer := newDatabase(t, "wal")
	reader := startHelper(t, "sqlite", path)
	reader.expect(t, "", "BEGIN")
	reader.expect(t, "1", "SELECT x FROM t")
	checkpointer.expect(t, "", "INSERT INTO t VALUES (2)") // which the reader does not see
	checkpointer.expect(t, "600000", "PRAGMA busy_timeout = 600000")
	checkpointer.send(t, "PRAGMA wal_checkpoint(FULL)")

	// WRITE and CKPT touch and are reported as one range.
	want := filelock.Holder{Kind: exclusive, Range: filelock.Range{Start: 120, Len: 2}, PID: checkpointer.pid()}
	err := filelock.Poll(t.Context(), func() (bool, error) {
		return slices.Contains(locksOn(t, path+"-shm"), want), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	reader.expect(t, "", "COMMIT")
	if got := checkpointer.receive(t); !strings.HasPrefix(got, "0|") {
		t.Errorf("checkpoint answered %q, want 0 first", got)
	}
}

// TestSQLiteRespectsDatabaseLocks takes each lock of the database file and looks
// at what SQLite can and cannot do meanwhile.
func TestSQLiteRespectsDatabaseLocks(t *testing.T) {
	path, h := newDatabase(t, "delete")
	f := openFile(t, path)
	for _, test := range []struct {
		name                  string
		r                     filelock.Range
		kind                  filelock.Kind
		read, reserve, commit string
	}{
		{"PENDING shared", pendingByte, shared, "1", "", busy},
		{"PENDING exclusive", pendingByte, exclusive, busy, busy, "-"},
		{"RESERVED exclusive", reservedByte, exclusive, "1", busy, "-"},
		{"SHARED shared", sharedBytes, shared, "1", "", busy},
		{"SHARED exclusive", sharedBytes, exclusive, busy, busy, "-"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if ok, err := filelock.TryLock(f, test.r, test.kind); !ok || err != nil {
				t.Fatal(ok, err)
			}
			h.expect(t, test.read, "SELECT min(x) FROM t")
			h.expect(t, test.reserve, "BEGIN IMMEDIATE")
			if test.reserve == "" {
				h.expect(t, "", "INSERT INTO t VALUES (2)")
				h.expect(t, test.commit, "COMMIT")
				h.expect(t, "", "ROLLBACK")
			}
			if err := filelock.Unlock(f, test.r); err != nil {
				t.Fatal(err)
			}
			h.expect(t, "", "BEGIN EXCLUSIVE")
			if ok, err := filelock.TryLock(f, test.r, test.kind); ok || err != nil {
				t.Errorf("TryLock against an exclusive transaction = %v, %v", ok, err)
			}
			h.expect(t, "", "COMMIT")
		})
	}
}

// TestSQLiteRespectsWALLocks takes locks of the wal-index. The answers are empty,
// a row, or busy; the first column of a checkpoint's row is 1 if it was kept back.
func TestSQLiteRespectsWALLocks(t *testing.T) {
	for _, test := range []struct {
		name                    string
		r                       filelock.Range
		read, write, checkpoint string
	}{
		{"WRITE", writeByte, "1", busy, "1|3|3"},
		{"CKPT", ckptByte, "1", "", "1|-1|-1"},
		{"RECOVER", recoverByte, "1", "", "0|4|4"}, // nobody needs it outside recovery
	} {
		t.Run(test.name, func(t *testing.T) {
			path, h := newDatabase(t, "wal")
			shm := openFile(t, path+"-shm")
			if ok, err := filelock.TryLock(shm, test.r, exclusive); !ok || err != nil {
				t.Fatal(ok, err)
			}
			h.expect(t, test.read, "SELECT min(x) FROM t")
			h.expect(t, test.write, "INSERT INTO t VALUES (2)")
			h.expect(t, test.checkpoint, "PRAGMA wal_checkpoint(FULL)")
			if ok, err := filelock.TryLock(shm, dmsByte, exclusive); ok || err != nil {
				t.Errorf("TryLock of DMS against an open connection = %v, %v", ok, err)
			}
			if err := filelock.Unlock(shm, test.r); err != nil {
				t.Fatal(err)
			}
			h.expect(t, "", "INSERT INTO t VALUES (3)")
		})
	}
}

// TestSQLiteRespectsRecover needs a log that a dead process left: the next
// connection rebuilds the wal-index under CKPT and RECOVER.
func TestSQLiteRespectsRecover(t *testing.T) {
	path, dead := newDatabase(t, "wal")
	dead.kill(t)
	shm := openFile(t, path+"-shm")
	if ok, err := filelock.TryLock(shm, recoverByte, exclusive); !ok || err != nil {
		t.Fatal(ok, err)
	}
	h := startHelper(t, "sqlite", path)
	h.expect(t, busy, "SELECT x FROM t")
	if err := filelock.Unlock(shm, recoverByte); err != nil {
		t.Fatal(err)
	}
	h.expect(t, "1", "SELECT x FROM t")
}
