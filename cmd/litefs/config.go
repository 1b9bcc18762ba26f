package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"litefs/configs"
)

// loadOptions says where a command takes its configuration from.
type loadOptions struct {
	file        string
	noExpandEnv bool
}

// loadConfig loads the configuration and prints the notices about it. An error
// is a configError; if it is also a configs.ErrInvalid, the Config is complete.
func loadConfig(options *loadOptions, flags *pflag.FlagSet, std streams) (configs.Config, configs.Report, error) {
	cfg, report, err := configs.Load(configs.Options{
		File:        options.file,
		NoExpandEnv: options.noExpandEnv,
		Flags:       flags,
	})
	for _, notice := range report.Notices {
		_, _ = fmt.Fprintf(std.err, "config: %s\n", notice)
	}
	if err != nil {
		err = &configError{err}
	}
	return cfg, report, err
}

func newConfigCommand(std streams, load *loadOptions) *cobra.Command {
	cmd := newShowCommand(std, load)
	cmd.Use = "config"
	cmd.Short = "Show, validate or explain the configuration"
	cmd.Long = "Work with the configuration. Without a command after it, \"litefs config\" is\n\"litefs config show\"."
	cmd.Example = "  litefs config --config litefs.yml\n  litefs config example > litefs.yml"
	cmd.AddCommand(newShowCommand(std, load), newValidateCommand(std, load), newExampleCommand(std))
	return cmd
}

func newShowCommand(std streams, load *loadOptions) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print the effective configuration",
		Long: `Print the configuration that the node would run with: flags, environment, file
and defaults merged, paths made absolute. Passwords and tokens in URLs are
replaced by xxxxx; apart from them the output is a configuration file that means
the same, so dollar signs are doubled in it (not with --json).

A configuration that can be read but breaks a rule is printed too. What is wrong
with it follows on standard error, and the exit code is 2.`,
		Example: "  litefs config show --config litefs.yml\n  litefs config show --json --lease-type static",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runShow(load, cmd.Flags(), asJSON, std)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	addConfigFlags(cmd)
	return cmd
}

func runShow(load *loadOptions, flags *pflag.FlagSet, asJSON bool, std streams) error {
	cfg, _, loadErr := loadConfig(load, flags, std)
	if loadErr != nil && !errors.Is(loadErr, configs.ErrInvalid) {
		return loadErr
	}
	format := cfg.Masked().YAML
	if asJSON {
		format = cfg.Masked().JSON
	}
	text, err := format()
	if err != nil {
		return err
	}
	if _, err := std.out.Write(text); err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	return loadErr
}

func newValidateCommand(std streams, load *loadOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "validate",
		Short: "Check the configuration",
		Long: `Check the configuration that the node would run with, without running it. All
problems are printed to standard error, one line each.`,
		Example: "  litefs config validate --config litefs.yml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runValidate(load, cmd.Flags(), std)
		},
	}
	addConfigFlags(cmd)
	return cmd
}

func runValidate(load *loadOptions, flags *pflag.FlagSet, std streams) error {
	_, report, err := loadConfig(load, flags, std)
	if err != nil {
		return err
	}
	source := report.File
	if source == "" {
		source = "no configuration file"
	}
	if _, err := fmt.Fprintf(std.out, "%s: the configuration is valid\n", source); err != nil {
		return fmt.Errorf("print result: %w", err)
	}
	return nil
}

func newExampleCommand(std streams) *cobra.Command {
	return &cobra.Command{
		Use:   "example",
		Short: "Print a configuration file that explains every key",
		Long: `Print a configuration file that explains every key and sets it to its default.
It is valid as it is, with the mount at /mnt/litefs.`,
		Example: "  litefs config example > litefs.yml",
		RunE: func(*cobra.Command, []string) error {
			if _, err := fmt.Fprint(std.out, configs.Example()); err != nil {
				return fmt.Errorf("print example: %w", err)
			}
			return nil
		},
	}
}

// addConfigFlags gives cmd a flag for every key of the configuration.
func addConfigFlags(cmd *cobra.Command) {
	cmd.Flags().SortFlags = false // the order of the file
	configs.AddFlags(cmd.Flags())
}
