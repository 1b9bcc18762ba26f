#!/usr/bin/env bash
# Runs bench/sqbench.c on a plain directory and on a litefs mount, in alternation,
# and prints the median throughput of both, their ratio, and the latencies.
#
# usage: bench/mount.sh [WORKLOAD...]
#
#   ROUNDS=5              how often each side is measured
#   SECONDS_EACH=2        how long a workload runs
#   PASSTHROUGH=auto      or off
#   BENCH_DIR=DIR         where to work, a directory of the file system to compare
#                         with; default: a new one in ${TMPDIR:-/tmp}
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${ROUNDS:-5}
duration=${SECONDS_EACH:-2}
dir=$(mktemp -d "${BENCH_DIR:-${TMPDIR:-/tmp}}/litefs-bench.XXXXXX")
daemon=

finish() {
  [[ -z $daemon ]] || { kill "$daemon" && wait "$daemon"; } 2>/dev/null || true
  rm -rf "$dir"
}
trap finish EXIT

mkdir "$dir/plain" "$dir/mount"
gcc -O2 -o "$dir/sqbench" bench/sqbench.c -lsqlite3
CGO_ENABLED=0 go build -trimpath -o "$dir/litefs" ./cmd/litefs
"$dir/litefs" mount --fuse-dir "$dir/mount" --data-dir "$dir/data" --http-addr 127.0.0.1:0 --fuse-passthrough "${PASSTHROUGH:-auto}" 2>"$dir/log" &
daemon=$!
until grep -q 'LiteFS mounted to' "$dir/log"; do
  kill -0 "$daemon" 2>/dev/null || { cat "$dir/log" >&2; exit 1; }
  sleep 0.05
done

printf '%s, %d CPUs, %s, SQLite %s, passthrough %s, %d rounds of %s s\n' \
  "$(uname -sr)" "$(nproc)" "$(stat -f -c %T "$dir")" "$(sqlite3 --version | cut -d' ' -f1)" \
  "$(grep -o 'passthrough=[a-z]*' "$dir/log" | cut -d= -f2)" "$rounds" "$duration"

for ((round = 0; round < rounds; round++)); do
  for side in plain mount; do
    "$dir/sqbench" "$dir/$side" "$duration" "$@" | sed "s/^/$side /"
  done
done >"$dir/results"

awk '
  { n[$2] = NR; v[$1, $2, ++count[$1, $2]] = $3; p50[$1, $2] = $4; p99[$1, $2] = $5 }
  function median(side, name,   i, j, t, c, x) {
    c = count[side, name]
    for (i = 1; i <= c; i++) x[i] = v[side, name, i]
    for (i = 1; i <= c; i++) for (j = i + 1; j <= c; j++) if (x[i] > x[j]) { t = x[i]; x[i] = x[j]; x[j] = t }
    return x[int((c + 1) / 2)]
  }
  !seen[$2]++ { order[++names] = $2 }
  END {
    printf "%-22s %12s %12s %7s   %s\n", "workload", "plain ops/s", "mount ops/s", "ratio", "last round p50/p99 in us: plain, mount"
    for (i = 1; i <= names; i++) {
      name = order[i]; a = median("plain", name); b = median("mount", name)
      printf "%-22s %12.0f %12.0f %7.2f   %s/%s, %s/%s\n", name, a, b, b / a,
        p50["plain", name], p99["plain", name], p50["mount", name], p99["mount", name]
    }
  }' "$dir/results"
grep -E 'level=(WARN|ERROR)' "$dir/log" || true
