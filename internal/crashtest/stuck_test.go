package crashtest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"litefs"
	"litefs/internal/fsx"
	"litefs/internal/fsx/faultfs"
	"litefs/vfs"
)

// stuckConfig says where a node that gets stuck is, and whether its mount is watched.
type stuckConfig struct {
	Mnt, Dir string
	Watch    bool
}

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
	if cfg.Watch {
		watch := exec.Command("/proc/self/exe", string(config))
		watch.Env = append(os.Environ(), roleEnv+"=watch")
		if err := watch.Start(); err != nil {
			return err
		}
	}
	_, err := os.Create(filepath.Join(cfg.Mnt, "db"))
	return err
}

// runWatch watches the mount of its parent.
func runWatch(config []byte, _ io.Reader, _ io.Writer) error {
	var cfg stuckConfig
	if err := json.Unmarshal(config, &cfg); err != nil {
		return err
	}
	return vfs.WatchMount(context.Background(), cfg.Mnt, os.Getppid())
}

// startStuck starts a node that gets stuck and returns when it is.
func startStuck(t *testing.T, cfg stuckConfig) *exec.Cmd {
	t.Helper()
	cmd := roleCommand(t, "stuck", cfg)
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
	return cmd
}

// With its mount watched, such a node is gone when it is killed.
func TestWatchedNodeEnds(t *testing.T) {
	n := newNode(t, "auto")
	if err := os.Mkdir(n.mnt, 0o700); err != nil {
		t.Fatal(err)
	}
	e := kill(startStuck(t, stuckConfig{n.mnt, n.dir, true}), nil)
	if !e.within(endTimeout) {
		e.fail(t)
	}
	n.start()
	n.stop()
}

// A node that is killed while it waits for its own mount is not gone, holds the
// data directory, and everybody who looks at the mount hangs. The next start puts
// an end to that.
func TestStartAfterStuckNode(t *testing.T) {
	n := newNode(t, "auto")
	cmd := startStuck(t, stuckConfig{n.mnt, n.dir, false})
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
