package main

import (
	"os/exec"
	"strings"
	"testing"
)

func TestUsageErrors(t *testing.T) {
	const hint = "Run \"litefs help\" for usage.\n"
	for _, tt := range []struct{ args, want string }{
		{"frobnicate", `litefs: unknown command "frobnicate" for "litefs"` + "\n" + hint},
		{"versio", `litefs: unknown command "versio" for "litefs", did you mean "version"?` + "\n" + hint},
		{"help frobnicate", `litefs: unknown command "frobnicate"` + "\n" + hint},
		{"help version x", `litefs: unknown command "version x"` + "\n" + hint},
		{"--frobnicate", "litefs: unknown flag: --frobnicate\n" + hint},
		{"--config", "litefs: flag needs an argument: --config\nRun \"litefs help mount\" for usage.\n"},
		{"mount x", `litefs: unexpected argument "x"; a command to run goes after "--"` + "\nRun \"litefs help mount\" for usage.\n"},
		{"config sho", `litefs: unknown command "sho" for "litefs config", did you mean "show"?` + "\nRun \"litefs help config\" for usage.\n"},
		{"config show x", `litefs: unknown command "x" for "litefs config show"` + "\nRun \"litefs help config show\" for usage.\n"},
		{"config show --leese-type x", "litefs: unknown flag: --leese-type\nRun \"litefs help config show\" for usage.\n"},
		{"version x", `litefs: unknown command "x" for "litefs version"` + "\nRun \"litefs help version\" for usage.\n"},
		{"version --json=7", `litefs: invalid argument "7" for "--json" flag: must be true or false` + "\nRun \"litefs help version\" for usage.\n"},
		{"completion", `litefs: a command is missing after "litefs completion"` + "\nRun \"litefs help completion\" for usage.\n"},
		{"completion elvish", `litefs: unknown command "elvish" for "litefs completion"` + "\nRun \"litefs help completion\" for usage.\n"},
		{"completion bash x", `litefs: unknown command "x" for "litefs completion bash"` + "\nRun \"litefs help completion bash\" for usage.\n"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			runLitefs(t, strings.Fields(tt.args)...).check(t, exitUsage, "", tt.want)
		})
	}
}

func TestHelp(t *testing.T) {
	for _, args := range []string{"", "help", "--help", "-h"} {
		runLitefs(t, strings.Fields(args)...).check(t, exitOK, "Available Commands:", "")
	}
	for _, command := range []string{
		"", "config", "config show", "config validate", "config example", "version", "help",
		"diverged", "diverged list", "diverged show", "diverged export", "diverged remove",
		"completion", "completion bash", "completion zsh", "completion fish", "completion powershell",
	} {
		r := runLitefs(t, append(strings.Fields(command), "--help")...)
		r.check(t, exitOK, "\n"+exitCodesHelp+"\n", "")
		if !strings.Contains(r.out, "\nExamples:\n  litefs ") {
			t.Errorf("help of %q has no example:\n%s", command, r.out)
		}
		if again := runLitefs(t, append([]string{"help"}, strings.Fields(command)...)...); again.out != r.out {
			t.Errorf("help of %q depends on how it is asked for:\n%s\n%s", command, again.out, r.out)
		}
	}
}

func TestCompletion(t *testing.T) {
	for shell, want := range map[string]string{
		"bash":       "__start_litefs",
		"zsh":        "#compdef litefs",
		"fish":       "complete -c litefs",
		"powershell": "Register-ArgumentCompleter",
	} {
		runLitefs(t, "completion", shell).check(t, exitOK, want, "")
	}
	r := runLitefs(t, "__complete", "config", "v")
	if r.code != exitOK || !strings.HasPrefix(r.out, "validate\t") {
		t.Errorf("completion of \"config v\": %+v", r)
	}
	if bash, err := exec.LookPath("bash"); err == nil {
		check := exec.CommandContext(t.Context(), bash, "-n")
		check.Stdin = strings.NewReader(runLitefs(t, "completion", "bash").out)
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("bash -n: %v\n%s", err, out)
		}
	}
}

// TestClosedOutput is a failure while running, not one of usage.
func TestClosedOutput(t *testing.T) {
	for _, args := range [][]string{{"version"}, {"config", "example"}, {"config", "show", "--fuse-dir=/db"}, {"config", "validate", "--fuse-dir=/db"}} {
		cmd := exec.CommandContext(t.Context(), "sh", append([]string{"-c", `"$0" "$@" >/dev/full`, binary}, args...)...)
		out, err := cmd.CombinedOutput()
		if err == nil || cmd.ProcessState.ExitCode() != exitRun || !strings.HasSuffix(string(out), "no space left on device\n") {
			t.Errorf("%v: exit code %d, %s", args, cmd.ProcessState.ExitCode(), out)
		}
	}
}
