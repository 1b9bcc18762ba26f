package litefs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"litefs/internal/fsx"
	"litefs/ltx"
)

// A new file for each small transaction that must be durable costs the disk an inode,
// a name, and the syncs of both. While nobody follows the log, such transactions are
// therefore first written to its tail: one file of fixed size that is written over,
// for which one fdatasync of the data is enough. They become a file of the log, all
// that have gathered in one, when the tail is full, when somebody looks at the log, and
// else within a second.
//
// The tail is a sequence of records, each at the beginning of a block, so that to write
// one never rewrites a part of another:
//
//	magic  generation  min TXID  max TXID  length  CRC-64 of all else  LTX file
//
// each but the LTX file 8 bytes, big-endian. It ends at the first record that is not
// valid, or not of the first one's generation.
//
// Gathering makes the LTX file durable, then its name, and then wipes the first record.
// A crash before that leaves records that the file covers, which the next start skips;
// those that no file covers it makes files of.
const (
	tailName         = "log-tail"
	tailMagic        = 0x4c54585441494c31 // "LTXTAIL1"
	tailSizeBytes    = 1 << 19
	tailBlockBytes   = 4096
	tailHeaderBytes  = 48
	tailPayloadBytes = 1 << 16 // the longest LTX file that goes to the tail
)

// logTail is the tail of one log.
type logTail struct {
	fs      fsx.FS
	path    string
	compact compactFunc

	mu         sync.Mutex // taken before the mutexes of ltxLog
	f          fsx.File   // nil until it is needed
	generation uint64
	records    []tailRecord
	// unwiped is set while the file has records that are files of the log by now, or
	// were taken back.
	unwiped bool
}

// compactFunc writes several LTX files as one.
type compactFunc func(w io.Writer, files []io.Reader) error

// tailRecord is one LTX file in the tail.
type tailRecord struct {
	min, max  ltx.TXID
	offset    int64 // of the LTX file, in bytes
	sizeBytes int64
}

// end returns where the block after a record begins.
func (r tailRecord) end() int64 {
	return (r.offset + r.sizeBytes + tailBlockBytes - 1) / tailBlockBytes * tailBlockBytes
}

// end returns where the next record goes.
func (t *logTail) end() int64 {
	if len(t.records) == 0 {
		return 0
	}
	return t.records[len(t.records)-1].end()
}

// hasRoom reports whether an LTX file of a length can be appended.
func (t *logTail) hasRoom(sizeBytes int64) bool {
	return tailRecord{offset: t.end() + tailHeaderBytes, sizeBytes: sizeBytes}.end() <= tailSizeBytes
}

// open makes the file and gives it its blocks.
func (t *logTail) open() (err error) {
	f, err := t.fs.OpenFile(t.path, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o666)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, tailSizeBytes))
	if err == nil {
		err = errors.Join(f.Sync(), t.fs.SyncDir(filepath.Dir(t.path)))
	}
	if err != nil {
		return errors.Join(err, f.Close(), t.fs.Remove(t.path))
	}
	t.f, t.generation = f, rand.Uint64()
	return nil
}

// append writes a record and makes it durable.
func (t *logTail) append(minTXID, maxTXID ltx.TXID, data []byte) error {
	if t.f == nil {
		if err := t.open(); err != nil {
			return err
		}
	}
	start := t.end()
	b := make([]byte, 0, tailHeaderBytes+len(data))
	for _, v := range []uint64{tailMagic, t.generation, uint64(minTXID), uint64(maxTXID), uint64(len(data))} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	b = binary.BigEndian.AppendUint64(b, tailChecksum(b, data))
	_, err := t.f.WriteAt(append(b, data...), start)
	if err == nil {
		err = t.f.Sync()
	}
	if err != nil {
		return errors.Join(err, t.wipe(start))
	}
	t.records = append(t.records, tailRecord{minTXID, maxTXID, start + tailHeaderBytes, int64(len(data))})
	return nil
}

// tailChecksum returns the checksum of a record, of whose header the first 40 bytes are
// given.
func tailChecksum(header, data []byte) uint64 {
	return crc64.Update(crc64.Checksum(header, crcTable), crcTable, data)
}

// wipe makes the record at offset, and with it all that follow, invalid. If it cannot,
// nothing is appended before the tail has been cleared: the record must not be found
// after a crash.
func (t *logTail) wipe(offset int64) error {
	_, err := t.f.WriteAt(make([]byte, tailHeaderBytes), offset)
	if err == nil {
		err = t.f.Sync()
	}
	t.unwiped = t.unwiped || err != nil
	return err
}

// withdraw takes the newest record back.
func (t *logTail) withdraw() error {
	last := len(t.records) - 1
	if err := t.wipe(t.records[last].offset - tailHeaderBytes); err != nil {
		return err
	}
	t.records = t.records[:last]
	return nil
}

// clear takes back all that has become files of the log.
func (t *logTail) clear() error {
	if !t.unwiped || len(t.records) > 0 {
		return nil
	}
	err := t.wipe(0)
	t.unwiped = err != nil
	t.generation = rand.Uint64()
	return err
}

// write copies the LTX file of a record, or several as one.
func (t *logTail) write(w io.Writer, records []tailRecord) error {
	inputs := make([]io.Reader, len(records))
	for i, r := range records {
		inputs[i] = io.NewSectionReader(t.f, r.offset, r.sizeBytes)
	}
	if len(inputs) == 1 {
		_, err := io.Copy(w, inputs[0])
		return err
	}
	return t.compact(w, inputs)
}

// load reads the records that a crash has left.
func (t *logTail) load() error {
	f, err := t.fs.OpenFile(t.path, os.O_RDWR, 0)
	if isNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	t.f = f
	for {
		r, err := t.readRecord(t.end())
		if err != nil || r == nil {
			return err
		}
		t.records = append(t.records, *r)
	}
}

// readRecord reads the record at offset. It returns nil if there is no valid one.
func (t *logTail) readRecord(offset int64) (*tailRecord, error) {
	var header [tailHeaderBytes]byte
	if err := readFull(t.f, header[:], offset); err != nil {
		return nil, ignoreEOF(err)
	}
	field := func(i int) uint64 { return binary.BigEndian.Uint64(header[8*i:]) }
	r := &tailRecord{min: ltx.TXID(field(2)), max: ltx.TXID(field(3)), offset: offset + tailHeaderBytes, sizeBytes: int64(field(4))}
	switch {
	case field(0) != tailMagic, r.sizeBytes < 0, r.sizeBytes > tailPayloadBytes:
		return nil, nil
	case len(t.records) == 0:
		t.generation = field(1)
	case field(1) != t.generation, r.min != t.records[len(t.records)-1].max+1:
		return nil, nil
	}
	data := make([]byte, r.sizeBytes)
	if err := readFull(t.f, data, r.offset); err != nil {
		return nil, ignoreEOF(err)
	}
	if tailChecksum(header[:tailHeaderBytes-8], data) != field(5) {
		return nil, nil
	}
	return r, nil
}

// close closes what the log has open, which is the tail.
func (l *ltxLog) close() error {
	l.tail.mu.Lock()
	defer l.tail.mu.Unlock()
	return l.tail.close()
}

// close closes the file, and removes it if nothing is in it.
func (t *logTail) close() error {
	if t.f == nil {
		return nil
	}
	err := t.f.Close()
	t.f = nil
	if len(t.records) > 0 || t.unwiped {
		return err
	}
	return errors.Join(err, removeIfExists(t.fs, t.path))
}

// appendTail makes the LTX file in data the newest of the log, durably, without a file
// of its own. published is the last transaction that is not taken back any more.
func (l *ltxLog) appendTail(file ltxFile, data []byte, published ltx.TXID) error {
	l.tail.mu.Lock()
	defer l.tail.mu.Unlock()
	if len(l.pending()) > 0 {
		if err := l.sync(); err != nil {
			return err
		}
	}
	if l.tail.unwiped || !l.tail.hasRoom(int64(len(data))) {
		if err := l.gatherLocked(published); err != nil {
			return err
		}
	}
	if err := l.tail.append(file.min, file.max, data); err != nil {
		return fmt.Errorf("append to %q: %w", l.tail.path, err)
	}
	file.tailed, file.synced = true, true
	l.mu.Lock()
	defer l.mu.Unlock()
	l.files = append(l.files, file)
	return nil
}

// gather makes what is in the tail files of the log: one of what is published, and one
// of a transaction that may yet be taken back.
func (l *ltxLog) gather(published ltx.TXID) error {
	l.tail.mu.Lock()
	defer l.tail.mu.Unlock()
	return l.gatherLocked(published)
}

func (l *ltxLog) gatherLocked(published ltx.TXID) error {
	if len(l.tail.records) == 0 && !l.tail.unwiped {
		return nil
	}
	for len(l.tail.records) > 0 {
		n := slices.IndexFunc(l.tail.records, func(r tailRecord) bool { return r.max > published })
		if n < 0 {
			n = len(l.tail.records)
		}
		if err := l.gatherRecords(max(n, 1)); err != nil {
			return fmt.Errorf("make a file of %q: %w", l.tail.path, err)
		}
	}
	if err := l.sync(); err != nil {
		return err
	}
	return l.tail.clear()
}

// gatherRecords makes one file of the log of the first n records of the tail.
func (l *ltxLog) gatherRecords(n int) error {
	records := l.tail.records[:n]
	file := ltxFile{min: records[0].min, max: records[n-1].max}
	sizeBytes, err := l.writeDurably(file, func(w io.Writer) error { return l.tail.write(w, records) })
	if err != nil {
		return err
	}
	l.tail.records = l.tail.records[n:]
	l.tail.unwiped = true
	l.mu.Lock()
	defer l.mu.Unlock()
	first := slices.IndexFunc(l.files, func(f ltxFile) bool { return f.tailed })
	file.sizeBytes, file.createdAt = sizeBytes, l.files[first].createdAt
	l.files = slices.Replace(l.files, first, first+n, file)
	l.unsynced++ // its name is not durable
	return nil
}

// writeDurably writes a file of the log that has its name only once its content is
// durable. It returns the length in bytes.
func (l *ltxLog) writeDurably(file ltxFile, write func(io.Writer) error) (sizeBytes int64, err error) {
	f, tmp, err := l.create(file.min, file.max)
	if err != nil {
		return 0, err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		sizeBytes, err = fileSize(f)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = l.fs.Rename(tmp, l.path(file))
	}
	if err != nil {
		return 0, errors.Join(err, removeIfExists(l.fs, tmp))
	}
	return sizeBytes, nil
}

// loadTail makes files of what a crash has left in the tail, unless files has it.
func (l *ltxLog) loadTail(files []ltxFile) (made []ltxFile, err error) {
	l.tail.mu.Lock()
	defer l.tail.mu.Unlock()
	if err := l.tail.load(); err != nil {
		return nil, err
	}
	for _, r := range l.tail.records {
		covers := func(f ltxFile) bool { return f.min <= r.min && r.max <= f.max }
		if slices.ContainsFunc(files, covers) {
			continue
		}
		file := ltxFile{min: r.min, max: r.max}
		if file.sizeBytes, err = l.writeDurably(file, func(w io.Writer) error { return l.tail.write(w, []tailRecord{r}) }); err != nil {
			return nil, err
		}
		made = append(made, file)
	}
	if len(l.tail.records) > 0 { // also of files that the crash left with no more than a name in memory
		if err := l.syncNames(); err != nil {
			return nil, err
		}
	}
	l.tail.unwiped, l.tail.records = len(l.tail.records) > 0, nil
	return made, errors.Join(l.tail.clear(), l.tail.close())
}
