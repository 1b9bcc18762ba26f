// Command logcheck checks the data directory of a node that is stopped (see
// internal/logcheck) and prints the position of each database: its name, a
// space, TXID/CHECKSUM. What is wrong goes to the standard error, and the exit
// code is then 1.
//
// usage: logcheck -ltx PATH -sqlite3 PATH DATADIR
package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"

	"litefs/internal/logcheck"
)

func main() {
	os.Exit(run())
}

func run() int {
	var checker logcheck.Checker
	flag.StringVar(&checker.LTX, "ltx", "ltx", "path of the public ltx tool")
	flag.StringVar(&checker.SQLite, "sqlite3", "sqlite3", "path of the sqlite3 shell")
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		return 2
	}
	positions, err := checker.CheckDir(context.Background(), flag.Arg(0))
	for _, name := range slices.Sorted(maps.Keys(positions)) {
		fmt.Println(name, positions[name])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
