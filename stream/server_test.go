package stream

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"litefs"
	"litefs/ltx"
)

// hello is a Follow frame that a primary of the test cluster admits.
func hello(change func(*FollowStreamFrame)) *FollowStreamFrame {
	f := &FollowStreamFrame{MinVersion: 1, MaxVersion: 1, NodeID: "peer", ClusterID: testCluster}
	if change != nil {
		change(f)
	}
	return f
}

func TestServerRefuses(t *testing.T) {
	primary := newPrimary(t, time.Second)
	must(t, primary.store.BecomeReplica(t.Context(), nil))
	must(t, primary.store.SeeEpoch(7))
	must(t, primary.store.BecomePrimary(t.Context()))
	replica := newPrimary(t, time.Second)
	must(t, replica.store.BecomeReplica(t.Context(), nil))
	closed := newPrimary(t, time.Second)
	must(t, closed.server.Close())
	damaged := encoded(t, hello(nil))
	damaged[20] ^= 1
	for _, test := range []struct {
		name  string
		node  *node
		first []byte
		want  error
	}{
		{"newer protocol", primary, encoded(t, hello(func(f *FollowStreamFrame) { f.MinVersion, f.MaxVersion = 2, 9 })), ErrVersion},
		{"older protocol", primary, encoded(t, hello(func(f *FollowStreamFrame) { f.MinVersion, f.MaxVersion = 0, 0 })), ErrVersion},
		{"another cluster", primary, encoded(t, hello(func(f *FollowStreamFrame) { f.ClusterID = strings.Repeat("a", 24) })), litefs.ErrClusterMismatch},
		{"itself", primary, encoded(t, hello(func(f *FollowStreamFrame) { f.NodeID = primary.store.ID() })), ErrSelf},
		{"newer epoch", primary, encoded(t, hello(func(f *FollowStreamFrame) { f.Epoch = 8 })), litefs.ErrStaleEpoch},
		{"not the primary", replica, encoded(t, hello(nil)), ErrNotPrimary},
		{"closed", closed, encoded(t, hello(nil)), ErrServerClosed},
		{"damaged", primary, damaged, ErrBadFrame},
		{"too long", primary, announce(StreamFrameTypeFollow, 1<<40, "xxxxxxxx"), ErrBadFrame},
		{"another frame", primary, encoded(t, &ReadyStreamFrame{}), ErrBadRequest},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := connect(t, test.node, test.first)
			if p.resp.StatusCode == http.StatusOK {
				t.Fatalf("admitted")
			}
			err := refusalError(p.resp)
			if !errors.Is(err, test.want) {
				t.Errorf("refused with %v, want %v", err, test.want)
			}
			if peerErr := (*PeerError)(nil); !errors.As(err, &peerErr) || !strings.Contains(peerErr.Message, test.want.Error()) {
				t.Errorf("message of %v does not say %q", err, test.want)
			}
		})
	}
}

// Every error that goes over the wire comes back as itself.
func TestPeerErrorCodes(t *testing.T) {
	var codes []Code
	for _, r := range refusals {
		code, status := refusalOf(errors.Join(errors.New("context"), r.err))
		if code != r.code || status != r.status || status < 400 {
			t.Errorf("%v has code %q and status %d, want %q and %d", r.err, code, status, r.code, r.status)
		}
		if err := error(&PeerError{Code: code}); !errors.Is(err, r.err) {
			t.Errorf("code %q is not %v", code, r.err)
		}
		if slices.Contains(codes, code) {
			t.Errorf("code %q twice", code)
		}
		codes = append(codes, code)
	}
	if code, _ := refusalOf(errors.New("something else")); code != "internal" {
		t.Errorf("an unknown error has code %q", code)
	}
	if err := (&PeerError{Code: "of a later version"}).Unwrap(); err != nil {
		t.Errorf("an unknown code is %v", err)
	}
}

func TestServerPaths(t *testing.T) {
	n := newPrimary(t, time.Second)
	for _, test := range []struct {
		method, path string
		want         int
	}{
		{http.MethodGet, "/stream", http.StatusMethodNotAllowed},
		{http.MethodGet, "/difference", http.StatusMethodNotAllowed},
		{http.MethodPost, "/", http.StatusNotFound},
		{http.MethodPost, "/difference?session=x&db=db", http.StatusGone},
		{http.MethodPost, "/stream", http.StatusBadRequest},
	} {
		req, err := http.NewRequestWithContext(t.Context(), test.method, n.http.URL+test.path, nil)
		must(t, err)
		transport := &http.Transport{DisableKeepAlives: true}
		resp, err := transport.RoundTrip(req)
		must(t, err)
		must(t, resp.Body.Close())
		if resp.StatusCode != test.want {
			t.Errorf("%s %s: %s, want %d", test.method, test.path, resp.Status, test.want)
		}
	}
}

// A session says hello, sends what the log has, says that this is all, and beats.
func TestSession(t *testing.T) {
	n := newPrimary(t, 500*time.Millisecond)
	src := newSource(t, n.store, "db")
	src.commit("CREATE TABLE t(x)")
	at := src.db.Pos()
	src.commit("INSERT INTO t VALUES (1)")

	p := connect(t, n, encoded(t, hello(func(f *FollowStreamFrame) { f.Positions = map[string]ltx.Pos{"db": at} })))
	first, _ := p.next()
	h, ok := first.(*HelloStreamFrame)
	if !ok || h.Version != Version || h.NodeID != n.store.ID() || h.ClusterID != testCluster || h.SessionID == "" || h.Heartbeat != 500*time.Millisecond {
		t.Fatalf("first frame is %+v", first)
	}
	wantLTX := func(from, to ltx.Pos) {
		t.Helper()
		f, body := p.until()
		file, ok := f.(*LTXStreamFrame)
		if !ok || file.Name != "db" {
			t.Fatalf("frame is %+v, want an LTX file of db", f)
		}
		dec := decode(t, body)
		if got := dec.Header().PreApplyPos(); got != from {
			t.Errorf("file goes on from %s, want %s", got, from)
		}
		if got := dec.PostApplyPos(); got != to {
			t.Errorf("file leads to %s, want %s", got, to)
		}
	}
	wantLTX(at, src.db.Pos())
	if f, _ := p.until(); f.Type() != StreamFrameTypeReady {
		t.Fatalf("frame is %+v, want ready", f)
	}
	p.send(&HeartbeatStreamFrame{})
	for beats := 0; beats < 3; beats++ {
		f, _ := p.next()
		beat, ok := f.(*HeartbeatStreamFrame)
		if !ok || time.Since(time.UnixMilli(beat.Timestamp)) > wait || len(beat.Positions) > 0 {
			t.Fatalf("frame is %+v, want a heartbeat without positions", f)
		}
		p.send(&HeartbeatStreamFrame{})
	}
	before := src.db.Pos()
	src.commit("INSERT INTO t VALUES (2)")
	wantLTX(before, src.db.Pos())
	for {
		f, _ := p.next()
		if beat, ok := f.(*HeartbeatStreamFrame); ok && len(beat.Positions) > 0 {
			if got := beat.Positions["db"]; got != src.db.Pos() {
				t.Errorf("heartbeat has position %s, want %s", got, src.db.Pos())
			}
			break
		}
	}
}

// ends returns what the session says when it ends.
func (p *peer) ends() *EndStreamFrame {
	p.t.Helper()
	for {
		f, _ := p.next()
		if end, ok := f.(*EndStreamFrame); ok {
			if _, _, err := readWhole(p.r); !errors.Is(err, io.EOF) {
				p.t.Errorf("after the end: error is %v", err)
			}
			return end
		}
	}
}

func TestSessionEnds(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(n *node, p *peer)
		want error
	}{
		{"server closed", func(n *node, _ *peer) { must(t, n.server.Close()) }, ErrServerClosed},
		{"connected again", func(n *node, p *peer) { connect(p.t, n, encoded(p.t, hello(nil))) }, ErrSuperseded},
		{"demoted", func(n *node, p *peer) { must(p.t, n.store.BecomeReplica(p.t.Context(), nil)) }, ErrNotPrimary},
		{"silent", func(*node, *peer) {}, ErrPeerSilent},
		{"bit flipped", func(_ *node, p *peer) {
			b := encoded(p.t, &HeartbeatStreamFrame{Timestamp: 1})
			b[15] ^= 4
			_, err := p.body.Write(b)
			must(p.t, err)
		}, ErrBadFrame},
		{"frame of a primary", func(_ *node, p *peer) { p.send(&ReadyStreamFrame{}) }, ErrBadFrame},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newPrimary(t, time.Second)
			if errors.Is(test.want, ErrPeerSilent) {
				n.server.opts.HeartbeatInterval = 100 * time.Millisecond
			}
			p := connect(t, n, encoded(t, hello(nil)))
			if f, _ := p.next(); f.Type() != StreamFrameTypeHello {
				t.Fatalf("frame is %+v", f)
			}
			began := time.Now()
			test.do(n, p)
			if end := p.ends(); !errors.Is(&PeerError{Code: end.Code}, test.want) {
				t.Errorf("session ended with %+v, want %v", end, test.want)
			}
			if took := time.Since(began); took > wait/2 {
				t.Errorf("took %s", took)
			}
		})
	}
}

// A primary learns that a replica is gone, and forgets it.
func TestReplicaLeaves(t *testing.T) {
	n := newPrimary(t, time.Minute)
	p := connect(t, n, encoded(t, hello(nil)))
	p.next()
	p.leave()
	timeout := time.After(wait)
	for {
		n.server.mu.Lock()
		left := len(n.server.sessions)
		n.server.mu.Unlock()
		if left == 0 {
			return
		}
		select {
		case <-time.After(time.Millisecond):
		case <-timeout:
			t.Fatal("session goes on")
		}
	}
}

func TestHandoff(t *testing.T) {
	n := newPrimary(t, time.Second)
	p := connect(t, n, encoded(t, hello(nil)))
	p.next()
	if err := n.server.Handoff("somebody", "lease"); !errors.Is(err, ErrNoSession) {
		t.Errorf("handoff to a stranger: %v", err)
	}
	must(t, n.server.Handoff("peer", "lease"))
	for {
		f, _ := p.until()
		if f.Type() == StreamFrameTypeReady {
			continue
		}
		if h, ok := f.(*HandoffStreamFrame); !ok || h.LeaseID != "lease" {
			t.Errorf("frame is %+v", f)
		}
		return
	}
}
