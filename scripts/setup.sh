#!/usr/bin/env bash
# Checks that this machine can build and test litefs, and installs the Debian
# packages that are missing when it may (root on Debian or Ubuntu). What it
# cannot cure it names in one line and ends with status 1.
#
# usage: scripts/setup.sh [PACKAGE ...]    packages beyond the common ones
set -euo pipefail

here=$(dirname "$0")
packages=(ca-certificates fuse3 gcc git libc6-dev redis-server sqlite3 "$@")
scratch=$(mktemp -d)
policy=/usr/sbin/policy-rc.d
trap 'rm -rf "$scratch"; [[ ! -e $scratch.policy ]] || rm -f "$scratch.policy" "$policy"' EXIT

die() {
  printf 'setup: %s\n' "$*" >&2
  exit 1
}

# install_packages installs its arguments without starting any service: the
# tests start the servers that they need, on ports of their own.
install_packages() {
  if [[ ! -e $policy ]]; then
    touch "$scratch.policy"
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update && apt-get install -y --no-install-recommends "$@"
}

check_packages() {
  local package missing=()
  for package in "${packages[@]}"; do
    dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  command -v apt-get >/dev/null || die "not a Debian machine; install the equivalents of: ${packages[*]}"
  ((EUID == 0)) || die "packages are missing that only root can install: sudo apt-get install -y ${missing[*]}"
  printf 'setup: installing %s\n' "${missing[*]}"
  if ! install_packages "${missing[@]}" >"$scratch/log" 2>&1; then
    tail -n 20 "$scratch/log" >&2
    die "apt-get could not install: ${missing[*]}"
  fi
}

check_go() {
  local want have
  want=$(awk '$1 == "go" { print $2; exit }' "$here/../go.mod")
  command -v go >/dev/null || die "Go $want or later is missing; see https://go.dev/doc/install"
  [[ $(go env GOTOOLCHAIN) == local* ]] || return 0 # go fetches the release it needs
  have=$(go env GOVERSION)
  [[ $(printf '%s\n' "$want" "${have#go}" | sort -V | head -n 1) == "$want" ]] ||
    die "Go $want or later is needed, this is ${have#go}; see https://go.dev/doc/install"
}

check_fuse() {
  [[ -e /dev/fuse ]] ||
    die "/dev/fuse is missing: load the module (modprobe fuse) or give the container the device (--device /dev/fuse --cap-add SYS_ADMIN)"
}

check_packages
check_go
check_fuse
