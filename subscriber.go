package litefs

import "sync"

// Subscriber collects the names of databases that have changed.
//
// It is a set and not a queue of events: a slow subscriber costs nothing and
// blocks nobody. What changed is found by comparing positions.
type Subscriber struct {
	store *Store

	mu       sync.Mutex
	dirty    map[string]struct{}
	notifyCh chan struct{}
}

// Subscribe returns a subscriber whose set holds every database there is.
// Close it when done.
func (s *Store) Subscribe() *Subscriber {
	sub := &Subscriber{store: s, dirty: make(map[string]struct{}), notifyCh: make(chan struct{}, 1)}
	s.subMu.Lock()
	s.subscribers[sub] = struct{}{}
	s.subMu.Unlock()
	for _, db := range s.DBs() { // after it is registered, so that none is missed
		sub.MarkDirty(db.name)
	}
	return sub
}

// Unsubscribe ends a subscription.
func (s *Store) Unsubscribe(sub *Subscriber) {
	s.subMu.Lock()
	defer s.subMu.Unlock()
	delete(s.subscribers, sub)
}

// hasSubscribers reports whether anybody waits for changes.
func (s *Store) hasSubscribers() bool {
	s.subMu.Lock()
	defer s.subMu.Unlock()
	return len(s.subscribers) > 0
}

// MarkDirty marks a database as changed for all subscribers.
func (s *Store) MarkDirty(name string) {
	s.subMu.Lock()
	defer s.subMu.Unlock()
	for sub := range s.subscribers {
		sub.MarkDirty(name)
	}
}

// Close ends the subscription.
func (s *Subscriber) Close() error {
	s.store.Unsubscribe(s)
	return nil
}

// NotifyCh receives a value when the set has grown since it was last taken.
func (s *Subscriber) NotifyCh() <-chan struct{} { return s.notifyCh }

// MarkDirty adds a database to the set.
func (s *Subscriber) MarkDirty(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dirty[name] = struct{}{}
	select {
	case s.notifyCh <- struct{}{}:
	default: // a value is waiting already
	}
}

// DirtySet returns the names collected since the last call, and empties the set.
func (s *Subscriber) DirtySet() map[string]struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	dirty := s.dirty
	s.dirty = make(map[string]struct{})
	return dirty
}
