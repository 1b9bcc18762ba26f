package litefs

import "slices"

// dirtyPages collects the numbers of pages written in a transaction. It takes 4
// bytes a page: repeated numbers are squeezed out whenever the list has doubled.
type dirtyPages struct {
	pages   []uint32
	compact int // length after the last squeeze
}

// add notes the pages from first to last.
func (d *dirtyPages) add(first, last uint32) {
	for pgno := first; pgno <= last; pgno++ {
		if n := len(d.pages); n > 0 && d.pages[n-1] == pgno {
			continue
		}
		d.pages = append(d.pages, pgno)
	}
	if len(d.pages) > 2*d.compact+1024 {
		d.sorted()
	}
}

// sorted returns the pages, each once, ascending.
func (d *dirtyPages) sorted() []uint32 {
	slices.Sort(d.pages)
	d.pages = slices.Compact(d.pages)
	d.compact = len(d.pages)
	return d.pages
}

// reset forgets all pages, and keeps the memory if it is little.
func (d *dirtyPages) reset() {
	if cap(d.pages) > 1<<16 {
		d.pages = nil
	}
	d.pages, d.compact = d.pages[:0], 0
}
