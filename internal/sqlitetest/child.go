package sqlitetest

import (
	"crypto/sha256"
	"database/sql/driver"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/mattn/go-sqlite3"
)

// childEnv holds the URI of the database that a child process opens.
const childEnv = "LITEFS_SQLITETEST_URI"

// The requests that a child process serves.
const (
	opExec   = "exec"   // run all statements of SQL
	opQuery  = "query"  // run the one statement of SQL and return its rows
	opDigest = "digest" // return a digest of all that the database holds
	opBackup = "backup" // copy the database to Path with the backup API, Step pages at a time
)

type request struct {
	Op   string
	SQL  string
	Path string
	Step int
}

type response struct {
	Rows [][]string
	Err  string
}

// fileURI returns the URI of a file, which may have any name.
func fileURI(path string) string { return "file:" + (&url.URL{Path: path}).EscapedPath() }

// Child serves a connection if this process was started to do so, and reports
// whether it did.
func Child() bool {
	uri := os.Getenv(childEnv)
	if uri == "" {
		return false
	}
	if err := serve(uri, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "sqlitetest:", err)
	}
	return true
}

// serve answers requests until in ends, then closes the connection.
func serve(uri string, in io.Reader, out io.Writer) (err error) {
	opened, err := (&sqlite3.SQLiteDriver{}).Open(uri)
	if err != nil {
		return errors.Join(err, json.NewEncoder(out).Encode(response{Err: err.Error()}))
	}
	conn := opened.(*sqlite3.SQLiteConn)
	defer func() { err = errors.Join(err, conn.Close()) }()
	enc, dec := json.NewEncoder(out), json.NewDecoder(in)
	for {
		var req request
		if err := dec.Decode(&req); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		rows, err := answer(conn, req)
		resp := response{Rows: rows}
		if err != nil {
			resp.Err = err.Error()
		}
		if err := enc.Encode(resp); err != nil {
			return err
		}
	}
}

func answer(conn *sqlite3.SQLiteConn, req request) ([][]string, error) {
	switch req.Op {
	case opExec:
		_, err := conn.Exec(req.SQL, nil)
		return nil, err
	case opQuery:
		var rows [][]string
		err := query(conn, req.SQL, func(row []string) { rows = append(rows, row) })
		return rows, err
	case opDigest:
		sum, err := digest(conn)
		return [][]string{{sum}}, err
	case opBackup:
		return nil, backup(conn, req.Path, req.Step)
	default:
		return nil, fmt.Errorf("unknown request %q", req.Op)
	}
}

// query calls fn with every row.
func query(conn *sqlite3.SQLiteConn, stmt string, fn func([]string)) (err error) {
	rows, err := conn.Query(stmt, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	values := make([]driver.Value, len(rows.Columns()))
	for {
		err := rows.Next(values)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		row := make([]string, len(values))
		for i, v := range values {
			switch v := v.(type) {
			case nil:
				row[i] = "NULL"
			case []byte:
				row[i] = string(v)
			default:
				row[i] = fmt.Sprint(v)
			}
		}
		fn(row)
	}
}

// digest reads the schema and the tables in one transaction.
func digest(conn *sqlite3.SQLiteConn) (sum string, err error) {
	if conn.AutoCommit() {
		if _, err := conn.Exec("BEGIN", nil); err != nil {
			return "", err
		}
		defer func() {
			_, endErr := conn.Exec("COMMIT", nil)
			err = errors.Join(err, endErr)
		}()
	}
	hash := sha256.New()
	write := func(row []string) { hash.Write(fmt.Appendf(nil, "%d %q\n", len(row), row)) }
	var tables []string
	err = query(conn, "SELECT type, name, sql FROM sqlite_schema ORDER BY name", func(row []string) {
		write(row)
		if row[0] == "table" && !strings.HasPrefix(row[1], "sqlite_stat") {
			tables = append(tables, row[1])
		}
	})
	for _, table := range tables {
		err = errors.Join(err, query(conn, fmt.Sprintf("SELECT * FROM %q ORDER BY 1", table), write))
	}
	return hex.EncodeToString(hash.Sum(nil)[:16]), err
}

// backup copies the database to the one at path.
func backup(conn *sqlite3.SQLiteConn, path string, step int) (err error) {
	opened, err := (&sqlite3.SQLiteDriver{}).Open(fileURI(path))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	b, err := opened.(*sqlite3.SQLiteConn).Backup("main", conn, "main")
	if err != nil {
		return err
	}
	for done := false; !done && err == nil; {
		done, err = b.Step(step)
	}
	return errors.Join(err, b.Finish())
}
