package stream

import (
	"context"
	"slices"

	"litefs/ltx"
)

const (
	// maxInFlight bounds, in bytes, the LTX files of one database that have been
	// sent and not yet been applied by the replica. One file may always be.
	maxInFlight = 64 << 20
	// maxInFlightFiles bounds their number.
	maxInFlightFiles = 256
)

// replicated is what a session knows of the replica's copy of one database.
type replicated struct {
	// sent is the position that the copy has once everything sent is applied.
	sent ltx.Pos
	// inFlight are the files that were sent and not acknowledged.
	inFlight []sentFile
	size     int64 // of them, in bytes
	// applied is a position of the primary's history that the copy is known to have
	// had; zero if none is.
	applied ltx.Pos
	// differs is set from the Difference frame on until the difference is sent.
	differs bool
	// fetch cancels the difference that is being sent; nil if none is.
	fetch context.CancelCauseFunc
}

type sentFile struct {
	pos  ltx.Pos // after it
	size int64
}

// full reports whether the replica must first apply what it has been sent.
func (r *replicated) full() bool {
	return len(r.inFlight) > 0 && (r.size >= maxInFlight || len(r.inFlight) >= maxInFlightFiles)
}

// add notes a file that is sent.
func (r *replicated) add(pos ltx.Pos, size int64) {
	r.sent = pos
	r.inFlight = append(r.inFlight, sentFile{pos, size})
	r.size += size
}

// acknowledge notes that the replica is at a position. It reports whether more may be
// sent because of that.
func (r *replicated) acknowledge(pos ltx.Pos) bool {
	wasFull, n := r.full(), 0
	for n < len(r.inFlight) && r.inFlight[n].pos.TXID <= pos.TXID {
		if r.inFlight[n].pos == pos {
			r.applied = pos
		}
		r.size -= r.inFlight[n].size
		n++
	}
	r.inFlight = slices.Delete(r.inFlight, 0, n)
	return wasFull && !r.full()
}

// replace notes that the difference brings the copy to a position.
func (r *replicated) replace(pos ltx.Pos) {
	*r = replicated{}
	r.add(pos, 0) // its size was bounded by the transfer itself
}
