package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"litefs/configs"
)

// exitCodeError carries the exit code of a child to that of this process.
type exitCodeError struct {
	command string
	code    int
}

func (e *exitCodeError) Error() string {
	return fmt.Sprintf("command %q ended with exit code %d", e.command, e.code)
}

// childCommand is a command to run, under the name that the log has for it.
type childCommand struct {
	name string
	*exec.Cmd
}

// childCommands returns what to run once the node is ready: the command line's
// own command, or those of the configuration.
//
// Everything is started by a shell, because a process must not be started in a
// way that has the kernel look at our mount between fork and exec, while this
// process cannot answer.
func childCommands(cfg configs.Config, command []string) []childCommand {
	if len(command) > 0 {
		args := append([]string{"-c", `exec "$0" "$@"`}, command...)
		return []childCommand{{strings.Join(command, " "), exec.Command("/bin/sh", args...)}}
	}
	var children []childCommand
	for _, c := range cfg.Exec {
		if !c.IfCandidate || cfg.Lease.Candidate {
			children = append(children, childCommand{c.Cmd, exec.Command("/bin/sh", "-c", c.Cmd)})
		}
	}
	return children
}

// runChildren runs the commands one after another and returns when the last has
// ended or one has failed.
func runChildren(ctx context.Context, children []childCommand, std streams, logger *slog.Logger) error {
	for _, child := range children {
		child.Stdin, child.Stdout, child.Stderr = os.Stdin, std.out, std.err
		if err := runChild(ctx, child, logger); err != nil {
			return err
		}
	}
	return nil
}

// runChild runs one command, and passes on every signal that asks a process to
// do something. ctx being done is such a signal: it came from SIGINT or SIGTERM.
func runChild(ctx context.Context, child childCommand, logger *slog.Logger) error {
	// A group of its own, so that signals reach all that the shell has started,
	// and a Ctrl-C on the terminal does not reach it twice.
	child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)
	if err := child.Start(); err != nil {
		return fmt.Errorf("run %q: %w", child.name, err)
	}
	logger.Info("started a command", slog.String("command", child.name), slog.Int("pid", child.Process.Pid))
	exited := make(chan error, 1)
	go func() { exited <- child.Wait() }()
	done := ctx.Done()
	for {
		select {
		case err := <-exited:
			return childResult(child.name, err)
		case sig := <-signals:
			_ = syscall.Kill(-child.Process.Pid, sig.(syscall.Signal)) // it may have ended
		case <-done:
			done = nil // the signal itself comes through signals
		}
	}
}

// childResult turns the end of a command into the error of this process.
func childResult(name string, err error) error {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		if err != nil {
			return fmt.Errorf("run %q: %w", name, err)
		}
		return nil
	}
	code := exit.ExitCode()
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		code = 128 + int(status.Signal()) // as shells do
	}
	return &exitCodeError{name, code}
}
