package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes of every command.
const (
	exitOK    = 0
	exitRun   = 1 // the command failed while it ran
	exitUsage = 2 // it was called wrongly, or its configuration is wrong
)

// exitCodesHelp ends the help text of every command.
const exitCodesHelp = `Exit codes:
  0  success
  1  the command failed while it ran
  2  the command was called wrongly, or the configuration is wrong`

// streams are the outputs of a command.
type streams struct {
	out io.Writer // what was asked for
	err io.Writer // notices and errors, for people
}

// usageError says that the program was called wrongly.
type usageError struct {
	command string // the command whose help to read, as typed
	err     error
}

func (e *usageError) Error() string { return e.err.Error() }

func (e *usageError) Unwrap() error { return e.err }

// configError says that the configuration is wrong.
type configError struct{ err error }

func (e *configError) Error() string { return e.err.Error() }

func (e *configError) Unwrap() error { return e.err }

// run executes the command line args, without the program's name, and returns
// the exit code.
func run(ctx context.Context, args []string, std streams) int {
	root := newRootCommand(std) //nolint:contextcheck // cobra hands ctx to the command that runs
	root.SetArgs(translateArgs(args))
	return report(std.err, root.ExecuteContext(ctx))
}

// report explains err to whoever started the program and returns the exit code for it.
func report(w io.Writer, err error) int {
	var usage *usageError
	var config *configError
	var child *exitCodeError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &child):
		_, _ = fmt.Fprintf(w, "litefs: %v\n", err)
		return child.code
	case errors.As(err, &usage):
		_, _ = fmt.Fprintf(w, "litefs: %v\nRun \"%s\" for usage.\n", err,
			strings.Replace(usage.command, "litefs", "litefs help", 1))
		return exitUsage
	case errors.As(err, &config):
		for line := range strings.Lines(err.Error()) {
			_, _ = fmt.Fprintf(w, "config: %s\n", strings.TrimSuffix(line, "\n"))
		}
		return exitUsage
	default:
		_, _ = fmt.Fprintf(w, "litefs: %v\n", err)
		return exitRun
	}
}

func newRootCommand(std streams) *cobra.Command {
	var load loadOptions
	root := &cobra.Command{
		Use:   "litefs",
		Short: "Replicate SQLite databases between machines",
		Long: `litefs replicates SQLite databases between machines, from a mounted directory in
which applications open them as usual.`,
		Example:       "  litefs config validate --config litefs.yml\n  litefs help config",
		SilenceErrors: true, // report prints them
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetOut(std.out)
	root.SetErr(std.err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &usageError{cmd.CommandPath(), err}
	})
	root.PersistentFlags().StringVar(&load.file, "config", "",
		"configuration file (default: the first of ./litefs.yml, $HOME/litefs.yml, /etc/litefs.yml)")
	root.PersistentFlags().BoolVar(&load.noExpandEnv, "no-expand-env", false,
		"do not expand variables in the configuration file")
	root.AddCommand(newMountCommand(std, &load), newConfigCommand(std, &load), newDivergedCommand(std, &load), newVersionCommand(std), newWatchCommand())
	root.SetHelpCommand(newHelpCommand())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	finish(root)
	return root
}

// finish gives cmd and all commands below it what is the same for all: exit
// codes and an example in the help text, and errors for arguments that it does
// not know, where cobra by itself prints help and succeeds.
func finish(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		finish(c)
	}
	cmd.Long += "\n\n" + exitCodesHelp
	cmd.SuggestionsMinimumDistance = 2
	if cmd.HasSubCommands() {
		cmd.Args = onlyCommands
	} else {
		cmd.Args = usageArgs(cmd.Args)
	}
	if cmd.Example == "" {
		cmd.Example = "  " + cmd.CommandPath()
	}
	if !cmd.Runnable() {
		cmd.Example = cmd.Commands()[0].Example
		cmd.RunE = func(cmd *cobra.Command, _ []string) error {
			return &usageError{cmd.CommandPath(), fmt.Errorf("a command is missing after %q", cmd.CommandPath())}
		}
	}
}

// onlyCommands refuses arguments of a command that only holds others.
func onlyCommands(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		err = fmt.Errorf("%w, did you mean %q?", err, near[0])
	}
	return &usageError{cmd.CommandPath(), err}
}

// usageArgs turns the errors of check into usage errors. A nil check takes no
// arguments.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	if check == nil {
		check = cobra.NoArgs
	}
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return &usageError{cmd.CommandPath(), err}
		}
		return nil
	}
}

func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "help [command]",
		Short:   "Explain a command",
		Long:    "Explain a command, its flags and its exit codes.",
		Example: "  litefs help config show",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			topic, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return &usageError{cmd.Root().CommandPath(), fmt.Errorf("unknown command %q", strings.Join(args, " "))}
			}
			topic.InitDefaultHelpFlag()
			return topic.Help()
		},
	}
}
