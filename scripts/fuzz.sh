#!/usr/bin/env bash
# Runs every fuzz target of the module, one after another.
#
# usage: scripts/fuzz.sh [NUMBERx|DURATION]    default 100000x
#
# The default is a number of inputs: at the end of a time, Go may report that the time
# is over as a failure of the target ("context deadline exceeded").
set -euo pipefail
cd "$(dirname "$0")/.."

# With the default, minimising what it finds takes most of a short run.
amount=${1:-100000x}
count=0
while read -r package; do
  for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
    printf '== fuzz %s %s\n' "$package" "$target"
    go test -run '^$' -fuzz "^$target\$" -fuzztime "$amount" -fuzzminimizetime 5x "$package"
    count=$((count + 1))
  done
done < <(go list ./...)
((count > 0)) || { echo 'fuzz: no target found' >&2; exit 1; }
printf 'fuzz: %d targets, %s each\n' "$count" "$amount"
