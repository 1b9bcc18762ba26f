package litefs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"litefs/ltx"
)

// A transfer reads the database at one position, exactly, for as long as it
// takes, and no program waits for it. There are two ways to have that:
//
//   - Of a database in WAL mode that programs have open through the mount, the
//     daemon becomes a reader as SQLite is one (snapshot_wal.go). Writers go on
//     appending to the WAL, which a read mark keeps from being restarted.
//   - Of any other, the pages to send are copied to a staging file first
//     (staging.go), and sent from there.
//
// Neither trusts its reading: what each page's checksum was at the position is
// known from capture, and a page that has another is not sent.

// errViewChanged is returned for a page that is not what it was at the position of
// the view.
var errViewChanged = errors.New("database was changed while it was read")

// viewLockTimeout is how long a view waits for SQLite's locks, which others hold
// for moments only, unless they hold them for good.
const viewLockTimeout = 2 * time.Second

// posView is the database at one position.
type posView struct {
	pos      ltx.Pos
	pageSize uint32 // bytes
	pages    uint32
	// want holds the checksum of each page that differs from what the view was
	// opened for, and 0 for the others.
	want []ltx.Checksum
	// source fills page with what page pgno should be.
	source func(pgno uint32, page []byte) error
	// release gives the locks and files of the view back.
	release func() error
}

// openPosView captures what is committed and returns a view of the database as it
// is then. Only pages whose checksum is not the one in have can be read. The view
// ends, at the latest, when the mount is detached.
func (db *DB) openPosView(ctx context.Context, have []ltx.Checksum) (*posView, error) {
	if db.sharedMemoryOpen() && db.store.MountDir() != "" {
		view, err := db.openWALView(ctx, have)
		if !errors.Is(err, errNoReadMark) {
			return view, err
		}
	}
	return db.openStagedView(ctx, have)
}

// each calls fn with every page that the view wants, ascending. The page is valid
// until fn returns.
func (v *posView) each(ctx context.Context, fn func(pgno uint32, page []byte) error) error {
	page := make([]byte, v.pageSize)
	for i, want := range v.want {
		if want == 0 {
			continue
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		pgno := uint32(i) + 1
		if err := v.source(pgno, page); err != nil {
			return fmt.Errorf("read page %d: %w", pgno, err)
		}
		if ltx.PageChecksum(pgno, page) != want {
			return fmt.Errorf("read page %d: %w", pgno, errViewChanged)
		}
		if err := fn(pgno, page); err != nil {
			return err
		}
	}
	return nil
}

// whole reports whether the view wants every page.
func (v *posView) whole() bool {
	lock := ltx.LockPgno(v.pageSize)
	for i, want := range v.want {
		if want == 0 && uint32(i)+1 != lock {
			return false
		}
	}
	return true
}

// differing returns the checksum of each page that is not the one in have, and 0
// for the others. The error says that the checksums do not add up to the sum that
// is kept of them.
func (s *pageSums) differing(have []ltx.Checksum) ([]ltx.Checksum, error) {
	want := make([]ltx.Checksum, len(s.pages))
	var total ltx.Checksum
	for i, sum := range s.pages {
		total = total.Add(sum)
		if i >= len(have) || have[i] != sum {
			want[i] = sum
		}
	}
	if total|ltx.ChecksumFlag != s.checksum() {
		return nil, fmt.Errorf("page checksums add up to %s, want %s", total|ltx.ChecksumFlag, s.checksum())
	}
	return want, nil
}
