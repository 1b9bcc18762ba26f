// Package sqlitetest is a suite of SQLite's behaviour. It runs on any directory:
// on a plain one, which proves the suite right, and on every kind of mount.
//
// A Case is one behaviour. It runs in an Env, which is a directory with a journal
// mode and a page size. SQLite never runs in the process of the test, which may be
// the one that serves the mount: a Conn is a process with one connection. The test
// binary serves as that process, so its TestMain must begin with
//
//	if sqlitetest.Child() {
//		return
//	}
//
// On a mount the cases also check the position: a transaction moves it by one,
// and what changes nothing does not move it.
package sqlitetest
