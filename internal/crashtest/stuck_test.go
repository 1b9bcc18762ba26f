package crashtest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"litefs"
	"litefs/internal/fsx"
	"litefs/internal/fsx/faultfs"
	"litefs/vfs"
)

// stuckConfig says where a node that gets stuck is.
type stuckConfig struct{ Mnt, Dir string }

// runStuck is a node that never answers when a database is created, and that
// creates one on its own mount.
func runStuck(config []byte, _ io.Reader, out io.Writer) error {
	var cfg stuckConfig
	if err := json.Unmarshal(config, &cfg); err != nil {
		return err
	}
	store := litefs.NewStore(cfg.Dir, true)
	store.FS = faultfs.New(fsx.OS{}, func(op faultfs.Op) error {
		if filepath.Base(op.Name) == "database" {
			_, _ = fmt.Fprintln(out, "stuck") // the test waits for it, or fails
			select {}
		}
		return nil
	})
	if err := store.Open(context.Background()); err != nil {
		return err
	}
	if _, err := vfs.Mount(store, vfs.Options{Dir: cfg.Mnt}); err != nil {
		return err
	}
	_, err := os.Create(filepath.Join(cfg.Mnt, "db"))
	return err
}

// A node that is killed while it waits for its own mount is not gone, holds the
// data directory, and everybody who looks at the mount hangs. The next start puts
// an end to that.
func TestStartAfterStuckNode(t *testing.T) {
	n := newNode(t, "auto")
	cmd := roleCommand(t, "stuck", stuckConfig{n.mnt, n.dir})
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "stuck\n" {
		t.Fatalf("the node said %q, %v", line, err)
	}
	e := kill(cmd, nil)
	if e.within(300 * time.Millisecond) {
		t.Fatal("the node was not stuck: nothing is tested")
	}
	n.stuck = append(n.stuck, e)
	n.start() // waits for the other to be gone
	if _, err := os.ReadDir(n.mnt); err != nil {
		t.Error(err)
	}
	n.stop()
}
