#!/usr/bin/env bash
# Builds SQLite's own test programs from the distribution's source package of
# sqlite3, in the version that is installed, and prints the folder that holds
# them. A folder that is complete is used again; a new one takes 5 minutes.
#
# usage: conformance/build.sh    (Debian or Ubuntu)
#
# The folder, ${XDG_CACHE_HOME:-~/.cache}/litefs/conformance-VERSION, has
#
#   tree/   SQLite's source, as its authors released it, with the test scripts
#   bld/    what was built
#   bin/    testfixture, testfixture-mnt, testfixture-mntsync, mptester, kvtest,
#           speedtest1, threadtest3, wordcount, dbhash, sqldiff, sqlite3
#
# The stock testfixture hides two things from a file system, so there are two
# more, made from a patch of one line:
#
#   fixture              lock bytes               fsync
#   testfixture          moved to 64 KiB          left out
#   testfixture-mnt      at 1 GiB, as in SQLite   left out
#   testfixture-mntsync  at 1 GiB, as in SQLite   as in SQLite
set -euo pipefail

version=$(dpkg-query -W -f '${source:Upstream-Version}' sqlite3)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/litefs/conformance-$version
tree=$cache/tree

# fetch downloads the source package, with package lists of its own so that the
# system's need not have source lines and stay as they are.
fetch() {
  local origin
  origin=$(. /etc/os-release && printf '%s' "${ID^}")
  mkdir -p "$cache/apt/lists/partial" "$cache/apt/source"
  if ! apt-get indextargets 'Created-By: Packages' | grep -q .; then
    apt-get update
  fi
  apt-get indextargets --format 'deb-src $(REPO_URI) $(RELEASE) $(COMPONENT)' \
    'Created-By: Packages' "Origin: $origin" | sort -u >"$cache/apt/sources.list"
  local options=(
    -o Dir::Etc::sourcelist="$cache/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o Dir::State::lists="$cache/apt/lists" -o APT::Sandbox::User=root
  )
  apt-get "${options[@]}" update
  (cd "$cache/apt/source" && apt-get "${options[@]}" source --download-only sqlite3)
  mkdir -p "$cache/orig"
  tar -C "$cache/orig" -xf "$cache/apt/source/sqlite3_$version.orig.tar.xz"
  ln -sfn "$(echo "$cache"/orig/sqlite3-*)" "$tree"
  rm -rf "$cache/apt"
}

# compile builds everything that the makefile has a target for.
compile() {
  local tcl
  tcl=$(dirname "$(echo /usr/lib/*/tcl8*/tclConfig.sh | tr ' ' '\n' | tail -n 1)")
  mkdir -p "$cache/bld"
  cd "$cache/bld"
  "$tree/configure" --enable-all --with-tcl="$tcl" CFLAGS='-O2 -g0'
  make -j2 sqlite3.c sqlite3.lo
  make -j2 mptester kvtest speedtest1 threadtest3 sqlite3 wordcount dbhash sqldiff
  make testfixture | tee testfixture.log
}

# compile_mount_fixtures repeats the last command of make testfixture with
# test2.c changed not to move the lock bytes unless asked to, without and with
# fsync.
compile_mount_fixtures() {
  cd "$cache/bld"
  sed 's|  rc = sqlite3_test_control(SQLITE_TESTCTRL_PENDING_BYTE, pbyte);|  if( getenv("SQLITE_TEST_LOW_PENDING_BYTE")==0 ) pbyte = 0x40000000;\n&|' \
    "$tree/src/test2.c" >test2-mnt.c
  if cmp -s test2-mnt.c "$tree/src/test2.c"; then
    echo "test2.c of this version of SQLite is not as the patch expects"
    return 1
  fi
  local link
  link=$(grep '^libtool: link: gcc' testfixture.log | tail -n 1 |
    sed 's/^libtool: link: //; s|[^ ]*/src/test2.c|test2-mnt.c|; s|-DSQLITE_TEST=1|-DSQLITE_ENABLE_SNAPSHOT -DSQLITE_TEST=1|')
  eval "${link/-o testfixture/-o testfixture-mnt}"
  link=${link/-DSQLITE_NO_SYNC=1/}
  eval "${link/-o testfixture/-o testfixture-mntsync}"
}

build() {
  [[ -e $tree ]] || fetch
  compile
  compile_mount_fixtures
  mkdir -p "$cache/bin"
  cp testfixture testfixture-mnt testfixture-mntsync mptester kvtest speedtest1 \
    threadtest3 sqlite3 wordcount dbhash sqldiff "$cache/bin/"
  touch "$cache/complete"
}

report_failure() {
  tail -n 20 "$cache/build.log" >&2
  printf 'conformance: building SQLite %s ended with an error; see %s\n' "$version" "$cache/build.log" >&2
}

if [[ ! -e $cache/complete ]]; then
  printf 'conformance: building SQLite %s and its test programs, which takes some minutes\n' "$version" >&2
  mkdir -p "$cache"
  trap report_failure EXIT # "build || report_failure" would have build go on after an error
  build >"$cache/build.log" 2>&1
  trap - EXIT
fi
printf '%s\n' "$cache"
