package litefs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"litefs"
	"litefs/internal/fsx"
	format "litefs/internal/sqlite"
	"litefs/ltx"
)

const bootIDPath = "/proc/sys/kernel/random/boot_id"

// appendRun is a replica that appends to a WAL, with the steps of the peer, which
// needs a mount, made on the disk in memory.
type appendRun struct {
	*replicaRun
	database, wal fsx.File
	header        format.WALHeader
	cursor        format.WALCursor
	pos           ltx.Pos // of the primary, that was appended last
	at            string  // content there
	folded        string  // content of the database file
	log           int     // states that are in the log
}

// startAppendRun starts a replica that has two transactions in its database file.
func startAppendRun(t *testing.T) *appendRun {
	t.Helper()
	r := &appendRun{replicaRun: startReplicaRun(t)}
	for range 2 {
		r.primary.commit()
		r.follow()
	}
	src, dst := r.dbs()
	r.pos = src.Pos()
	r.at = r.states[len(r.states)-1]
	r.folded = r.at
	r.database = r.open(dst.DatabasePath())
	r.wal = r.open(dst.WALPath())
	r.must(r.fs.SyncDir(dst.Path()))
	return r
}

func (r *appendRun) open(path string) fsx.File {
	r.t.Helper()
	f, err := r.fs.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	r.must(err)
	return f
}

// commit appends n transactions of the primary as one.
func (r *appendRun) commit(n int) {
	r.t.Helper()
	for range n {
		r.primary.commit()
	}
	src, dst := r.dbs()
	var merged bytes.Buffer
	var inputs []io.Reader
	for r.pos != src.Pos() {
		f, err := src.OpenLTXAfter(r.pos)
		r.must(err)
		b, err := io.ReadAll(f)
		r.must(errors.Join(err, f.Close()))
		inputs = append(inputs, bytes.NewReader(b))
		var trailer ltx.Trailer
		r.must(trailer.UnmarshalBinary(b[len(b)-ltx.TrailerSize:]))
		r.pos = ltx.Pos{TXID: f.Header().MaxTXID, PostApplyChecksum: trailer.PostApplyChecksum}
	}
	r.must(ltx.NewCompactor(&merged, inputs).Compact(r.t.Context()))
	file, err := dst.ReceiveLTX(r.t.Context(), &merged)
	r.must(err)
	r.expect()
	r.must(dst.AppendLog(file))
	r.log = len(r.states) - 1
	r.write(r.states[r.log])
	r.acknowledge(false)
}

// write appends what leads to a content as frames.
func (r *appendRun) write(next string) {
	r.t.Helper()
	if r.cursor.Frame == 0 {
		r.header = r.header.Next(uint32(len(r.states)))
		r.header.PageSize = pagerPageSize
		r.must(format.WriteWALHeader(r.wal, r.header))
		r.cursor = r.header.Start()
	}
	var changed []uint32
	for pgno := uint32(1); pgno <= pageCount(next); pgno++ {
		if pgno > pageCount(r.at) || page(next, pgno) != page(r.at, pgno) {
			changed = append(changed, pgno)
		}
	}
	w := format.NewWALWriter(r.wal, r.cursor)
	for i, pgno := range changed {
		commit := uint32(0)
		if i == len(changed)-1 {
			commit = pageCount(next)
		}
		r.must(w.WriteFrame(pgno, commit, []byte(page(next, pgno))))
		r.must(w.Flush())
	}
	r.cursor, r.at = w.Cursor(), next
}

func (r *appendRun) syncLog() {
	r.t.Helper()
	_, dst := r.dbs()
	r.must(dst.SyncLog())
	r.acknowledge(true)
}

// checkpoint brings the WAL into the database file, and has it begin again.
func (r *appendRun) checkpoint() {
	r.t.Helper()
	r.syncLog()
	r.must(r.wal.Sync())
	for pgno := uint32(1); pgno <= pageCount(r.at); pgno++ {
		if pgno > pageCount(r.folded) || page(r.at, pgno) != page(r.folded, pgno) {
			_, err := r.database.WriteAt([]byte(page(r.at, pgno)), int64(pgno-1)*pagerPageSize)
			r.must(err)
		}
	}
	r.must(r.database.Truncate(int64(len(r.at))))
	r.must(r.database.Sync())
	r.folded, r.cursor = r.at, format.WALCursor{}
}

// finish closes the files, and returns the steps up to here.
func (r *appendRun) finish() []stop {
	r.t.Helper()
	r.stop("the end")
	stops := slices.Clone(r.stops)
	r.must(errors.Join(r.database.Close(), r.wal.Close()))
	r.primary.close()
	r.must(r.store.Close())
	return stops
}

// A replica that appends to a WAL loses some of the end of its log and of its WAL
// with the power, each for itself. It starts with a database that it has had and
// that the primary knows, not older than what it has synced.
func TestCrashEveryStepOfAppend(t *testing.T) {
	r := startAppendRun(t)
	r.stops = nil
	r.commit(1)
	r.commit(3)
	r.commit(1)
	r.commit(2)
	r.checkpoint()
	r.commit(2)
	r.commit(1)
	r.syncLog()
	r.commit(1)
	r.commit(2)
	r.commit(1)
	known := primaryHistory(t, r.primary.store.DB("db"))
	stops := r.finish()
	seeds, recoveries, shorter := 12, 0, 0
	if long {
		seeds = 100
	}
	for i, s := range stops {
		for kind, disk := range s.disks(seeds) {
			if err := s.judge(t, disk.Kill(), s.acknowledged(kind)); err != nil {
				t.Errorf("%s at %s: %v", kind, s.at, err)
			}
			pos, err := recoveredPos(t, disk)
			if err != nil || !known[pos] {
				t.Errorf("%s at %s: position %s is not the primary's (error %v)", kind, s.at, pos, err)
			}
			if pos != r.pos && i == len(stops)-1 {
				shorter++
			}
		}
		if first := []string{"kill", "power", "power/0"}[i%3]; long || i%4 == 0 {
			recoveries += s.crashRecovery(t, s.disks(1)[first], first, uint64(i))
		}
	}
	if len(stops) < 30 || recoveries < 50 || shorter == 0 {
		t.Errorf("only %d steps, %d of recoveries, %d losses at the end", len(stops), recoveries, shorter)
	}
}

// primaryHistory returns every position at the end of a file of a log, and all others
// that transactions have led to.
func primaryHistory(t *testing.T, db *litefs.DB) map[ltx.Pos]bool {
	t.Helper()
	known := map[ltx.Pos]bool{db.Pos(): true}
	entries, err := db.Store().FS.ReadDir(db.LTXDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		b, err := fsx.ReadFile(db.Store().FS, db.LTXDir()+"/"+entry.Name(), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		hdr, trailer, err := ltx.Verify(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		known[ltx.Pos{TXID: hdr.MaxTXID, PostApplyChecksum: trailer.PostApplyChecksum}] = true
	}
	return known
}

func recoveredPos(t *testing.T, disk fsx.FS) (ltx.Pos, error) {
	t.Helper()
	store := newCrashStore(disk)
	if err := store.Open(t.Context()); err != nil {
		return ltx.Pos{}, err
	}
	pos := store.DB("db").Pos()
	return pos, store.Close()
}

// What the WAL has behind the log is captured if the power was not lost: a program has
// committed it when the process was killed that kept it from writing. After another
// boot nobody can tell, and it is set aside.
func TestBehindTheLogOfAReplica(t *testing.T) {
	for _, test := range []struct {
		name, boot string
		captured   bool
	}{
		{"same boot", "one\n", true},
		{"another boot", "two\n", false},
		{"no boot ID", "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := startAppendRun(t)
			must := r.must
			must(r.disk.MkdirAll("/proc/sys/kernel/random", 0o777))
			writeBootID(t, r.disk, "one\n")
			r.commit(1)
			before := r.pos
			foreign := []byte(r.at)
			foreign[pagerPageSize+200] ^= 0xff
			r.write(string(foreign))
			disk := r.disk.Kill()
			r.finish()
			writeBootID(t, disk, test.boot)

			store := newCrashStore(disk)
			must(store.Open(t.Context()))
			pos, err := store.DB("db").Verify(t.Context())
			must(err)
			if captured := pos.TXID == before.TXID+1; captured != test.captured || !captured && pos != before {
				t.Errorf("position is %s after %s, captured should be %t", pos, before, test.captured)
			}
			entries, err := disk.ReadDir(store.DB("db").Path() + "/damaged")
			aside := err == nil && len(entries) == 1 && strings.HasSuffix(entries[0].Name(), "-wal")
			if aside == test.captured {
				t.Errorf("set aside: %t (%v)", aside, entries)
			}
			must(store.Close())
		})
	}
}

func writeBootID(t *testing.T, disk fsx.FS, id string) {
	t.Helper()
	f, err := disk.OpenFile(bootIDPath, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o666)
	if err == nil {
		_, err = f.Write([]byte(id))
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(fmt.Errorf("write boot ID: %w", err))
	}
}
