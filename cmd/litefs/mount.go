package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"litefs"
	"litefs/configs"
	"litefs/vfs"
)

func newMountCommand(std streams, load *loadOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "mount [-- COMMAND [ARG...]]",
		Short: "Run a node: mount the databases and replicate them",
		Long: `Mount the directory of the configuration and serve the databases in it until the
process is told to stop (SIGINT, SIGTERM). Programs then have two seconds to
close their files before the mount is detached.

The primary takes writes and sends every commit to the replicas; a replica follows
the primary and refuses writes. /info, /healthz and /readyz at http.addr tell the
state of the node.

Once the databases can be used (a replica has caught up with its primary), the commands of the configuration's exec key, or
the command after "--" in their place, are run one after another. Signals are
passed on to the one that runs. When the last has ended, or one has failed, the
node stops and its exit code is that of the command.`,
		Example: "  litefs mount --config litefs.yml\n  litefs mount --fuse-dir /mnt/db -- myapp --port 8080",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if dash := cmd.ArgsLenAtDash(); len(args) > 0 && dash != 0 {
				return &usageError{cmd.CommandPath(), fmt.Errorf("unexpected argument %q; a command to run goes after \"--\"", args[0])}
			}
			return runMount(cmd.Context(), load, cmd.Flags(), args, std)
		},
	}
	addConfigFlags(cmd)
	return cmd
}

func runMount(ctx context.Context, load *loadOptions, flags *pflag.FlagSet, command []string, std streams) error {
	cfg, _, err := loadConfig(load, flags, std)
	if err != nil {
		return err
	}
	logger := newLogger(std.err, cfg.Log)
	if err := vfs.ClearDeadMount(ctx, cfg.FUSE.Dir, cfg.Data.Dir, logger); err != nil {
		return err
	}
	n := newNode(cfg, logger)
	if err := n.store.Open(ctx); err != nil {
		return err
	}
	if err = n.start(ctx); err == nil {
		err = n.serve(ctx, command, std)
	}
	return errors.Join(err, n.stop(), n.store.Close()) //nolint:contextcheck // ctx is done by then
}

// serve runs the commands once the node is ready, and returns when they have ended or
// ctx is done.
func (n *node) serve(ctx context.Context, command []string, std streams) error {
	children := childCommands(n.cfg, command)
	if len(children) > 0 {
		n.waitReady(ctx)
	}
	if len(children) > 0 && ctx.Err() == nil {
		return runChildren(ctx, children, std, n.logger)
	}
	<-ctx.Done()
	n.logger.Info("signal received, litefs shutting down")
	return nil
}

func newStore(cfg configs.Config, logger *slog.Logger) *litefs.Store {
	store := litefs.NewStore(cfg.Data.Dir, cfg.Lease.Candidate)
	store.Logger = logger
	store.ReplicaWrites = litefs.ReplicaWrites(cfg.Lease.ReplicaWrites)
	store.ReconnectDelay = cfg.Lease.ReconnectDelay
	store.RetentionDuration = cfg.Data.Retention
	store.RetentionMonitorInterval = cfg.Data.RetentionMonitorInterval
	store.MaxLogSizeBytes = int64(cfg.Data.MaxLogSize)
	store.Compress = cfg.Data.Compress
	store.BackgroundCheckpoint = cfg.Data.BackgroundCheckpoint
	store.StrictVerify = cfg.StrictVerify
	return store
}

func newLogger(w io.Writer, cfg configs.Log) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(cfg.Level)) // validated with the configuration
	options := &slog.HandlerOptions{Level: level}
	if cfg.Format == configs.LogJSON {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
