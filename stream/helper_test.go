package stream

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3"
	"go.uber.org/goleak"

	"litefs"
	"litefs/internal/fsx"
	"litefs/internal/sqlite"
	"litefs/ltx"
)

const testCluster = "c0ffee00c0ffee00c0ffee00"

// wait bounds what a test waits for.
const wait = 20 * time.Second

// calm is a heartbeat interval for tests in which nobody is to be found silent,
// however busy the machine is.
const calm = 5 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// openStore opens a store of the test cluster that is closed with the test.
func openStore(t *testing.T, dir string) *litefs.Store {
	t.Helper()
	store := litefs.NewStore(dir, true)
	store.StrictVerify = true
	must(t, store.Open(t.Context()))
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	must(t, store.AdoptCluster(testCluster))
	return store
}

// node is a primary: a store, and the server of its stream.
type node struct {
	store  *litefs.Store
	server *Server
	http   *httptest.Server
}

func newPrimary(t *testing.T, heartbeat time.Duration) *node {
	t.Helper()
	n := &node{store: openStore(t, t.TempDir())}
	n.server = NewServer(n.store, ServerOptions{HeartbeatInterval: heartbeat, Logger: testLogger(t)})
	n.http = httptest.NewServer(n.server)
	t.Cleanup(func() {
		must(t, n.server.Close())
		n.http.Close()
	})
	return n
}

func (n *node) info() litefs.PrimaryInfo {
	return litefs.PrimaryInfo{Hostname: "primary", AdvertiseURL: n.http.URL}
}

// testLogger writes to the log of the test.
func testLogger(t *testing.T) *slog.Logger {
	t.Helper()
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// newReplica opens a store that is a replica.
func newReplica(t *testing.T) *litefs.Store {
	t.Helper()
	store := openStore(t, t.TempDir())
	must(t, store.BecomeReplica(t.Context(), nil))
	return store
}

// following is a replica that follows a primary in the background.
type following struct {
	store *litefs.Store
	stop  context.CancelFunc
	done  chan error // what Follow has returned
}

// follow has a replica follow a primary until the test ends, stop is called, or
// Follow returns.
func follow(t *testing.T, store *litefs.Store, primary litefs.PrimaryInfo) *following {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	f := &following{store: store, stop: cancel, done: make(chan error, 1)}
	ended := make(chan struct{})
	client := NewClient(store, ClientOptions{Logger: testLogger(t)})
	go func() {
		defer close(ended)
		f.done <- client.Follow(ctx, primary)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return f
}

// result waits for Follow to return.
func (f *following) result(t *testing.T) error {
	t.Helper()
	select {
	case err := <-f.done:
		return err
	case <-time.After(wait):
		t.Fatal("Follow has not returned")
		return nil
	}
}

// reaches waits until the replica has the primary's position of a database.
func (f *following) reaches(t *testing.T, primary *litefs.DB) {
	t.Helper()
	if !f.reachesUnlessBroken(t, primary) {
		t.Fatalf("primary is at %s, Follow has returned: %v", primary.Pos(), f.result(t))
	}
}

// reachesUnlessBroken does so until Follow returns.
func (f *following) reachesUnlessBroken(t *testing.T, primary *litefs.DB) bool {
	t.Helper()
	timeout := time.After(wait)
	for {
		db, err := f.store.CreateDBIfNotExists(primary.Name())
		must(t, err)
		pos, moved := db.Moved()
		if pos == primary.Pos() {
			return true
		}
		select {
		case <-moved:
		case err := <-f.done:
			f.done <- err
			return false
		case <-timeout:
			t.Fatalf("replica is at %s, primary at %s", pos, primary.Pos())
		}
	}
}

// source makes the content of a database with SQLite, and hands each version to a
// node with the requests that SQLite makes in journal mode DELETE.
type source struct {
	t       *testing.T
	db      *litefs.DB
	path    string
	sql     *sql.DB
	content []byte
}

const sourcePageSize = 4096

func newSource(t *testing.T, store *litefs.Store, name string) *source {
	t.Helper()
	db, err := store.CreateDBIfNotExists(name)
	must(t, err)
	s := &source{t: t, db: db, path: filepath.Join(t.TempDir(), "db")}
	s.sql, err = sql.Open("sqlite3", s.path)
	must(t, err)
	s.sql.SetMaxOpenConns(1)
	t.Cleanup(func() { must(t, s.sql.Close()) })
	return s
}

// commit runs statements and makes the result the next transaction of the node.
func (s *source) commit(stmts ...string) {
	s.t.Helper()
	for _, stmt := range stmts {
		_, err := s.sql.Exec(stmt)
		must(s.t, err)
	}
	content, err := os.ReadFile(s.path)
	must(s.t, err)
	before := s.db.Pos()
	s.write(content)
	if s.db.Pos() == before {
		s.t.Fatalf("position is still %s after %v", before, stmts)
	}
}

// write makes content that of the database.
func (s *source) write(content []byte) {
	s.t.Helper()
	file, journal := s.open(litefs.FileTypeDatabase), s.open(litefs.FileTypeJournal)
	header := sqlite.JournalHeader{
		Nonce: 1, InitialPages: uint32(len(s.content) / sourcePageSize), SectorSize: 512, PageSize: sourcePageSize,
	}
	changed := func(offset int) bool {
		return offset >= min(len(content), len(s.content)) || !bytes.Equal(content[offset:offset+sourcePageSize], s.content[offset:offset+sourcePageSize])
	}
	at := int64(header.SectorSize)
	for offset := 0; offset < len(s.content); offset += sourcePageSize {
		if changed(offset) {
			record := sqlite.AppendJournalRecord(nil, header.Nonce, uint32(offset/sourcePageSize+1), s.content[offset:offset+sourcePageSize])
			must(s.t, s.db.WriteJournal(journal, record, at))
			at += int64(len(record))
			header.RecordCount++
		}
	}
	must(s.t, s.db.WriteJournal(journal, header.AppendTo(nil), 0))
	must(s.t, journal.Sync())
	for offset := 0; offset < len(content); offset += sourcePageSize {
		if changed(offset) {
			must(s.t, s.db.WriteDatabase(file, content[offset:offset+sourcePageSize], int64(offset)))
		}
	}
	if len(content) < len(s.content) {
		must(s.t, s.db.TruncateDatabase(file, int64(len(content))))
	}
	must(s.t, s.db.SyncDatabase(file))
	must(s.t, journal.Close())
	must(s.t, s.db.ReleaseFile(journal, litefs.FileTypeJournal))
	must(s.t, s.db.RemoveJournal())
	must(s.t, file.Close())
	must(s.t, s.db.ReleaseFile(file, litefs.FileTypeDatabase))
	s.content = content
}

// open opens a file of the database, and makes it if it is not there.
func (s *source) open(typ litefs.FileType) fsx.File {
	s.t.Helper()
	f, err := s.db.OpenFile(typ, os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = s.db.CreateFile(typ, os.O_RDWR|os.O_CREATE, 0o644)
	}
	must(s.t, err)
	return f
}

// same checks that a replica's database has the content of the primary's.
func same(t *testing.T, replica *litefs.Store, primary *litefs.DB) {
	t.Helper()
	db := replica.DB(primary.Name())
	if db == nil {
		t.Fatalf("replica has no database %q", primary.Name())
	}
	for _, db := range []*litefs.DB{db, primary} {
		if pos, err := db.Verify(t.Context()); err != nil || pos != primary.Pos() {
			t.Errorf("database %q is at %s, error %v, want %s", db.Name(), pos, err, primary.Pos())
		}
	}
}

// peer speaks the protocol by hand, as a replica.
type peer struct {
	t    *testing.T
	resp *http.Response
	body *io.PipeWriter
	r    *bufio.Reader
}

// connect sends a first frame, or other bytes, and returns the answer.
func connect(t *testing.T, n *node, first []byte) *peer {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	r, w := io.Pipe()
	go func() { _, _ = w.Write(first) }()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, n.http.URL+"/stream", r)
	must(t, err)
	resp, err := transport.RoundTrip(req) //nolint:bodyclose // leave closes it
	must(t, err)
	p := &peer{t: t, resp: resp, body: w, r: bufio.NewReader(resp.Body)}
	t.Cleanup(p.leave)
	return p
}

// leave breaks the connection off.
func (p *peer) leave() {
	_ = p.body.CloseWithError(errors.New("peer leaves"))
	_ = p.resp.Body.Close()
}

func (p *peer) send(f StreamFrame) {
	p.t.Helper()
	_, err := p.body.Write(encoded(p.t, f))
	must(p.t, err)
}

// next returns the next frame, and the body of an LTX frame.
func (p *peer) next() (StreamFrame, []byte) {
	p.t.Helper()
	f, body, err := readWhole(p.r)
	must(p.t, err)
	return f, body
}

// until returns the next frame that is no heartbeat.
func (p *peer) until() (StreamFrame, []byte) {
	p.t.Helper()
	for {
		f, body := p.next()
		if f.Type() != StreamFrameTypeHeartbeat {
			return f, body
		}
	}
}

func encoded(t *testing.T, f StreamFrame) []byte {
	t.Helper()
	var b bytes.Buffer
	must(t, WriteStreamFrame(&b, f))
	return b.Bytes()
}

// decode reads an LTX file to its end.
func decode(t *testing.T, b []byte) *ltx.Decoder {
	t.Helper()
	dec := ltx.NewDecoder(bytes.NewReader(b))
	must(t, dec.DecodeHeader())
	page := make([]byte, dec.Header().PageSize)
	for {
		var hdr ltx.PageHeader
		err := dec.DecodePage(&hdr, page)
		if errors.Is(err, io.EOF) {
			must(t, dec.Close())
			return dec
		}
		must(t, err)
	}
}
