package litefs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"

	"litefs/internal/fsx"
	"litefs/ltx"
)

// ReceivedLTX is an LTX file that has been received whole and verified, and is
// not yet part of the log. It lies beside the log under a temporary name, which
// means nothing after a restart. Whoever received it applies or discards it.
type ReceivedLTX struct {
	db        *DB
	path      string // "" once it is part of the log or discarded
	header    ltx.Header
	trailer   ltx.Trailer
	sizeBytes int64
	sums      []pageSum // of its pages, ascending: 16 bytes a page
}

// Header returns the header of the file.
func (f *ReceivedLTX) Header() ltx.Header { return f.header }

// Trailer returns the trailer of the file.
func (f *ReceivedLTX) Trailer() ltx.Trailer { return f.trailer }

// Discard removes the file, unless it has been applied.
func (f *ReceivedLTX) Discard() error {
	if f.path == "" {
		return nil
	}
	err := removeIfExists(f.db.store.FS, f.path)
	f.path = ""
	return err
}

// posAfter returns the position of a database that the file has been applied to.
func (f *ReceivedLTX) posAfter() ltx.Pos {
	return ltx.Pos{TXID: f.header.MaxTXID, PostApplyChecksum: f.trailer.PostApplyChecksum}
}

// entry returns the file as one of the log.
func (f *ReceivedLTX) entry() ltxFile {
	return ltxFile{min: f.header.MinTXID, max: f.header.MaxTXID, sizeBytes: f.sizeBytes, createdAt: f.db.Now()}
}

// receivedSerial makes temporary names differ.
var receivedSerial atomic.Uint64

// ReceiveLTX reads one LTX file, which ends where r does, into a temporary file
// and verifies it: every rule of the format, and the checksums of file and pages.
// What the file may take is bounded by what its header states, a page each; memory is
// 16 bytes a page. Nothing of the database is looked at or locked. The file need not
// be durable when ReceiveLTX returns.
//
// An error of the file is an *ltx.FormatError; a file without checksums is refused.
func (db *DB) ReceiveLTX(ctx context.Context, r io.Reader) (*ReceivedLTX, error) {
	f := &ReceivedLTX{db: db}
	err := f.create(func(file fsx.File) error {
		return f.read(ctx, io.TeeReader(r, file))
	})
	if err != nil {
		return nil, fmt.Errorf("receive ltx file of %q: %w", db.name, err)
	}
	return f, nil
}

// create makes the temporary file, and has fill write and read it.
func (f *ReceivedLTX) create(fill func(fsx.File) error) error {
	log := f.db.log
	if err := log.fs.MkdirAll(log.dir, 0o777); err != nil {
		return err
	}
	path := filepath.Join(log.dir, fmt.Sprintf("received-%d%s", receivedSerial.Add(1), tmpSuffix))
	file, err := log.fs.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o666)
	if err != nil {
		return err
	}
	if err = errors.Join(fill(file), file.Close()); err != nil {
		return errors.Join(err, removeIfExists(log.fs, path))
	}
	f.path = path
	return nil
}

// read verifies the file that r has.
func (f *ReceivedLTX) read(ctx context.Context, r io.Reader) error {
	dec := ltx.NewDecoder(r)
	if err := dec.DecodeHeader(); err != nil {
		return err
	}
	f.header = dec.Header()
	if f.header.NoChecksum() {
		return fmt.Errorf("%w: file has no checksums", ltx.ErrInvalidHeader)
	}
	page := make([]byte, f.header.PageSize)
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var hdr ltx.PageHeader
		err := dec.DecodePage(&hdr, page)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		f.sums = append(f.sums, pageSum{hdr.Pgno, ltx.PageChecksum(hdr.Pgno, page)})
	}
	if err := dec.Close(); err != nil {
		return err
	}
	f.trailer, f.sizeBytes = dec.Trailer(), dec.N()
	return nil
}

// compactReceived merges consecutive files into one, so that they cost one apply.
func (db *DB) compactReceived(ctx context.Context, files []*ReceivedLTX) (*ReceivedLTX, error) {
	merged := &ReceivedLTX{db: db}
	err := merged.create(func(out fsx.File) (err error) {
		inputs := make([]io.Reader, 0, len(files))
		for _, f := range files {
			in, err := db.store.FS.OpenFile(f.path, os.O_RDONLY, 0)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, in.Close()) }()
			inputs = append(inputs, in)
		}
		compactor := ltx.NewCompactor(out, inputs)
		compactor.SetCompression(db.store.Compress)
		if err := compactor.Compact(ctx); err != nil {
			return err
		}
		return merged.read(ctx, io.NewSectionReader(out, 0, 1<<62))
	})
	if err != nil {
		return nil, err
	}
	return merged, nil
}
