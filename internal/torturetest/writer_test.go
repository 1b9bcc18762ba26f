package torturetest

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// writerConfig says what a writer does.
type writerConfig struct {
	Path      string
	Seed      uint64
	Modes     []string // journal modes: it begins with the first and changes between them
	PageSizes bool     // change the page size now and then
	Drop      bool     // drop the database and make it again now and then
	Exclusive bool     // keep others from the database while it is open, most of the time
	Owner     bool     // make the database if it is not there
	PauseMax  time.Duration
	// Generation is the newest that the database has had.
	Generation int64
}

// The kinds of an event.
const (
	eventAck    = "ack"    // a transaction is committed
	eventDid    = "did"    // something else is done: What
	eventDrop   = "drop"   // the database is about to be dropped
	eventError  = "error"  // What has failed
	eventPaused = "paused" // nothing is being written
)

// event is what a writer tells.
type event struct {
	Kind  string
	What  string
	State state
	// Opened is when the connection was opened, by the clock.
	Opened time.Time
}

// writer commits without end and tells of it.
type writer struct {
	cfg        writerConfig
	rng        *rand.Rand
	events     *json.Encoder
	db         *sql.DB // nil if there is no connection
	opened     time.Time
	generation int64 // the newest that was ever there
}

// runWriter writes until its input ends. A line "pause" has it stop until the next
// line.
func runWriter(config []byte, in io.Reader, out io.Writer) error {
	w := &writer{events: json.NewEncoder(out)}
	if err := json.Unmarshal(config, &w.cfg); err != nil {
		return err
	}
	w.rng, w.generation = rand.New(rand.NewPCG(w.cfg.Seed, 1)), w.cfg.Generation
	lines := make(chan string)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(in); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	for {
		select {
		case _, ok := <-lines:
			if !ok {
				return w.disconnect()
			}
			if w.cfg.Exclusive { // others are to look at the database
				_ = w.disconnect() // it may be of no use any more
			}
			w.tell(event{Kind: eventPaused})
			<-lines
		default:
			w.turn()
		}
	}
}

func (w *writer) tell(e event) {
	e.Opened = w.opened
	_ = w.events.Encode(e) // the pipe lasts as long as the process that listens
}

// turn does one thing, and gives the connection up if that fails.
func (w *writer) turn() {
	err := w.connect()
	if err == nil {
		err = w.step()
	}
	switch {
	case err == nil:
		time.Sleep(time.Duration(w.rng.ExpFloat64() * float64(w.cfg.PauseMax) / 4))
	case isBusy(err):
		w.tell(event{Kind: eventDid, What: "wait in vain for a lock"})
		time.Sleep(5 * time.Millisecond)
	default:
		w.tell(event{Kind: eventError, What: err.Error()})
		_ = w.disconnect() // it is of no use any more
		time.Sleep(5 * time.Millisecond)
	}
}

func (w *writer) disconnect() error {
	if w.db == nil {
		return nil
	}
	db := w.db
	w.db = nil
	return db.Close()
}

// connect opens the database, unless it is open, and makes it if it is not there.
func (w *writer) connect() (err error) {
	if w.db != nil {
		return nil
	}
	w.opened = time.Now()
	if w.cfg.Owner {
		if err := w.touch(); err != nil {
			return fmt.Errorf("create file: %w", err)
		}
	}
	if w.db, err = open(w.cfg.Path, "_txlock=immediate", "_busy_timeout=5000"); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = w.disconnect() // err says more
		}
	}()
	generation, err := w.readGeneration()
	if err != nil {
		return err
	}
	if generation == 0 {
		if err := w.exec(fmt.Sprintf("PRAGMA page_size = %d", 512<<w.rng.IntN(6))); err != nil {
			return err
		}
	}
	if w.cfg.Exclusive && w.rng.IntN(4) > 0 {
		if err := w.exec("PRAGMA locking_mode = EXCLUSIVE"); err != nil {
			return err
		}
	}
	for _, stmt := range []string{
		"PRAGMA journal_mode = " + w.cfg.Modes[0],
		"PRAGMA synchronous = " + []string{"off", "normal", "normal", "full"}[w.rng.IntN(4)],
		fmt.Sprintf("PRAGMA wal_autocheckpoint = %d", 10+w.rng.IntN(300)),
		fmt.Sprintf("PRAGMA cache_size = %d", 5+w.rng.IntN(100)),
	} {
		if err := w.exec(stmt); err != nil {
			return err
		}
	}
	if generation > 0 {
		w.generation = generation
		return nil
	}
	if err := w.exec(fmt.Sprintf("BEGIN;"+schema+"COMMIT", accounts, w.generation+1)); err != nil {
		return err
	}
	w.generation++
	return nil
}

// touch makes an empty file, which is an empty database, if there is none. It takes
// care not to make one beside the mount while there is none.
func (w *writer) touch() (err error) {
	root, err := os.OpenRoot(filepath.Dir(w.cfg.Path))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	if _, err := root.Stat(".lag"); err != nil {
		return err
	}
	f, err := root.OpenFile(filepath.Base(w.cfg.Path), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// readGeneration returns the generation of the database, 0 if it is empty.
func (w *writer) readGeneration() (generation int64, err error) {
	err = w.db.QueryRow("SELECT generation FROM meta").Scan(&generation)
	if err != nil && strings.Contains(err.Error(), "no such table") {
		return 0, nil
	}
	return generation, err
}

func (w *writer) exec(stmt string) error {
	if _, err := w.db.Exec(stmt); err != nil {
		return fmt.Errorf("%.60s: %w", stmt, err)
	}
	return nil
}

// step runs one transaction, or does something else now and then.
func (w *writer) step() error {
	switch n := w.rng.IntN(200); {
	case n < 3:
		return w.did("vacuum", "VACUUM")
	case n < 9:
		kind := []string{"PASSIVE", "FULL", "RESTART", "TRUNCATE"}[w.rng.IntN(4)]
		return w.did("checkpoint", "PRAGMA wal_checkpoint("+kind+")")
	case n < 14 && len(w.cfg.Modes) > 1:
		return w.did("change of the journal mode", "PRAGMA journal_mode = "+w.cfg.Modes[w.rng.IntN(len(w.cfg.Modes))])
	case n < 17 && w.cfg.PageSizes:
		// A database in WAL mode keeps its page size.
		return w.did("change of the page size", "PRAGMA journal_mode = delete",
			fmt.Sprintf("PRAGMA page_size = %d", 512<<w.rng.IntN(7)), "VACUUM")
	case n < 18 && w.cfg.Drop:
		return w.drop()
	case n < 20:
		return w.disconnect()
	default:
		return w.commit()
	}
}

func (w *writer) did(what string, stmts ...string) error {
	for _, stmt := range stmts {
		if err := w.exec(stmt); err != nil {
			return err
		}
	}
	w.tell(event{Kind: eventDid, What: what})
	return nil
}

func (w *writer) drop() error {
	if err := w.disconnect(); err != nil {
		return err
	}
	w.tell(event{Kind: eventDrop, State: state{Generation: w.generation}})
	if err := os.Remove(w.cfg.Path); err != nil {
		return err
	}
	time.Sleep(time.Duration(w.rng.IntN(100)) * time.Millisecond)
	w.tell(event{Kind: eventDid, What: "drop of a database"})
	return nil
}

// commit runs a transaction and tells of it, if it is not rolled back.
func (w *writer) commit() (err error) {
	ctx := context.Background()
	tx, err := w.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() {
		if err != nil {
			_ = tx.Rollback() // err says more
		}
	}()
	was, err := readState(ctx, tx)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if err := w.change(tx); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if w.rng.IntN(15) == 0 {
		return tx.Rollback()
	}
	now, err := w.record(tx, was)
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	w.tell(event{Kind: eventAck, State: now})
	return nil
}

// change moves money, and changes table t, which it keeps small.
func (w *writer) change(tx *sql.Tx) error {
	from, to, amount := 1+w.rng.IntN(accounts), 1+w.rng.IntN(accounts), w.rng.IntN(100)
	if _, err := tx.Exec("UPDATE accounts SET amount = amount - ? WHERE id = ?", amount, from); err != nil {
		return err
	}
	if _, err := tx.Exec("UPDATE accounts SET amount = amount + ? WHERE id = ?", amount, to); err != nil {
		return err
	}
	inserts, size := w.rng.IntN(4), w.rng.IntN(1500)
	switch w.rng.IntN(60) {
	case 0:
		inserts = 200
	case 1:
		size = 100_000
	}
	for range inserts {
		if _, err := tx.Exec("INSERT INTO t (tag, data) VALUES (?, randomblob(?))", w.rng.IntN(1000), size); err != nil {
			return err
		}
	}
	if _, err := tx.Exec("UPDATE t SET tag = tag + 1, data = randomblob(length(data)) WHERE id % 40 = ?", w.rng.IntN(40)); err != nil {
		return err
	}
	_, err := tx.Exec("DELETE FROM t WHERE id IN (SELECT id FROM t ORDER BY id LIMIT max(0, (SELECT count(*) FROM t) - ?))", 50+w.rng.IntN(100))
	return err
}

// record adds the row to the history that says what there is now.
func (w *writer) record(tx *sql.Tx, was state) (state, error) {
	now := state{Generation: was.Generation, N: was.N + 1}
	var content string
	if err := tx.QueryRow(stateQuery).Scan(&content); err != nil {
		return now, err
	}
	nonce := w.rng.Int64()
	now.Hash = next(was.Hash, now.N, nonce, content)
	if _, err := tx.Exec("INSERT INTO history VALUES (?, ?, ?, ?)", now.N, nonce, content, now.Hash); err != nil {
		return now, err
	}
	_, err := tx.Exec("DELETE FROM history WHERE n <= ?", now.N-historyRows)
	return now, err
}
