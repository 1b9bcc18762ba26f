#!/usr/bin/env bash
# Prints statement coverage per package and in total from a Go cover profile.
#
# usage: scripts/coverage.sh PROFILE
set -euo pipefail

awk '
  NR > 1 {
    file = $1; sub(/:.*/, "", file)
    package = file; sub(/\/[^\/]*$/, "", package)
    # A block that several test binaries ran is listed once for each.
    if (!($1 in statements)) { statements[$1] = $2; owner[$1] = package }
    if ($3 > 0) covered[$1] = 1
  }
  END {
    for (block in statements) {
      total[owner[block]] += statements[block]; all += statements[block]
      if (block in covered) { hit[owner[block]] += statements[block]; allhit += statements[block] }
    }
    for (package in total) printf "%6.1f %%  %s\n", 100 * hit[package] / total[package], package | "sort -k3"
    close("sort -k3")
    if (all) printf "%6.1f %%  total\n", 100 * allhit / all
  }' "$1"
