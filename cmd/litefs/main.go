// Command litefs replicates SQLite databases between machines, from a mounted
// directory in which applications open them as usual.
//
// Its exit codes are the same for every command: 0 for success, 1 if the command
// failed while it ran, 2 if it was called wrongly or its configuration is wrong.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], streams{out: os.Stdout, err: os.Stderr})
	stop()
	os.Exit(code)
}
