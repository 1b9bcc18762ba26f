#!/usr/bin/env bash
# Runs SQLite's own tests on a mount of bin/litefs and prints what failed; the exit
# status is 1 if something did that known.txt does not explain. As root.
#
# usage: [PASSTHROUGH=on|off|both] [FULL=1] [TOOLS=1] [OUT=DIR] conformance/run.sh [TEST...]
#
#   PASSTHROUGH  kernel passthrough of WAL files; "both" (the default) runs all twice
#   FULL         the tests of full.txt, about an hour, instead of those of fast.txt
#   TOOLS        mptester, threadtest3 and others of SQLite's programs as well
#   OUT          folder for results and logs, by default bin/conformance
#   TEST...      only these, of any list or of SQLite's scripts
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
out=${OUT:-$root/bin/conformance}

case ${PASSTHROUGH:=both} in
on | off) modes=("$PASSTHROUGH") ;;
both) modes=(on off) ;;
*)
  echo "conformance: PASSTHROUGH must be on, off or both" >&2
  exit 2
  ;;
esac
lists=(--list "$here/fast.txt")
if [[ -n ${FULL:-} || $# -gt 0 ]]; then lists=(--list "$here/full.txt"); fi
if [[ -n ${TOOLS:-} || $# -gt 0 ]]; then lists+=(--list "$here/tools.txt"); fi

cache=$("$here/build.sh")
(cd "$root" && go build -o bin/ github.com/superfly/ltx/cmd/ltx ./conformance/logcheck)

status=0
for mode in "${modes[@]}"; do
  printf 'conformance: passthrough %s\n' "$mode"
  "$here/run.py" --cache "$cache" --bin "$root/bin" --out "$out/$mode" \
    "${lists[@]}" --passthrough "$mode" "$@" || status=1
done
exit "$status"
