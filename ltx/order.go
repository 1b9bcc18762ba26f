package ltx

import "fmt"

// pageOrder checks the page numbers of a file as they come.
type pageOrder struct {
	commit   uint32
	lock     uint32
	prev     uint32 // last page number, 0 before the first
	complete bool   // from prev on, no page may be missing
}

// newPageOrder returns the rules for the pages of a file with the header h,
// which must be valid.
func newPageOrder(h Header) pageOrder {
	return pageOrder{commit: h.Commit, lock: LockPgno(h.PageSize), complete: h.IsSnapshot()}
}

// next checks that pgno may follow the page before it. Its error wraps
// ErrInvalidPage or ErrMissingPage, and leaves o as it was.
func (o *pageOrder) next(pgno uint32) error {
	switch {
	case pgno == o.lock:
		return fmt.Errorf("%w: %d is the lock page", ErrInvalidPage, pgno)
	case pgno > o.commit:
		return fmt.Errorf("%w: %d in a database of %d pages", ErrInvalidPage, pgno, o.commit)
	case pgno <= o.prev:
		return fmt.Errorf("%w: %d after %d", ErrInvalidPage, pgno, o.prev)
	case o.complete && uint64(pgno) != o.following():
		return fmt.Errorf("%w: %d, next is %d", ErrMissingPage, o.following(), pgno)
	}
	o.prev = pgno
	return nil
}

// end checks that no page is missing after the last. Its error wraps
// ErrMissingPage.
func (o *pageOrder) end() error {
	if o.complete && o.following() <= uint64(o.commit) {
		return fmt.Errorf("%w: %d of %d", ErrMissingPage, o.following(), o.commit)
	}
	return nil
}

// following returns the page number after prev, the lock page left out. It may
// be one more than a uint32 can hold.
func (o *pageOrder) following() uint64 {
	n := uint64(o.prev) + 1
	if n == uint64(o.lock) {
		n++
	}
	return n
}
