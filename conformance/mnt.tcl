# Runs an unmodified SQLite test script with its databases on a mount that holds
# only databases with their -journal, -wal and -shm files.
#
#   SQLITE_TEST_SCRATCH=DIR testfixture-mnt mnt.tcl TEST.test --testdir=MOUNT
#
# The scripts use one directory for everything. Here the commands of Tcl that take
# file names are wrapped, so that
#
#   - helper files (child scripts, text files, sv_* copies of databases that are
#     saved and put back) go to the scratch directory;
#   - a script that changes bytes of a database changes a copy, and the copy is
#     written over the database at flush, truncate and close, as cp does: the mount
#     takes in a database that is written whole, and refuses single writes that no
#     journal covers;
#   - where the mount refuses a directory the script goes on where it is, and what
#     needs the directory fails.
#
# Everything that SQLite does is left as it is.
namespace eval ::mnt {
  variable scratch [file normalize $::env(SQLITE_TEST_SCRATCH)]
  variable helperext {.tcl .txt .sql .csv .out .log .sh .html .zip .json .sav .data .bu .save}
  # channels on copies of databases: channel -> {database copy}
  variable patched
  array set patched {}
  variable npatched 0
  # directories that the mount has refused to make
  variable refused {}
}
rename open   ::mnt::_open
rename chan   ::mnt::_chan
rename close  ::mnt::_close
rename flush  ::mnt::_flush
rename exec   ::mnt::_exec
rename file   ::mnt::_file
rename glob   ::mnt::_glob
rename cd     ::mnt::_cd
rename source ::mnt::_source
rename hexio_write ::mnt::_hexio_write

proc ::mnt::helper {n} {
  variable helperext
  if {[string match ./* $n]} {set n [string range $n 2 end]}
  if {$n eq "" || [string first / $n]>=0 || [string match {-*} $n]} {return 0}
  if {[string match sv_* $n]} {return 1}
  expr {[lsearch -exact $helperext [_file extension $n]]>=0}
}
proc ::mnt::map {n} {
  variable scratch
  if {[helper $n]} {return [_file join $scratch [_file tail $n]]}
  return $n
}
proc open {name args} {
  if {[string index $name 0] eq "|"} {
    set out {}
    foreach w [split $name " "] {lappend out [::mnt::map $w]}
    set name [join $out " "]
  } else {
    if {[::mnt::ispatch $name [lindex $args 0]]} {return [::mnt::openpatch $name [lindex $args 0]]}
    set name [::mnt::map $name]
  }
  tailcall ::mnt::_open $name {*}$args
}
# ispatch: does opening $name in $mode change an existing database in place?
proc ::mnt::ispatch {name mode} {
  if {[helper $name] || [regexp -- {-(journal|wal|shm|mj[0-9A-F]{9})$} $name]} {return 0}
  if {$mode ni {r+ RDWR a a+} || ![_file isfile $name]} {return 0}
  return [string equal [_file normalize [_file dirname $name]] [pwd]]
}
proc ::mnt::openpatch {name mode} {
  variable scratch
  variable patched
  variable npatched
  set copy [_file join $scratch patched-[incr npatched]]
  _file copy $name $copy
  set chan [_open $copy $mode]
  set patched($chan) [list [_file normalize $name] $copy]
  return $chan
}
proc ::mnt::putback {name copy} {
  set in [_open $copy rb]
  set out [_open $name wb]
  fcopy $in $out
  _close $in
  _close $out
}
proc chan {sub args} {
  set result [::mnt::_chan $sub {*}$args]
  set chan [lindex $args 0]
  if {$sub eq "truncate" && [info exists ::mnt::patched($chan)]} {::mnt::putback {*}$::mnt::patched($chan)}
  return $result
}
proc flush {chan} {
  ::mnt::_flush $chan
  if {[info exists ::mnt::patched($chan)]} {::mnt::putback {*}$::mnt::patched($chan)}
}
proc close {chan args} {
  ::mnt::_close $chan {*}$args
  if {![info exists ::mnt::patched($chan)]} return
  lassign $::mnt::patched($chan) name copy
  unset ::mnt::patched($chan)
  ::mnt::putback $name $copy
  ::mnt::_file delete $copy
}
proc exec {args} {
  set out {}
  set first 1
  foreach a $args {
    if {$first && [string match -* $a]} {lappend out $a; continue}
    if {$first} {set first 0; lappend out $a; continue}
    lappend out [::mnt::map $a]
  }
  tailcall ::mnt::_exec {*}$out
}
proc source {args} {
  set args [lreplace $args end end [::mnt::map [lindex $args end]]]
  tailcall ::mnt::_source {*}$args
}
proc file {sub args} {
  switch -glob -- $sub {
    delete {
      set out {}
      foreach a $args {lappend out [::mnt::map $a]}
      tailcall ::mnt::_file $sub {*}$out
    }
    exists - size - mtime - atime - readable - writable - isfile - isdirectory -
    stat - lstat - type - attributes - owned - executable {
      set out {}
      foreach a $args {lappend out [::mnt::map $a]}
      tailcall ::mnt::_file $sub {*}$out
    }
    copy - rename {
      set opt {}
      set paths {}
      foreach a $args {
        if {$paths eq "" && [string match -* $a]} {lappend opt $a} else {lappend paths [::mnt::map $a]}
      }
      tailcall ::mnt::_file $sub {*}$opt {*}$paths
    }
    mkdir {
      if {[string match tempdir* [lindex $args 0]]} {return ""}
      if {[catch {::mnt::_file mkdir {*}$args}]} {lappend ::mnt::refused {*}$args}
      return ""
    }
    default { tailcall ::mnt::_file $sub {*}$args }
  }
}
proc cd {dir} {
  if {$dir ni $::mnt::refused} {tailcall ::mnt::_cd $dir}
}
proc glob {args} {
  set p [lindex $args end]
  if {[string match sv_* $p]} {
    set opts [lrange $args 0 end-1]
    set r {}
    foreach f [::mnt::_glob -nocomplain -directory $::mnt::scratch $p] {lappend r [::mnt::_file tail $f]}
    if {$r eq "" && [lsearch -exact $opts -nocomplain]<0} {error "no files matched glob pattern \"$p\""}
    return $r
  }
  # NAME-pos is not SQLite's
  set r {}
  foreach f [::mnt::_glob {*}$args] {if {![string match *-pos $f]} {lappend r $f}}
  return $r
}
proc hexio_write {f off hex} {
  if {[::mnt::ispatch $f r+]} {
    set chan [open $f r+]
    fconfigure $chan -translation binary
    seek $chan $off
    set bytes [binary format H* $hex]
    puts -nonewline $chan $bytes
    close $chan
    return [string length $bytes]
  }
  tailcall ::mnt::_hexio_write [::mnt::map $f] $off $hex
}
# A few tests open a saved copy (sv_test.db) as a database: it is in the scratch directory.
rename sqlite3 ::mnt::_sqlite3
proc sqlite3 {args} {
  if {[llength $args]>=2 && [string match sv_* [lindex $args 1]]} {
    lset args 1 [::mnt::map [lindex $args 1]]
  } elseif {[llength $args]>=2 && [string match ./tempdir/*test.db* [lindex $args 1]]} {
    lset args 1 ./test.db
  }
  tailcall ::mnt::_sqlite3 {*}$args
}
# tester.tcl leaves a global variable "a" behind, which breaks wal2.test.
trace add variable ::argv write ::mnt::unseta
proc ::mnt::unseta {args} {unset -nocomplain ::a}
set argv0 [lindex $argv 0]
set argv [lrange $argv 1 end]
source $argv0
