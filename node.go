package litefs

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"litefs/internal/fsx"
)

// IDLength is the length of a node ID or a cluster ID in characters: 96 random
// bits in hexadecimal.
const IDLength = 24

// loadNodeID reads the node's identifier, and makes one the first time.
func loadNodeID(fsys fsx.FS, dir string) (string, error) {
	name := filepath.Join(dir, "id")
	data, err := fsx.ReadFile(fsys, name, 4096)
	if isNotExist(err) {
		return createNodeID(fsys, name)
	}
	if err != nil {
		return "", err
	}
	id := strings.TrimSpace(string(data))
	if !isID(id) {
		return "", fmt.Errorf("node ID in %q is %q, want %d hexadecimal digits; remove the file to have a new one made", name, id, IDLength)
	}
	return id, nil
}

// newID returns a new random identifier.
func newID() string {
	var raw [IDLength / 2]byte
	_, _ = rand.Read(raw[:]) // never returns an error
	return hex.EncodeToString(raw[:])
}

// isID reports whether id has the form of an identifier.
func isID(id string) bool {
	raw, err := hex.DecodeString(id)
	return err == nil && len(raw) == IDLength/2
}

func createNodeID(fsys fsx.FS, name string) (string, error) {
	id := newID()
	if err := fsx.WriteFileAtomic(fsys, name, []byte(id+"\n"), 0o600); err != nil {
		return "", err
	}
	return id, nil
}

// flock takes an exclusive lock on f, which lasts until f is closed. A file in
// memory has no descriptor and needs no lock.
func flock(f fsx.File) error {
	fd := f.Fd()
	if fd == ^uintptr(0) {
		return nil
	}
	err := unix.Flock(int(fd), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrDataDirLocked
	}
	return os.NewSyscallError("flock", err)
}
