package litefs_test

import (
	"os"
	"testing"

	"litefs"
	"litefs/ltx"
)

// openStore opens the data directory dir; the caller closes the store.
func openStore(t *testing.T, dir string) *litefs.Store {
	t.Helper()
	store := litefs.NewStore(dir, true)
	if err := store.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	return store
}

// What SQLite commits to the database of a node that is stopped is the next
// transaction when the node starts again.
func TestChangedWhileStopped(t *testing.T) {
	for _, test := range []struct {
		name  string
		stmts []string
		moved ltx.TXID
	}{
		{"nothing", nil, 0},
		{"insert", []string{"INSERT INTO t VALUES (2)"}, 1},
		{"many", []string{"INSERT INTO t VALUES (2)", "CREATE TABLE u(x)", "INSERT INTO t VALUES (2)"}, 1},
		{"grown", []string{"INSERT INTO t VALUES (2)", "INSERT INTO t VALUES (zeroblob(1000000))"}, 1},
		{"page size", []string{"INSERT INTO t VALUES (2)", "PRAGMA page_size=1024", "VACUUM"}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			store := openStore(t, dir)
			db, err := store.CreateDBIfNotExists("db")
			if err != nil {
				t.Fatal(err)
			}
			path := db.DatabasePath()
			if err := store.Close(); err != nil {
				t.Fatal(err)
			}
			conn := startSQLite(t, path)
			conn.expect(t, "", "CREATE TABLE t(x)", "INSERT INTO t VALUES (1)")
			conn.close(t)
			store = openStore(t, dir)
			before := store.DB("db").Pos()
			if err := store.Close(); err != nil {
				t.Fatal(err)
			}

			conn = startSQLite(t, path)
			conn.expect(t, "", test.stmts...)
			conn.close(t)
			written, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}

			store = openStore(t, dir)
			after, err := store.DB("db").Verify(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if before.TXID == 0 || after.TXID != before.TXID+test.moved {
				t.Errorf("position went from %s to %s, want it to move by %d", before, after, test.moved)
			}
			if err := store.Close(); err != nil {
				t.Fatal(err)
			}
			if now, err := os.ReadFile(path); err != nil || string(now) != string(written) {
				t.Errorf("the database file is not what SQLite wrote (error %v)", err)
			}
		})
	}
}
