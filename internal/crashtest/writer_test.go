package crashtest

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/mattn/go-sqlite3"
)

// writerConfig says what a writer does.
type writerConfig struct {
	Path        string
	ID          uint64 // of the writer, different for each
	Mode        string // journal mode
	Synchronous string
	Exclusive   bool // locking_mode=EXCLUSIVE
	Vary        bool // VACUUM, checkpoints and other journal modes now and then
	Stay        bool // go on with the same connection after an error
}

// schema is what the writers fill. Each commit adds a row to commits, which says
// what the whole of table t is then.
const schema = `
	CREATE TABLE commits (n INTEGER PRIMARY KEY, writer INTEGER, count INTEGER, bytes INTEGER);
	CREATE TABLE t (id INTEGER PRIMARY KEY, data BLOB);
	CREATE INDEX t_length ON t (length(data));`

// writer commits without end and reports each commit that SQLite has
// acknowledged with a line "ack N" on out.
type writer struct {
	cfg writerConfig
	rng *rand.Rand
	out io.Writer
	db  *sql.DB
}

func runWriter(config []byte, _ io.Reader, out io.Writer) error {
	w := &writer{out: out}
	if err := json.Unmarshal(config, &w.cfg); err != nil {
		return err
	}
	w.rng = rand.New(rand.NewPCG(w.cfg.ID, 3))
	for {
		if err := w.connect(); err != nil {
			w.report(err)
			continue
		}
		for {
			err := w.step()
			w.report(err)
			if err != nil && !isBusy(err) && !w.cfg.Stay {
				break
			}
		}
		_ = w.db.Close() // what it could not do is for recovery
	}
}

// report prints an error and pauses; being busy is none.
func (w *writer) report(err error) {
	if err == nil {
		return
	}
	if !isBusy(err) {
		_, _ = fmt.Fprintln(w.out, "error", err) // the harness sees when the pipe is gone
	}
	time.Sleep(2 * time.Millisecond)
}

func isBusy(err error) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && (e.Code == sqlite3.ErrBusy || e.Code == sqlite3.ErrLocked)
}

func (w *writer) connect() error {
	if w.db != nil {
		_ = w.db.Close() // for the descriptors
	}
	// It must not make a new database where nothing is mounted for the moment.
	db, err := sql.Open("sqlite3", "file:"+w.cfg.Path+"?mode=rw&_busy_timeout=1000&_txlock=immediate")
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	w.db = db
	statements := []string{
		"PRAGMA journal_mode = " + w.cfg.Mode,
		"PRAGMA synchronous = " + w.cfg.Synchronous,
		fmt.Sprintf("PRAGMA wal_autocheckpoint = %d", 10+w.rng.IntN(100)),
		fmt.Sprintf("PRAGMA cache_size = %d", 5+w.rng.IntN(50)),
	}
	if w.cfg.Exclusive {
		statements = append([]string{"PRAGMA locking_mode = EXCLUSIVE"}, statements...)
	}
	for _, stmt := range statements {
		if _, err := db.Exec(stmt); err != nil {
			return fmt.Errorf("%s: %w", stmt, err)
		}
	}
	return nil
}

// step runs one transaction, or something else now and then.
func (w *writer) step() error {
	if w.cfg.Vary && w.rng.IntN(20) == 0 {
		modes := []string{"delete", "truncate", "persist", "wal"}
		other := []string{
			"VACUUM",
			"PRAGMA wal_checkpoint(PASSIVE)", "PRAGMA wal_checkpoint(FULL)",
			"PRAGMA wal_checkpoint(RESTART)", "PRAGMA wal_checkpoint(TRUNCATE)",
			"PRAGMA journal_mode = " + modes[w.rng.IntN(len(modes))],
			"PRAGMA incremental_vacuum", "REINDEX",
		}
		_, err := w.db.Exec(other[w.rng.IntN(len(other))])
		return err
	}
	n, err := w.commit()
	if err == nil && n > 0 {
		_, err = fmt.Fprintln(w.out, "ack", n)
	}
	return err
}

// commit runs a transaction and returns its number, 0 if it was rolled back.
func (w *writer) commit() (n int64, err error) {
	tx, err := w.db.BeginTx(context.Background(), nil)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			_ = tx.Rollback() // err says more
		}
	}()
	if err := w.change(tx); err != nil {
		return 0, err
	}
	if w.rng.IntN(12) == 0 {
		time.Sleep(time.Duration(w.rng.IntN(40)) * time.Millisecond)
	}
	if w.rng.IntN(15) == 0 {
		return 0, tx.Rollback()
	}
	err = tx.QueryRow(`INSERT INTO commits SELECT coalesce((SELECT max(n) FROM commits), 0) + 1, ?,
		(SELECT count(*) FROM t), (SELECT coalesce(sum(length(data)), 0) FROM t) RETURNING n`, int64(w.cfg.ID)).Scan(&n)
	if err != nil {
		return 0, err
	}
	return n, tx.Commit()
}

// change changes table t at random, and keeps it small.
func (w *writer) change(tx *sql.Tx) error {
	for range 1 + w.rng.IntN(4) {
		size := w.rng.IntN(2000)
		if w.rng.IntN(10) == 0 {
			size *= 8
		}
		if _, err := tx.Exec("INSERT INTO t (data) VALUES (randomblob(?))", size); err != nil {
			return err
		}
	}
	if _, err := tx.Exec("UPDATE t SET data = randomblob(length(data)) WHERE id % 50 = ?", w.rng.IntN(50)); err != nil {
		return err
	}
	_, err := tx.Exec("DELETE FROM t WHERE id IN (SELECT id FROM t ORDER BY id LIMIT max(0, (SELECT count(*) FROM t) - ?))", 20+w.rng.IntN(60))
	return err
}
