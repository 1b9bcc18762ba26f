package litefs_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"litefs"
	"litefs/internal/fsx"
	"litefs/internal/fsx/faultfs"
	"litefs/internal/fsx/memfs"
)

// A node may stop at any step of a transfer: what it finds at its next start never
// keeps it from getting the database, whatever the disk has kept.
func TestTransferAcrossCrashes(t *testing.T) {
	source := newCrashRun(t)
	source.open()
	source.commit()
	primary := source.pager.db
	var stops []stop
	disk := memfs.New()
	if err := errors.Join(disk.MkdirAll("/var", 0o777), disk.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	store := newReplicaStore(t, faultfs.New(disk, func(op faultfs.Op) error {
		stops = append(stops, stop{at: op.String(), disk: disk.Kill()})
		return nil
	}))
	for i := range 3 {
		source.commit()
		file, err := transfer(t, primary, store.DB("db"))
		if err != nil {
			t.Fatal(err)
		}
		if i < 2 {
			_, err = store.DB("db").ReceiveDifference(t.Context(), breakOff(file, len(file)*3/4))
			if !errors.Is(err, errBroken) {
				t.Fatal(err)
			}
			continue
		}
		received, err := store.DB("db").ReceiveDifference(t.Context(), bytes.NewReader(file))
		if err == nil {
			err = store.DB("db").ApplyDifference(t.Context(), received)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if len(stops) < 30 {
		t.Fatalf("%d steps, want more", len(stops))
	}
	for _, s := range stops {
		for kind, disk := range s.disks(3) {
			if err := judgeTransfer(t, primary, disk); err != nil {
				t.Errorf("%s, %s: %v", s.at, kind, err)
			}
		}
	}
	source.close()
}

// newReplicaStore starts a node that follows, with a database.
func newReplicaStore(t *testing.T, fsys fsx.FS) *litefs.Store {
	t.Helper()
	store := newCrashStore(fsys)
	err := store.Open(t.Context())
	if err == nil {
		_, err = store.CreateDBIfNotExists("db")
	}
	if err == nil {
		err = store.BecomeReplica(t.Context(), nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// transfer returns the file that a replica is sent.
func transfer(t *testing.T, primary, replica *litefs.DB) ([]byte, error) {
	t.Helper()
	var sums, file bytes.Buffer
	base, err := replica.WritePageSums(t.Context(), &sums)
	if err == nil {
		_, err = primary.WriteDifferenceTo(t.Context(), &file, base, &sums)
	}
	return file.Bytes(), err
}

// judgeTransfer starts a replica on a disk and has it fetch the database.
func judgeTransfer(t *testing.T, primary *litefs.DB, disk *memfs.FS) error {
	t.Helper()
	store := newReplicaStore(t, disk)
	replica := store.DB("db")
	err := func() error {
		file, err := transfer(t, primary, replica)
		if err != nil {
			return err
		}
		received, err := replica.ReceiveDifference(t.Context(), bytes.NewReader(file))
		if err != nil {
			return err
		}
		if err := replica.ApplyDifference(t.Context(), received); err != nil {
			return err
		}
		pos, err := replica.Verify(t.Context())
		if err == nil && pos != primary.Pos() {
			err = fmt.Errorf("replica is at %s, primary at %s", pos, primary.Pos())
		}
		return err
	}()
	if err := errors.Join(err, store.Close()); err != nil {
		return err
	}
	if open := disk.OpenFiles(); len(open) > 0 {
		return fmt.Errorf("files are left open: %q", open)
	}
	if entries, err := disk.ReadDir(replica.Path() + "/partial"); err == nil && len(entries) > 0 {
		names := make([]string, 0, len(entries))
		for _, entry := range entries {
			names = append(names, entry.Name())
		}
		slices.Sort(names)
		return fmt.Errorf("files are left: %q", names)
	}
	return nil
}
