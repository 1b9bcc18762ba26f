#!/usr/bin/env bash
# Measures replication between two litefs nodes on this machine, which talk to each
# other over loopback: how long a commit takes to be visible on the replica, whether
# the replica keeps up with a primary that writes as fast as it can, and how a new
# replica gets a database that is there already. The programs are bench/replbench.c,
# with SQLite's own library, in WAL mode with synchronous=NORMAL.
#
# usage: bench/replication.sh [latency|hold|insert|update|bootstrap]...
#
#   SECONDS_EACH=5        how long each measurement takes
#   UPDATE_MB=50          size of the database with random updates
#   SIZE_MB=200           size of the database that a new replica gets
#   LITEFS=FILE           program to measure; default: built from this tree
#   BENCH_DIR=DIR         where to work; default: a new one in ${TMPDIR:-/tmp}
set -euo pipefail
cd "$(dirname "$0")/.."

duration=${SECONDS_EACH:-5}
dir=$(mktemp -d "${BENCH_DIR:-${TMPDIR:-/tmp}}/litefs-bench.XXXXXX")
primary=$dir/primary/mnt
replica=$dir/replica/mnt
declare -A pids=()

# finish ends what was started here and leaves nothing behind.
finish() {
  local status=$?
  for name in "${!pids[@]}"; do stop "$name"; done 2>/dev/null
  if ((status != 0)); then tail -n 20 "$dir"/*/log >&2 || true; fi
  rm -rf "$dir"
}
trap finish EXIT

die() {
  printf 'replication.sh: %s\n' "$*" >&2
  exit 1
}

# launch NAME FLAG... starts a node and returns once it is mounted.
launch() {
  local name=$1
  shift
  mkdir -p "$dir/$name/mnt"
  "$dir/litefs" mount --fuse-dir "$dir/$name/mnt" --data-dir "$dir/$name/data" --lease-hostname 127.0.0.1 \
    --http-addr 127.0.0.1:0 "$@" 2>>"$dir/$name/log" >&2 &
  pids[$name]=$!
  await 10 "$name does not start" grep -q 'http server listening on' "$dir/$name/log"
}

stop() { kill "${pids[$1]}" && wait "${pids[$1]}" || true; unset "pids[$1]"; }

# await SECONDS MESSAGE COMMAND... waits for a command to succeed.
await() {
  local end=$((SECONDS + $1)) message=$2
  shift 2
  until "$@" 2>/dev/null; do
    ((SECONDS <= end)) || die "$message"
    sleep 0.01
  done
}

launch_primary() { launch primary; }

launch_replica() {
  launch replica --lease-static-primary=false \
    --lease-advertise-url "$(grep -o 'http server listening on: http://[0-9.:]*' "$dir/primary/log" | tail -n 1 | cut -d' ' -f5)"
}

position() { cat "$1/$2-pos"; }

same_position() { [[ -n $(position "$replica" "$1") && $(position "$primary" "$1") == "$(position "$replica" "$1")" ]]; }

milliseconds() { printf '%d' "$((${EPOCHREALTIME/[.,]/} / 1000))"; }

# settled DB waits until the replica has all, and prints how long that took.
settled() {
  local start
  start=$(milliseconds)
  await 600 "the replica does not catch up with $1" same_position "$1"
  printf '    equal %d ms after the last commit\n' "$(($(milliseconds) - start))"
}

# peak NAME prints the most memory that a daemon has had since forget_peak.
peak() { awk '/VmHWM/ { printf "%.0f MB", $2 / 1024 }' "/proc/${pids[$1]}/status"; }
forget_peak() { echo 5 >"/proc/${pids[$1]}/clear_refs"; }

# measure_lag DB COMMAND... runs a writer, and looks at the lag meanwhile.
measure_lag() {
  local db=$1
  shift
  "$dir/replbench" lag "$replica/$db" "$duration" >"$dir/lag" &
  pids[lag]=$!
  printf '    primary: '
  "$dir/replbench" "$@"
  wait "${pids[lag]}"
  unset 'pids[lag]'
  printf '    age of what the replica shows, in each half of the time: %s\n' "$(cat "$dir/lag")"
  settled "$db"
}

# usable DB says that the replica has a database.
usable() { [[ $(sqlite3 "$replica/$1" 'SELECT count(*) FROM c') == 1 ]]; }

bench_latency() {
  printf 'commit on the primary to visible on the replica: '
  "$dir/replbench" latency "$primary/latency.db" "$replica/latency.db" "$duration"
}

bench_hold() {
  printf 'the same while a reader of the replica holds a transaction open: '
  "$dir/replbench" latency "$primary/hold.db" "$replica/hold.db" "$duration" hold
}

bench_insert() {
  printf 'one row a commit, as fast as it goes:\n'
  "$dir/replbench" fill "$primary/insert.db" 0
  await 10 "the replica does not get insert.db" usable insert.db
  measure_lag insert.db insert "$primary/insert.db" "$duration"
}

bench_update() {
  local size=${UPDATE_MB:-50}
  printf 'updates of random rows in %d MB, as fast as it goes:\n' "$size"
  "$dir/replbench" fill "$primary/update.db" "$size"
  await 10 "the replica does not get update.db" usable update.db
  await 600 "the replica does not catch up" same_position update.db
  measure_lag update.db update "$primary/update.db" "$duration"
}

# bench_bootstrap starts the replica anew, without data, beside a database that the
# primary has, and beside a program that commits every millisecond.
bench_bootstrap() {
  local size=${SIZE_MB:-200} start took
  printf 'a new replica of a database of %d MB:\n' "$size"
  stop replica
  rm -rf "$dir/replica"
  "$dir/replbench" fill "$primary/bootstrap.db" "$size"
  stop primary
  launch_primary
  printf '    primary before: '
  "$dir/replbench" insert "$primary/bootstrap.db" "$duration" 1000
  forget_peak primary
  "$dir/replbench" insert "$primary/bootstrap.db" 1000000 1000 >"$dir/writer" &
  pids[writer]=$!
  start=$(milliseconds)
  launch_replica
  await 600 "the replica does not get the database" usable bootstrap.db
  took=$(($(milliseconds) - start))
  stop writer
  size=$(($(stat -c %s "$replica/bootstrap.db") >> 20))
  printf '    %d MB in %d ms, %d MB/s\n' "$size" "$took" "$((size * 1000 / took))"
  printf '    primary meanwhile: %s\n' "$(cat "$dir/writer")"
  settled bootstrap.db
  printf '    peak memory: primary %s, replica %s; the bound is 64 MB and 10 bytes a page, %d MB\n' \
    "$(peak primary)" "$(peak replica)" "$((64 + size * 256 * 10 / 1048576))"
}

gcc -O2 -o "$dir/replbench" bench/replbench.c -lsqlite3
if [[ -n ${LITEFS:-} ]]; then cp "$LITEFS" "$dir/litefs"; else CGO_ENABLED=0 go build -trimpath -o "$dir/litefs" ./cmd/litefs; fi
launch_primary
launch_replica
printf '%s, %d CPUs, %s, SQLite %s, passthrough %s, %s s each\n' \
  "$(uname -sr)" "$(nproc)" "$(stat -f -c %T "$dir")" "$(sqlite3 --version | cut -d' ' -f1)" \
  "$(grep -o 'passthrough=[a-z]*' "$dir/replica/log" | tail -n 1 | cut -d= -f2)" "$duration"
if (($# == 0)); then set -- latency hold insert update bootstrap; fi
for what; do
  [[ $(type -t "bench_$what") == function ]] || die "there is no benchmark $what"
  "bench_$what"
done
grep -hE 'level=(WARN|ERROR)' "$dir"/*/log || true
