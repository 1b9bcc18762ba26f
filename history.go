package litefs

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"litefs/internal/fsx"
	"litefs/ltx"
)

// ErrLTXNotFound is returned when the log has no file that goes on from a
// position.
var ErrLTXNotFound = errors.New("no LTX file goes on from this position")

// History says how a position relates to the transactions of a database.
type History int

// What a position can be to a database.
const (
	// HistoryEqual is the position of the database itself.
	HistoryEqual History = iota
	// HistoryOnLog is an earlier position, from which the files of the log lead
	// to that of the database.
	HistoryOnLog
	// HistoryUnknown is a position that the log can neither confirm nor refute: it
	// is older than the oldest file, or lies between the transactions of one file.
	HistoryUnknown
	// HistoryDiverged is a position that the database has never had.
	HistoryDiverged
)

// String names the relation, for logs.
func (h History) String() string {
	switch h {
	case HistoryEqual:
		return "equal"
	case HistoryOnLog:
		return "on-log"
	case HistoryUnknown:
		return "unknown"
	case HistoryDiverged:
		return "diverged"
	default:
		return fmt.Sprintf("History(%d)", int(h))
	}
}

// History reports how pos, of another node, relates to this database. If the log
// cannot be read, it is HistoryUnknown.
func (db *DB) History(pos ltx.Pos) History {
	own := db.Pos()
	switch {
	case pos == own:
		return HistoryEqual
	case pos.TXID >= own.TXID:
		return HistoryDiverged
	}
	if err := db.gatherLog(); err != nil {
		return HistoryUnknown
	}
	for _, f := range db.log.around(pos.TXID, own.TXID) {
		var at ltx.Checksum
		var err error
		switch pos.TXID {
		case f.min - 1:
			at, err = db.log.preApplyChecksum(f)
		case f.max:
			at, err = db.log.postApplyChecksum(f)
		default:
			continue
		}
		switch {
		case err != nil:
			continue // the neighbour may still tell
		case at == pos.PostApplyChecksum:
			return HistoryOnLog
		default:
			return HistoryDiverged
		}
	}
	return HistoryUnknown
}

// LTXFile is an open file of the log. It can be read to its end even if retention
// removes it meanwhile.
type LTXFile struct {
	file   fsx.File
	header ltx.Header
	size   int64
}

// Header returns the header of the file.
func (f *LTXFile) Header() ltx.Header { return f.header }

// SizeBytes returns the length of the file in bytes.
func (f *LTXFile) SizeBytes() int64 { return f.size }

// Read implements io.Reader, from the beginning of the file.
func (f *LTXFile) Read(p []byte) (int, error) { return f.file.Read(p) }

// Close implements io.Closer.
func (f *LTXFile) Close() error { return f.file.Close() }

// OpenLTXAfter opens the file of the log that goes on from pos: its first
// transaction is the one after pos.TXID, and its pre-apply checksum that of pos.
// The error is ErrLTXNotFound if there is none. The file may not be durable yet.
func (db *DB) OpenLTXAfter(pos ltx.Pos) (*LTXFile, error) {
	if err := db.gatherLog(); err != nil {
		return nil, err
	}
	for _, f := range db.log.around(pos.TXID, db.TXID()) {
		if f.min != pos.TXID+1 {
			continue
		}
		opened, err := db.log.open(f)
		if isNotExist(err) {
			break // retention was quicker
		}
		if err != nil {
			return nil, fmt.Errorf("open ltx file %s-%s: %w", f.min, f.max, err)
		}
		if opened.header.PreApplyPos() == pos {
			return opened, nil
		}
		if err := opened.Close(); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("open ltx file after %s of %q: %w", pos, db.name, ErrLTXNotFound)
}

// LastWriterIsSelf reports whether the last transaction was captured on this node.
// If another node is the primary now, it may not know of it.
func (db *DB) LastWriterIsSelf() bool {
	if err := db.gatherLog(); err != nil {
		return false
	}
	files := db.log.published(db.TXID())
	if len(files) == 0 {
		return false
	}
	f, err := db.log.open(files[len(files)-1])
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }() // it was only read
	return f.header.NodeID == db.store.nodeNumber()
}

// published returns the files up to a transaction. The log may be ahead of the
// position by a file that SQLite has yet to commit, and that is nobody's history.
func (l *ltxLog) published(through ltx.TXID) []ltxFile {
	return endingBy(l.snapshot(), through)
}

// around returns those of the published files that the end of transaction txid can lie
// between: the first that ends with txid or later, and the next.
func (l *ltxLog) around(txid, through ltx.TXID) []ltxFile {
	l.mu.Lock()
	defer l.mu.Unlock()
	i, _ := slices.BinarySearchFunc(l.files, txid, func(f ltxFile, txid ltx.TXID) int { return cmp.Compare(f.max, txid) })
	return endingBy(slices.Clone(l.files[i:min(i+2, len(l.files))]), through)
}

// endingBy returns the files without those at the end that end behind through.
func endingBy(files []ltxFile, through ltx.TXID) []ltxFile {
	for len(files) > 0 && files[len(files)-1].max > through {
		files = files[:len(files)-1]
	}
	return files
}

// open opens a file of the log and reads its header.
func (l *ltxLog) open(f ltxFile) (*LTXFile, error) {
	file, err := l.fs.OpenFile(l.path(f), os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	opened := &LTXFile{file: file}
	if err := opened.readHeader(); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return opened, nil
}

func (f *LTXFile) readHeader() (err error) {
	var b [ltx.HeaderSize]byte
	if err := readFull(f.file, b[:], 0); err != nil {
		return err
	}
	if err := f.header.UnmarshalBinary(b[:]); err != nil {
		return err
	}
	f.size, err = fileSize(f.file)
	return err
}

// preApplyChecksum returns the checksum of the database before a file.
func (l *ltxLog) preApplyChecksum(f ltxFile) (ltx.Checksum, error) {
	opened, err := l.open(f)
	if err != nil {
		return 0, err
	}
	return opened.header.PreApplyChecksum, opened.Close()
}

// postApplyChecksum returns the checksum of the database after a file.
func (l *ltxLog) postApplyChecksum(f ltxFile) (sum ltx.Checksum, err error) {
	opened, err := l.open(f)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	var b [ltx.TrailerSize]byte
	if opened.size < ltx.HeaderSize+ltx.TrailerSize {
		return 0, io.ErrUnexpectedEOF
	}
	if err := readFull(opened.file, b[:], opened.size-ltx.TrailerSize); err != nil {
		return 0, err
	}
	var trailer ltx.Trailer
	if err := trailer.UnmarshalBinary(b[:]); err != nil {
		return 0, err
	}
	return trailer.PostApplyChecksum, nil
}
