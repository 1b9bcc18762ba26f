#!/usr/bin/env bash
# Runs every fuzz target of the module for the time given, one after another.
#
# usage: scripts/fuzz.sh [DURATION]    default 10s
set -euo pipefail
cd "$(dirname "$0")/.."

# With the default, minimising what it finds takes most of a short run.
duration=${1:-10s}
count=0
while read -r package; do
  for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
    printf '== fuzz %s %s\n' "$package" "$target"
    go test -run '^$' -fuzz "^$target\$" -fuzztime "$duration" -fuzzminimizetime 5x "$package"
    count=$((count + 1))
  done
done < <(go list ./...)
((count > 0)) || { echo 'fuzz: no target found' >&2; exit 1; }
printf 'fuzz: %d targets, %s each\n' "$count" "$duration"
