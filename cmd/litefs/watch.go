package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"

	"litefs/vfs"
)

// newWatchCommand returns the command of the process that looks after a mount.
func newWatchCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "watch-mount DIR PARENT-PID",
		Short:  "End the mount of the parent process if that is killed and hangs",
		Hidden: true,
		Args:   cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			parent, err := strconv.Atoi(args[1])
			if err != nil {
				return &usageError{cmd.CommandPath(), fmt.Errorf("PARENT-PID: %w", err)}
			}
			return vfs.WatchMount(cmd.Context(), args[0], parent)
		},
	}
}

// mountWatch is a process that outlives this one for a moment: a daemon that is
// killed while it waits for its own mount cannot end by itself, and with it
// everybody who uses the mount would hang, and whoever waits for its end.
type mountWatch struct{ cmd *exec.Cmd }

// watchMount starts the process. It is in a session of its own, so that signals to
// the process group of this one do not end it.
func watchMount(dir string) (*mountWatch, error) {
	dir, err := filepath.EvalSymlinks(dir) // as the kernel names it
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("/proc/self/exe", "watch-mount", dir, strconv.Itoa(os.Getpid()))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Args[0] = os.Args[0] // what lists of processes show
	cmd.Dir, cmd.Stderr = "/", os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the watch of the mount on %q: %w", dir, err)
	}
	return &mountWatch{cmd}, nil
}

// stop ends the process, if there is one.
func (w *mountWatch) stop() error {
	if w == nil {
		return nil
	}
	err := w.cmd.Process.Kill()
	var exit *exec.ExitError
	if waitErr := w.cmd.Wait(); waitErr != nil && !errors.As(waitErr, &exit) {
		err = errors.Join(err, waitErr)
	}
	return err
}
