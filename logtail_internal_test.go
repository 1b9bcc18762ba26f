package litefs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"syscall"
	"testing"

	"litefs/internal/fsx"
	"litefs/internal/fsx/faultfs"
	"litefs/internal/fsx/memfs"
	"litefs/ltx"
)

// tailOf returns a tail on disk with records of transactions 7, 8 and 9.
func tailOf(t *testing.T, disk fsx.FS) *logTail {
	t.Helper()
	tail := &logTail{fs: disk, path: "/log-tail"}
	for i := range ltx.TXID(3) {
		if err := tail.append(7+i, 7+i, bytes.Repeat([]byte{byte(i)}, 3000+int(i)*1000)); err != nil {
			t.Fatal(err)
		}
	}
	return tail
}

// Whatever is damaged, what is read is the records up to there.
func TestTailDamage(t *testing.T) {
	disk := memfs.New()
	tail := tailOf(t, disk)
	whole, err := fsx.ReadFile(disk, tail.path, tailSizeBytes)
	if err != nil {
		t.Fatal(err)
	}
	if len(whole) != tailSizeBytes {
		t.Fatalf("the file has %d bytes, want all its blocks at once: %d", len(whole), tailSizeBytes)
	}
	read := func(content []byte) []tailRecord {
		t.Helper()
		disk := memfs.New()
		if err := fsx.WriteFileAtomic(disk, tail.path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		found := &logTail{fs: disk, path: tail.path}
		if err := found.load(); err != nil {
			t.Fatal(err)
		}
		return found.records
	}
	if got := read(whole); !slices.Equal(got, tail.records) || len(got) != 3 {
		t.Fatalf("read %v, want %v", got, tail.records)
	}
	for i, r := range tail.records {
		for offset := r.offset - tailHeaderBytes; offset < r.offset+r.sizeBytes; offset += 7 {
			damaged := bytes.Clone(whole)
			damaged[offset] ^= 1 << (offset % 8)
			if got := read(damaged); !slices.Equal(got, tail.records[:i]) {
				t.Fatalf("byte %d of record %d damaged: read %v", offset, i, got)
			}
		}
		for _, n := range []int64{r.offset - tailHeaderBytes, r.offset - 1, r.offset, r.offset + r.sizeBytes - 1} {
			if got := read(whole[:n]); !slices.Equal(got, tail.records[:i]) {
				t.Fatalf("file cut at %d, in record %d: read %v", n, i, got)
			}
		}
	}
}

// What an earlier generation has left behind the last record is not read.
func TestTailGeneration(t *testing.T) {
	disk := memfs.New()
	tail := tailOf(t, disk)
	tail.records, tail.unwiped = nil, true
	if err := tail.clear(); err != nil {
		t.Fatal(err)
	}
	if err := tail.append(7, 7, []byte("another history")); err != nil {
		t.Fatal(err)
	}
	found := &logTail{fs: disk, path: tail.path}
	if err := found.load(); err != nil || !slices.Equal(found.records, tail.records) || len(found.records) != 1 {
		t.Errorf("read %v (%v), want %v", found.records, err, tail.records)
	}
}

// emptyLTX returns the LTX file of a transaction on a database of one page.
func emptyLTX(t *testing.T, txid ltx.TXID) []byte {
	t.Helper()
	page := bytes.Repeat([]byte{byte(txid)}, 512)
	before := ltx.PageChecksum(1, bytes.Repeat([]byte{byte(txid - 1)}, 512))
	var b bytes.Buffer
	enc := ltx.NewEncoder(&b)
	err := enc.EncodeHeader(ltx.Header{PageSize: 512, Commit: 1, MinTXID: txid, MaxTXID: txid, PreApplyChecksum: before})
	err = errors.Join(err, enc.EncodePage(1, page))
	enc.SetPostApplyChecksum(ltx.PageChecksum(1, page))
	if err := errors.Join(err, enc.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// compact writes LTX files as one.
func compact(w io.Writer, files []io.Reader) error {
	return ltx.NewCompactor(w, files).Compact(context.Background())
}

// renameHookFS calls a function with the new name when a file is renamed.
type renameHookFS struct {
	fsx.FS
	before func(name string)
}

func (f *renameHookFS) Rename(oldname, newname string) error {
	f.before(newname)
	return f.FS.Rename(oldname, newname)
}

// The log is synced while a part of what is in the tail has become a file and the
// other, a transaction that is not committed yet, has not.
func TestSyncWhileGathering(t *testing.T) {
	disk := &renameHookFS{FS: memfs.New()}
	log := newLTXLog(disk, "/ltx", compact)
	var names []string
	disk.before = func(name string) {
		names = append(names, name)
		if err := log.sync(); err != nil {
			t.Error(err)
		}
	}
	for txid := range ltx.TXID(3) {
		if err := log.appendTail(ltxFile{min: txid + 2, max: txid + 2}, emptyLTX(t, txid+2), 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.gather(3); err != nil {
		t.Fatal(err)
	}
	if want := []string{log.path(ltxFile{min: 2, max: 3}), log.path(ltxFile{min: 4, max: 4})}; !slices.Equal(names, want) {
		t.Errorf("gathering has made %q, want %q", names, want)
	}
	if n := len(log.pending()); n != 0 || log.unsynced != 0 {
		t.Errorf("%d files are pending and %d counted as not synced, want none", n, log.unsynced)
	}
	if err := log.withdraw(ltxFile{min: 4, max: 4}); err != nil {
		t.Fatal(err)
	}
	if got := log.snapshot(); len(got) != 1 || got[0].max != 3 {
		t.Errorf("log after the transaction is taken back: %v", got)
	}
	if err := log.close(); err != nil {
		t.Fatal(err)
	}
	if _, err := disk.Stat("/log-tail"); !os.IsNotExist(err) {
		t.Errorf("an empty tail is left: %v", err)
	}
}

// A transaction that is taken back is not found after a crash.
func TestWithdrawFromTail(t *testing.T) {
	disk := memfs.New()
	log := newLTXLog(disk, "/ltx", compact)
	for txid := range ltx.TXID(2) {
		if err := log.appendTail(ltxFile{min: txid + 2, max: txid + 2}, emptyLTX(t, txid+2), txid+1); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.withdraw(ltxFile{min: 3, max: 3}); err != nil {
		t.Fatal(err)
	}
	found := newLTXLog(disk.Crash(nil), "/ltx", compact)
	files, err := found.load()
	if err != nil || len(files) != 1 || files[0].max != 2 {
		t.Errorf("files after a power cut: %v (%v), want that of transaction 2", files, err)
	}
}

// A record that could neither be made durable nor taken back is gone before anything
// else enters the log.
func TestTailNotWiped(t *testing.T) {
	disk, broken := memfs.New(), false
	syncs := 0
	fsys := faultfs.New(disk, func(op faultfs.Op) error {
		if op.Kind == "sync" && broken {
			syncs++
			return syscall.EIO
		}
		if op.Kind == "write" && syncs > 0 && broken {
			return syscall.EIO
		}
		return nil
	})
	log := newLTXLog(fsys, "/ltx", compact)
	if err := log.appendTail(ltxFile{min: 2, max: 2}, emptyLTX(t, 2), 1); err != nil {
		t.Fatal(err)
	}
	if err := log.gather(2); err != nil {
		t.Fatal(err)
	}
	broken = true
	if err := log.appendTail(ltxFile{min: 3, max: 3}, emptyLTX(t, 3), 2); !errors.Is(err, syscall.EIO) {
		t.Fatalf("append on a disk that fails: %v", err)
	}
	if found := (&logTail{fs: disk, path: "/log-tail"}); found.load() != nil || len(found.records) != 1 {
		t.Fatalf("the record is not what this test is about: %v", found.records)
	}
	broken = false
	if err := log.gather(2); err != nil {
		t.Fatal(err)
	}
	files, err := newLTXLog(disk.Kill(), "/ltx", compact).load()
	if err != nil || len(files) != 1 || files[0].max != 2 {
		t.Errorf("files after a kill: %v (%v), want that of transaction 2", files, err)
	}
	if log.tail.unwiped {
		t.Error("the tail is still to be wiped")
	}
}
