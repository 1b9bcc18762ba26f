#!/usr/bin/env bash
# Prints the path of a Consul server binary, and builds it first when the cache
# has none for the present tools/consul/go.sum (about three minutes).
set -euo pipefail

module=$(cd "$(dirname "$0")/../tools/consul" && pwd)
sum=$(sha256sum "$module/go.sum" | cut -c1-16)
cache=${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/litefs
binary=$cache/consul-$sum

if [[ ! -x $binary ]]; then
  mkdir -p "$cache"
  # One builder at a time; whoever waited finds the binary in place.
  exec 9>"$cache/consul.lock"
  flock 9
  if [[ ! -x $binary ]]; then
    printf 'building the Consul server for the tests, once: %s\n' "$binary" >&2
    (cd "$module" && go build -trimpath -ldflags='-s -w' -o "$binary.new" github.com/hashicorp/consul) >&2
    mv "$binary.new" "$binary"
  fi
fi
printf '%s\n' "$binary"
