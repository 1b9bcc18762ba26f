package sqlite

import (
	"bufio"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	osexec "os/exec"
	"path/filepath"
	"testing"
)

// replica appends transactions to a database that a live SQLite connection has
// open, between that connection's own transactions.
type replica struct {
	walFiles
	conn   *sql.DB
	writer *WALIndexWriter
}

func newReplica(tb testing.TB, path string) *replica {
	tb.Helper()
	conn := openSQLite(tb, path, "wal_autocheckpoint=0", "synchronous=off")
	queryString(tb, conn, "SELECT count(*) FROM t") // makes it open the wal-index
	f := openWAL(tb, path)
	return &replica{walFiles: f, conn: conn, writer: NewWALIndexWriter(f.index)}
}

// start returns the cursor to append at, after a restart of the WAL where all
// of it has been backfilled.
func (r *replica) start(tb testing.TB, pageSize uint32, bigEndian bool) WALCursor {
	tb.Helper()
	h := r.header(tb)
	if cursor, ok := h.Cursor(); ok && r.info(tb).Backfill < h.MaxFrame {
		return cursor
	} else if ok {
		var err error
		if h, err = r.writer.Restart(h, rand.Uint32()); err != nil {
			tb.Fatal(err)
		}
	}
	header := WALHeader{BigEndian: bigEndian, PageSize: pageSize, Salt: h.Salt}
	if old, err := ReadWALHeader(r.wal); err == nil {
		header.Sequence = old.Sequence + 1
	}
	if err := WriteWALHeader(r.wal, header); err != nil {
		tb.Fatal(err)
	}
	return header.Start()
}

// apply appends pages as one transaction and publishes it.
func (r *replica) apply(tb testing.TB, tx transaction, bigEndian bool) {
	tb.Helper()
	r.writer.Forget() // SQLite may have written since
	cursor := r.start(tb, tx.pageSize, bigEndian)
	w := NewWALWriter(r.wal, cursor)
	for i, p := range tx.pages {
		var commit uint32
		if i == len(tx.pages)-1 {
			commit = tx.pageCount
		}
		if err := w.WriteFrame(p.pgno, commit, p.data); err != nil {
			tb.Fatal(err)
		}
		if err := r.writer.Append(w.Cursor().Frame, p.pgno); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		tb.Fatal(err)
	}
	if err := r.writer.Publish(r.header(tb).Commit(w.Cursor(), tx.pageCount)); err != nil {
		tb.Fatal(err)
	}
}

type transaction struct {
	pageSize  uint32
	pageCount uint32
	pages     []page
}

type page struct {
	pgno uint32
	data []byte
}

// primary is a database that SQLite writes and whose WAL is followed.
type primary struct {
	walFiles
	conn   *sql.DB
	cursor WALCursor
}

// capture returns all that was committed since the last call as one
// transaction, each page in its newest version.
func (p *primary) capture(tb testing.TB) transaction {
	tb.Helper()
	h := p.header(tb)
	if holds, err := p.cursor.Holds(p.wal); err != nil {
		tb.Fatal(err)
	} else if !holds {
		p.cursor = p.walHeader(tb).Start()
	}
	tx := transaction{pageSize: h.PageSize}
	at := map[uint32]int{}
	s := NewWALScanner(p.wal, p.cursor, h.MaxFrame)
	for s.Next() {
		pgno, data := s.Frame().Pgno, append([]byte(nil), s.Page()...)
		if i, ok := at[pgno]; ok {
			tx.pages[i].data = data
			continue
		}
		at[pgno] = len(tx.pages)
		tx.pages = append(tx.pages, page{pgno, data})
	}
	if s.Err() != nil {
		tb.Fatal(s.Err())
	}
	if p.cursor, tx.pageCount = s.Commit(); tx.pageCount == 0 || p.cursor.Frame != h.MaxFrame {
		tb.Fatalf("captured up to %+v, mxFrame is %d, scan stopped at %+v: %v", p.cursor, h.MaxFrame, s.Cursor(), s.Stop())
	}
	return tx
}

// newPair makes a primary and a replica with the same content.
func newPair(t *testing.T, pageSize uint32) (*primary, *replica) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	conn := newDatabase(t, path, pageSize, 50, walPragmas...)
	queryString(t, conn, "PRAGMA wal_checkpoint(TRUNCATE)")
	r := newReplica(t, copyFiles(t, path))
	return &primary{walFiles: openWAL(t, path), conn: conn}, r
}

// sameDatabase compares both databases through SQLite.
func sameDatabase(t *testing.T, p *primary, r *replica) {
	t.Helper()
	checkDatabase(t, r.conn)
	if content(t, r.conn) != content(t, p.conn) {
		t.Fatal("the replica's content differs")
	}
}

// What is captured from one live WAL and appended to another is seen by the
// SQLite connection that has the other open, in its next transaction, over
// restarts of both WALs and checkpoints by SQLite and by ours.
func TestWALAppendIsSeenBySQLite(t *testing.T) {
	for _, pageSize := range pageSizes {
		t.Run(fmt.Sprint(pageSize), func(t *testing.T) {
			p, r := newPair(t, pageSize)
			for round := range 24 {
				insertRows(t, p.conn, 1+round*3)
				switch round % 6 {
				case 1:
					exec(t, p.conn, fmt.Sprintf("DELETE FROM t WHERE id %% 11 = %d", round%11))
				case 3:
					exec(t, p.conn, "UPDATE t SET b = randomblob(600) WHERE id % 3 = 0")
				case 5:
					exec(t, p.conn, "VACUUM")
				}
				r.apply(t, p.capture(t), round%2 == 0)
				r.verify(t)
				sameDatabase(t, p, r)
				switch round % 7 {
				case 2:
					r.backfill(t)
					want := fmt.Sprintf("0|%d|%[1]d", r.header(t).MaxFrame)
					if got := queryString(t, r.conn, "PRAGMA wal_checkpoint(PASSIVE)"); got != want {
						t.Errorf("checkpoint after ours: %s, want %s", got, want)
					}
				case 4:
					queryString(t, r.conn, "PRAGMA wal_checkpoint(TRUNCATE)")
				case 5:
					queryString(t, r.conn, "PRAGMA wal_checkpoint(RESTART)")
				case 6:
					queryString(t, p.conn, "PRAGMA wal_checkpoint(RESTART)")
				}
			}
			sameDatabase(t, p, r)
			// All the way down to the bytes of the database files.
			queryString(t, p.conn, "PRAGMA wal_checkpoint(TRUNCATE)")
			queryString(t, r.conn, "PRAGMA wal_checkpoint(TRUNCATE)")
			sameBytes(t, "replica", readFile(t, r.path), readFile(t, p.path))
		})
	}
}

// The same for WALs of more than one and more than two index blocks, with
// SQLite writing to the replica's WAL behind what was appended.
func TestWALAppendLarge(t *testing.T) {
	p, r := newPair(t, 512)
	for round, size := range []int{5000, 100, 4000, 1, 900, 300} {
		exec(t, p.conn, fmt.Sprintf("INSERT INTO t (b) SELECT randomblob(500) FROM t AS x, t AS y LIMIT %d", size))
		r.apply(t, p.capture(t), round%2 == 1)
		r.verify(t)
		sameDatabase(t, p, r)
	}
	if n := r.header(t).MaxFrame; n <= 4062+4096 {
		t.Fatalf("only %d frames", n)
	}
	insertRows(t, r.conn, 20) // by SQLite, on the replica
	r.verify(t)
	checkDatabase(t, r.conn)

	// Another connection recovers the WAL from scratch.
	want := content(t, r.conn)
	again := openSQLite(t, copyFiles(t, r.path, "-wal"))
	checkDatabase(t, again)
	if content(t, again) != want {
		t.Error("content differs after recovery")
	}
	// And the last one out puts all of it into the database file.
	if err := r.conn.Close(); err != nil {
		t.Fatal(err)
	}
	db := openSQLite(t, r.path)
	checkDatabase(t, db)
	if content(t, db) != want {
		t.Error("content differs after the last close")
	}
}

// After our backfill SQLite finds the whole WAL checkpointed, and restarts it
// with its next write.
func TestSQLiteRestartsAfterBackfill(t *testing.T) {
	p, _ := newPair(t, 4096)
	insertRows(t, p.conn, 100)
	before := p.header(t)
	p.backfill(t)
	insertRows(t, p.conn, 1)
	after := p.header(t)
	if after.Salt == before.Salt || after.MaxFrame >= before.MaxFrame {
		t.Errorf("wal-index header %+v after %+v: not restarted", after, before)
	}
	p.verify(t)
	checkDatabase(t, p.conn)
}

// A reader keeps its snapshot while transactions are appended.
func TestReaderKeepsSnapshot(t *testing.T) {
	p, r := newPair(t, 1024)
	insertRows(t, p.conn, 10)
	r.apply(t, p.capture(t), false)
	reader := openSQLite(t, r.path)
	exec(t, reader, "BEGIN")
	want := content(t, reader)
	mark := r.info(t).ReadMark
	for range 5 {
		insertRows(t, p.conn, 500)
		exec(t, p.conn, "UPDATE t SET b = randomblob(100) WHERE id % 2 = 0")
		r.apply(t, p.capture(t), false)
		if content(t, reader) != want {
			t.Fatal("the reader's snapshot changed")
		}
	}
	if r.info(t).ReadMark != mark {
		t.Error("the read marks changed")
	}
	exec(t, reader, "COMMIT")
	if content(t, reader) != content(t, p.conn) {
		t.Error("the reader does not see what was appended")
	}
	checkDatabase(t, reader)
}

// Frames and entries that were written and never published do not disturb
// SQLite, which writes over them.
func TestSQLiteAfterDeadAppend(t *testing.T) {
	_, r := newPair(t, 512)
	for _, left := range []int{10, 3000, 9000, 10} {
		cursor := r.start(t, 512, false)
		w := NewWALWriter(r.wal, cursor)
		r.writer.Forget()
		for i := range left {
			pgno := uint32(i%70 + 1)
			if err := w.WriteFrame(pgno, 0, make([]byte, 512)); err != nil {
				t.Fatal(err)
			}
			if err := r.writer.Append(w.Cursor().Frame, pgno); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := r.writer.Flush(); err != nil {
			t.Fatal(err)
		}
		checkDatabase(t, r.conn)
		insertRows(t, r.conn, 100)
		r.verify(t)
		checkDatabase(t, r.conn)
	}
	if n := queryString(t, r.conn, "SELECT count(*) FROM t"); n != "450" {
		t.Errorf("%s rows", n)
	}
}

const spillEnv = "SQLITE_TEST_SPILL"

// TestSpillAndWait is the process that TestAppendAfterDeadSQLite kills.
func TestSpillAndWait(t *testing.T) {
	path := os.Getenv(spillEnv)
	if path == "" {
		return // only as a child of TestAppendAfterDeadSQLite
	}
	db := openSQLite(t, path, "cache_size=5", "synchronous=off")
	exec(t, db, "BEGIN; UPDATE t SET b = zeroblob(length(b))")
	insertRows(t, db, 3000)
	fmt.Println("spilled")
	select {}
}

// A SQLite process dies in the middle of a transaction that has reached the
// WAL and the wal-index. What it left is written over.
func TestAppendAfterDeadSQLite(t *testing.T) {
	p, r := newPair(t, 512)
	for range 3 {
		insertRows(t, p.conn, 50)
		r.apply(t, p.capture(t), false)
		before := r.header(t)

		child := osexec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSpillAndWait$")
		child.Env = append(os.Environ(), spillEnv+"="+r.path)
		stdout, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "spilled\n" {
			t.Fatalf("child: %q, %v", line, err)
		}
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = child.Wait() // it says that the child was killed

		if r.header(t) != before {
			t.Fatal("the dead process published something")
		}
		entry, err := r.index.readPgnos(before.MaxFrame+1, before.MaxFrame+1)
		if err != nil || string(entry) == "\x00\x00\x00\x00" {
			t.Fatalf("the dead process left nothing behind: %x, %v", entry, err)
		}
		sameDatabase(t, p, r)
	}
	insertRows(t, p.conn, 50)
	r.apply(t, p.capture(t), false)
	r.verify(t)
	sameDatabase(t, p, r)
	insertRows(t, r.conn, 50)
	r.verify(t)
	checkDatabase(t, r.conn)
}
