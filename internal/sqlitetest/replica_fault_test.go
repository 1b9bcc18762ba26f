package sqlitetest_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"litefs"
	"litefs/internal/fsx"
	"litefs/internal/fsx/faultfs"
	"litefs/internal/mounttest"
)

// TestReplicaDiskFails has the disk of a replica fail at each step of an apply,
// while a program reads. The program sees the database before or after the
// transaction, and the next apply brings the replica to where the primary is.
func TestReplicaDiskFails(t *testing.T) {
	failed := errors.New("no luck")
	for _, mode := range []string{"wal", "delete"} {
		t.Run(mode, func(t *testing.T) {
			var left atomic.Int64 // steps before the one that fails
			left.Store(-1)
			var p *pair
			options := mounttest.Options{NoLeakCheck: true, Configure: func(s *litefs.Store) {
				if p == nil {
					return
				}
				s.FS = faultfs.New(fsx.OS{}, func(faultfs.Op) error {
					if left.Load() >= 0 && left.Add(-1) == -1 {
						return failed
					}
					return nil
				})
			}}
			primary := mounttest.Start(t, options)
			p = &pair{primary: primary}
			p.replica = mounttest.Start(t, options)
			if err := p.replica.Store.BecomeReplica(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			writer := env(t, p.primary).Connect(t, "db")
			writer.Exec(t, "PRAGMA journal_mode = "+mode, "CREATE TABLE t (x)")
			p.ship(t, "db")
			reader := env(t, p.replica).Connect(t, "db", "_busy_timeout=10000")
			for k := int64(0); ; k++ {
				writer.Exec(t, fmt.Sprintf("INSERT INTO t VALUES (%d), (zeroblob(10000))", k))
				left.Store(k)
				err := p.try(t, "db")
				reached := left.Swap(-1) < 0
				if err != nil && !errors.Is(err, failed) {
					t.Fatalf("step %d: %v", k, err)
				}
				if mode == "wal" { // readers never wait
					reader.Want(t, "ok", "PRAGMA integrity_check")
				}
				p.ship(t, "db")
				reader.Want(t, fmt.Sprint(2*k+2), "SELECT count(*) FROM t")
				reader.Want(t, "ok", "PRAGMA integrity_check")
				if !reached {
					if k < 5 {
						t.Errorf("only %d steps", k)
					}
					return
				}
			}
		})
	}
}

// try applies the next file of the log.
func (p *pair) try(t *testing.T, name string) error {
	t.Helper()
	src, dst := p.primary.Store.DB(name), p.replica.Store.DB(name)
	if err := src.Gate(); err != nil {
		t.Fatal(err)
	}
	file, err := src.OpenLTXAfter(dst.Pos())
	if err != nil {
		t.Fatal(err)
	}
	received, err := dst.ReceiveLTX(t.Context(), file)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	return dst.ApplyLTX(t.Context(), received)
}
