package httpapi

import "litefs"

// Roles of a node in Info.
const (
	RolePrimary = "primary"
	RoleReplica = "replica"
)

// Info is the answer to GET /info.
type Info struct {
	Version   string `json:"version"`    // of the program
	NodeID    string `json:"node-id"`    // see litefs.Store.ID
	ClusterID string `json:"cluster-id"` // see litefs.Store.ClusterID; may be empty
	// AdvertiseURL is the URL under which other nodes reach this one.
	AdvertiseURL string `json:"advertise-url"`
	Role         string `json:"role"` // RolePrimary or RoleReplica
	Candidate    bool   `json:"candidate"`
	Ready        bool   `json:"ready"` // what /readyz says
	Epoch        uint64 `json:"epoch"` // see litefs.Store.Epoch
	// Primary is the primary that a replica follows, or null.
	Primary *litefs.PrimaryInfo `json:"primary"`
	Lag     Lag                 `json:"lag"`
	// Databases has the state of each database by its name.
	Databases map[string]Database `json:"databases"`
}

// Lag is litefs.Lag with the time in milliseconds.
type Lag struct {
	Milliseconds int64  `json:"milliseconds"`
	Transactions uint64 `json:"transactions"`
	Bytes        int64  `json:"bytes"`
}

// Database is the state of one database.
type Database struct {
	// Pos is the position, in the form of the file NAME-pos: TXID and checksum, 16
	// hexadecimal digits each, with a slash between.
	Pos string `json:"pos"`
	// Alarm says why commits are not captured at present; absent if they are.
	Alarm string `json:"alarm,omitempty"`
}

// info returns the state of the node at this moment.
func (h *handler) info() Info {
	lag := h.store.Lag()
	info := Info{
		Version:      h.opts.Version,
		NodeID:       h.store.ID(),
		ClusterID:    h.store.ClusterID(),
		AdvertiseURL: h.opts.AdvertiseURL,
		Role:         RoleReplica,
		Candidate:    h.store.Candidate(),
		Ready:        h.store.Ready(),
		Epoch:        h.store.Epoch(),
		Primary:      h.store.PrimaryInfo(),
		Lag:          Lag{lag.Time.Milliseconds(), lag.Transactions, lag.Bytes},
		Databases:    make(map[string]Database),
	}
	if h.store.IsPrimary() {
		info.Role = RolePrimary
	}
	for _, db := range h.store.DBs() {
		if !db.Exists(litefs.FileTypeDatabase) {
			continue // dropped
		}
		state := Database{Pos: db.Pos().String()}
		if err := db.Alarm(); err != nil {
			state.Alarm = err.Error()
		}
		info.Databases[db.Name()] = state
	}
	return info
}
