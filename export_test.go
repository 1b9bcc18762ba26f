package litefs

// AppendLog does what a replica does to its log with a file that it appends to a WAL.
func (db *DB) AppendLog(f *ReceivedLTX) error { return db.appendLog(f) }

// SyncLog does what a replica does to its log every second and before a checkpoint.
func (db *DB) SyncLog() error { return db.log.sync() }

// GatherLog does what the node does to its log every second.
func (db *DB) GatherLog() error { return db.gatherLog() }

// MayLead reports why the node must not lead the cluster of a record, or nil.
func (s *Store) MayLead(record Record) error { return s.mayLead(record) }
