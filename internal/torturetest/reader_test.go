package torturetest

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"time"
)

// readRequest asks a reader for one look at a database.
type readRequest struct {
	Path      string
	Reopen    bool          // with a new connection
	Integrity bool          // run SQLite's integrity check too
	Hold      time.Duration // how long to stay in the transaction, and then look again
}

// readAnswer is what it has seen.
type readAnswer struct {
	State state
	Err   string // "" if it has seen something
	Wrong bool   // the error is about what the database holds
	None  bool   // the error is that there is no database
}

// runReader answers requests until its input ends. Connections stay open.
func runReader(_ []byte, in io.Reader, out io.Writer) error {
	conns := make(map[string]*sql.DB)
	for dec, enc := json.NewDecoder(in), json.NewEncoder(out); ; {
		var req readRequest
		if err := dec.Decode(&req); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		s, err := look(conns, req)
		answer := readAnswer{State: s}
		if err != nil {
			answer.Err, answer.Wrong = err.Error(), isWrong(err)
			answer.None = strings.Contains(answer.Err, "no such table") || strings.Contains(answer.Err, "unable to open database file")
		}
		if err := enc.Encode(answer); err != nil {
			return err
		}
	}
	for _, db := range conns {
		_ = db.Close() // the mount may be gone
	}
	return nil
}

// look looks at a database once.
func look(conns map[string]*sql.DB, req readRequest) (state, error) {
	if db := conns[req.Path]; db != nil && req.Reopen {
		_ = db.Close() // the mount may be gone
		delete(conns, req.Path)
	}
	if conns[req.Path] == nil {
		db, err := open(req.Path)
		if err != nil {
			return state{}, err
		}
		conns[req.Path] = db
	}
	ctx := context.Background()
	tx, err := conns[req.Path].BeginTx(ctx, nil)
	if err != nil {
		return state{}, err
	}
	s, err := lookLong(ctx, tx, req)
	_ = tx.Rollback() // nothing was written
	return s, err
}

func lookLong(ctx context.Context, tx *sql.Tx, req readRequest) (state, error) {
	s, err := readState(ctx, tx)
	if err != nil {
		return s, err
	}
	if req.Integrity {
		var result string
		if err := tx.QueryRow("PRAGMA integrity_check").Scan(&result); err != nil {
			return s, err
		}
		switch {
		case strings.Contains(result, "unable to get the page"), strings.Contains(result, "failed to get page"): // it could not be read
			return s, errors.New(result)
		case result != "ok":
			return s, wrong("integrity check: %s", result)
		}
	}
	if req.Hold == 0 {
		return s, nil
	}
	time.Sleep(req.Hold)
	again, err := readState(ctx, tx)
	if err == nil && again != s {
		err = wrong("a transaction has seen %+v, and then %+v", s, again)
	}
	return again, err
}
