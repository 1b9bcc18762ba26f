// Package consul is the lease of a cluster that elects its primary with Consul.
//
// # Keys
//
// KEY is the path of the configured URL followed by the configured key. All that a
// cluster keeps in Consul is there and beside it:
//
//	KEY            {"hostname":"bert","advertise-url":"http://bert:20202","epoch":7}
//	               the last holder of the lease; it is the present one if a session
//	               has the key locked
//	KEY/epoch      7
//	               the epoch of the last holder
//	KEY/cluster    c0ffee00c0ffee00c0ffee00
//	               the identifier of the cluster
//	KEY/positions  {"epoch":7,"positions":{"data.db":"0000000000000002/8b2c…"}}
//	               what the holder of that epoch has kept with Keep
//
// # Time
//
// Each lease is a session of its own. It has a TTL and no health check: a check would
// end it while its holder still counts on the TTL. Consul promises not to end a
// session before its TTL, in practice waits twice as long, and starts the time anew
// when another of its servers takes the lead. The holder counts one TTL from before
// it has sent the request that created or renewed the session, so that it is always
// the first to consider the lease gone.
//
// Three things can still end a session early: an operator who destroys it or unlocks
// the key, the agent's leaving the Consul cluster for good, and the loss of Consul's
// data. The first two are what the lock-delay is for: for that long nobody gets the
// lease after a session has ended with it. The holder finds out with its next renewal,
// which looks at the lock as well as at the session.
//
// A session that ends releases KEY and does not delete it, since its value is one of
// the places where the epoch is kept. A lease that is given back is unlocked before
// its session is destroyed: Consul delays the next lock only of what was locked when
// a session ended.
//
// # Epochs
//
// A lease changes hands in one transaction, which either does all of this or nothing:
// check that KEY is as it was read, unlock it from the previous session if the lease
// is taken over, lock it with the value of the new holder, and set KEY/epoch if that is
// as it was read. The new epoch is one more than the greatest of three: KEY/epoch, the
// epoch in KEY, and the newest that the node has ever seen, which is on its own disk.
//
//   - While KEY/epoch exists, all changes are in one order by the comparison with what
//     was read, and each makes it greater.
//   - If it is deleted, the last epoch is still in KEY, which the transaction compares
//     too; so no matter which of the two is lost, and when, the next epoch is greater.
//   - If both are lost, as when Consul comes back without its data, the next epoch is
//     greater than all that the new holder has seen. A node that has seen a still greater
//     one does not follow it.
//
// The LockIndex of KEY would not do: it begins again at 1 when the key is deleted.
package consul
