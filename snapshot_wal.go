package litefs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"litefs/internal/filelock"
	"litefs/internal/sqlite"
	"litefs/ltx"
)

// errNoReadMark is returned when the daemon cannot become a reader of a WAL: no
// program vouches for the wal-index, or one holds the database for itself.
var errNoReadMark = errors.New("no read mark to be had")

// walReader is a SQLite reader of a database in WAL mode, on the daemon's own
// mount. It holds SHARED on the database file, so that nobody ends the WAL, the
// dead man's switch of the wal-index, and a read mark, so that checkpoints bring
// nothing newer into the database file and nobody restarts the WAL. A writer needs
// none of these. (wal.c walTryBeginRead)
//
// The view is not of the frame that the mark stands at, as it is for SQLite, but of
// the last commit that capture has got to once the mark is set, and so the position
// is exact. That commit is the same or a later one. A checkpoint that was under way
// may go past the mark, but not past what was published when it began; every later
// one ends at the mark. So the database file has nothing that the view has not, and
// the WAL has the rest.
type walReader struct {
	db            *DB
	database, shm *os.File // of the mount, for their locks
	guards        *GuardSet
	index         *sqlite.WALIndex

	header   sqlite.WALIndexHeader // once the mark was set
	backfill uint32                // frames that the database file had by then

	stateReader
}

// openWALView returns a view as a reader of the WAL, or errNoReadMark.
func (db *DB) openWALView(ctx context.Context, have []ltx.Checksum) (*posView, error) {
	r := &walReader{db: db}
	view, err := r.open(ctx, have)
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	return view, nil
}

func (r *walReader) open(ctx context.Context, have []ltx.Checksum) (*posView, error) {
	if err := r.openMounted(); err != nil {
		return nil, err
	}
	locking, cancel := context.WithTimeoutCause(ctx, viewLockTimeout, errNoReadMark)
	defer cancel()
	if err := r.lock(locking); err != nil {
		return nil, err
	}
	view, err := r.capture(have)
	if err != nil {
		return nil, err
	}
	if err := r.findFrames(); err != nil {
		return nil, err
	}
	view.source = func(pgno uint32, page []byte) error { return r.read(pgno, page, view.want[pgno-1]) }
	view.release = r.close
	return view, nil
}

// openMounted opens database and wal-index through the mount.
func (r *walReader) openMounted() (err error) {
	path := filepath.Join(r.db.store.MountDir(), r.db.name)
	if r.database, err = os.OpenFile(path, os.O_RDWR, 0); err == nil {
		r.shm, err = os.OpenFile(path+suffixSHM, os.O_RDWR, 0)
	}
	if isNotExist(err) {
		return errNoReadMark // the last connection has just closed
	}
	if err != nil {
		return err
	}
	r.guards = NewGuardSet(LockFiles{Database: r.database, SHM: r.shm})
	r.index = sqlite.NewWALIndex(r.shm)
	return nil
}

// lock takes the locks of a reader. A wal-index that nobody else has open is not
// to be trusted. (os_unix.c unixLockSharedMemory)
func (r *walReader) lock(ctx context.Context) error {
	if err := r.guards.LockShared(ctx); err != nil {
		return err
	}
	dms := r.guards.Guard(LockTypeDMS)
	alone, err := dms.CanLock()
	if err != nil {
		return err
	}
	if ok, err := dms.TryRLock(); err != nil || !ok || alone {
		return errors.Join(errNoReadMark, err)
	}
	return filelock.Poll(ctx, r.tryMark)
}

// tryMark takes a read mark that stands at the last published frame or before it,
// and makes sure that the WAL was not restarted before the lock was there.
func (r *walReader) tryMark() (bool, error) {
	header, info, ok, err := r.readIndex()
	if err != nil || !ok {
		return false, err
	}
	slot, err := r.takeMark(info, header.MaxFrame)
	if err != nil || slot == 0 {
		return false, err
	}
	again, now, ok, err := r.readIndex()
	same := header.MaxFrame == 0 || again.Salt == header.Salt && again.MaxFrame >= header.MaxFrame
	if err == nil && ok && same && now.ReadMark[slot] <= again.MaxFrame {
		r.header, r.backfill = again, now.Backfill
		return true, nil
	}
	return false, errors.Join(err, r.markGuard(slot).Unlock())
}

// readIndex reads the parts of the wal-index that a reader goes by. It reports
// false while another process is writing them.
func (r *walReader) readIndex() (header sqlite.WALIndexHeader, info sqlite.CheckpointInfo, ok bool, err error) {
	if header, err = r.index.Header(); err == nil {
		info, err = r.index.CheckpointInfo()
	}
	if errors.Is(err, sqlite.ErrWALIndexTorn) || errors.Is(err, sqlite.ErrWALIndexInvalid) {
		return header, info, false, nil
	}
	return header, info, err == nil, err
}

// takeMark moves a mark that nobody uses to the last published frame or, if there
// is none, shares one that stands before it. It returns 0 if neither is possible.
func (r *walReader) takeMark(info sqlite.CheckpointInfo, maxFrame uint32) (int, error) {
	for i := 1; i < sqlite.WALReadMarks; i++ {
		guard := r.markGuard(i)
		ok, err := guard.TryLock()
		if err != nil {
			return 0, err
		}
		if !ok {
			continue
		}
		err = r.index.SetReadMark(i, maxFrame)
		if err == nil {
			_, err = guard.TryRLock() // lowers it, without a gap
		}
		if err != nil {
			return 0, errors.Join(err, guard.Unlock())
		}
		return i, nil
	}
	best := 0
	for i := 1; i < sqlite.WALReadMarks; i++ {
		if mark := info.ReadMark[i]; mark <= maxFrame && (best == 0 || mark > info.ReadMark[best]) {
			best = i
		}
	}
	if best == 0 {
		return 0, nil
	}
	if ok, err := r.markGuard(best).TryRLock(); err != nil || !ok {
		return 0, err
	}
	return best, nil
}

func (r *walReader) markGuard(slot int) *Guard { return r.guards.Guard(LockTypeRead0 + LockType(slot)) }

// capture brings the position to at least the mark, and notes what the database is
// there.
func (r *walReader) capture(have []ltx.Checksum) (*posView, error) {
	db := r.db
	db.captureMu.Lock()
	defer db.captureMu.Unlock()
	if db.files.wal == nil || db.files.database == nil || db.intake.on {
		return nil, errNoReadMark
	}
	if err := db.setAlarm(db.captureWAL(captureFollow)); err != nil {
		return nil, err
	}
	if err := db.checkSendable(); err != nil {
		return nil, err
	}
	if err := r.openFiles(db); err != nil {
		return nil, err
	}
	want, err := db.sums.differing(have)
	return &posView{pos: r.pos, pageSize: r.pageSize, pages: db.sums.size(), want: want}, err
}

// findFrames lists the newest frames of the view that are not in the database
// file. If the WAL was empty when the mark was set, what has been captured may be
// a WAL before it, all of which is in the database file.
func (r *walReader) findFrames() error {
	now, _, ok, err := r.readIndex()
	if err != nil {
		return err
	}
	switch {
	case !ok:
		return errNoReadMark
	case now.MaxFrame > 0 && now.Salt == r.cursor.Salt:
		if r.cursor.Frame > now.MaxFrame { // captured before it was published
			return errNoReadMark
		}
		r.frames, err = r.index.LatestFrames(r.backfill+1, r.cursor.Frame)
		return err
	case r.header.MaxFrame == 0:
		return nil
	default:
		return fmt.Errorf("%w: capture is not where the wal-index is", errNoReadMark)
	}
}

// close releases the locks and closes all files.
func (r *walReader) close() error {
	var errs []error
	if r.guards != nil {
		errs = append(errs, r.guards.Unlock())
	}
	for _, f := range []*os.File{r.shm, r.database} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(append(errs, r.stateReader.close())...)
}
