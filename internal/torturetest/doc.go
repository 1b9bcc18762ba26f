// Package torturetest does everything at once to a primary and a replica, and checks
// that nothing is lost and nothing wrong is ever shown.
//
// Two litefs processes with mounts of their own are killed and started again at
// random. Between them is a proxy that cuts, ends, stalls and delays connections and
// flips bits in them. On the primary there are writers in processes of their own, one
// or two for each of several databases: in every journal mode, with VACUUM, other page
// sizes and journal modes, checkpoints, and a database that is dropped and made again.
// Their log is kept for so short a time that a replica that was away is brought in
// line by the pages that differ. On the replica there are readers that never stop.
//
// # What holds
//
//   - Every state that any reader sees, on either node and at any time, is one that a
//     writer has committed. Each transaction adds a row to the table history, which
//     says what all other tables hold then and has a hash that covers the hash of the
//     row before. A transaction has one hash, whoever tells of it: a transaction that
//     was seen or acknowledged, then lost and replaced, shows as a second one.
//   - On a replica the history never goes back while the node lives, whichever
//     connection and process looks at it. No read fails.
//   - Everything that was acknowledged is there when the writers pause. Nothing but
//     a node that is killed makes a writer fail.
//   - When the writers and the faults pause, the replica has the primary's positions
//     and content within settleTimeout.
//   - At the end both logs pass the public ltx tool, and neither node has set anything
//     aside: a primary that is killed loses nothing, so that replicas never diverge.
//
// The random choices come from a seed, which is printed. With the same seed the
// course is much the same; it is not the same run, since the kernel schedules it.
package torturetest
