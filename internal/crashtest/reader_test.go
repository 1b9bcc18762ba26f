package crashtest

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// readerConfig says which database a reader reads.
type readerConfig struct {
	Path string
	// Hold has the reader begin to read, print a line, and wait for the end of
	// its input before it goes on.
	Hold bool
}

// contents is what a reader finds.
type contents struct {
	Writers map[int64]int64 // by number of the commit
}

// runReader reads the database as any program does, which recovers it first if
// that is due, and checks that it is whole.
func runReader(config []byte, in io.Reader, out io.Writer) error {
	var cfg readerConfig
	if err := json.Unmarshal(config, &cfg); err != nil {
		return err
	}
	db, err := sql.Open("sqlite3", "file:"+cfg.Path+"?_busy_timeout=5000&_txlock=deferred")
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	if cfg.Hold {
		err = holdRead(db, in, out)
	} else {
		err = readContents(db, out)
	}
	return errors.Join(err, db.Close())
}

// holdRead keeps the database open, without a transaction, until in ends.
func holdRead(db *sql.DB, in io.Reader, out io.Writer) error {
	var n int
	if err := db.QueryRow("SELECT count(*) FROM sqlite_schema").Scan(&n); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, "open"); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, in)
	return err
}

func readContents(db *sql.DB, out io.Writer) error {
	var result string
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&result); err != nil || result != "ok" {
		return errors.Join(err, fmt.Errorf("integrity check: %q", result))
	}
	var tables int
	if err := db.QueryRow("SELECT count(*) FROM sqlite_schema WHERE name = 'commits'").Scan(&tables); err != nil {
		return err
	}
	c := contents{Writers: make(map[int64]int64)}
	if tables > 0 {
		if err := c.read(db); err != nil {
			return err
		}
	}
	return json.NewEncoder(out).Encode(c)
}

// read reads the commits and checks that table t is what the last of them says.
func (c *contents) read(db *sql.DB) error {
	rows, err := db.Query("SELECT n, writer FROM commits")
	if err != nil {
		return err
	}
	for rows.Next() {
		var n, writer int64
		if err := rows.Scan(&n, &writer); err != nil {
			return err
		}
		c.Writers[n] = writer
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for n := int64(1); n <= int64(len(c.Writers)); n++ {
		if _, ok := c.Writers[n]; !ok {
			return fmt.Errorf("commit %d is missing among %d", n, len(c.Writers))
		}
	}
	if len(c.Writers) == 0 {
		return nil
	}
	var different int
	err = db.QueryRow(`SELECT count(*) FROM commits WHERE n = (SELECT max(n) FROM commits) AND
		(count <> (SELECT count(*) FROM t) OR bytes <> (SELECT coalesce(sum(length(data)), 0) FROM t))`).Scan(&different)
	if err == nil && different > 0 {
		err = errors.New("the rows are not those of the last commit")
	}
	return err
}
