package filelock

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Kind is the kind of a lock. The zero value is none.
type Kind int

// The kinds of lock.
const (
	Shared    Kind = iota + 1 // coexists with other shared locks
	Exclusive                 // coexists with no lock of another owner
)

// String returns "shared" or "exclusive".
func (k Kind) String() string {
	switch k {
	case Shared:
		return "shared"
	case Exclusive:
		return "exclusive"
	default:
		return fmt.Sprintf("Kind(%d)", int(k))
	}
}

// fcntlType returns the kernel's name of k. For what is not a kind that is a value
// which the kernel answers with EINVAL.
func (k Kind) fcntlType() int16 {
	switch k {
	case Shared:
		return unix.F_RDLCK
	case Exclusive:
		return unix.F_WRLCK
	default:
		return -1
	}
}

// Range is a range of bytes of a file, whether or not the file has them.
type Range struct {
	Start int64 // offset of the first byte, at least 0
	Len   int64 // number of bytes; 0 means all bytes from Start on
}

// String returns the range for messages, its last byte included: "byte 120",
// "bytes 120-127", or "bytes 120-" for a range without end.
func (r Range) String() string {
	switch r.Len {
	case 0:
		return fmt.Sprintf("bytes %d-", r.Start)
	case 1:
		return fmt.Sprintf("byte %d", r.Start)
	default:
		return fmt.Sprintf("bytes %d-%d", r.Start, r.Start+r.Len-1)
	}
}

// flock returns the kernel's request for a lock of type typ on r. Its process ID
// stays 0, as the OFD commands demand. A negative length is refused because the
// kernel would take it for a range that ends before Start.
func (r Range) flock(typ int16) (unix.Flock_t, error) {
	if r.Len < 0 {
		return unix.Flock_t{}, unix.EINVAL
	}
	return unix.Flock_t{Type: typ, Whence: unix.SEEK_SET, Start: r.Start, Len: r.Len}, nil
}

// Holder describes a lock that stands in the way of another.
type Holder struct {
	Kind  Kind
	Range Range // the whole locked range, which may exceed the range asked about

	// PID is the process that owns a POSIX lock, -1 for an OFD lock, which no
	// process owns, and 0 for a process that is not visible in this PID namespace.
	PID int
}

// newHolder returns what the kernel answered to a query.
func newHolder(lk unix.Flock_t) Holder {
	h := Holder{Kind: Shared, Range: Range{Start: lk.Start, Len: lk.Len}, PID: int(lk.Pid)}
	if lk.Type == unix.F_WRLCK {
		h.Kind = Exclusive
	}
	return h
}

// String returns for example "byte 120 held exclusive by process 4711".
func (h Holder) String() string {
	owner := fmt.Sprintf("process %d", h.PID)
	switch h.PID {
	case -1:
		owner = "an open file description"
	case 0:
		owner = "a process of another PID namespace"
	}
	return fmt.Sprintf("%s held %s by %s", h.Range, h.Kind, owner)
}
