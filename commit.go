package litefs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"strconv"

	"litefs/internal/fsx"
	"litefs/ltx"
)

// changes is what one or more transactions did to a database. Both families of
// journal modes, the intake of whole files and the repair of a lost cursor
// describe themselves this way; stage and publish do the rest.
type changes struct {
	txns     ltx.TXID // number of transactions, at least 1
	pageSize uint32   // bytes
	commit   uint32   // pages in the database after them
	// snapshot has the whole database written, as a file that begins with
	// TXID 1; pages must then yield every page.
	snapshot bool
	// pages yields the numbers of the pages that may have changed, ascending,
	// from 1 to commit, without the lock page. Pages that turn out to be as
	// they were are left out of the log.
	pages iter.Seq[uint32]
	// read fills page with the content of page pgno.
	read func(pgno uint32, page []byte) error
	wal  walRange
	// sync has the log made durable before stage returns.
	sync bool
}

// walRange is where in the WAL transactions came from; zero if from none.
type walRange struct {
	offset, size int64
	salt1, salt2 uint32
}

// stagedCommit is a piece of the log that is written but not yet published.
type stagedCommit struct {
	file     ltxFile
	pos      ltx.Pos // after it
	pageSize uint32
	commit   uint32
	snapshot bool
	sums     []pageSum
}

// stage writes the changes to the log. It returns nil if they change nothing.
//
// A crash after stage leaves the log ahead of the database by this file, if
// SQLite had not committed: recovery then applies it.
func (db *DB) stage(c changes) (*stagedCommit, error) {
	if err := db.dropPrepared(); err != nil { // the log is ahead by one piece at most
		return nil, err
	}
	pos := db.Pos()
	c.snapshot = c.snapshot || pos.TXID == 0
	file := ltxFile{min: pos.TXID + 1, max: pos.TXID + c.txns}
	if c.snapshot {
		file.min = 1
	}
	out := &stagingFile{log: db.log, file: file}
	if db.tailFits(c) {
		out.room = tailPayloadBytes
	}
	enc := db.store.encoder(out)
	defer db.store.encoders.Put(enc)

	staged, err := db.encode(enc, c, file)
	if err != nil || staged == nil {
		return nil, errors.Join(err, out.discard())
	}
	staged.file.sizeBytes = enc.N()
	staged.file.createdAt = db.Now()
	if out.f == nil {
		if err := db.log.appendTail(staged.file, out.data, pos.TXID); err != nil {
			return nil, err
		}
		return staged, nil
	}
	if err := db.gatherLog(); err != nil {
		return nil, errors.Join(err, out.discard())
	}
	if err := db.log.commit(out.f, out.name, staged.file, c.sync); err != nil {
		return nil, errors.Join(err, db.abandon(staged), out.discard())
	}
	if err := out.f.Close(); err != nil {
		return nil, errors.Join(err, db.abandon(staged))
	}
	return staged, nil
}

// tailFits reports whether changes may go to the tail of the log, if they are few.
// Whoever follows the log wants them as a file at once.
func (db *DB) tailFits(c changes) bool {
	return c.sync && !c.snapshot && c.commit > 0 && c.wal == (walRange{}) && !db.store.hasSubscribers()
}

// gatherLog makes what is in the tail of the log files, for those who look for them.
func (db *DB) gatherLog() error { return db.log.gather(db.TXID()) }

// stagingFile is a file of the log under its temporary name, or one in memory as long
// as it fits there. The file is made when the first of it is written: that nothing has
// changed, as after a rollback, can be found out on a full disk too.
type stagingFile struct {
	log  *ltxLog
	file ltxFile
	room int // bytes that data may have
	data []byte
	f    fsx.File // nil until something is written that does not fit in memory
	name string
}

// Write implements io.Writer.
func (s *stagingFile) Write(p []byte) (int, error) {
	if s.f == nil && len(s.data)+len(p) <= s.room {
		s.data = append(s.data, p...)
		return len(p), nil
	}
	if s.f == nil {
		if err := s.spill(); err != nil {
			return 0, err
		}
	}
	return s.f.Write(p)
}

// spill goes on in a file.
func (s *stagingFile) spill() (err error) {
	s.f, s.name, err = s.log.create(s.file.min, s.file.max)
	if err == nil && len(s.data) > 0 {
		_, err = s.f.Write(s.data)
	}
	return err
}

// discard closes and removes the file, if there is one.
func (s *stagingFile) discard() error {
	if s.f == nil {
		return nil
	}
	return errors.Join(s.f.Close(), removeIfExists(s.log.fs, s.name))
}

// encode writes the LTX file. It returns nil if nothing has changed.
func (db *DB) encode(enc *ltx.Encoder, c changes, file ltxFile) (*stagedCommit, error) {
	base := &db.sums
	hdr := ltx.Header{
		PageSize: c.pageSize, Commit: c.commit, MinTXID: file.min, MaxTXID: file.max,
		Timestamp: db.Now().UnixMilli(), NodeID: db.store.nodeNumber(),
		WALOffset: c.wal.offset, WALSize: c.wal.size, WALSalt1: c.wal.salt1, WALSalt2: c.wal.salt2,
	}
	if c.snapshot {
		base = &pageSums{}
	} else {
		hdr.PreApplyChecksum = base.checksum()
	}
	begun := false
	begin := func() error {
		if begun {
			return nil
		}
		begun = true
		return enc.EncodeHeader(hdr)
	}
	staged := &stagedCommit{file: file, pageSize: c.pageSize, commit: c.commit, snapshot: c.snapshot}
	page := make([]byte, c.pageSize)
	for pgno := range c.pages {
		if err := c.read(pgno, page); err != nil {
			return nil, fmt.Errorf("read page %d: %w", pgno, err)
		}
		sum := ltx.PageChecksum(pgno, page)
		if sum == base.page(pgno) {
			continue
		}
		if err := begin(); err != nil {
			return nil, err
		}
		if err := enc.EncodePage(pgno, page); err != nil {
			return nil, err
		}
		staged.sums = append(staged.sums, pageSum{pgno, sum})
	}
	if !c.snapshot && len(staged.sums) == 0 && c.commit == base.size() {
		return nil, nil
	}
	if err := begin(); err != nil { // only the length has changed
		return nil, err
	}
	staged.pos = ltx.Pos{TXID: file.max, PostApplyChecksum: base.after(c.commit, staged.sums)}
	enc.SetPostApplyChecksum(staged.pos.PostApplyChecksum)
	return staged, enc.Close()
}

// abandon takes back what stage wrote, because SQLite's commit did not happen.
func (db *DB) abandon(staged *stagedCommit) error {
	if staged == nil {
		return nil
	}
	if err := db.log.withdraw(staged.file); err != nil && !isNotExist(err) {
		return err
	}
	return nil
}

// publish makes the staged transactions the position of the database.
func (db *DB) publish(staged *stagedCommit) error {
	if staged == nil {
		return nil
	}
	db.intake = intakeState{}
	db.sumsMu.Lock()
	if staged.snapshot {
		db.sums = pageSums{}
	}
	db.sums.apply(staged.commit, staged.sums)
	db.pageSize = staged.pageSize
	db.sumsMu.Unlock()
	db.setPos(staged.pos)
	db.logger.Debug("captured", slog.Any("pos", staged.pos), slog.Any("min_txid", staged.file.min), slog.Int("pages", len(staged.sums)))
	if staged.snapshot && staged.file.max > 1 {
		// What came before is covered by the snapshot, which must be durable
		// before anything is removed.
		if err := errors.Join(db.gatherLog(), db.log.sync()); err != nil {
			return err
		}
		if err := db.log.removeBefore(staged.file); err != nil {
			return err
		}
	}
	return nil
}

// commitChanges stages and publishes in one go, for changes that SQLite has
// committed already.
func (db *DB) commitChanges(c changes) error {
	staged, err := db.stage(c)
	if err != nil {
		return err
	}
	return db.publish(staged)
}

// allPages yields the pages of a database of n pages, without the lock page.
func allPages(n, pageSize uint32) iter.Seq[uint32] {
	lock := ltx.LockPgno(pageSize)
	return func(yield func(uint32) bool) {
		for pgno := uint32(1); pgno <= n && pgno != 0; pgno++ {
			if pgno != lock && !yield(pgno) {
				return
			}
		}
	}
}

// encoder returns an encoder that writes to f. Encoders are pooled: each holds
// some 200 KiB, and only as many are needed as commits run at a time.
func (s *Store) encoder(f interface{ Write([]byte) (int, error) }) *ltx.Encoder {
	enc, ok := s.encoders.Get().(*ltx.Encoder)
	if !ok {
		enc = ltx.NewEncoder(f)
	}
	enc.Reset(f)
	enc.SetCompression(s.Compress)
	return enc
}

// compact writes several LTX files as one. That a stop is under way does not end it.
func (s *Store) compact(w io.Writer, files []io.Reader) error {
	c := ltx.NewCompactor(w, files)
	c.SetCompression(s.Compress)
	return c.Compact(context.WithoutCancel(s.ctx))
}

// nodeNumber returns the node's ID in the form that LTX headers have room for.
func (s *Store) nodeNumber() uint64 {
	n, _ := strconv.ParseUint(s.id[:min(len(s.id), 16)], 16, 64) // hexadecimal, checked when it was read
	return n
}
