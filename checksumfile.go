package litefs

import (
	"encoding/binary"
	"errors"
	"hash/crc64"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"litefs/internal/fsx"
	"litefs/ltx"
)

// The checksums file holds the page checksums at a clean stop, so that the next
// start need not read the database. All integers are big-endian:
//
//	offset  size  field
//	0       4     magic "LFS1"
//	4       4     page size in bytes
//	8       8     TXID
//	16      8     checksum of the database
//	24      8     length of the database file in bytes
//	32      8     modification time of the database file in ns since 1970
//	40      8     n, the number of pages
//	48      8n    the checksum of each page, 0 for the lock page
//	48+8n   8     CRC-64 (ISO) of all that precedes
//
// It is removed before the database can change, so that it exists only while the
// node is stopped. The database file is synced before it is written: if an intact file
// fits the log but not the database file, somebody else has written to the
// database meanwhile, say the sqlite3 shell. A file that is damaged or does not
// fit the log is as good as none.
const (
	checksumsMagic      = "LFS1"
	checksumsHeaderSize = 48
)

var crcTable = crc64.MakeTable(crc64.ISO)

func (db *DB) checksumsPath() string { return filepath.Join(db.dir, "checksums") }

// saveChecksums writes the checksums file. With a WAL in place it does not: what
// the database is then depends on more than one file.
func (db *DB) saveChecksums() error {
	if db.files.database == nil || db.walInUse() || db.intake.on || db.sums.size() == 0 {
		return nil
	}
	if err := db.files.database.Sync(); err != nil {
		return err
	}
	// A journal that has been removed must not come back after a power cut, to be
	// rolled back and taken for a change that somebody else has made.
	if err := errors.Join(db.dropSpare(), db.store.FS.SyncDir(db.dir)); err != nil {
		return err
	}
	info, err := db.files.database.Stat()
	if err != nil {
		return err
	}
	pos := db.Pos()
	b := make([]byte, 0, checksumsHeaderSize+8*len(db.sums.pages)+8)
	b = append(b, checksumsMagic...)
	b = binary.BigEndian.AppendUint32(b, db.pageSize)
	for _, v := range []uint64{
		uint64(pos.TXID), uint64(pos.PostApplyChecksum),
		uint64(info.Size()), uint64(info.ModTime().UnixNano()), uint64(len(db.sums.pages)),
	} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	for _, sum := range db.sums.pages {
		b = binary.BigEndian.AppendUint64(b, uint64(sum))
	}
	b = binary.BigEndian.AppendUint64(b, crc64.Checksum(b, crcTable))
	return fsx.WriteFileAtomic(db.store.FS, db.checksumsPath(), b, 0o600)
}

// loadChecksums takes the page checksums, and with them the state at the clean
// stop, from the checksums file if that belongs to the end of the log. It reports
// whether the database file is still as it was then; if it is not, the file stays,
// and the caller removes it once the log has what was changed. In all other cases
// the file is gone afterwards.
func (db *DB) loadChecksums(last *ltxTail) (loaded, unchanged bool) {
	sums, unchanged, err := db.readChecksums(last)
	if isNotExist(err) {
		return false, false
	}
	if err != nil || unchanged {
		if removeErr := db.store.FS.Remove(db.checksumsPath()); removeErr != nil {
			db.logger.Warn("cannot remove the checksums file and do not use it", slog.Any("error", removeErr))
			return false, false
		}
	}
	if err != nil {
		db.logger.Info("checksums file is of no use; reading the database", slog.Any("reason", err))
		return false, false
	}
	db.adoptState(last, sums)
	db.wal.valid = unchanged
	return true, unchanged
}

func (db *DB) readChecksums(last *ltxTail) (sums pageSums, unchanged bool, err error) {
	f, err := db.store.FS.OpenFile(db.checksumsPath(), os.O_RDONLY, 0)
	if err != nil {
		return sums, false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b, err := io.ReadAll(io.LimitReader(f, checksumsHeaderSize+8*int64(last.hdr.Commit)+9))
	if err != nil {
		return sums, false, err
	}
	if err := checkChecksums(b, last); err != nil {
		return sums, false, err
	}
	info, err := db.files.database.Stat()
	if err != nil {
		return sums, false, err
	}
	u64 := func(off int) uint64 { return binary.BigEndian.Uint64(b[off:]) }
	unchanged = u64(24) == uint64(info.Size()) && u64(32) == uint64(info.ModTime().UnixNano()) && !db.walInUse()
	for b := b[checksumsHeaderSize : len(b)-8]; len(b) > 0; b = b[8:] {
		sum := ltx.Checksum(binary.BigEndian.Uint64(b))
		sums.pages = append(sums.pages, sum)
		sums.total = sums.total.Add(sum)
	}
	if sums.checksum() != last.pos.PostApplyChecksum {
		return sums, false, errors.New("page checksums do not add up")
	}
	return sums, unchanged, nil
}

// checkChecksums checks that the file is intact and belongs to the end of the log.
func checkChecksums(b []byte, last *ltxTail) error {
	if len(b) < checksumsHeaderSize+8 || string(b[:4]) != checksumsMagic {
		return errors.New("not a checksums file")
	}
	body, sum := b[:len(b)-8], binary.BigEndian.Uint64(b[len(b)-8:])
	u64 := func(off int) uint64 { return binary.BigEndian.Uint64(b[off:]) }
	switch {
	case crc64.Checksum(body, crcTable) != sum, uint64(len(body)-checksumsHeaderSize) != 8*u64(40):
		return errors.New("file is damaged")
	case ltx.TXID(u64(8)) != last.pos.TXID || ltx.Checksum(u64(16)) != last.pos.PostApplyChecksum:
		return errors.New("position is not the end of the log")
	case binary.BigEndian.Uint32(b[4:]) != last.hdr.PageSize:
		return errors.New("page size is not that of the log")
	}
	return nil
}
