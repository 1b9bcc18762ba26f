package litefs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"litefs/internal/fsx"
	"litefs/ltx"
)

// What there is of transfers that broke off lies in the folder "partial" of a
// database:
//
//	received-N.ltx   the LTX file of a transfer, as far as it came
//	PAGESIZE.pages   pages of such files, each in its place as in a database file
//
// The next request states the checksums of these pages in place of the database's
// own, and so only what is missing, or has changed since, is sent again. The
// checksums are computed from what is on the disk, so nothing that a crash does to
// these files can do harm: a page that is damaged is sent again. A page of zeros
// counts as missing.
const (
	partialDir         = "partial"
	partialLTXSuffix   = ".ltx"
	partialImageSuffix = ".pages"
	// partialMaxAge is how long what is left of a transfer is kept.
	partialMaxAge = 24 * time.Hour
)

// partial is what there is of transfers of one database that broke off.
type partial struct {
	fs  fsx.FS
	dir string
	// turn is held, by a value in it, by who uses the files.
	turn chan struct{}
	// live has the names of files that are complete and belong to a ReceivedLTX.
	live map[string]bool
}

func newPartial(fsys fsx.FS, dir string) *partial {
	return &partial{fs: fsys, dir: dir, turn: make(chan struct{}, 1), live: make(map[string]bool)}
}

// lock waits until nobody else uses the files.
func (p *partial) lock(ctx context.Context) error {
	select {
	case p.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p *partial) unlock() { <-p.turn }

func (p *partial) imagePath(pageSize uint32) string {
	return filepath.Join(p.dir, strconv.FormatUint(uint64(pageSize), 10)+partialImageSuffix)
}

// list returns the names of the files with a suffix.
func (p *partial) list(suffix string) ([]string, error) {
	entries, err := p.fs.ReadDir(p.dir)
	if isNotExist(err) {
		return nil, nil
	}
	var names []string
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), suffix) && !p.live[entry.Name()] {
			names = append(names, entry.Name())
		}
	}
	return names, err
}

// salvage moves the pages of LTX files that were received in part to the image of
// their page size. If it is cut short it is done again.
func (p *partial) salvage() error {
	names, err := p.list(partialLTXSuffix)
	if err != nil {
		return err
	}
	for _, name := range names {
		path := filepath.Join(p.dir, name)
		if err := p.salvageFile(path); err != nil {
			return fmt.Errorf("salvage %q: %w", path, err)
		}
		if err := p.fs.Remove(path); err != nil {
			return err
		}
	}
	return nil
}

func (p *partial) salvageFile(path string) (err error) {
	in, err := p.fs.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	dec := ltx.NewDecoder(in)
	if dec.DecodeHeader() != nil {
		return nil // it broke off before the first page
	}
	pageSize := dec.Header().PageSize
	if err := p.removeImages(p.imagePath(pageSize)); err != nil {
		return err
	}
	image, err := p.fs.OpenFile(p.imagePath(pageSize), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, image.Close()) }()
	page, had := make([]byte, pageSize), make([]byte, pageSize)
	for {
		var hdr ltx.PageHeader
		if dec.DecodePage(&hdr, page) != nil {
			return nil // here it broke off
		}
		if err := readPageAt(image, hdr.Pgno, had); err != nil {
			return err
		}
		if string(page) == string(had) {
			continue
		}
		if _, err := image.WriteAt(page, int64(hdr.Pgno-1)*int64(pageSize)); err != nil {
			return err
		}
	}
}

// removeImages removes all images but one.
func (p *partial) removeImages(keep string) error {
	names, err := p.list(partialImageSuffix)
	for _, name := range names {
		if path := filepath.Join(p.dir, name); path != keep {
			err = errors.Join(err, p.fs.Remove(path))
		}
	}
	return err
}

// open opens the image, and returns nil if there is none. There is one at most.
func (p *partial) open() (*partialImage, error) {
	names, err := p.list(partialImageSuffix)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	pageSize, err := strconv.ParseUint(strings.TrimSuffix(names[0], partialImageSuffix), 10, 17)
	if err != nil {
		return nil, err
	}
	f, err := p.fs.OpenFile(filepath.Join(p.dir, names[0]), os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	size, err := fileSize(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &partialImage{f: f, pageSize: uint32(pageSize), pages: pageCount(size, uint32(pageSize)), page: make([]byte, pageSize)}, nil
}

// removeStale removes what is left of transfers that nobody has taken up again.
func (p *partial) removeStale(now time.Time) error {
	select {
	case p.turn <- struct{}{}:
		defer p.unlock()
	default:
		return nil // it is in use
	}
	names, err := p.list("")
	for _, name := range names {
		path := filepath.Join(p.dir, name)
		info, statErr := p.fs.Stat(path)
		if statErr == nil && now.Sub(info.ModTime()) > partialMaxAge {
			statErr = p.fs.Remove(path)
		}
		err = errors.Join(err, statErr)
	}
	return err
}

// partialImage has pages in their places.
type partialImage struct {
	f        fsx.File
	pageSize uint32 // bytes
	pages    uint32
	page     []byte // that read has read
}

// read reads a page and reports whether it is there.
func (i *partialImage) read(pgno uint32) ([]byte, bool, error) {
	if err := readPageAt(i.f, pgno, i.page); err != nil {
		return nil, false, err
	}
	for _, b := range i.page {
		if b != 0 {
			return i.page, true, nil
		}
	}
	return nil, false, nil
}

// WritePageSums writes to w the checksums of the pages that this node has, in the
// form that WriteDifferenceTo reads, and returns the position of the database. For
// a page that a transfer has brought before it broke off, it is that page's. The
// database must not change until ReceiveDifference has returned.
func (db *DB) WritePageSums(ctx context.Context, w io.Writer) (base ltx.Pos, err error) {
	if err := db.partial.lock(ctx); err != nil {
		return base, err
	}
	defer db.partial.unlock()
	base, sums, err := db.partialSums(ctx)
	if err != nil {
		return base, fmt.Errorf("read page checksums of %q: %w", db.name, err)
	}
	b := make([]byte, 0, 1<<16)
	for len(sums) > 0 {
		n := min(len(sums), cap(b)/pageSumSize)
		b = b[:0]
		for _, sum := range sums[:n] {
			b = binary.BigEndian.AppendUint64(b, uint64(sum))
		}
		if _, err := w.Write(b); err != nil {
			return base, fmt.Errorf("send page checksums of %q: %w", db.name, err)
		}
		sums = sums[n:]
	}
	return base, nil
}

// partialSums returns the position, and the checksums of the pages of the database
// with those of the partial transfer in place of its own.
func (db *DB) partialSums(ctx context.Context) (base ltx.Pos, sums []ltx.Checksum, err error) {
	if err := db.partial.salvage(); err != nil {
		return base, nil, err
	}
	image, err := db.partial.open()
	if err != nil {
		return base, nil, err
	}
	base, pageSize, sums := db.ownSums()
	if image == nil {
		return base, sums, nil
	}
	defer func() { err = errors.Join(err, image.f.Close()) }()
	if pageSize != image.pageSize {
		sums = nil
	}
	if grow := int(image.pages) - len(sums); grow > 0 {
		sums = append(sums, make([]ltx.Checksum, grow)...)
	}
	reused := 0
	for pgno := uint32(1); pgno <= image.pages; pgno++ {
		if err := context.Cause(ctx); err != nil {
			return base, nil, err
		}
		page, there, err := image.read(pgno)
		if err != nil {
			return base, nil, err
		}
		if there {
			sums[pgno-1] = ltx.PageChecksum(pgno, page)
			reused++
		}
	}
	db.logger.Info("taking up a transfer that broke off", slog.Int("pages", reused))
	return base, sums, nil
}

// ownSums returns the position, the page size and the page checksums.
func (db *DB) ownSums() (ltx.Pos, uint32, []ltx.Checksum) {
	db.captureMu.Lock()
	defer db.captureMu.Unlock()
	return db.Pos(), db.pageSize, db.sums.clone().pages
}
