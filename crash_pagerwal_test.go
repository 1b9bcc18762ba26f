package litefs_test

import (
	"errors"
	"maps"
	"slices"

	"litefs"
	format "litefs/internal/sqlite"
)

// WriteAt has a format.WALWriter write to the WAL as a program does.
func (p *pager) WriteAt(b []byte, offset int64) (int, error) {
	if err := p.db.WriteWAL(p.wal, b, offset); err != nil {
		return 0, err
	}
	return len(b), nil
}

// commitWAL appends the pages that the transaction changes to the WAL. The first
// transaction after a checkpoint of everything starts the WAL again.
func (p *pager) commitWAL(next string) error {
	created := p.wal == nil
	if created {
		wal, err := p.open(litefs.FileTypeWAL)
		if err != nil {
			return err
		}
		p.wal = wal
		p.walHeader = format.WALHeader{PageSize: pagerPageSize, Salt: format.Salt{p.rng.Uint32(), p.rng.Uint32()}}
		p.cursor = format.WALCursor{}
	}
	if p.cursor.Frame == 0 {
		p.walHeader = p.walHeader.Next(p.rng.Uint32())
		if err := format.WriteWALHeader(p, p.walHeader); err != nil {
			return err
		}
		if err := p.db.SyncWAL(p.wal); err != nil {
			return err
		}
	}
	if created {
		if err := p.db.SyncDir(); err != nil {
			return err
		}
	}
	cursor := p.cursor
	if cursor.Frame == 0 {
		cursor = p.walHeader.Start()
	}
	writer := format.NewWALWriter(p, cursor)
	changed := p.changedPages(next)
	for i, pgno := range changed {
		commit := uint32(0)
		if i == len(changed)-1 {
			commit = pageCount(next)
		}
		// SQLite writes each frame on its own, in two parts.
		if err := errors.Join(writer.WriteFrame(pgno, commit, []byte(page(next, pgno))), writer.Flush()); err != nil {
			return err
		}
	}
	if p.full {
		if err := p.db.SyncWAL(p.wal); err != nil {
			return err
		}
	}
	p.cursor = writer.Cursor()
	for _, pgno := range changed {
		p.logged[pgno] = page(next, pgno)
	}
	return nil
}

// changedPages returns the pages that next has other than the content. Page 1 is
// always among them: its change counter advances.
func (p *pager) changedPages(next string) []uint32 {
	var changed []uint32
	for pgno := uint32(1); pgno <= pageCount(next); pgno++ {
		if page(next, pgno) != page(p.content, pgno) {
			changed = append(changed, pgno)
		}
	}
	return changed
}

// checkpoint copies the pages in the WAL to the database file. The next
// transaction starts the WAL again.
func (p *pager) checkpoint() error {
	if p.wal == nil || p.cursor.Frame == 0 {
		return nil
	}
	if err := p.db.SyncWAL(p.wal); err != nil {
		return err
	}
	for _, pgno := range slices.Sorted(maps.Keys(p.logged)) {
		if pgno > pageCount(p.content) {
			continue
		}
		if err := p.db.WriteDatabase(p.database, []byte(p.logged[pgno]), int64(pgno-1)*pagerPageSize); err != nil {
			return err
		}
	}
	size, err := fileLength(p.database)
	if err != nil {
		return err
	}
	if size > int64(len(p.content)) {
		if err := p.db.TruncateDatabase(p.database, int64(len(p.content))); err != nil {
			return err
		}
	}
	if err := p.db.SyncDatabase(p.database); err != nil {
		return err
	}
	p.cursor = format.WALCursor{}
	clear(p.logged)
	return nil
}

// truncateWAL is a checkpoint that leaves a WAL of no length.
func (p *pager) truncateWAL() error {
	if err := p.checkpoint(); err != nil {
		return err
	}
	return p.db.TruncateWAL(p.wal, 0)
}
