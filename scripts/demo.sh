#!/usr/bin/env bash
# Shows a primary and a replica at work: two litefs daemons on this machine, each with
# a mount and a data directory of its own, and the sqlite3 shell as the program. The
# databases are a real one, the PROJ coordinate systems of Debian's package proj-data,
# the movies of the README, and one that is written to for a few seconds.
#
# Exit status 0 says that at the end both sides had the same content. Everything is
# in a temporary directory, on ports that the system chooses, and removed at the end.
#
# usage: scripts/demo.sh         after "make build"; "make demo" does both
#
#   SECONDS_EACH=3               how long each of the two writers works
#   PROJ=/usr/share/proj/proj.db the real database
set -euo pipefail
cd "$(dirname "$0")/.."

litefs=$PWD/bin/litefs
proj=${PROJ:-/usr/share/proj/proj.db}
duration=${SECONDS_EACH:-3}
dir=$(mktemp -d "${TMPDIR:-/tmp}/litefs-demo.XXXXXX")
primary=$dir/primary/db
replica=$dir/replica/db
daemons=()
shells=()

say() { printf '\n== %s\n' "$*"; }

die() {
  printf '\ndemo: %s\n' "$*" >&2
  tail -n 20 "$dir"/*/log >&2 || true
  exit 1
}

# finish ends what was started here and leaves nothing behind.
finish() {
  local status=$? mount
  exec 3>&- 4>&- 5>&- 6>&- # the shells end with their input
  for pid in "${shells[@]}" "${daemons[@]}"; do
    kill "$pid" 2>/dev/null || true
  done
  for pid in "${shells[@]}" "${daemons[@]}"; do
    wait "$pid" 2>/dev/null || true
  done
  for mount in "$primary" "$replica"; do
    if mountpoint -q "$mount"; then fusermount3 -uz "$mount" || true; fi
  done
  rm -rf "$dir"
  exit "$status"
}
trap finish EXIT

# launch NAME FLAG... starts a daemon and returns once its log says that it is mounted.
launch() {
  local name=$1
  shift
  mkdir -p "$dir/$name"
  (cd "$dir/$name" && exec "$litefs" mount --fuse-dir "$dir/$name/db" --data-dir "$dir/$name/data" \
    --http-addr 127.0.0.1:0 "$@" 2>log) &
  daemons+=($!)
  await 200 "$name does not start" grep -q 'http server listening on' "$dir/$name/log"
}

# await TENTHS MESSAGE COMMAND... waits for a command to succeed.
await() {
  local tries=$1 message=$2
  shift 2
  until "$@" 2>/dev/null; do
    ((tries--)) || die "$message"
    sleep 0.1
  done
}

url() { grep -o 'http server listening on: http://[0-9.:]*' "$dir/$1/log" | cut -d' ' -f5; }

# ready NAME asks a daemon whether its databases can be used.
ready() {
  local host port line
  IFS=/: read -r host port <<<"$(url "$1" | cut -d/ -f3)"
  exec 9<>"/dev/tcp/$host/$port"
  printf 'GET /readyz HTTP/1.0\r\n\r\n' >&9
  read -r line <&9
  exec 9>&-
  [[ $line == *' 200 '* ]]
}

position() { cat "$1/$2-pos"; }

same_position() { [[ $(position "$primary" "$1") == "$(position "$replica" "$1")" ]]; }

# settle DB... waits until the replica has all that the primary has.
settle() {
  local db
  for db; do
    await 200 "the replica does not catch up with $db" same_position "$db"
  done
}

# shell NAME FILE starts a sqlite3 that reads SQL from one pipe and answers on another.
shell() {
  mkfifo "$dir/$1.in" "$dir/$1.out"
  sqlite3 -cmd '.timeout 10000' "$2" <"$dir/$1.in" >"$dir/$1.out" &
  shells+=($!)
}

# latency commits one row after another and measures how long it takes from the end
# of each commit until a reader on the replica sees the row. The samples, in
# microseconds, go to the file latencies.
latency() {
  local n=0 seen start committed now end
  shell writer "$primary/load.db"
  exec 3>"$dir/writer.in" 4<"$dir/writer.out"
  shell reader "$replica/load.db"
  exec 5>"$dir/reader.in" 6<"$dir/reader.out"
  start=${EPOCHREALTIME/[.,]/}
  end=$((start + duration * 1000000))
  for ((committed = start; committed < end; )); do
    n=$((n + 1))
    echo "INSERT INTO load (text) VALUES ('latency'); SELECT last_insert_rowid();" >&3
    read -r seen <&4
    committed=${EPOCHREALTIME/[.,]/}
    for ((seen = 0; seen < n; )); do
      echo 'SELECT count(*) FROM load;' >&5
      read -r seen <&6
      now=${EPOCHREALTIME/[.,]/}
      ((now < committed + 10000000)) || die "a row has not reached the replica after 10 s"
    done
    echo $((now - committed)) >>"$dir/latencies"
  done
  exec 3>&- 4>&- 5>&- 6>&-
  wait "${shells[@]}"
  shells=()
}

# percentiles prints how many samples there are, and some of them in milliseconds.
percentiles() {
  sort -n "$1" | awk '
    { v[NR] = $1 / 1000 }
    function at(p,   i) { i = int(NR * p + 0.999999); return v[i < 1 ? 1 : i] }
    END { printf "%d commits, p50 %.2f ms, p99 %.2f ms, longest %.2f ms\n", NR, at(0.5), at(0.99), v[NR] }'
}

# throughput commits as fast as one writer can, and measures how long the replica
# then takes to have it all.
throughput() {
  local start now rows
  start=${EPOCHREALTIME/[.,]/}
  (while ((${EPOCHREALTIME/[.,]/} < start + duration * 1000000)); do
    printf "INSERT INTO load (text) VALUES ('throughput');\n%.0s" {1..100}
  done) | sqlite3 -cmd '.timeout 10000' "$primary/load.db"
  now=${EPOCHREALTIME/[.,]/}
  rows=$(sqlite3 -readonly "$primary/load.db" "SELECT count(*) FROM load WHERE text = 'throughput'")
  printf '%d commits in %d ms; ' "$rows" $(((now - start) / 1000))
  settle load.db
  printf 'the replica had them all %d ms after the last\n' $(((${EPOCHREALTIME/[.,]/} - now) / 1000))
}

# compare DB [FILE] compares what the two sides hold, and FILE if there is one.
compare() {
  local db=$1 file sum want=
  for file in "$primary/$db" "$replica/$db" "${@:2}"; do
    sum=$(sqlite3 -readonly "$file" .dump | sha256sum | cut -c 1-16)
    [[ -z $want || $sum == "$want" ]] || die "$db differs: $file has content $sum, the primary $want"
    want=$sum
  done
  [[ $(sqlite3 -readonly "$replica/$db" 'PRAGMA integrity_check') == ok ]] || die "$db is damaged on the replica"
  printf '%-8s position %s on both, content %s on both, integrity ok\n' "$db" "$(position "$replica" "$db")" "$want"
  same_position "$db" || die "$db has different positions"
}

[[ -x $litefs ]] || die "bin/litefs is missing; run make build"
[[ -r $proj ]] || die "$proj is missing; it comes with the Debian package proj-data"

say "a primary"
launch primary --lease-hostname primary.example
printf '%s, mounted at %s, serving %s\n' "$("$litefs" version | head -n 1)" "$primary" "$(url primary)"

say "a real database: cp $proj"
cp "$proj" "$primary/proj.db"
printf '%d bytes, %d tables, position %s\n' "$(stat -c %s "$primary/proj.db")" \
  "$(sqlite3 "$primary/proj.db" "SELECT count(*) FROM sqlite_schema WHERE type = 'table'")" "$(position "$primary" proj.db)"

say "a replica of it"
launch replica --lease-hostname primary.example --lease-advertise-url "$(url primary)" --lease-static-primary=false
await 200 "the replica does not become ready" ready replica
settle proj.db
printf 'mounted at %s; .primary says %s\n' "$replica" "$(cat "$replica/.primary")"
sqlite3 -header -column "$replica/proj.db" "SELECT auth_name, code, name FROM projected_crs WHERE name LIKE 'CH1903%' ORDER BY code"

say "the movies of the README: written on the primary, read on the replica"
sqlite3 "$primary/data.db" 'CREATE TABLE movies (title TEXT, rating INT)'
sqlite3 "$primary/data.db" "INSERT INTO movies (title, rating) VALUES ('The Jerk', 10)"
sqlite3 "$primary/data.db" "INSERT INTO movies VALUES ('Election', 9)"
settle data.db
sqlite3 "$replica/data.db" 'SELECT * FROM movies'
for db in data.db proj.db; do
  printf '%-8s primary %s replica %s\n' "$db" "$(position "$primary" "$db")" "$(position "$replica" "$db")"
done

say "one commit after another in WAL mode, until a reader on the replica sees it"
sqlite3 "$primary/load.db" 'PRAGMA journal_mode = wal; CREATE TABLE load (id INTEGER PRIMARY KEY, text TEXT)' >/dev/null
settle load.db
latency
percentiles "$dir/latencies"

say "commits as fast as they go"
throughput

say "a write on the replica"
if sqlite3 "$replica/data.db" "INSERT INTO movies VALUES ('Chairman of the Board', 1)"; then
  die "the replica has taken a write"
fi
if sqlite3 "$replica/load.db" "INSERT INTO load (text) VALUES ('replica')"; then
  die "the replica has taken a write in WAL mode"
fi

say "the two sides compared"
settle proj.db data.db load.db
compare proj.db "$proj"
compare data.db
compare load.db
