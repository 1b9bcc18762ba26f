package litefs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"litefs/internal/fsx"
	"litefs/ltx"
)

const (
	// stagingUnlocked is how many rounds copy without a lock: the first all pages,
	// each next one what was changed during the one before it.
	stagingUnlocked = 8
	// stagingRounds is how many rounds there are. Those after the first few hold
	// SHARED, so that no transaction can end; each copies only a few pages.
	stagingRounds = 10
	// stagingPause is the pause after a round that has not got everything. It
	// doubles each time, up to stagingMaxPause.
	stagingPause    = time.Millisecond
	stagingMaxPause = 50 * time.Millisecond
)

// staging copies the pages of a database to a file of its own, without keeping
// anybody from changing the database meanwhile. A page that is not what capture
// says it should be, because it was changed before or after, is copied again in
// the next round, until a round ends with the database at one position.
//
// It takes 16 bytes of memory a page.
type staging struct {
	db       *DB
	f        fsx.File
	cloned   bool           // f began as a clone of the database file
	have     []ltx.Checksum // of each page: what the other side has, or what f has
	staged   []uint64       // a bit for each page that f has and that have speaks of
	pageSize uint32         // bytes, that staged counts in
}

// openStagedView returns a view of a staging file. The file has no name, so that a
// crash leaves nothing of it.
func (db *DB) openStagedView(ctx context.Context, have []ltx.Checksum) (*posView, error) {
	name := filepath.Join(db.dir, "staging-"+strconv.FormatUint(db.store.stagings.Add(1), 10)+tmpSuffix)
	f, err := db.store.FS.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = db.store.FS.Remove(name)
	if err == nil {
		var view *posView
		if view, err = db.stageInto(ctx, f, have); err == nil {
			view.release = f.Close
			return view, nil
		}
	}
	return nil, errors.Join(err, f.Close())
}

// stageInto copies every page whose checksum is not the one in have to its place
// in f, which must be empty, and returns a view that reads f. It may bring other
// pages to f as well.
func (db *DB) stageInto(ctx context.Context, f fsx.File, have []ltx.Checksum) (*posView, error) {
	s := &staging{db: db, f: f, have: append([]ltx.Checksum(nil), have...)}
	var err error
	if s.cloned, err = db.cloneDatabase(f); err != nil {
		return nil, err
	}
	pause := stagingPause
	for round := range stagingRounds {
		view, err := s.round(ctx, round >= stagingUnlocked)
		if err != nil || view != nil {
			return view, err
		}
		if !rest(ctx, pause) {
			return nil, context.Cause(ctx)
		}
		pause = min(2*pause, stagingMaxPause)
	}
	return nil, fmt.Errorf("copy database %q: %w", db.name, errViewChanged)
}

// cloneDatabase has f share the blocks of the database file, if the file system
// can do that. Nothing keeps the database from changing meanwhile.
func (db *DB) cloneDatabase(f fsx.File) (bool, error) {
	db.captureMu.Lock()
	database, wal := db.files.database, db.walInUse()
	db.captureMu.Unlock()
	if database == nil || wal || f.Fd() == ^uintptr(0) || db.store.noClone.Load() {
		return false, nil
	}
	src, err := db.store.FS.OpenFile(db.DatabasePath(), os.O_RDONLY, 0)
	if isNotExist(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := unix.IoctlFileClone(int(f.Fd()), int(src.Fd())); err != nil {
		db.store.noClone.Store(true)
		return false, src.Close() // to copy is always possible
	}
	return true, src.Close()
}

// round captures what is committed and copies what f lacks of it. It returns nil
// if the database was changed meanwhile.
func (s *staging) round(ctx context.Context, locked bool) (view *posView, err error) {
	if locked {
		unlock, err := s.db.lockMounted(ctx)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, unlock()) }()
	}
	source, sums, err := s.db.openState()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, source.close()) }()
	if err := source.scanWAL(); err != nil {
		return nil, err
	}
	s.resize(source.pageSize, sums.size())
	if complete, err := s.copy(ctx, source, &sums); err != nil || !complete {
		return nil, err
	}
	for i := range sums.pages {
		if s.staged[i/64]&(1<<(i%64)) == 0 {
			sums.pages[i] = 0
		}
	}
	return &posView{
		pos: source.pos, pageSize: source.pageSize, pages: sums.size(), want: sums.pages,
		source:  func(pgno uint32, page []byte) error { return readPageAt(s.f, pgno, page) },
		release: func() error { return nil },
	}, nil
}

// resize makes room for the pages of the database. With another page size nothing
// of what was copied is of use.
func (s *staging) resize(pageSize, pages uint32) {
	if s.pageSize != 0 && s.pageSize != pageSize {
		s.have, s.staged, s.cloned = nil, nil, false
	}
	s.pageSize = pageSize
	if grow := int(pages) - len(s.have); grow > 0 {
		s.have = append(s.have, make([]ltx.Checksum, grow)...)
	}
	if grow := (len(s.have)+63)/64 - len(s.staged); grow > 0 {
		s.staged = append(s.staged, make([]uint64, grow)...)
	}
}

// copy copies the pages that f lacks and reports whether it then has them all.
func (s *staging) copy(ctx context.Context, source *stateReader, sums *pageSums) (bool, error) {
	complete := true
	page := make([]byte, s.pageSize)
	for i, want := range sums.pages {
		if want == s.have[i] || want == 0 {
			continue
		}
		if err := context.Cause(ctx); err != nil {
			return false, err
		}
		pgno := uint32(i) + 1
		got, err := s.copyPage(source, pgno, page, want)
		if err != nil {
			return false, fmt.Errorf("copy page %d: %w", pgno, err)
		}
		s.have[i] = got
		s.staged[i/64] |= 1 << (i % 64)
		complete = complete && got == want
	}
	return complete, nil
}

// copyPage brings a page to f, unless the clone has it, and returns its checksum.
func (s *staging) copyPage(source *stateReader, pgno uint32, page []byte, want ltx.Checksum) (ltx.Checksum, error) {
	if s.cloned {
		if err := readPageAt(s.f, pgno, page); err != nil {
			return 0, err
		}
		if ltx.PageChecksum(pgno, page) == want {
			return want, nil
		}
	}
	if err := source.read(pgno, page, want); err != nil {
		return 0, err
	}
	_, err := s.f.WriteAt(page, int64(pgno-1)*int64(len(page)))
	return ltx.PageChecksum(pgno, page), err
}

// lockMounted takes SHARED on the database through the mount, for the moment that
// a round takes. Without a mount, or while a program holds the database for itself,
// it does without.
func (db *DB) lockMounted(ctx context.Context) (unlock func() error, err error) {
	none := func() error { return nil }
	mount := db.store.MountDir()
	if mount == "" {
		return none, nil
	}
	f, err := os.OpenFile(filepath.Join(mount, db.name), os.O_RDWR, 0)
	if isNotExist(err) {
		return none, nil
	}
	if err != nil {
		return none, err
	}
	guards := NewGuardSet(LockFiles{Database: f})
	waiting, cancel := context.WithTimeoutCause(ctx, viewLockTimeout, errNoReadMark)
	defer cancel()
	err = guards.LockShared(waiting)
	if err != nil && (ctx.Err() != nil || !errors.Is(err, errNoReadMark)) {
		return none, errors.Join(err, f.Close())
	}
	return func() error { return errors.Join(guards.Unlock(), f.Close()) }, nil
}
