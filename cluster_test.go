package litefs_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"litefs"
	"litefs/internal/fsx/faultfs"
	"litefs/internal/fsx/memfs"
)

const (
	clusterID      = "c0ffee00c0ffee00c0ffee00"
	otherClusterID = "badc0de0badc0de0badc0de0"
)

// openReplica opens a store as a replica of nobody.
func openReplica(t *testing.T, dir string) *litefs.Store {
	t.Helper()
	store := litefs.NewStore(dir, true)
	if err := store.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() }) // some tests close it themselves
	if err := store.BecomeReplica(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	return store
}

func TestClusterIsRemembered(t *testing.T) {
	dir := t.TempDir()
	store := openReplica(t, dir)
	if store.ClusterID() != "" || store.Epoch() != 0 {
		t.Errorf("new node: cluster %q, epoch %d", store.ClusterID(), store.Epoch())
	}
	if err := errors.Join(store.AdoptCluster(clusterID), store.AdoptCluster(clusterID), store.SeeEpoch(7), store.SeeEpoch(7)); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "cluster")); err != nil || string(data) != `{"cluster-id":"`+clusterID+`","epoch":7}`+"\n" {
		t.Errorf("file holds %q, %v", data, err)
	}
	again := openReplica(t, dir)
	if again.ClusterID() != clusterID || again.Epoch() != 7 {
		t.Errorf("after a restart: cluster %q, epoch %d", again.ClusterID(), again.Epoch())
	}
	if err := again.AdoptCluster(otherClusterID); !errors.Is(err, litefs.ErrClusterMismatch) {
		t.Errorf("AdoptCluster of another cluster: %v, want ErrClusterMismatch", err)
	}
	if err := again.SeeEpoch(6); !errors.Is(err, litefs.ErrStaleEpoch) {
		t.Errorf("SeeEpoch of an older one: %v, want ErrStaleEpoch", err)
	}
	if err := again.AdoptCluster("no ID"); err == nil {
		t.Error("AdoptCluster takes anything")
	}
	if again.ClusterID() != clusterID || again.Epoch() != 7 {
		t.Errorf("after refusals: cluster %q, epoch %d", again.ClusterID(), again.Epoch())
	}
}

// A primary does not take another's epoch for its own.
func TestSeeEpochOnPrimary(t *testing.T) {
	store := litefs.NewStore(t.TempDir(), true)
	if err := store.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	if err := store.SeeEpoch(1); !errors.Is(err, litefs.ErrStaleEpoch) || store.Epoch() != 0 {
		t.Errorf("SeeEpoch: %v, epoch %d; want ErrStaleEpoch and 0", err, store.Epoch())
	}
}

// A damaged file keeps the node from starting, with a message that says what to do,
// and is left as it is.
func TestClusterFileDamaged(t *testing.T) {
	for name, content := range map[string]string{
		"empty":       "",
		"nothing":     "{}",
		"torn":        `{"cluster-id":"c0ffee00c0f`,
		"no JSON":     "c0ffee00c0ffee00c0ffee00\n",
		"ID":          `{"cluster-id":"c0ffee","epoch":7}`,
		"epoch":       `{"cluster-id":"` + clusterID + `","epoch":-1}`,
		"zeros":       strings.Repeat("\x00", 100),
		"two objects": `{"epoch":7}{"epoch":8}`,
		"too long":    strings.Repeat(" ", 5000) + `{"epoch":7}`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "cluster")
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			err := litefs.NewStore(dir, true).Open(t.Context())
			if err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("Open: %v, want an error that names the file", err)
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != content {
				t.Errorf("the file holds %q, %v", got, err)
			}
		})
	}
}

// Every step of saving fails once, and the power is cut after it. Then the old state
// is known, or the new one; and the new one if the call succeeded.
func TestClusterFaultEveryStep(t *testing.T) {
	errDisk := errors.New("disk fault")
	for k := 0; ; k++ {
		disk := memfs.New()
		if err := errors.Join(disk.MkdirAll("/data", 0o777), disk.SyncDir("/")); err != nil {
			t.Fatal(err)
		}
		store := litefs.NewStore("/data", false)
		store.FS = disk
		if err := errors.Join(store.BecomeReplica(t.Context(), nil), store.AdoptCluster(clusterID), store.SeeEpoch(1)); err != nil {
			t.Fatal(err)
		}
		failed := false
		store.FS = faultfs.New(disk, func(op faultfs.Op) error {
			if op.N == k {
				failed = true
				return errDisk
			}
			return nil
		})
		err := store.SeeEpoch(2)
		if failed != errors.Is(err, errDisk) || failed == (store.Epoch() == 2) {
			t.Errorf("step %d failed %v: SeeEpoch returned %v, epoch %d", k, failed, err, store.Epoch())
		}
		after := litefs.NewStore("/data", false)
		after.FS = disk.Crash(nil)
		if err := after.Open(t.Context()); err != nil {
			t.Fatalf("step %d failed, then the power: %v", k, err)
		}
		if e := after.Epoch(); after.ClusterID() != clusterID || e != 2 && (e != 1 || !failed) {
			t.Errorf("step %d failed %v, then the power: cluster %q, epoch %d", k, failed, after.ClusterID(), e)
		}
		if err := after.Close(); err != nil {
			t.Fatal(err)
		}
		if !failed {
			if k < 5 {
				t.Fatalf("only %d steps were reached: the harness is not wired", k)
			}
			return
		}
	}
}
