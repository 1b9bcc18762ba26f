package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"litefs"
	"litefs/configs"
)

func newDivergedCommand(std streams, load *loadOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "diverged",
		Short: "List, export or remove databases that were set aside",
		Long: `Work with databases that this node has set aside: it had transactions that the
primary's history has not, and before the database was brought in line with the
primary's, a copy was kept with the files of the log.

The commands read the data directory. The node may be running or stopped.`,
		Example: "  litefs diverged list --data-dir /srv/.db",
	}
	cmd.AddCommand(newDivergedListCommand(std, load), newDivergedShowCommand(std, load),
		newDivergedExportCommand(std, load), newDivergedRemoveCommand(std, load))
	return cmd
}

// divergedStore returns the store of the configured data directory. It is not opened:
// copies are only files. Of the configuration no more is needed than that directory.
func divergedStore(load *loadOptions, flags *pflag.FlagSet, std streams) (*litefs.Store, error) {
	cfg, _, err := loadConfig(load, flags, std)
	if err != nil && (!errors.Is(err, configs.ErrInvalid) || cfg.Data.Dir == "") {
		return nil, err
	}
	return litefs.NewStore(cfg.Data.Dir, false), nil
}

func newDivergedListCommand(std streams, load *loadOptions) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the databases that were set aside",
		Long: `List the databases that were set aside: the ID by which the other commands know a
copy, when it was made, the position it is at, its size in bytes, and why.`,
		Example: "  litefs diverged list --config litefs.yml\n  litefs diverged list --data-dir /srv/.db --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, err := divergedStore(load, cmd.Flags(), std)
			if err != nil {
				return err
			}
			return runDivergedList(store, asJSON, std)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	addConfigFlags(cmd)
	return cmd
}

func runDivergedList(store *litefs.Store, asJSON bool, std streams) error {
	copies, listErr := store.Diverged()
	if asJSON {
		if copies == nil {
			copies = []litefs.DivergedCopy{}
		}
		return errors.Join(printJSON(std, copies), listErr)
	}
	if len(copies) == 0 {
		return listErr
	}
	w := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
	_, err := fmt.Fprintln(w, "ID\tTIME\tPOSITION\tSIZE\tREASON")
	for _, c := range copies {
		if err == nil {
			_, err = fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", c.ID, c.Time.Format(time.RFC3339), c.Pos, c.SizeBytes, c.Reason)
		}
	}
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		return fmt.Errorf("print list: %w", err)
	}
	return listErr
}

func newDivergedShowCommand(std streams, load *loadOptions) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "show ID",
		Short:   "Print what is known of a copy",
		Long:    "Print what is known of a copy: what it is of, where it lies, and the files of the\nlog that it has.",
		Example: "  litefs diverged show my.db/20260102T030405.678Z-diverged --config litefs.yml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := divergedCopy(load, cmd.Flags(), args[0], std)
			if err != nil {
				return err
			}
			return runDivergedShow(c, asJSON, std)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	addConfigFlags(cmd)
	return cmd
}

func divergedCopy(load *loadOptions, flags *pflag.FlagSet, id string, std streams) (litefs.DivergedCopy, error) {
	store, err := divergedStore(load, flags, std)
	if err != nil {
		return litefs.DivergedCopy{}, err
	}
	return store.DivergedCopy(id)
}

func runDivergedShow(c litefs.DivergedCopy, asJSON bool, std streams) error {
	if asJSON {
		return printJSON(std, c)
	}
	var b strings.Builder
	for _, field := range []struct {
		name  string
		value any
	}{
		{"id", c.ID},
		{"database", c.Database},
		{"reason", c.Reason},
		{"time", c.Time.Format(time.RFC3339Nano)},
		{"node", c.Node},
		{"position", c.Pos},
		{"pages", fmt.Sprintf("%d of %d bytes", c.Pages, c.PageSize)},
		{"size", fmt.Sprintf("%d bytes", c.SizeBytes)},
		{"folder", c.Dir},
	} {
		_, _ = fmt.Fprintf(&b, "%-9s %v\n", field.name+":", field.value)
	}
	b.WriteString("log:\n")
	for _, name := range c.LTXFiles {
		_, _ = fmt.Fprintf(&b, "  %s\n", name)
	}
	if _, err := fmt.Fprint(std.out, b.String()); err != nil {
		return fmt.Errorf("print copy: %w", err)
	}
	return nil
}

func newDivergedExportCommand(std streams, load *loadOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export ID FILE",
		Short: "Write a copy to a file of its own",
		Long: `Write the database of a copy to FILE, which must not exist, and compare it with
the position at which it was set aside. FILE is then an ordinary SQLite database.
The copy stays.`,
		Example: `  litefs diverged export my.db/20260102T030405.678Z-diverged lost.db --config litefs.yml
  sqlite3 lost.db .dump`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := divergedCopy(load, cmd.Flags(), args[0], std)
			if err != nil {
				return err
			}
			return runDivergedExport(cmd.Context(), c, args[1], std)
		},
	}
	addConfigFlags(cmd)
	return cmd
}

func runDivergedExport(ctx context.Context, c litefs.DivergedCopy, path string, std streams) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if err := c.Export(ctx, path); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(std.out, "%s: %d pages at %s\n", path, c.Pages, c.Pos); err != nil {
		return fmt.Errorf("print result: %w", err)
	}
	return nil
}

func newDivergedRemoveCommand(std streams, load *loadOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remove ID",
		Short: "Delete a copy",
		Long: `Delete a copy for good, database and log. What is in it and nowhere else is lost:
export it first.`,
		Example: "  litefs diverged remove my.db/20260102T030405.678Z-diverged --config litefs.yml",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := divergedCopy(load, cmd.Flags(), args[0], std)
			if err != nil {
				return err
			}
			return c.Remove()
		},
	}
	addConfigFlags(cmd)
	return cmd
}

// printJSON prints v, indented.
func printJSON(std streams, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	if _, err := fmt.Fprintf(std.out, "%s\n", text); err != nil {
		return fmt.Errorf("print JSON: %w", err)
	}
	return nil
}
