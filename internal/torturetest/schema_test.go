package torturetest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/fnv"
	"net/url"
	"strings"

	"github.com/mattn/go-sqlite3"
)

const (
	accounts   = 16
	totalMoney = accounts * 1000
	// historyRows is how much of the history a database keeps.
	historyRows = 40
)

// schema is what a new database begins with. Its generation is 1, and one more each
// time that it is made again.
const schema = `
	CREATE TABLE meta (generation INTEGER NOT NULL);
	CREATE TABLE accounts (id INTEGER PRIMARY KEY, amount INTEGER NOT NULL);
	CREATE TABLE t (id INTEGER PRIMARY KEY, tag INTEGER NOT NULL, data BLOB);
	CREATE INDEX t_tag ON t (tag, length(data));
	CREATE TABLE history (n INTEGER PRIMARY KEY, nonce INTEGER NOT NULL, state TEXT NOT NULL, hash INTEGER NOT NULL);
	WITH RECURSIVE i(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM i WHERE x < %d) INSERT INTO accounts SELECT x, 1000 FROM i;
	INSERT INTO meta VALUES (%d);`

// stateQuery says what a database holds besides its history.
const stateQuery = `SELECT (SELECT sum(amount) || '/' || sum(amount * id) FROM accounts) || '/' ||
	(SELECT count(*) || '/' || coalesce(sum(length(data)), 0) || '/' || coalesce(sum(tag * id), 0) FROM t)`

// state is where a database is in its history.
type state struct {
	Generation int64
	N          int64 // number of the last transaction
	Hash       int64 // of the row that it has added
}

// before reports whether s is an earlier state than other.
func (s state) before(other state) bool {
	return s.Generation < other.Generation || s.Generation == other.Generation && s.N < other.N
}

// next returns the hash of the row that follows upon one with hash previous.
func next(previous, n, nonce int64, content string) int64 {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%d %d %d %s", previous, n, nonce, content) // never fails
	return int64(h.Sum64())
}

// open opens a database that exists with one connection.
func open(path string, params ...string) (*sql.DB, error) {
	params = append([]string{"mode=rw", "_busy_timeout=20000"}, params...)
	db, err := sql.Open("sqlite3", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+strings.Join(params, "&"))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

// wrongError says that a database holds something that was never committed.
type wrongError struct{ text string }

func (e *wrongError) Error() string { return e.text }

func wrong(format string, args ...any) error { return &wrongError{fmt.Sprintf(format, args...)} }

// isWrong reports whether err is about the content of a database, not the access.
func isWrong(err error) bool {
	var w *wrongError
	var e sqlite3.Error
	return errors.As(err, &w) || errors.As(err, &e) && (e.Code == sqlite3.ErrCorrupt || e.Code == sqlite3.ErrNotADB)
}

// isBusy reports whether err is that somebody else has a lock.
func isBusy(err error) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && (e.Code == sqlite3.ErrBusy || e.Code == sqlite3.ErrLocked)
}

// querier is a connection or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// readState reads where a database is and checks that it holds what its history says.
// It is to be called in a transaction.
func readState(ctx context.Context, q querier) (state, error) {
	var s state
	if err := q.QueryRowContext(ctx, "SELECT generation FROM meta").Scan(&s.Generation); err != nil {
		return s, err
	}
	var now string
	if err := q.QueryRowContext(ctx, stateQuery).Scan(&now); err != nil {
		return s, err
	}
	if !strings.HasPrefix(now, fmt.Sprintf("%d/", totalMoney)) {
		return s, wrong("the sum over all accounts is wrong: %s", now)
	}
	rows, err := q.QueryContext(ctx, "SELECT n, nonce, state, hash FROM history ORDER BY n")
	if err != nil {
		return s, err
	}
	defer rows.Close()
	content := ""
	for rows.Next() {
		var n, nonce, hash int64
		if err := rows.Scan(&n, &nonce, &content, &hash); err != nil {
			return s, err
		}
		switch {
		case s.N != 0 && n != s.N+1:
			return s, wrong("transaction %d of the history comes after %d", n, s.N)
		case (s.N != 0 || n == 1) && hash != next(s.Hash, n, nonce, content):
			return s, wrong("transaction %d of the history does not follow upon the one before", n)
		}
		s.N, s.Hash = n, hash
	}
	if err := rows.Err(); err != nil {
		return s, err
	}
	if s.N > 0 && content != now {
		return s, wrong("the tables hold %s, transaction %d has left %s", now, s.N, content)
	}
	return s, nil
}
