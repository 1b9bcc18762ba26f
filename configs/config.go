package configs

import "time"

// Config is the configuration of one node. A Config returned by [Load] has
// every default filled in and every path absolute.
type Config struct {
	FUSE  FUSE
	Data  Data
	HTTP  HTTP
	Lease Lease
	// Exec lists the commands to run once the node is ready, in order.
	Exec []Command
	Log  Log
	// StrictVerify recomputes the checksum of the whole database after every
	// transaction. It costs O(database) a commit and is meant for tests.
	StrictVerify bool
}

// Values of FUSE.Passthrough.
const (
	PassthroughAuto = "auto" // use it where the kernel offers it
	PassthroughOff  = "off"  // serve every read and write in the daemon
)

// FUSE configures the mount.
type FUSE struct {
	Dir         string // directory to mount, absolute; required
	AllowOther  bool   // let users other than the one who mounts in
	Passthrough string // PassthroughAuto or PassthroughOff
	Debug       bool   // log every FUSE request
}

// Data configures the data directory and the transaction log in it.
type Data struct {
	// Dir is the data directory, absolute. It neither lies in the mount
	// directory nor holds it.
	Dir string
	// Retention is how long an LTX file is kept; 0 sets no limit by age.
	Retention time.Duration
	// RetentionMonitorInterval is the time between two searches for LTX files
	// to remove; at least 1ms.
	RetentionMonitorInterval time.Duration
	// MaxLogSize bounds the LTX files of one database, in bytes; 0 sets no
	// limit by size. The newest LTX file is kept whatever its size.
	MaxLogSize ByteSize
	// Compress turns on compression in the LTX files that are written.
	Compress bool
	// BackgroundCheckpoint turns on the checkpointer that relieves the
	// application's own checkpoints.
	BackgroundCheckpoint bool
}

// HTTP configures the server that the other nodes connect to.
type HTTP struct {
	Addr string // host:port to listen on; the host may be empty, port 0 lets the system choose
	// AdvertiseURL is the http or https URL under which other nodes reach this
	// one. It is empty only if the port of Addr is 0, so that the port is not
	// known before the server listens.
	AdvertiseURL string
}

// Values of Lease.Type.
const (
	LeaseStatic = "static" // the primary is named by configuration and never changes
	LeaseConsul = "consul" // a lease in Consul
	LeaseRedis  = "redis"  // a lease in Redis
)

// Values of Lease.ReplicaWrites.
const (
	ReplicaWritesWait     = "wait"     // wait for promotion, up to the busy timeout
	ReplicaWritesReadonly = "readonly" // fail at once
)

// Lease configures which node is the primary.
type Lease struct {
	Type string // LeaseStatic, LeaseConsul or LeaseRedis
	// Candidate says whether the node may become primary. It is false on a
	// static replica.
	Candidate bool
	// Hostname names the primary to applications, which read it in the file
	// .primary of a replica: this node's name, or on a static replica the
	// primary's.
	Hostname string
	// AdvertiseURL is the http or https URL that replicas connect to while this
	// node is primary; on a static replica it is the primary's URL. It is empty
	// only where HTTP.AdvertiseURL is, and then has the same value.
	AdvertiseURL string
	// Promote makes a candidate ask for the lease as soon as it has caught up.
	Promote bool
	// ReplicaWrites says what a write on a replica in WAL mode does:
	// ReplicaWritesWait or ReplicaWritesReadonly.
	ReplicaWrites string
	// ReconnectDelay is the pause before a replica that lost the primary tries
	// again; at least 1ms.
	ReconnectDelay time.Duration
	// DemoteDelay is how long a demoted node leaves the lease to others.
	DemoteDelay time.Duration

	Static Static
	Consul Consul // in use if Type is LeaseConsul
	Redis  Redis  // in use if Type is LeaseRedis
}

// Static configures a cluster with a fixed primary.
type Static struct {
	Primary bool // this node is the primary
}

// Consul configures a lease in Consul.
type Consul struct {
	URL       string        // http or https; the path is a prefix of Key; may hold a token, as the password
	Key       string        // key of the lease, the same on all nodes of a cluster and only there
	TTL       time.Duration // 1s to 24h; Consul refuses less than its session_ttl_min, 10s
	LockDelay time.Duration // 0 to 60s, Consul's own bounds
}

// Redis configures a lease in Redis.
type Redis struct {
	// URL is that of a server (redis), of Sentinels (redis+sentinel) or of a Redis
	// Cluster (redis+cluster), or with rediss instead of redis. It may hold passwords.
	URL string
	Key string        // key of the lease, the same on all nodes of a cluster and only there; no braces
	TTL time.Duration // 1s to 24h
}

// Command is a command line to run once the node is ready.
type Command struct {
	Cmd         string
	IfCandidate bool // run it only if the node may become primary
}

// Values of Log.Format.
const (
	LogText = "text" // one line of key=value pairs an event
	LogJSON = "json" // one JSON object an event
)

// Log configures the log on standard error.
type Log struct {
	Format string // LogText or LogJSON
	Level  string // debug, info, warn or error, as slog.Level reads it
}
