package stream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"litefs"
	"litefs/ltx"
)

// scripted is a primary that answers POST /stream with given bytes, and then breaks
// off, or is silent until the replica leaves.
func scripted(t *testing.T, silent bool, answer ...[]byte) litefs.PrimaryInfo {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		must(t, control.EnableFullDuplex())
		body := bufio.NewReader(r.Body)
		if _, err := readFollow(body); err != nil {
			t.Errorf("replica begins with %v", err)
		}
		for _, b := range answer {
			_, _ = w.Write(b)
		}
		_ = control.Flush()
		if silent {
			_, _ = io.Copy(io.Discard, body)
		}
	}))
	t.Cleanup(server.Close)
	return litefs.PrimaryInfo{Hostname: "scripted", AdvertiseURL: server.URL}
}

// greeting is a hello that a replica of the test cluster accepts.
func greeting(change func(*HelloStreamFrame)) *HelloStreamFrame {
	h := &HelloStreamFrame{Version: 1, NodeID: "primary", ClusterID: testCluster, SessionID: "s", Heartbeat: 50 * time.Millisecond}
	if change != nil {
		change(h)
	}
	return h
}

func TestClientRefuses(t *testing.T) {
	store := newReplica(t)
	must(t, store.SeeEpoch(7))
	for _, test := range []struct {
		name  string
		hello []byte
		want  error
	}{
		{"another version", encoded(t, greeting(func(h *HelloStreamFrame) { h.Version = 2 })), ErrVersion},
		{"another cluster", encoded(t, greeting(func(h *HelloStreamFrame) { h.ClusterID = strings.Repeat("a", 24) })), litefs.ErrClusterMismatch},
		{"itself", encoded(t, greeting(func(h *HelloStreamFrame) { h.NodeID = store.ID() })), ErrSelf},
		{"older epoch", encoded(t, greeting(func(h *HelloStreamFrame) { h.Epoch = 6 })), litefs.ErrStaleEpoch},
		{"another frame", encoded(t, &ReadyStreamFrame{}), ErrBadFrame},
		{"no hello", nil, io.EOF},
		{"end", encoded(t, &EndStreamFrame{Code: "closed", Message: "bye"}), ErrServerClosed},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := follow(t, store, scripted(t, false, test.hello)).result(t)
			if !errors.Is(err, test.want) {
				t.Errorf("error is %v, want %v", err, test.want)
			}
		})
	}
	if got := store.Epoch(); got != 7 {
		t.Errorf("epoch is %d, was 7", got)
	}
}

// A node that belongs to no cluster joins that of its primary.
func TestClientAdopts(t *testing.T) {
	store := litefs.NewStore(t.TempDir(), true)
	must(t, store.Open(t.Context()))
	defer store.Close()
	must(t, store.BecomeReplica(t.Context(), nil))
	err := follow(t, store, scripted(t, false, encoded(t, greeting(func(h *HelloStreamFrame) { h.Epoch = 9 })))).result(t)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error is %v", err)
	}
	if store.ClusterID() != testCluster || store.Epoch() != 9 {
		t.Errorf("cluster is %q, epoch %d", store.ClusterID(), store.Epoch())
	}
}

// A primary that falls silent is noticed within three heartbeats, and one that never
// says hello within the time for that.
func TestClientNoticesSilence(t *testing.T) {
	store := newReplica(t)
	began := time.Now()
	err := follow(t, store, scripted(t, true, encoded(t, greeting(nil)))).result(t)
	if took := time.Since(began); !errors.Is(err, ErrPeerSilent) || took < 150*time.Millisecond || took > wait/2 {
		t.Errorf("error is %v after %s", err, took)
	}
	client := NewClient(store, ClientOptions{HelloTimeout: 50 * time.Millisecond, Logger: testLogger(t)})
	if err := client.Follow(t.Context(), scripted(t, true)); !errors.Is(err, ErrPeerSilent) {
		t.Errorf("without hello: error is %v", err)
	}
}

// A connection that is closed before the hello is noticed although no answer comes.
func TestClientNoAnswer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		must(t, err)
		_ = conn.Close()
	}))
	defer server.Close()
	err := follow(t, newReplica(t), litefs.PrimaryInfo{AdvertiseURL: server.URL}).result(t)
	if err == nil || errors.Is(err, ErrPeerSilent) {
		t.Errorf("error is %v", err)
	}
}

// What is no primary is told by its answer.
func TestClientStrangers(t *testing.T) {
	store := newReplica(t)
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	client := NewClient(store, ClientOptions{})
	err := client.Follow(t.Context(), litefs.PrimaryInfo{AdvertiseURL: server.URL})
	if err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("error is %v", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, listener.Close())
	if err := client.Follow(t.Context(), litefs.PrimaryInfo{AdvertiseURL: "http://" + listener.Addr().String()}); err == nil {
		t.Error("Follow of nobody has returned nil")
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("stop")
	cancel(cause)
	if err := client.Follow(ctx, litefs.PrimaryInfo{AdvertiseURL: server.URL}); !errors.Is(err, cause) {
		t.Errorf("error is %v, want %v", err, cause)
	}
}

func TestClientHandoff(t *testing.T) {
	err := follow(t, newReplica(t), scripted(t, true, encoded(t, greeting(nil)), encoded(t, &HandoffStreamFrame{LeaseID: "lease"}))).result(t)
	var handoff *HandoffError
	if !errors.As(err, &handoff) || handoff.LeaseID != "lease" {
		t.Errorf("error is %v", err)
	}
}

// logFile returns a file of the log that goes on from a position.
func logFile(t *testing.T, db *litefs.DB, from ltx.Pos) []byte {
	t.Helper()
	f, err := db.OpenLTXAfter(from)
	must(t, err)
	defer f.Close()
	b, err := io.ReadAll(f)
	must(t, err)
	return b
}

func ltxFrame(t *testing.T, name string, file []byte) []byte {
	t.Helper()
	return encoded(t, &LTXStreamFrame{Name: name, Size: int64(len(file)), Body: bytes.NewReader(file)})
}

// faultReplica is a replica with one transaction of a database, and what its primary
// has.
type faultReplica struct {
	store *litefs.Store
	src   *source
	at    ltx.Pos
}

func newFaultReplica(t *testing.T) *faultReplica {
	t.Helper()
	n := newPrimary(t, time.Minute)
	r := &faultReplica{store: newReplica(t), src: newSource(t, n.store, "db")}
	r.src.commit("CREATE TABLE t(x)")
	f := follow(t, r.store, n.info())
	f.reaches(t, r.src.db)
	f.stop()
	f.result(t) //nolint:errcheck // it was stopped
	r.at = r.src.db.Pos()
	r.src.commit("INSERT INTO t VALUES (randomblob(2000))")
	return r
}

// unchanged checks that nothing of what was received has an effect, and that nothing
// is left of it.
func (r *faultReplica) unchanged(t *testing.T) {
	t.Helper()
	db := r.store.DB("db")
	if pos, err := db.Verify(t.Context()); err != nil || pos != r.at {
		t.Errorf("replica is at %s, was at %s, error %v", pos, r.at, err)
	}
	entries, err := os.ReadDir(db.LTXDir())
	must(t, err)
	for _, entry := range entries {
		if _, _, err := ltx.ParseFilename(entry.Name()); err != nil {
			t.Errorf("%s is left in the log", entry.Name())
		}
	}
	if len(r.store.DBs()) != 1 {
		t.Errorf("replica has %d databases", len(r.store.DBs()))
	}
}

// A frame that is torn, too long or damaged anywhere ends the connection with a
// clear error, and nothing changes.
func TestDamagedFrames(t *testing.T) {
	r := newFaultReplica(t)
	file := logFile(t, r.src.db, r.at)
	good := ltxFrame(t, "db", file)
	hi := encoded(t, greeting(func(h *HelloStreamFrame) { h.Heartbeat = time.Minute }))
	flipped := func(bit int) []byte {
		b := bytes.Clone(good)
		b[bit/8] ^= 1 << (bit % 8)
		return b
	}
	damagedFile := bytes.Clone(file)
	damagedFile[len(damagedFile)/2] ^= 1
	for name, test := range map[string]struct {
		frame []byte
		want  error // nil: any, of the file
	}{
		"torn header":          {good[:7], io.ErrUnexpectedEOF},
		"torn name":            {good[:13], io.ErrUnexpectedEOF},
		"torn file":            {good[:len(good)/2], io.ErrUnexpectedEOF},
		"torn hash":            {good[:len(good)-1], io.ErrUnexpectedEOF},
		"type flipped":         {flipped(30), ErrBadFrame},
		"unknown type":         {frame(99, ""), ErrBadFrame},
		"type of a replica":    {encoded(t, hello(nil)), ErrBadFrame},
		"length flipped":       {flipped(95), ErrBadFrame},
		"length too long":      {announce(StreamFrameTypeLTX, 1<<60, "\x00\x02db"), ErrBadFrame},
		"name flipped":         {flipped(14*8 + 2), ErrBadFrame},
		"file flipped":         {flipped((14 + 2 + frameHashSize + len(file)/2) * 8), nil},
		"hash flipped":         {flipped((len(good) - 1) * 8), ErrBadFrame},
		"damaged before hash":  {ltxFrame(t, "db", damagedFile), nil},
		"bytes after the file": {ltxFrame(t, "db", append(bytes.Clone(file), 0)), nil},
		"no file":              {ltxFrame(t, "db", nil), nil},
		"heartbeat too long":   {announce(StreamFrameTypeHeartbeat, MaxPayloadSize+1, ""), ErrBadFrame},
		"older transaction":    {ltxFrame(t, "db", logFile(t, r.src.db, ltx.Pos{})), litefs.ErrPosMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			silent := errors.Is(test.want, litefs.ErrPosMismatch) // which is found out later
			err := follow(t, r.store, scripted(t, silent, hi, test.frame)).result(t)
			if err == nil || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("error is %v, want %v", err, test.want)
			}
			r.unchanged(t)
		})
	}

	// The same frame undamaged is applied.
	f := follow(t, r.store, scripted(t, true, hi, good))
	f.reaches(t, r.src.db)
	same(t, r.store, r.src.db)
}

// breakingProxy passes bytes between a replica and a primary, and breaks each
// connection off after it has passed some.
func breakingProxy(t *testing.T, target string, after func(connection int) int64) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	done := make(chan struct{})
	t.Cleanup(func() {
		must(t, listener.Close())
		<-done
	})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			upstream, err := net.Dial("tcp", strings.TrimPrefix(target, "http://"))
			if err != nil {
				t.Error(err)
				return
			}
			go func() { _, _ = io.Copy(upstream, conn) }()
			go func() {
				_, _ = io.CopyN(conn, upstream, after(i))
				_ = conn.Close()
				_ = upstream.Close()
			}()
		}
	}()
	return "http://" + listener.Addr().String()
}

// A replica whose connections break off again and again catches up all the same.
func TestFollowBreaking(t *testing.T) {
	n := newPrimary(t, calm)
	src := newSource(t, n.store, "db")
	src.commit("CREATE TABLE t(x)", "INSERT INTO t VALUES (randomblob(2000000))")
	src.commit("INSERT INTO t VALUES (randomblob(2000000))")
	replica := newReplica(t)
	primary := litefs.PrimaryInfo{AdvertiseURL: breakingProxy(t, n.http.URL, func(i int) int64 { return 700000 + int64(i)*1000 })}
	broken, caughtUp := 0, false
	for ; !caughtUp; broken++ {
		f := follow(t, replica, primary)
		caughtUp = f.reachesUnlessBroken(t, src.db)
		f.stop()
	}
	if broken < 3 {
		t.Errorf("caught up with %d connections: nothing broke off", broken)
	}
	same(t, replica, src.db)
}

// stalled is a replica that takes the hello and then reads nothing more, but beats.
func stalled(t *testing.T, n *node, at ltx.Pos) *peer {
	t.Helper()
	p := connect(t, n, encoded(t, hello(func(f *FollowStreamFrame) { f.Positions = map[string]ltx.Pos{"db": at} })))
	p.next()
	return p
}

// A replica that does not read costs the primary no memory, its commits no time, and
// other replicas nothing.
func TestSlowReplica(t *testing.T) {
	n := newPrimary(t, calm)
	src := newSource(t, n.store, "db")
	src.commit("CREATE TABLE t(x)")
	slow := stalled(t, n, src.db.Pos())
	stop := make(chan struct{})
	beating := make(chan struct{})
	go func() {
		defer close(beating)
		for {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
				_, _ = slow.body.Write(encoded(t, &HeartbeatStreamFrame{}))
			}
		}
	}()
	defer func() { close(stop); <-beating }()
	fast := follow(t, newReplica(t), n.info())
	fast.reaches(t, src.db)
	for range 30 { // more than the buffers of a connection hold
		src.commit("UPDATE t SET x = randomblob(1000000)", "INSERT INTO t SELECT randomblob(1000000) WHERE NOT EXISTS (SELECT 1 FROM t)")
		fast.reaches(t, src.db)
	}
	n.server.mu.Lock()
	sessions := len(n.server.sessions)
	n.server.mu.Unlock()
	if sessions != 2 {
		t.Errorf("%d sessions, want the slow one to go on beside the fast one", sessions)
	}
	// When it reads again it gets everything, in order.
	at := ltx.TXID(1)
	for at < src.db.TXID() {
		f, body := slow.until()
		if file, ok := f.(*LTXStreamFrame); ok {
			dec := decode(t, body)
			if file.Name != "db" || dec.Header().MinTXID != at+1 {
				t.Fatalf("transactions of %q from %s on, want %s", file.Name, dec.Header().MinTXID, at+1)
			}
			at = dec.Header().MaxTXID
		}
	}
}

// What is sent and not applied is bounded, and goes on with the acknowledgement.
func TestInFlight(t *testing.T) {
	var r replicated
	at := func(txid ltx.TXID) ltx.Pos { return ltx.Pos{TXID: txid} }
	for i := range maxInFlightFiles {
		if r.full() {
			t.Fatalf("full after %d files", i)
		}
		r.add(ltx.Pos{TXID: ltx.TXID(i + 1)}, 1)
	}
	if !r.full() || r.acknowledge(at(0)) || !r.acknowledge(at(1)) || r.acknowledge(at(2)) || r.full() || r.applied != at(2) {
		t.Errorf("files: %d in flight", len(r.inFlight))
	}
	if r.acknowledge(ltx.Pos{TXID: 3, PostApplyChecksum: 1}); r.applied != at(2) { // another history's
		t.Errorf("applied is %s", r.applied)
	}
	r.replace(ltx.Pos{TXID: 900})
	if r.full() || r.size != 0 {
		t.Errorf("after a difference: %+v", r)
	}
	r.add(ltx.Pos{TXID: 901}, maxInFlight-1)
	r.add(ltx.Pos{TXID: 902}, 2)
	if !r.full() || !r.acknowledge(at(901)) || r.size != 2 {
		t.Errorf("bytes: %d in flight", r.size)
	}
}

// A drop that the primary makes up for a database that it never had is a good file.
func TestWriteDrop(t *testing.T) {
	base := ltx.Pos{TXID: 7, PostApplyChecksum: ltx.ChecksumFlag | 5}
	var b bytes.Buffer
	pos, err := writeDrop(&b, base)
	must(t, err)
	dec := decode(t, b.Bytes())
	if dec.PreApplyPos() != base || dec.PostApplyPos() != pos || dec.Header().Commit != 0 || pos.TXID != 8 {
		t.Errorf("from %s to %s, %+v", dec.PreApplyPos(), dec.PostApplyPos(), dec.Header())
	}
}

// Differences are for those who were told to fetch them, and end with the session.
func TestDifferenceRefused(t *testing.T) {
	n := newPrimary(t, time.Second)
	src := newSource(t, n.store, "db")
	src.commit("CREATE TABLE t(x)")
	p := connect(t, n, encoded(t, hello(func(f *FollowStreamFrame) { f.Positions = map[string]ltx.Pos{"db": src.db.Pos()} })))
	first, _ := p.next()
	transport := &http.Transport{DisableKeepAlives: true}
	post := func(session, db string, body []byte) (*http.Response, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, n.http.URL+"/difference?session="+session+"&db="+db, bytes.NewReader(body))
		must(t, err)
		return transport.RoundTrip(req)
	}
	id := first.(*HelloStreamFrame).SessionID
	for _, test := range []struct {
		session, db string
		want        error
	}{
		{"x", "db", ErrNoSession}, {id, "db", ErrBadRequest}, {id, "other", ErrBadRequest},
	} {
		resp, err := post(test.session, test.db, make([]byte, posSize))
		must(t, err)
		if err := refusalError(resp); !errors.Is(err, test.want) {
			t.Errorf("difference of %s: %v, want %v", test.db, err, test.want)
		}
		must(t, resp.Body.Close())
	}
	p.leave()

	p = connect(t, n, encoded(t, hello(func(f *FollowStreamFrame) {
		f.Positions = map[string]ltx.Pos{"db": {TXID: 9, PostApplyChecksum: ltx.ChecksumFlag}}
	})))
	first, _ = p.next()
	if f, _ := p.until(); f.Type() != StreamFrameTypeDifference {
		t.Fatalf("frame is %+v", f)
	}
	id = first.(*HelloStreamFrame).SessionID
	for range 2 { // it may be tried again
		resp, err := post(id, "db", make([]byte, baseSize-1))
		if err == nil {
			_ = resp.Body.Close()
			t.Errorf("half a base: answer is %s", resp.Status)
		}
	}
	// The name in the URL is not that for which the replica has written the rest.
	resp, err := post(id, "db", appendBase(nil, "dc", ltx.Pos{TXID: 9, PostApplyChecksum: ltx.ChecksumFlag}))
	if err == nil {
		_ = resp.Body.Close()
		t.Errorf("base of another database: answer is %s", resp.Status)
	}
	resp, err = post(id, "db", appendBase(nil, "db", ltx.Pos{TXID: 9, PostApplyChecksum: ltx.ChecksumFlag}))
	must(t, err)
	if resp.StatusCode != http.StatusOK {
		t.Errorf("base of a database without pages: answer is %s", resp.Status)
	}
	must(t, resp.Body.Close())
}

// A replica that does not say what it has applied is sent a bounded number of files,
// and heartbeats; the rest follows when it has.
func TestUnacknowledged(t *testing.T) {
	n := newPrimary(t, time.Second)
	n.store.StrictVerify = false
	src := newSource(t, n.store, "db")
	src.commit("CREATE TABLE t(x)")
	p := connect(t, n, encoded(t, hello(func(f *FollowStreamFrame) { f.Positions = map[string]ltx.Pos{"db": src.db.Pos()} })))
	for range maxInFlightFiles + 10 {
		src.commit("INSERT INTO t VALUES (1)")
		p.send(&HeartbeatStreamFrame{})
	}
	receive := func(want int) (last ltx.Pos) {
		t.Helper()
		for files, beats := 0, 0; files < want || beats < 2; {
			f, body := p.next()
			switch f.(type) {
			case *LTXStreamFrame:
				last = decode(t, body).PostApplyPos()
				files, beats = files+1, 0
			case *HeartbeatStreamFrame:
				p.send(&HeartbeatStreamFrame{})
				beats++
			default:
			}
			if files > want {
				t.Fatalf("%d files were sent, want %d", files, want)
			}
		}
		return last
	}
	last := receive(maxInFlightFiles)
	p.send(&HeartbeatStreamFrame{Positions: map[string]ltx.Pos{"db": last}})
	if got := receive(10); got != src.db.Pos() {
		t.Errorf("files lead to %s, want %s", got, src.db.Pos())
	}
}

// A difference that is on its way ends with its session.
func TestDifferenceEndsWithSession(t *testing.T) {
	n := newPrimary(t, calm)
	p := connect(t, n, encoded(t, hello(func(f *FollowStreamFrame) {
		f.Positions = map[string]ltx.Pos{"db": {TXID: 9, PostApplyChecksum: ltx.ChecksumFlag | 1}}
	})))
	first, _ := p.next()
	p.until()
	greeting, ok := first.(*HelloStreamFrame)
	if !ok {
		t.Fatalf("frame is %+v", first)
	}
	r, w := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, n.http.URL+"/difference?session="+greeting.SessionID+"&db=db", r)
	must(t, err)
	done := make(chan error, 1)
	go func() {
		resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
		done <- err
	}()
	_, err = w.Write([]byte("half")) // of the position
	must(t, err)
	fetching := func() bool {
		s := n.server.session(greeting.SessionID)
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.dbs["db"].fetch != nil
	}
	for began := time.Now(); !fetching(); {
		if time.Since(began) > wait {
			t.Fatal("difference has not begun")
		}
		runtime.Gosched()
	}
	must(t, n.server.Close())
	must(t, w.Close()) // which RoundTrip waits for
	select {
	case err := <-done:
		if err == nil {
			t.Error("difference was answered")
		}
	case <-time.After(wait):
		t.Fatal("difference goes on")
	}
}
