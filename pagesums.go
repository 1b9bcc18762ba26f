package litefs

import (
	"litefs/ltx"
)

// pageSums holds the checksum of every page of a database and their sum, so
// that a commit costs O(pages changed). The zero value is an empty database.
// It takes 8 bytes a page.
type pageSums struct {
	pages []ltx.Checksum // of page i+1; 0 for the lock page, which has none
	total ltx.Checksum   // of all pages; 0 stands for ltx.ChecksumFlag
}

// pageSum is the checksum of one page.
type pageSum struct {
	pgno uint32
	sum  ltx.Checksum
}

// checksum returns the database checksum.
func (s *pageSums) checksum() ltx.Checksum { return s.total | ltx.ChecksumFlag }

// size returns the number of pages.
func (s *pageSums) size() uint32 { return uint32(len(s.pages)) }

// page returns the checksum of a page, or 0 if the database has no such page.
func (s *pageSums) page(pgno uint32) ltx.Checksum {
	if pgno == 0 || int(pgno) > len(s.pages) {
		return 0
	}
	return s.pages[pgno-1]
}

// set replaces the checksum of a page that the database has.
func (s *pageSums) set(pgno uint32, sum ltx.Checksum) {
	old := &s.pages[pgno-1]
	s.total = s.total.Remove(*old).Add(sum)
	*old = sum
}

// resize makes the database n pages long. New pages have no checksum until set.
func (s *pageSums) resize(n uint32) {
	if n == 0 {
		*s = pageSums{}
		return
	}
	for len(s.pages) > int(n) {
		last := len(s.pages) - 1
		s.total = s.total.Remove(s.pages[last])
		s.pages = s.pages[:last]
	}
	if grow := int(n) - len(s.pages); grow > 0 {
		s.pages = append(s.pages, make([]ltx.Checksum, grow)...)
	}
}

// after returns the checksum that the database will have once it is n pages
// long and the pages in changed, each of them at most n, are set.
func (s *pageSums) after(n uint32, changed []pageSum) ltx.Checksum {
	if n == 0 {
		return ltx.ChecksumFlag
	}
	total := s.checksum()
	for pgno := n + 1; int64(pgno) <= int64(len(s.pages)); pgno++ {
		total = total.Remove(s.page(pgno))
	}
	for _, c := range changed {
		total = total.Remove(s.page(c.pgno)).Add(c.sum)
	}
	return total
}

// apply makes the change that after has told the outcome of.
func (s *pageSums) apply(n uint32, changed []pageSum) {
	s.resize(n)
	for _, c := range changed {
		s.set(c.pgno, c.sum)
	}
}
