// Package redis keeps the lease of a cluster in Redis.
//
// # Layout
//
// With the key "litefs/primary", which is the same on all nodes of a cluster and only
// there, Redis holds
//
//	litefs/primary             string, with the TTL: the lease, while somebody holds it
//	{litefs/primary}:cluster   hash, without a TTL: what outlives every lease
//	{litefs/primary}:changed   channel: the new epoch, or 0, whenever the holder changes
//
// which the braces keep in one slot of a Redis Cluster. The lease is a token, a space
// and litefs.PrimaryInfo in JSON. A token is the epoch in decimal, a hyphen and 32 hex
// digits by chance. The hash has the fields
//
//	cluster-id   identifier of the cluster
//	last-epoch   the last epoch that was given out, in decimal
//	kept-epoch   the epoch of the holder who has kept the positions, in decimal
//	positions    those positions in JSON: by database, "TXID/CHECKSUM"
//
// Whatever changes the lease is one Lua script, which Redis runs alone. Each names what
// it expects to find: a lease is renewed, given back and taken over by its token, and
// an acquisition whose answer was lost finds its own digits there when it is sent again.
// So a command that is executed twice does no harm.
//
// Redis counts the TTL, and 10ms more, from the time at which it executes a command and
// the holder from the time before it has sent it: the holder is the first to consider a
// lease lapsed.
//
// # What Redis promises, and what not
//
// One Redis server that keeps running grants the lease to one node at a time. That is
// all. A Redis server is not a quorum:
//
//   - A replica that is promoted, by Sentinel, by a Redis Cluster or by hand, may lack
//     the last writes of its master. A lease that was granted or given up just before
//     may be undone: a second node can get it while the first goes on for as long as
//     a third of its TTL, until it tries to renew. If the first still reaches the
//     old master, it goes on for as long as that takes writes; min-replicas-to-write on
//     the servers bounds that.
//   - A server that is restarted without its data, or evicts the key, has forgotten the
//     lease, with the same effect.
//   - The TTL runs by the wall clock of the server. A server whose clock is set forward
//     ends leases early.
//
// Eviction is ruled out: a server with another maxmemory-policy than noeviction is
// refused. For the rest there is the epoch. Each holder has a greater one than all
// before it, it travels with all that the primary sends, and a node that has seen one
// refuses a primary with a lesser one. A Redis server that has lost its data would
// begin to count anew: Config.MinEpoch therefore has every acquisition go beyond what
// the acquirer itself has seen. Two holders whose leases overlap after a failover can
// have equal epochs if the second knows nothing of the first; the transactions of one of
// them are then set aside once they meet, as those of any node that has diverged.
package redis
