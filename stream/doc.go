// Package stream carries changes from the primary to its replicas over HTTP.
//
// # Terms
//
// A session is one replica's connection to the primary: one POST /stream, whose
// request body and response body are both open for as long as it lasts (HTTP/1.1
// full duplex, or HTTP/2). Both carry frames. The session has an ID, under which the
// replica asks for page differences by POST /difference.
//
// # Course of a session
//
//	replica                                primary
//	POST /stream
//	  Follow: versions, node, cluster,
//	          epoch, positions         →
//	                                   ←   200, or a refusal: status and JSON
//	                                   ←   Hello: version, node, cluster, epoch,
//	                                              session, heartbeat interval
//	                                   ←   LTX, …   what the log has for the replica
//	                                   ←   Difference   for each database that the
//	                                              log cannot bring in line
//	POST /difference?session=…&db=…
//	  base position, page checksums    →
//	                                   ←   one LTX file: the pages that differ
//	                                   ←   Ready    what the primary had when the
//	                                              session began has been sent
//	                                   ←   LTX, Heartbeat, … until
//	  Heartbeat, …                     →
//	                                   ←   Handoff, End
//
// The database that is the subject of a Difference frame is sent no LTX frames until
// its difference has been fetched.
//
// Each side sends a heartbeat every interval that the Hello names. A replica also
// sends one when it has applied something: its positions tell the primary how much
// of what it has sent is still on its way, which is bounded by maxInFlight for each
// database, so that one that cannot be applied yet (a reader of a rollback-mode
// database holds it up) holds up no other. A side that has heard nothing for three
// intervals ends the connection with ErrPeerSilent. Any bytes count: while a long
// file is on its way there are no heartbeats between its bytes.
//
// # Invariants
//
//   - S1 A frame that is torn, too long, unknown or whose hash is wrong ends the
//     connection with an error; nothing of it is applied.
//   - S2 A replica follows no primary whose epoch is older than the newest it has
//     seen, whose cluster is another, or that is itself. Both sides check.
//   - S3 An LTX file is sent only if it continues what the replica has or has been
//     sent; the replica checks that again before it applies it.
//   - S4 A slow replica costs the primary a set of names, an open file and a blocked
//     goroutine; no queue, and no lock that a commit needs.
//
// # Frames
//
// All integers are big-endian.
//
//	+----------+------------+------------------+--------------------------------+
//	| type (4) | length (8) | payload (length) | xxHash64 of all before (8)     |
//	+----------+------------+------------------+--------------------------------+
//
// A string is its length (2) and its bytes. Positions are their number (4), and for
// each, ascending by name, the name of the database (string), TXID (8) and
// post-apply checksum (8).
//
//	1 LTX         name of the database (string), xxHash64 of all before (8), the LTX
//	              file (the rest)
//	2 Ready       nothing
//	3 Follow      lowest version (4), highest version (4), node (string),
//	              cluster (string), epoch (8), positions
//	4 Hello       version (4), node (string), cluster (string), epoch (8),
//	              session (string), heartbeat interval in milliseconds (4)
//	5 Difference  name of the database (string), 1 if it has diverged, else 0 (4)
//	6 Heartbeat   sender's clock in milliseconds since 1970 (8), positions that have
//	              changed since its last heartbeat
//	7 Handoff     lease (string)
//	8 End         code (string), message (string)
//
// The payload of an LTX frame is at most MaxLTXSize and is never held in memory; any
// other is at most MaxPayloadSize. The layout of Follow is the same in every version
// of the protocol.
//
// The body of POST /difference is base position (TXID and checksum, 16 bytes), the
// xxHash64 of that and of the database's name (8 bytes), then a
// checksum of 8 bytes for each page that the replica has, in order.
//
// # Goroutines
//
//	goroutine        started by    owns                           ends when
//	session          HTTP handler  response, what has been sent   replica gone or silent, role lost, Close
//	session reader   session       request body, acknowledgements session ends, body ends
//	difference       HTTP handler  its response                   sent, or its session has ended
//	Follow           caller        response body                  connection ends, context done
//	Follow's sender  Follow        request body                   Follow returns, body closed
//	database worker  Follow        apply to one database          its queue is empty, Follow returns
//	page checksums   worker        body of a POST /difference     sent, or its response has ended
//
// Lock order: Server.mu, then session.mu. No lock is held across I/O.
package stream
