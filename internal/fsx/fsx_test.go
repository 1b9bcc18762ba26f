package fsx_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"litefs/internal/fsx"
	"litefs/internal/fsx/faultfs"
)

// Step k fails for k = 0, 1, 2, ... until a run meets no fault. After each
// failure the file holds the old or the new bytes, never a mixture, and the
// error has reached the caller.
func TestWriteFileAtomicFailEveryStep(t *testing.T) {
	for k := 0; ; k++ {
		name := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(name, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		var hit string
		fsys := faultfs.New(fsx.OS{}, func(op faultfs.Op) error {
			if op.N != k {
				return nil
			}
			hit = op.String()
			return faultfs.ErrInjected
		})

		err := fsx.WriteFileAtomic(fsys, name, []byte("newer"), 0o600)
		got, readErr := fsx.ReadFile(fsys, name, 100)
		if readErr != nil {
			t.Fatal(readErr)
		}
		if hit == "" {
			if err != nil || string(got) != "newer" {
				t.Fatalf("run without a fault: %q, %v", got, err)
			}
			if k < 5 {
				t.Fatalf("only %d steps were reached: the harness is not wired", k)
			}
			return
		}
		if !errors.Is(err, faultfs.ErrInjected) {
			t.Errorf("%s: the error was swallowed: %v", hit, err)
		}
		if s := string(got); s != "old" && s != "newer" {
			t.Errorf("%s: torn file %q", hit, s)
		}
	}
}

func TestReadFileIsBounded(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, make([]byte, 11), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := fsx.ReadFile(fsx.OS{}, name, 10); err == nil {
		t.Error("11 bytes were read under a limit of 10")
	}
	if data, err := fsx.ReadFile(fsx.OS{}, name, 11); err != nil || len(data) != 11 {
		t.Errorf("read under a limit of 11: %d bytes, %v", len(data), err)
	}
}
