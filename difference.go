package litefs

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"litefs/ltx"
)

// A page difference brings another copy of a database in line, whatever that copy
// is: it sends the checksums of the pages that it has, and is answered with an LTX
// file of the pages that differ. An empty copy has no checksums, and is answered
// with a snapshot.
//
// The file's header says what it leads from and to:
//
//	pre-apply checksum   of the base, the position that the other copy has stated
//	max TXID             T, that of this database
//	min TXID             base+1 if the base lies before T, otherwise T
//
// If no page of the other copy is of use, the file is a snapshot: it begins with
// transaction 1, has every page and no pre-apply checksum. That is so for an empty
// copy, for one with another page size, and for a database that has been dropped.
//
// A file that begins with transaction 1 can be nothing else. A copy without
// transactions that has some of the pages, from a transfer that broke off, is
// therefore answered with transactions that are numbered one higher, 2 to T+1, and
// the checksum of an empty database before them. ReceiveDifference, which knows that
// its database has no transaction, takes that back.

// ErrNoTransactions is returned for a database that has had no transaction: there
// is nothing to send, and an LTX file cannot say so.
var ErrNoTransactions = errors.New("database has had no transaction")

// pageSumSize is the length in bytes of one page checksum on the wire, big-endian.
// They come in the order of page numbers, from 1, and end with the stream; 0 stands
// for a page that is not there and for the lock page.
const pageSumSize = 8

// WriteDifferenceTo captures what is committed and writes to w an LTX file that
// turns a copy of the database that is at base, and whose page checksums are those
// in sums, into this one. It returns the position that the copy has then. Sums may
// be nil for a copy without pages.
//
// No program waits for it, however long w takes. After an error, what w has got is
// not an LTX file. The error is ErrNoTransactions if there is nothing to send. The
// content is compared with the position while it is read, and an error returned if
// it is something else.
func (db *DB) WriteDifferenceTo(ctx context.Context, w io.Writer, base ltx.Pos, sums io.Reader) (ltx.Pos, error) {
	ctx, _, cancel := db.store.mountContext(ctx)
	defer cancel()
	have, err := db.readPageSums(sums)
	if err != nil {
		return ltx.Pos{}, fmt.Errorf("read page checksums of another copy of %q: %w", db.name, err)
	}
	pos, err := db.writeDifference(ctx, w, base, have)
	if err != nil {
		return ltx.Pos{}, fmt.Errorf("send page difference of %q: %w", db.name, err)
	}
	return pos, nil
}

// WriteSnapshotTo writes the whole database to w, as an LTX file that begins with
// transaction 1. It is WriteDifferenceTo for a copy without pages.
func (db *DB) WriteSnapshotTo(ctx context.Context, w io.Writer) (ltx.Pos, error) {
	return db.WriteDifferenceTo(ctx, w, ltx.Pos{}, nil)
}

func (db *DB) writeDifference(ctx context.Context, w io.Writer, base ltx.Pos, have []ltx.Checksum) (pos ltx.Pos, err error) {
	if base.TXID > 0 && db.TXID() <= 1 {
		have = nil // the file can only begin with transaction 1
	}
	view, err := db.openPosView(ctx, have)
	if err != nil {
		return pos, err
	}
	defer func() { err = errors.Join(err, view.release()) }()

	hdr := differenceHeader(base, view.pos, view.whole())
	hdr.PageSize, hdr.Commit = view.pageSize, view.pages
	hdr.Timestamp, hdr.NodeID = db.Now().UnixMilli(), db.store.nodeNumber()

	enc := db.store.encoder(w)
	defer db.store.encoders.Put(enc)
	if err := enc.EncodeHeader(hdr); err != nil {
		return pos, err
	}
	if err := view.each(ctx, enc.EncodePage); err != nil {
		return pos, err
	}
	enc.SetPostApplyChecksum(view.pos.PostApplyChecksum)
	return view.pos, enc.Close()
}

// differenceHeader returns the header of the file that leads from base to pos.
func differenceHeader(base, pos ltx.Pos, whole bool) ltx.Header {
	switch {
	case whole:
		return ltx.Header{MinTXID: 1, MaxTXID: pos.TXID}
	case base.TXID == 0:
		return ltx.Header{MinTXID: 2, MaxTXID: pos.TXID + 1, PreApplyChecksum: ltx.ChecksumFlag}
	default:
		return ltx.Header{MinTXID: min(base.TXID+1, pos.TXID), MaxTXID: pos.TXID, PreApplyChecksum: base.PostApplyChecksum}
	}
}

// readPageSums reads the checksums of the pages of another copy. Those beyond the
// end of this one are of no use, and read past: what they take in memory is not for
// others to say.
func (db *DB) readPageSums(r io.Reader) ([]ltx.Checksum, error) {
	if r == nil {
		return nil, nil
	}
	db.sumsMu.RLock()
	limit := int(db.sums.size())
	db.sumsMu.RUnlock()
	var have []ltx.Checksum
	in := bufio.NewReaderSize(r, 1<<16)
	for len(have) < limit {
		var b [pageSumSize]byte
		_, err := io.ReadFull(in, b[:])
		if errors.Is(err, io.EOF) {
			return have, nil
		}
		if err != nil {
			return nil, err
		}
		have = append(have, ltx.Checksum(binary.BigEndian.Uint64(b[:])))
	}
	_, err := io.Copy(io.Discard, in)
	return have, err
}
