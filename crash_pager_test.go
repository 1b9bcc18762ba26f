package litefs_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"

	"litefs"
	"litefs/internal/fsx"
	format "litefs/internal/sqlite"
)

// pagerPageSize is the page size of databases that a pager makes: two sectors, so
// that a page can be torn.
const pagerPageSize = 1024

const pagerSectorSize = 512

// pager makes the requests that SQLite's pager makes of the file system, in its
// order and with its syncs (pager.c sqlite3PagerCommitPhaseOne and Two, wal.c
// walFrames and walCheckpoint), but in this process and without a mount. It has
// the database to itself.
type pager struct {
	db      *litefs.DB
	rng     *rand.Rand
	mode    litefs.JournalMode
	full    bool   // synchronous=FULL: a WAL is synced at each commit
	content string // of the database, as committed

	database, journal, wal fsx.File
	walHeader              format.WALHeader
	cursor                 format.WALCursor  // where the next frame goes
	logged                 map[uint32]string // pages in the WAL
}

func newPager(store *litefs.Store, seed uint64) (*pager, error) {
	db, err := store.CreateDBIfNotExists("db")
	if err != nil {
		return nil, err
	}
	p := &pager{db: db, rng: rand.New(rand.NewPCG(seed, 1)), mode: litefs.JournalModeDelete, full: true, logged: make(map[uint32]string)}
	if p.database, err = p.open(litefs.FileTypeDatabase); err != nil {
		return nil, err
	}
	size, err := fileLength(p.database)
	if err != nil {
		return nil, err
	}
	b := make([]byte, size)
	if n, err := p.database.ReadAt(b, 0); n < len(b) {
		return nil, err
	}
	p.content = string(b)
	return p, nil
}

// open opens a file of the database, and makes it if it is not there.
func (p *pager) open(typ litefs.FileType) (fsx.File, error) {
	f, err := p.db.OpenFile(typ, os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = p.db.CreateFile(typ, os.O_RDWR|os.O_CREATE, 0o644)
	}
	return f, err
}

// closeFile closes a file that open has opened, if it is open.
func (p *pager) closeFile(f *fsx.File, typ litefs.FileType) error {
	if *f == nil {
		return nil
	}
	err := errors.Join((*f).Close(), p.db.ReleaseFile(*f, typ))
	*f = nil
	return err
}

// close closes the connection. In WAL mode that takes a checkpoint and removes
// the WAL.
func (p *pager) close() error {
	var err error
	if p.wal != nil {
		if err = p.checkpoint(); err == nil {
			err = errors.Join(p.closeFile(&p.wal, litefs.FileTypeWAL), p.db.RemoveWAL())
		}
	}
	return errors.Join(err, p.closeFile(&p.wal, litefs.FileTypeWAL),
		p.closeFile(&p.journal, litefs.FileTypeJournal), p.closeFile(&p.database, litefs.FileTypeDatabase))
}

// next returns a content that a transaction might leave: another length, some
// pages changed, and the header as the journal mode wants it.
func (p *pager) next() string {
	pages := 2 + p.rng.IntN(9)
	b := make([]byte, pages*pagerPageSize)
	n := copy(b, p.content)
	random := func(page []byte) {
		for i := 0; i < len(page); i += 8 {
			binary.NativeEndian.PutUint64(page[i:], p.rng.Uint64())
		}
	}
	random(b[n:])
	for range p.rng.IntN(3) {
		pgno := p.rng.IntN(pages)
		random(b[pgno*pagerPageSize : (pgno+1)*pagerPageSize])
	}
	counter := uint32(1)
	if len(p.content) > 0 {
		counter += binary.BigEndian.Uint32([]byte(p.content)[24:])
	}
	writeDatabaseHeader(b, counter, p.mode == litefs.JournalModeWAL)
	return string(b)
}

// writeDatabaseHeader writes the header of a database file (fileformat2 1.3).
func writeDatabaseHeader(b []byte, counter uint32, wal bool) {
	header := b[:format.DatabaseHeaderSize]
	clear(header)
	copy(header, "SQLite format 3\x00")
	binary.BigEndian.PutUint16(header[16:], pagerPageSize)
	copy(header[21:], []byte{64, 32, 32})
	version := format.VersionRollback
	if wal {
		version = format.VersionWAL
	}
	format.SetFormatVersion(header, version)
	format.SetChangeCounter(header, counter)
	format.SetPageCount(header, uint32(len(b)/pagerPageSize))
}

// page returns a page of a content, "" if it has no such page.
func page(content string, pgno uint32) string {
	if int(pgno)*pagerPageSize > len(content) {
		return ""
	}
	return content[int(pgno-1)*pagerPageSize : int(pgno)*pagerPageSize]
}

func pageCount(content string) uint32 { return uint32(len(content) / pagerPageSize) }

// commit runs a transaction that makes next the content.
func (p *pager) commit(next string) error {
	commit := p.commitRollback
	if p.mode == litefs.JournalModeWAL && p.content != "" && p.content[18] == byte(format.VersionWAL) {
		commit = p.commitWAL
	}
	err := commit(next)
	if err == nil {
		p.content = next
	}
	return err
}

func (p *pager) commitRollback(next string) error {
	if err := p.writeJournal(next); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if err := p.writePages(next); err != nil {
		return err
	}
	return p.endJournal()
}

// writeJournal writes the pages that the transaction changes to the journal, and
// syncs it: first the records, then the header that counts them.
func (p *pager) writeJournal(next string) error {
	created := !p.db.Exists(litefs.FileTypeJournal)
	if p.journal == nil {
		journal, err := p.open(litefs.FileTypeJournal)
		if err != nil {
			return err
		}
		p.journal = journal
	}
	header := format.JournalHeader{
		Nonce: p.rng.Uint32(), InitialPages: pageCount(p.content), SectorSize: pagerSectorSize, PageSize: pagerPageSize,
	}
	if err := p.db.WriteJournal(p.journal, header.AppendTo(nil), 0); err != nil {
		return err
	}
	offset := int64(pagerSectorSize)
	for pgno := uint32(1); pgno <= pageCount(p.content); pgno++ {
		before := page(p.content, pgno)
		if before == page(next, pgno) {
			continue
		}
		record := format.AppendJournalRecord(nil, header.Nonce, pgno, []byte(before))
		if err := p.db.WriteJournal(p.journal, record, offset); err != nil {
			return err
		}
		offset += int64(len(record))
		header.RecordCount++
	}
	if err := p.journal.Sync(); err != nil {
		return err
	}
	if created {
		if err := p.db.SyncDir(); err != nil {
			return err
		}
	}
	if err := p.db.WriteJournal(p.journal, header.AppendTo(nil)[:12], 0); err != nil {
		return err
	}
	return p.journal.Sync()
}

// writePages makes the database file hold next, and syncs it.
func (p *pager) writePages(next string) error {
	for pgno := uint32(1); pgno <= pageCount(next); pgno++ {
		if page(next, pgno) == page(p.content, pgno) {
			continue
		}
		if err := p.db.WriteDatabase(p.database, []byte(page(next, pgno)), int64(pgno-1)*pagerPageSize); err != nil {
			return err
		}
	}
	if len(next) < len(p.content) {
		if err := p.db.TruncateDatabase(p.database, int64(len(next))); err != nil {
			return err
		}
	}
	return p.db.SyncDatabase(p.database)
}

// endJournal ends the journal, which commits the transaction.
func (p *pager) endJournal() error {
	switch p.mode {
	case litefs.JournalModeTruncate:
		if err := p.db.TruncateJournal(p.journal, 0); err != nil {
			return err
		}
		return p.journal.Sync()
	case litefs.JournalModePersist:
		if err := p.db.WriteJournal(p.journal, make([]byte, format.JournalHeaderSize), 0); err != nil {
			return err
		}
		return p.journal.Sync()
	default:
		return errors.Join(p.closeFile(&p.journal, litefs.FileTypeJournal), p.db.RemoveJournal())
	}
}

// rollBack plays a hot journal back, as the connection that had an error does or
// the next one that opens the database. It does nothing if there is none.
func (p *pager) rollBack() error {
	if !p.db.Exists(litefs.FileTypeJournal) {
		return nil
	}
	if p.journal == nil {
		journal, err := p.open(litefs.FileTypeJournal)
		if err != nil {
			return err
		}
		p.journal = journal
	}
	size, err := fileLength(p.journal)
	if err != nil {
		return err
	}
	reader, err := format.NewJournalReader(p.journal, size)
	if errors.Is(err, format.ErrJournalHeader) {
		return p.endJournal()
	}
	if err != nil {
		return err
	}
	for reader.Next() {
		if err := p.db.WriteDatabase(p.database, reader.Page(), int64(reader.Pgno()-1)*pagerPageSize); err != nil {
			return err
		}
	}
	if err := reader.Err(); err != nil {
		return err
	}
	if err := p.db.TruncateDatabase(p.database, int64(reader.Header().InitialPages)*pagerPageSize); err != nil {
		return err
	}
	if err := p.db.SyncDatabase(p.database); err != nil {
		return err
	}
	return p.endJournal()
}

func fileLength(f fsx.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
