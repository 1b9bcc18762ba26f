package ltx

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Compactor merges files that follow one another into one that has the same
// effect. It streams: of each input it holds one page and a read buffer.
//
// Each input but the first must begin at most one transaction after the end of
// the input before it, and end after it. Where it begins exactly one after, and
// both have database checksums, its pre-apply checksum must be the post-apply
// checksum of the input before it.
//
// The output has the first TXID and the pre-apply checksum of the first input;
// page size, commit, last TXID, timestamp and post-apply checksum of the last;
// and of every page the newest version. WAL fields and node ID are 0.
//
// A page that some input drops, by making the database smaller, is gone: if a
// later input makes the database larger again, the page must come from that
// input or one after it, never from an older one, nor from the database that
// the output is applied to. So every page beyond the smallest size on the way
// must be written after the database had that size, or Compact fails with
// ErrMissingPage. Another page size counts as dropping all pages: the input
// that brings it, with those after it, must hold the whole database.
type Compactor struct {
	enc        *Encoder
	inputs     []*compactorInput
	noChecksum bool
}

// compactorInput is one input and the page it stands at.
type compactorInput struct {
	dec  *Decoder
	page []byte
	hdr  PageHeader // zero after the last page
	keep uint32     // last page number that no later input drops
}

// NewCompactor returns a Compactor that merges inputs, oldest first, to w.
func NewCompactor(w io.Writer, inputs []io.Reader) *Compactor {
	c := &Compactor{enc: NewEncoder(w)}
	for _, r := range inputs {
		c.inputs = append(c.inputs, &compactorInput{dec: NewDecoder(r)})
	}
	return c
}

// SetCompression chooses, as for an Encoder, how pages are stored that have to
// be encoded. Pages that an input holds as LZ4 blocks are copied as they are.
func (c *Compactor) SetCompression(on bool) { c.enc.SetCompression(on) }

// SetNoChecksum chooses whether the output has HeaderFlagNoChecksum. It has it
// in any case if a checksum that it needs is missing from the inputs: the
// post-apply checksum of the last, or, unless the first is a snapshot, the
// pre-apply checksum of the first.
func (c *Compactor) SetNoChecksum(on bool) { c.noChecksum = on }

// Header returns the header of the output. It is valid after Compact.
func (c *Compactor) Header() Header { return c.enc.Header() }

// Trailer returns the trailer of the output. It is valid after Compact.
func (c *Compactor) Trailer() Trailer { return c.enc.Trailer() }

// Compact reads all inputs to their ends and writes the output. It must be
// called once. After an error, which may come at the very end, what has been
// written is to be discarded: a *FormatError says that an input is not valid,
// an error that wraps ErrNotContiguous or ErrMissingPage that the inputs do not
// go together, and ctx's error that ctx is done.
func (c *Compactor) Compact(ctx context.Context) error {
	if len(c.inputs) == 0 {
		return errors.New("compact: no inputs")
	}
	if err := c.open(); err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	if err := c.enc.EncodeHeader(c.header()); err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	if err := c.merge(ctx); err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	if err := c.finish(); err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	return nil
}

// open reads the headers and moves every input to its first page.
func (c *Compactor) open() error {
	for i, in := range c.inputs {
		if err := in.dec.DecodeHeader(); err != nil {
			return fmt.Errorf("input %d: %w", i, err)
		}
		h := in.dec.Header()
		if i > 0 {
			prev := c.inputs[i-1].dec.Header()
			if h.MaxTXID <= prev.MaxTXID || h.MinTXID-1 > prev.MaxTXID {
				return fmt.Errorf("input %d: %w: transactions %s to %s after %s to %s",
					i, ErrNotContiguous, h.MinTXID, h.MaxTXID, prev.MinTXID, prev.MaxTXID)
			}
		}
		in.page = make([]byte, h.PageSize)
		if err := in.advance(); err != nil {
			return fmt.Errorf("input %d: %w", i, err)
		}
	}
	return nil
}

// advance moves to the next page.
func (in *compactorInput) advance() error {
	if err := in.dec.DecodePage(&in.hdr, in.page); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// header returns the header of the output.
func (c *Compactor) header() Header {
	first, last := c.inputs[0].dec.Header(), c.inputs[len(c.inputs)-1].dec.Header()
	h := Header{
		PageSize:         last.PageSize,
		Commit:           last.Commit,
		MinTXID:          first.MinTXID,
		MaxTXID:          last.MaxTXID,
		Timestamp:        last.Timestamp,
		PreApplyChecksum: first.PreApplyChecksum,
	}
	if c.noChecksum || last.NoChecksum() || first.NoChecksum() && !first.IsSnapshot() {
		h.Flags = HeaderFlagNoChecksum
		h.PreApplyChecksum = 0
	}
	return h
}

// limits sets keep of every input. It returns the last page number that no
// input drops at all: what lies beyond has to be among the pages written.
func (c *Compactor) limits() uint32 {
	last := len(c.inputs) - 1
	keep := c.inputs[last].dec.Header().Commit
	for i := last; i >= 0; i-- {
		c.inputs[i].keep = keep
		h := c.inputs[i].dec.Header()
		keep = min(keep, h.Commit)
		if i > 0 && c.inputs[i-1].dec.Header().PageSize != h.PageSize {
			keep = 0
		}
	}
	return keep
}

// merge writes the newest version of each page.
func (c *Compactor) merge(ctx context.Context) error {
	order := newPageOrder(c.enc.Header())
	order.prev, order.complete = c.limits(), true
	for pgno := c.lowest(); pgno != 0; pgno = c.lowest() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if in := c.newest(pgno); in != nil {
			if pgno > order.prev {
				if err := order.next(pgno); err != nil {
					return err
				}
			}
			if err := c.enc.encodePage(pgno, in.page, in.dec.block); err != nil {
				return err
			}
		}
		for i, in := range c.inputs {
			if in.hdr.Pgno != pgno {
				continue
			}
			if err := in.advance(); err != nil {
				return fmt.Errorf("input %d: %w", i, err)
			}
		}
	}
	return order.end()
}

// lowest returns the lowest page number that an input stands at, 0 if all are
// at their ends.
func (c *Compactor) lowest() uint32 {
	var pgno uint32
	for _, in := range c.inputs {
		if n := in.hdr.Pgno; n != 0 && (pgno == 0 || n < pgno) {
			pgno = n
		}
	}
	return pgno
}

// newest returns the last input that stands at pgno, which lowest returned, if
// that version of the page is still there after the inputs that follow, or nil.
func (c *Compactor) newest(pgno uint32) *compactorInput {
	i := len(c.inputs) - 1
	for c.inputs[i].hdr.Pgno != pgno {
		i--
	}
	if pgno > c.inputs[i].keep {
		return nil
	}
	return c.inputs[i]
}

// finish checks the inputs as a whole, and how they follow one another, and
// completes the output.
func (c *Compactor) finish() error {
	for i, in := range c.inputs {
		if err := in.dec.Close(); err != nil {
			return fmt.Errorf("input %d: %w", i, err)
		}
		if i == 0 {
			continue
		}
		prev, h := c.inputs[i-1].dec, in.dec.Header()
		adjacent := h.MinTXID-1 == prev.Header().MaxTXID
		if adjacent && !h.NoChecksum() && !prev.Header().NoChecksum() && in.dec.PreApplyPos() != prev.PostApplyPos() {
			return fmt.Errorf("input %d: %w: position before it %s, position after input %d %s",
				i, ErrNotContiguous, in.dec.PreApplyPos(), i-1, prev.PostApplyPos())
		}
	}
	if !c.enc.Header().NoChecksum() {
		c.enc.SetPostApplyChecksum(c.inputs[len(c.inputs)-1].dec.Trailer().PostApplyChecksum)
	}
	return c.enc.Close()
}
