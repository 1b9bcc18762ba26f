package litefs

import (
	"log/slog"
	"math"
	"sync"
	"time"
)

// LagUnknown is the time in Lag on a replica that has not heard of a primary yet.
// It is larger than any bound that a program may set on the lag, and fits into 32
// bits when given in milliseconds.
const LagUnknown = math.MaxInt32 * time.Millisecond

// Lag says how far a node is behind the primary.
type Lag struct {
	// Time is an upper bound of the age of what a reader of this node sees: what
	// the primary had committed that long ago is here.
	Time time.Duration
	// Transactions is the number of transactions that the primary is known to have
	// and this node has not, over all databases.
	Transactions uint64
	// Bytes is the size of the transfers that are known to be outstanding.
	Bytes int64
}

// readiness is what a node knows of how current it is.
type readiness struct {
	once sync.Once
	ch   chan struct{} // closed once the node is ready

	mu       sync.Mutex // guards what follows
	lag      Lag
	reported time.Time // when lag was; zero if never
}

func newReadiness() *readiness { return &readiness{ch: make(chan struct{})} }

// Ready reports whether the databases can be used: the node has become the
// primary, or has caught up with it once since Open. A node that loses its primary
// later stays ready; Lag tells how old its data is.
func (s *Store) Ready() bool {
	select {
	case <-s.readiness.ch:
		return true
	default:
		return false
	}
}

// ReadyCh returns a channel that is closed once Ready reports true.
func (s *Store) ReadyCh() <-chan struct{} { return s.readiness.ch }

// MarkReady makes the node ready. RunLease calls it on a new primary, and a Client
// once the databases have all reached what the primary had when it connected.
// The node is a member of the cluster then.
func (s *Store) MarkReady() {
	s.readiness.once.Do(func() {
		if err := s.NoteMember(); err != nil {
			s.Logger.Warn("cannot note that the node has caught up; it will not lead before it has led or caught up again", slog.Any("error", err))
		}
		close(s.readiness.ch)
	})
}

// SetLag records how far behind the node is at this moment. A Client calls it
// whenever it hears of the primary.
func (s *Store) SetLag(lag Lag) {
	s.readiness.mu.Lock()
	defer s.readiness.mu.Unlock()
	s.readiness.lag, s.readiness.reported = lag, time.Now()
}

// Lag returns how far the node is behind the primary: nothing on the primary
// itself. Since the primary may have gone on since it was last heard of, the time
// grows until the next SetLag; without any it is LagUnknown.
func (s *Store) Lag() Lag {
	if s.IsPrimary() {
		return Lag{}
	}
	s.readiness.mu.Lock()
	defer s.readiness.mu.Unlock()
	if s.readiness.reported.IsZero() {
		return Lag{Time: LagUnknown}
	}
	lag := s.readiness.lag
	lag.Time = min(lag.Time+time.Since(s.readiness.reported), LagUnknown)
	return lag
}
