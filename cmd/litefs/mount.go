package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"litefs"
	"litefs/configs"
	"litefs/vfs"
)

// unmountGrace is how long a stopping node waits for programs to close their
// files before it detaches the mount from under them.
const unmountGrace = 2 * time.Second

func newMountCommand(std streams, load *loadOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "mount [-- COMMAND [ARG...]]",
		Short: "Mount the databases and capture every commit",
		Long: `Mount the directory of the configuration and serve the databases in it until the
process is told to stop (SIGINT, SIGTERM). Programs then have two seconds to
close their files before the mount is detached.

Once the databases can be used, the commands of the configuration's exec key, or
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
	store := newStore(cfg, logger)
	if err := store.Open(ctx); err != nil {
		return err
	}
	err = serve(ctx, store, cfg, command, std)
	return errors.Join(err, store.Close())
}

// serve mounts the store, runs the commands, and unmounts when they have ended
// or ctx is done.
func serve(ctx context.Context, store *litefs.Store, cfg configs.Config, command []string, std streams) (err error) {
	fsys, err := vfs.Mount(store, vfs.Options{
		Dir:         cfg.FUSE.Dir,
		AllowOther:  cfg.FUSE.AllowOther,
		Passthrough: cfg.FUSE.Passthrough == configs.PassthroughAuto,
		Debug:       cfg.FUSE.Debug,
	})
	if err != nil {
		return err
	}
	// Scripts wait for these two lines, which are those of LiteFS.
	store.Logger.Info("primary lease acquired, advertising as " + cfg.Lease.AdvertiseURL)               //nolint:sloglint // see above
	store.Logger.Info("LiteFS mounted to: "+cfg.FUSE.Dir, slog.Bool("passthrough", fsys.Passthrough())) //nolint:sloglint // see above
	defer func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), unmountGrace)
		defer cancel()
		store.Detach()
		err = errors.Join(err, fsys.Unmount(grace))
	}()
	children := childCommands(cfg, command)
	if len(children) == 0 {
		<-ctx.Done()
		store.Logger.Info("signal received, litefs shutting down")
		return nil
	}
	return runChildren(ctx, children, std, store.Logger)
}

func newStore(cfg configs.Config, logger *slog.Logger) *litefs.Store {
	store := litefs.NewStore(cfg.Data.Dir, cfg.Lease.Candidate)
	store.Logger = logger
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
