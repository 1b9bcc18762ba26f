package litefs

import (
	"context"
	"fmt"
	"runtime"
	"sync"

	"litefs/ltx"
)

// scanChunkPages is how many pages a scanner takes at a time.
const scanChunkPages = 1024

// scanSums computes the checksum of every page of a view, on all cores.
func scanSums(ctx context.Context, view *dbView) (pageSums, error) {
	pages := make([]ltx.Checksum, view.pages)
	chunks := make(chan uint32)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	var scanners sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		scanners.Go(func() {
			page := make([]byte, view.pageSize)
			for first := range chunks {
				last := min(first+scanChunkPages-1, view.pages)
				if err := scanPages(view, pages, page, first, last); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	func() {
		defer close(chunks)
		for first := uint64(1); first <= uint64(view.pages); first += scanChunkPages {
			select {
			case chunks <- uint32(first):
			case <-ctx.Done():
				return
			}
		}
	}()
	scanners.Wait()
	if err := context.Cause(ctx); err != nil {
		return pageSums{}, err
	}
	sums := pageSums{pages: pages}
	for _, sum := range pages {
		sums.total = sums.total.Add(sum)
	}
	return sums, nil
}

// scanPages computes the checksums of the pages from first to last.
func scanPages(view *dbView, sums []ltx.Checksum, page []byte, first, last uint32) error {
	lock := ltx.LockPgno(view.pageSize)
	for pgno := first; pgno <= last; pgno++ {
		if pgno == lock {
			continue
		}
		if err := view.read(pgno, page); err != nil {
			return fmt.Errorf("scan page %d: %w", pgno, err)
		}
		sums[pgno-1] = ltx.PageChecksum(pgno, page)
	}
	return nil
}
