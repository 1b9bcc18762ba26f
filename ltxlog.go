package litefs

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"litefs/internal/fsx"
	"litefs/ltx"
)

// tmpSuffix marks a file that is being written. Such files mean nothing after a
// restart.
const tmpSuffix = ".tmp"

// maxSyncFiles is how many files are open at a time while the log is synced.
const maxSyncFiles = 256

// ltxFile is one file of the log.
type ltxFile struct {
	min, max  ltx.TXID
	sizeBytes int64
	createdAt time.Time
	synced    bool
	tailed    bool // it is in the tail, and not a file yet
}

// ltxLog is the folder with the LTX files of one database. Its files are
// contiguous, from the oldest kept to the position of the database.
//
// A file is written under a temporary name and renamed, so that it appears
// whole. It is synced only when that is asked for: after the rename, the content
// and the folder at the same time. A crash between the rename and the sync may leave a
// torn file under the final name; recovery finds that out by its checksum and
// sets it aside, and whatever the file held is still in SQLite's own files,
// because nothing was forgotten before the sync returned.
type ltxLog struct {
	fs  fsx.FS
	dir string

	syncMu  sync.Mutex  // held while files are synced; taken before mu
	tail    logTail     // its mutex is taken before syncMu
	durable atomic.Bool // the name of dir is

	mu       sync.Mutex
	files    []ltxFile // ascending
	unsynced int       // number of files that are not synced; they are among the newest
}

func newLTXLog(fsys fsx.FS, dir string, compact compactFunc) *ltxLog {
	return &ltxLog{
		fs: fsys, dir: dir,
		tail: logTail{fs: fsys, path: filepath.Join(filepath.Dir(dir), tailName), compact: compact},
	}
}

// load reads the folder, removes temporary files, and returns the files found,
// ordered by last transaction. They belong to the log once adopt has been called.
func (l *ltxLog) load() ([]ltxFile, error) {
	var files []ltxFile
	entries, err := l.fs.ReadDir(l.dir)
	if err != nil && !isNotExist(err) {
		return nil, err
	}
	for _, entry := range entries {
		if ext := filepath.Ext(entry.Name()); ext == tmpSuffix || ext == replaceSuffix {
			if err := l.fs.Remove(filepath.Join(l.dir, entry.Name())); err != nil {
				return nil, err
			}
			continue
		}
		minTXID, maxTXID, err := ltx.ParseFilename(entry.Name())
		if err != nil {
			continue // not ours
		}
		info, err := entry.Info()
		if err != nil {
			return nil, err
		}
		files = append(files, ltxFile{min: minTXID, max: maxTXID, sizeBytes: info.Size(), createdAt: info.ModTime()})
	}
	tailed, err := l.loadTail(files)
	if err != nil {
		return nil, err
	}
	files = append(files, tailed...)
	slices.SortFunc(files, func(a, b ltxFile) int {
		return int(int64(a.max) - int64(b.max))
	})
	return files, nil
}

// adopt makes files, which must be contiguous and ascending, the log.
func (l *ltxLog) adopt(files []ltxFile) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.files = files
	l.unsynced = 0
	for _, f := range files {
		if !f.synced {
			l.unsynced++
		}
	}
}

// path returns the name of a file of the log.
func (l *ltxLog) path(f ltxFile) string {
	return filepath.Join(l.dir, ltx.FormatFilename(f.min, f.max))
}

// create opens a temporary file for a new piece of the log.
func (l *ltxLog) create(minTXID, maxTXID ltx.TXID) (f fsx.File, name string, err error) {
	name = filepath.Join(l.dir, ltx.FormatFilename(minTXID, maxTXID)+tmpSuffix)
	f, err = l.fs.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o666)
	if isNotExist(err) {
		if err := l.fs.MkdirAll(l.dir, 0o777); err != nil {
			return nil, "", err
		}
		f, err = l.fs.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o666)
	}
	return f, name, err
}

// commit gives the temporary file f its name. If it is to be durable, commit
// returns only once the file and every file before it are.
func (l *ltxLog) commit(f fsx.File, tmp string, file ltxFile, durable bool) error {
	if err := l.fs.Rename(tmp, l.path(file)); err != nil {
		return err
	}
	alone := l.append(file, durable)
	switch {
	case !durable:
		return nil
	case alone: // the usual case, without opening it again
		return inParallel(f.Sync, l.syncNames)
	default:
		return l.sync()
	}
}

// append adds a file to the list. It reports whether all before it are synced: the
// caller then syncs the file itself, if it is to be durable.
func (l *ltxLog) append(file ltxFile, durable bool) (alone bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	alone = l.unsynced == 0
	file.synced = durable && alone
	l.files = append(l.files, file)
	if !file.synced {
		l.unsynced++
	}
	return alone
}

// removeBefore removes the files before f, a snapshot that covers them.
func (l *ltxLog) removeBefore(f ltxFile) error {
	for _, g := range l.forgetBefore(f) {
		if err := l.fs.Remove(l.path(g)); err != nil && !isNotExist(err) {
			return err
		}
	}
	return nil
}

// forgetBefore takes the files before f out of the list.
func (l *ltxLog) forgetBefore(f ltxFile) []ltxFile {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.files, func(g ltxFile) bool { return g.min == f.min && g.max == f.max })
	covered := slices.Clone(l.files[:max(i, 0)])
	l.files = l.files[max(i, 0):]
	for _, g := range covered {
		if !g.synced {
			l.unsynced--
		}
	}
	return covered
}

// withdraw removes the newest file, which must be f.
func (l *ltxLog) withdraw(f ltxFile) error {
	l.tail.mu.Lock()
	defer l.tail.mu.Unlock()
	if n := len(l.tail.records); n > 0 && l.tail.records[n-1].max == f.max {
		if err := l.tail.withdraw(); err != nil {
			return err
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.files = l.files[:len(l.files)-1]
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.files); n > 0 && l.files[n-1].max == f.max {
		if !l.files[n-1].synced {
			l.unsynced--
		}
		l.files = l.files[:n-1]
	}
	return l.fs.Remove(l.path(f))
}

// sync makes every file of the log durable.
func (l *ltxLog) sync() error {
	l.syncMu.Lock()
	defer l.syncMu.Unlock()
	pending := l.pending()
	if len(pending) == 0 {
		return nil
	}
	for some := range slices.Chunk(pending, maxSyncFiles) {
		if err := l.syncFiles(some); err != nil {
			return err
		}
	}
	if err := l.syncNames(); err != nil {
		return err
	}
	l.markSynced(pending)
	return nil
}

// pending returns the files that are not synced, ascending.
func (l *ltxLog) pending() []ltxFile {
	l.mu.Lock()
	defer l.mu.Unlock()
	files := make([]ltxFile, 0, l.unsynced)
	for i := len(l.files) - 1; i >= 0 && len(files) < l.unsynced; i-- {
		if !l.files[i].synced {
			files = append(files, l.files[i])
		}
	}
	slices.Reverse(files)
	return files
}

// syncFiles makes the content of files durable. A file system gives a file its
// blocks when it writes it out: with all of them begun before the first is waited
// for, one commit of the file system's journal serves them all.
func (l *ltxLog) syncFiles(files []ltxFile) (err error) {
	opened := make([]fsx.File, 0, len(files))
	defer func() {
		for _, f := range opened {
			err = errors.Join(err, f.Close())
		}
	}()
	for _, file := range files {
		f, err := l.fs.OpenFile(l.path(file), os.O_RDWR, 0)
		if isNotExist(err) {
			continue // retention was quicker
		}
		if err != nil {
			return err
		}
		opened = append(opened, f)
		fsx.StartWriteback(f)
	}
	for _, f := range opened {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// syncFile makes the content of a file durable.
func (l *ltxLog) syncFile(path string) error {
	f, err := l.fs.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// syncNames makes the names of the files durable, and the first time that of the
// folder.
func (l *ltxLog) syncNames() error {
	if err := l.fs.SyncDir(l.dir); err != nil || l.durable.Load() {
		return err
	}
	if err := l.fs.SyncDir(filepath.Dir(l.dir)); err != nil {
		return err
	}
	l.durable.Store(true)
	return nil
}

// markSynced notes that files are durable, unless they are gone from the log by now.
func (l *ltxLog) markSynced(files []ltxFile) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range files {
		i, found := slices.BinarySearchFunc(l.files, f.max, func(g ltxFile, txid ltx.TXID) int { return cmp.Compare(g.max, txid) })
		if found && l.files[i].min == f.min && !l.files[i].synced {
			l.files[i].synced = true
			l.unsynced--
		}
	}
}

// snapshot returns a copy of the list of files.
func (l *ltxLog) snapshot() []ltxFile {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.files)
}

// sizeBytes returns the size of all files.
func (l *ltxLog) sizeBytes() int64 {
	var total int64
	for _, f := range l.snapshot() {
		total += f.sizeBytes
	}
	return total
}

// enforceRetention removes files from the old end: those made before minTime,
// and as many as it takes for the rest to fit maxBytes (0 is no bound). The
// newest file always stays. It returns how many were removed.
func (l *ltxLog) enforceRetention(minTime time.Time, maxBytes int64) (int, error) {
	total := l.sizeBytes()
	for removed := 0; ; removed++ {
		f, ok := l.forgetOldest(func(f ltxFile) bool {
			return f.createdAt.Before(minTime) || maxBytes > 0 && total > maxBytes
		})
		if !ok {
			return removed, nil
		}
		if err := l.fs.Remove(l.path(f)); err != nil && !isNotExist(err) {
			return removed, err
		}
		total -= f.sizeBytes
	}
}

// forgetOldest takes the oldest file out of the list if it is due, unless it is the
// newest too. It is forgotten before it goes, so that nobody is sent to it; a crash in
// between leaves a file that the next start finds again. Meanwhile a snapshot may take
// the place of all older files: what is in the list is looked at each time anew.
func (l *ltxLog) forgetOldest(due func(ltxFile) bool) (ltxFile, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.files) < 2 || l.files[0].tailed || !due(l.files[0]) {
		return ltxFile{}, false
	}
	f := l.files[0]
	if !f.synced {
		l.unsynced--
	}
	l.files = l.files[1:]
	return f, true
}

// removeIfExists removes a file that may be missing.
func removeIfExists(fsys fsx.FS, name string) error {
	if err := fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
