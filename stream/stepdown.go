package stream

import (
	"context"
	"maps"
	"slices"
)

// Stages of stepping down. While the role goes, sessions go on: what is captured on
// the way is still to be sent.
const (
	stageLeading  = iota // a node that does not lead any more ends its sessions
	stageDemoting        // the role is being given up
	stageDrained         // it has been: a session ends once its replica has everything
)

// StepDown has demote give the node's role up, waits until every replica that is
// connected has applied what there is, and ends the sessions. It is for a node whose
// lease is still its own: nobody else may have begun to lead. The error is demote's;
// when ctx is done, replicas that are not so far are left behind.
func (s *Server) StepDown(ctx context.Context, demote func(context.Context) error) error {
	s.stage.Store(stageDemoting)
	defer s.stage.Store(stageLeading)
	err := demote(ctx)
	s.stage.Store(stageDrained)
	s.mu.Lock()
	sessions := slices.Collect(maps.Values(s.sessions))
	s.mu.Unlock()
	for _, session := range sessions {
		session.nudge()
	}
	for _, session := range sessions {
		select {
		case <-session.ended:
		case <-ctx.Done():
			session.cancel(ErrNotPrimary)
		}
	}
	return err
}

// nudge has the session goroutine look whether there is something to do.
func (s *session) nudge() {
	select {
	case s.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// drained reports whether the node has stepped down and the replica has applied all
// that it had until then.
func (s *session) drained() bool {
	if s.server.stage.Load() != stageDrained || s.store.IsPrimary() {
		return false
	}
	positions := s.store.PosMap()
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, pos := range positions {
		if r := s.replica(name); r.sent != pos || r.differs || len(r.inFlight) > 0 {
			return false
		}
	}
	return true
}
