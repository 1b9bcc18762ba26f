package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// A follower without locks sees every header whole or torn, never wrong, and
// all frames up to its mxFrame valid, while SQLite writes, checkpoints and
// restarts the WAL.
func TestFollowLiveWAL(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	db := newDatabase(t, path, 1024, 200, "journal_mode=wal", "synchronous=off", "wal_autocheckpoint=300", "cache_size=20")
	f := openWAL(t, path)
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- writeUntil(db, stop) }()
	var cursor WALCursor
	for scans, restarts := 0, 0; scans < 200 || restarts < 5; {
		reached, restarted, ok := follow(t, f, cursor)
		if !ok {
			continue
		}
		if cursor = reached; restarted {
			restarts++
		}
		scans++
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	f.verify(t)
	cursor, _, ok := follow(t, f, cursor)
	if want, _ := f.header(t).Cursor(); !ok || cursor != want {
		t.Errorf("followed up to %+v, want %+v", cursor, want)
	}
}

func writeUntil(db *sql.DB, stop <-chan struct{}) error {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return nil
		default:
		}
		if _, err := db.Exec(fmt.Sprintf("UPDATE t SET b = randomblob(%d) WHERE id %% 23 = %d", 200+i%500, i%23)); err != nil {
			return err
		}
	}
}

// follow reads what was committed after cursor. It is not ok if SQLite changed
// something meanwhile that makes another try necessary.
func follow(t *testing.T, f walFiles, cursor WALCursor) (reached WALCursor, restarted, ok bool) {
	t.Helper()
	h, err := f.index.Header()
	if errors.Is(err, ErrWALIndexTorn) {
		return cursor, false, false
	} else if err != nil {
		t.Fatal(err)
	}
	want, ok := h.Cursor()
	if !ok {
		return cursor, false, false
	}
	info, err := f.index.CheckpointInfo()
	if err != nil {
		t.Fatal(err)
	}
	if cursor.Salt != want.Salt {
		header, err := ReadWALHeader(f.wal)
		if errors.Is(err, ErrWALHeader) {
			return cursor, false, false // it is being written
		} else if err != nil {
			t.Fatal(err)
		}
		cursor, restarted = header.Start(), true
	}
	s := NewWALScanner(f.wal, cursor, h.MaxFrame)
	for s.Next() {
	}
	_, listErr := f.index.LatestFrames(1, h.MaxFrame)
	_, findErr := f.index.FindFrame(2, 1, h.MaxFrame)
	now, err := f.index.Header()
	if err != nil || now.Salt != h.Salt {
		return cursor, false, false // restarted under the scan
	}
	if s.Err() != nil || listErr != nil || findErr != nil || s.Cursor() != want {
		t.Fatalf("scan to %+v stops at %+v: %v, %v, %v, %v", want, s.Cursor(), s.Stop(), s.Err(), listErr, findErr)
	}
	if info.Backfill > now.MaxFrame || info.BackfillAttempted < info.Backfill {
		t.Fatalf("checkpoint information %+v with mxFrame %d", info, now.MaxFrame)
	}
	return want, restarted, true
}

// Readers see transactions that are appended whole or not at all: the sum over
// all rows, which every transaction preserves, is never another. The writer
// holds WALWriteLock, as it must: a reader that comes between the two writes of
// a header would else take the lock and, finding no writer at work, rebuild the
// wal-index under it.
func TestReadersDuringAppend(t *testing.T) {
	p, r := newPair(t, 512)
	exec(t, p.conn, `CREATE TABLE account (id INTEGER PRIMARY KEY, amount INTEGER, pad BLOB);
		WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i < 300)
		INSERT INTO account (amount, pad) SELECT 100, zeroblob(100) FROM c`)
	lock := unix.Flock_t{Type: unix.F_WRLCK, Start: WALWriteLock, Len: 1}
	if err := unix.FcntlFlock(r.shm.Fd(), unix.F_OFD_SETLK, &lock); err != nil {
		t.Fatal(err)
	}
	r.apply(t, p.capture(t), false)

	stop := make(chan struct{})
	errs := make(chan error, 2)
	var reads [2]atomic.Int64
	var wg sync.WaitGroup
	for i := range reads {
		db := openSQLite(t, r.path)
		wg.Go(func() {
			errs <- readSums(db, stop, &reads[i])
		})
	}
	for i := 1; i <= 200 || reads[0].Load() < 20 || reads[1].Load() < 20; i++ {
		if len(errs) > 0 {
			break
		}
		exec(t, p.conn, fmt.Sprintf("UPDATE account SET amount = amount + CASE WHEN id <= 150 THEN %d ELSE -%[1]d END", i))
		r.apply(t, p.capture(t), false)
	}
	close(stop)
	wg.Wait()
	for range reads {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	r.verify(t)
	sameDatabase(t, p, r)
}

func readSums(db *sql.DB, stop <-chan struct{}, reads *atomic.Int64) error {
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		var sum, distinct int
		if err := db.QueryRow("SELECT sum(amount), count(DISTINCT amount) FROM account").Scan(&sum, &distinct); err != nil {
			return err
		}
		if sum != 30000 || distinct > 2 {
			return fmt.Errorf("sum %d of %d different amounts", sum, distinct)
		}
		reads.Add(1)
	}
}
