package litefs

// Invalidator tells the kernel that files of the mount have changed behind its
// back. Its methods may block on requests that the kernel has in flight: they
// are called without any mutex held, and never from a FUSE handler.
type Invalidator interface {
	// InvalidateDB drops the cached pages of a part of a database file, and its
	// attributes. A size of 0 means up to the end.
	InvalidateDB(db *DB, offset, size int64) error
	// InvalidateEntry drops what the kernel knows of a name, be it that it
	// exists or that it does not.
	InvalidateEntry(name string) error
}
