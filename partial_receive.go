package litefs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"litefs/internal/fsx"
	"litefs/ltx"
)

// ReceiveDifference reads what WriteDifferenceTo has written in answer to the
// checksums that WritePageSums has stated, and completes it with the pages of
// transfers that broke off before. The result leads from the position of the
// database to that of the sender; it is verified and durable.
//
// If r breaks off, what has come is kept for the next time, also if the process is
// killed. The error is ErrPosMismatch if the file is not for this database as it is.
func (db *DB) ReceiveDifference(ctx context.Context, r io.Reader) (*ReceivedLTX, error) {
	if err := db.partial.lock(ctx); err != nil {
		return nil, err
	}
	defer db.partial.unlock()
	f, err := db.receiveDifference(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("receive page difference of %q: %w", db.name, err)
	}
	return f, nil
}

func (db *DB) receiveDifference(ctx context.Context, r io.Reader) (f *ReceivedLTX, err error) {
	if err := db.partial.salvage(); err != nil {
		return nil, err
	}
	dec := ltx.NewDecoder(r)
	if err := dec.DecodeHeader(); err != nil {
		return nil, err
	}
	hdr, err := completedHeader(dec.Header(), db.Pos(), db.PageSize())
	if err != nil {
		return nil, err
	}
	if err := db.store.FS.MkdirAll(db.log.dir, 0o777); err != nil { // where it is to go
		return nil, err
	}
	file, path, err := db.partial.create()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	c := &completion{ctx: ctx, dec: dec, f: &ReceivedLTX{db: db, path: path, header: hdr}}
	if err := c.run(file); err != nil {
		return nil, err // what has come stays where it is
	}
	if err := file.Sync(); err != nil {
		return nil, err
	}
	db.partial.live[filepath.Base(path)] = true
	return c.f, db.partial.removeImages("")
}

// completedHeader returns the header that the file has once it is complete, given
// the one that was sent, the position of the database and its page size. It takes
// back what differenceHeader does for a database without transactions. A file of
// another page size, completed, has every page.
func completedHeader(hdr ltx.Header, base ltx.Pos, pageSize uint32) (ltx.Header, error) {
	switch {
	case hdr.NoChecksum():
		return hdr, fmt.Errorf("%w: file has no checksums", ltx.ErrInvalidHeader)
	case hdr.IsSnapshot():
		return hdr, nil
	case base.TXID == 0 && hdr.MinTXID == 2 && hdr.PreApplyChecksum == ltx.ChecksumFlag:
		hdr.MinTXID, hdr.MaxTXID, hdr.PreApplyChecksum = 1, hdr.MaxTXID-1, 0
		return hdr, nil
	case hdr.PreApplyChecksum != base.PostApplyChecksum:
		return hdr, fmt.Errorf("%w: the database is at %s, the file is for %s", ErrPosMismatch, base, hdr.PreApplyChecksum)
	case hdr.PageSize != pageSize:
		hdr.MinTXID, hdr.PreApplyChecksum = 1, 0
		return hdr, nil
	default:
		return hdr, nil
	}
}

// create makes a file for a transfer.
func (p *partial) create() (fsx.File, string, error) {
	if err := p.fs.MkdirAll(p.dir, 0o777); err != nil {
		return nil, "", err
	}
	path := filepath.Join(p.dir, "received-"+strconv.FormatUint(receivedSerial.Add(1), 10)+partialLTXSuffix)
	f, err := p.fs.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	return f, path, err
}

// completion merges a file that is being received with the pages of transfers that
// broke off, into a file that is whole.
type completion struct {
	ctx   context.Context
	dec   *ltx.Decoder
	enc   *ltx.Encoder
	image *partialImage // nil if there is none of use
	f     *ReceivedLTX
}

func (c *completion) run(file fsx.File) (err error) {
	db := c.f.db
	c.enc = db.store.encoder(file)
	defer db.store.encoders.Put(c.enc)
	if err := c.enc.EncodeHeader(c.f.header); err != nil {
		return err
	}
	if err := c.openImage(); err != nil {
		return err
	}
	if c.image != nil {
		defer func() { err = errors.Join(err, c.image.f.Close()) }()
	}
	if err := c.merge(); err != nil {
		return err
	}
	if err := c.dec.Close(); err != nil {
		return err
	}
	post := c.dec.Trailer().PostApplyChecksum
	if err := db.checkReceived(c.f, post); err != nil {
		return err
	}
	c.enc.SetPostApplyChecksum(post)
	if err := c.enc.Close(); err != nil {
		return err
	}
	c.f.trailer, c.f.sizeBytes = c.enc.Trailer(), c.enc.N()
	return nil
}

// openImage opens the image, unless the file that comes is whole by itself or has
// another page size.
func (c *completion) openImage() error {
	image, err := c.f.db.partial.open()
	if err != nil || image == nil {
		return err
	}
	if c.dec.Header().IsSnapshot() || image.pageSize != c.f.header.PageSize {
		return image.f.Close()
	}
	c.image = image
	return nil
}

// merge writes the pages that come and, between them, those that the image has. A
// page that comes is newer than the one in the image.
func (c *completion) merge() error {
	page := make([]byte, c.f.header.PageSize)
	for next := uint32(1); ; {
		if err := context.Cause(c.ctx); err != nil {
			return err
		}
		var hdr ltx.PageHeader
		err := c.dec.DecodePage(&hdr, page)
		if errors.Is(err, io.EOF) {
			return c.fill(next, c.f.header.Commit)
		}
		if err != nil {
			return err
		}
		if err := c.fill(next, hdr.Pgno-1); err != nil {
			return err
		}
		if err := c.emit(hdr.Pgno, page); err != nil {
			return err
		}
		next = hdr.Pgno + 1
	}
}

// fill writes the pages from first to last that the image has.
func (c *completion) fill(first, last uint32) error {
	if c.image == nil {
		return nil
	}
	lock := ltx.LockPgno(c.image.pageSize)
	for pgno := first; pgno <= min(last, c.image.pages); pgno++ {
		page, there, err := c.image.read(pgno)
		if err != nil {
			return err
		}
		if there && pgno != lock {
			if err := c.emit(pgno, page); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *completion) emit(pgno uint32, page []byte) error {
	c.f.sums = append(c.f.sums, pageSum{pgno, ltx.PageChecksum(pgno, page)})
	return c.enc.EncodePage(pgno, page)
}

// checkReceived makes sure that a file turns the database into what its sender has.
func (db *DB) checkReceived(f *ReceivedLTX, post ltx.Checksum) error {
	if f.header.IsSnapshot() {
		return nil // the encoder does
	}
	db.captureMu.Lock()
	defer db.captureMu.Unlock()
	if sum := db.sums.after(f.header.Commit, f.sums); sum != post {
		return fmt.Errorf("%w: the pages add up to %s, want %s", ltx.ErrChecksumMismatch, sum, post)
	}
	return nil
}
