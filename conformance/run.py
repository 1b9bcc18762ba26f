#!/usr/bin/env python3
"""Runs SQLite's own tests on a mount of litefs, and checks after each of them what
SQLite does not look at: positions, checksums and the LTX log.

Every test has a mount of its own and a new data directory. When its process has
ended, NAME-pos is read, SQLite opens each database once more and checkpoints it
(which must not move the position), the daemon is stopped, `logcheck` checks the
data directory, and a second daemon must come up at the same positions.

With --plain the tests run in an ordinary directory, for comparison.

A line a test goes to results.tsv: name, ok|explained|fail|abort|timeout|check,
errors, cases, seconds, what failed. The exit code is 1 if a test ended other
than ok or explained.
"""

import argparse
import collections
import concurrent.futures
import fnmatch
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
STOP_SECONDS = 20
START_SECONDS = 20

Result = collections.namedtuple("Result", "test state errors cases seconds detail")


def parse_args():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--cache", type=pathlib.Path, required=True, help="what build.sh printed")
    p.add_argument("--bin", type=pathlib.Path, required=True, help="folder with litefs, ltx and logcheck")
    p.add_argument("--out", type=pathlib.Path, required=True, help="folder for results and logs")
    p.add_argument("--list", type=pathlib.Path, action="append", required=True,
                   help="file of tests, a line each: name, time limit in seconds, shell command; without a "
                        "command it is a script of SQLite's Tcl suite. May be repeated")
    p.add_argument("--known", type=pathlib.Path, default=HERE / "known.txt", help="failures that are explained")
    p.add_argument("--passthrough", choices=["on", "off"], default="on")
    p.add_argument("--fixture", default="testfixture-mnt")
    p.add_argument("--timeout", type=int, default=120, help="seconds a test may take that has no limit of its own")
    p.add_argument("--jobs", type=int, default=1)
    p.add_argument("--litefs-args", default="", help="more arguments of litefs mount")
    p.add_argument("--plain", action="store_true", help="run in an ordinary directory")
    p.add_argument("--keep", action="store_true", help="keep the data directories of tests that fail")
    p.add_argument("tests", nargs="*", help="only these tests")
    return p.parse_args()


def read_lists(paths, timeout):
    """Returns the tests of files: name -> (time limit, command or None)."""
    tests = {}
    for path in paths:
        for line in path.read_text().splitlines():
            if line.strip() and not line.startswith("#"):
                name, limit, command = (line.split(None, 2) + [None, None])[:3]
                tests[name] = (int(limit or timeout), command)
    return tests


def read_known(path):
    """Returns the explained failures: test -> list of patterns of case names."""
    known = {}
    for line in path.read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            test, cases, _ = line.split("\t", 2)
            known.setdefault(test, []).extend(cases.split())
    return known


class Plain:
    """An ordinary directory instead of a mount."""

    def __init__(self, args, work):
        self.mount = work / "mnt"
        self.mount.mkdir()

    def check(self):
        return []

    def close(self):
        pass


class Node:
    """A daemon with a mount and a data directory of its own."""

    def __init__(self, args, work):
        self.args, self.work = args, work
        self.mount, self.data, self.log = work / "mnt", work / "data", work / "litefs.log"
        self.start()

    def start(self):
        cmd = [self.args.bin / "litefs", "mount", "--fuse-dir", self.mount, "--data-dir", self.data,
               "--http-addr", "127.0.0.1:0", "--data-retention", "0", "--log-level", "debug",
               "--fuse-passthrough", "auto" if self.args.passthrough == "on" else "off", *self.args.litefs_args.split()]
        offset = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + START_SECONDS
        while b"LiteFS mounted to: " not in self.log.read_bytes()[offset:]:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.close()
                raise RuntimeError("did not start: %s" % self.log.read_text(errors="replace")[-300:])
            time.sleep(0.01)

    def positions(self):
        """Reads every NAME-pos; returns name -> text."""
        return {p.name.removesuffix("-pos"): p.read_text().strip() for p in sorted(self.mount.glob("*-pos"))}

    def settle(self, names):
        """Has SQLite recover and checkpoint what the test has left."""
        shell = self.args.cache / "bin" / "sqlite3"
        for name in names:
            subprocess.run([shell, self.mount / name, ".timeout 2000", "PRAGMA wal_checkpoint(TRUNCATE)"],
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)

    def stop(self):
        """Stops the daemon; returns what went wrong."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return [("daemon", "did not stop in %d s" % STOP_SECONDS)]
        return [("daemon", "ended with exit code %d" % code)] if code else []

    def check(self):
        """Checks positions and log, and stops the daemon; returns what is wrong, as (kind, message)."""
        if self.process.poll() is not None:
            return [("daemon", "it has ended")]
        wrong = []
        try:
            before = self.positions()
            self.settle(before)
            after = self.positions()
            if before != after:
                wrong.append(("position", "moved without a change: %s, then %s" % (before, after)))
        except OSError as err:
            wrong.append(("position", str(err)))
            after = None
        wrong += self.stop()
        wrong += self.check_data(after)
        if not wrong and after:
            self.start()
            restarted = self.positions()
            if after != restarted:
                wrong.append(("restart", "positions are %s, were %s" % (restarted, after)))
            wrong += self.stop()
        return wrong + self.check_log()

    def check_data(self, positions):
        """Runs logcheck on the data directory."""
        p = subprocess.run([self.args.bin / "logcheck", "-ltx", self.args.bin / "ltx",
                            "-sqlite3", self.args.cache / "bin" / "sqlite3", self.data],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wrong = [("data", line) for line in p.stderr.strip().splitlines()]
        logged = dict(line.split() for line in p.stdout.splitlines())
        for name, pos in (positions or {}).items():
            if logged.get(name) != pos:
                wrong.append(("position", "%s-pos says %s, the log ends at %s" % (name, pos, logged.get(name))))
        return wrong

    def check_log(self):
        """The daemon's own log must have no error and no panic."""
        text = self.log.read_text(errors="replace")
        return [("log", line) for line in text.splitlines() if re.search(r"level=ERROR|^panic:|goroutine \d+ \[", line)][:3]

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        subprocess.run(["umount", "-l", self.mount], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def command_line(args, test, command, mount):
    """Returns what runs a test, and where."""
    bin_dir = args.cache / "bin"
    if command:
        return ["sh", "-c", command], mount
    # Tests of file modes mean nothing to a process that may override them.
    drop = "-dac_override,-dac_read_search"
    script = args.cache / "tree" / "test" / (test + ".test")
    return ["setpriv", "--bounding-set", drop, "--inh-caps", drop, bin_dir / args.fixture,
            HERE / "mnt.tcl", script, "--testdir=%s" % mount], bin_dir


def run_program(args, test, spec, work, mount):
    """Runs a test; returns (ended in time, exit code, output, seconds)."""
    limit, command = spec
    cmd, cwd = command_line(args, test, command, mount)
    scratch = work / "scratch"
    scratch.mkdir()
    log = args.out / (test + ".out")
    env = dict(os.environ, SQLITE_TEST_SCRATCH=str(scratch), SQLITE_TMPDIR=str(scratch),
               BIN=str(args.cache / "bin"), MPTEST=str(args.cache / "tree" / "mptest"))
    started = time.monotonic()
    with log.open("wb") as out:
        p = subprocess.Popen(cmd, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=out,
                             stderr=subprocess.STDOUT, start_new_session=True)
        try:
            p.wait(limit)
            in_time = True
        except subprocess.TimeoutExpired:
            in_time = False
        try:
            os.killpg(p.pid, signal.SIGKILL)  # children that the script has left as well
        except ProcessLookupError:
            pass
        p.wait()
    return in_time, p.returncode, log.read_text(encoding="latin1"), time.monotonic() - started


def judge_command(test, outcome):
    """Turns the outcome of a program other than the Tcl suite into a Result."""
    in_time, code, text, seconds = outcome
    state = "timeout" if not in_time else "fail" if code else "ok"
    return Result(test, state, code, 1, seconds, "" if state == "ok" else " / ".join(text.strip().splitlines()[-3:]))


def judge_script(test, outcome, known):
    """Turns the outcome of a script of the Tcl suite into a Result."""
    in_time, code, text, seconds = outcome
    summary = re.findall(r"^(\d+) errors out of (\d+) tests", text, re.M)
    failed = re.findall(r"^!Failures on these tests:(.*)$", text, re.M)
    cases = [case for line in failed[-1:] for case in line.split()]
    errors, count = summary[-1] if summary else ("-", str(len(re.findall(r"\.\.\. Ok$", text, re.M))))
    detail = " ".join(cases)
    if not in_time:
        state = "timeout"
    elif summary:
        state = "ok" if code == 0 else "fail"
    else:
        state = "abort"
        cases = ["abort-after-" + count] + re.findall(r"^! (\S+) expected", text, re.M)
        detail = " ".join(cases) + " | " + (text.strip().splitlines() or [""])[-1][:160]
    if state in ("fail", "abort") and explained(known, test, cases):
        state = "explained"
    return Result(test, state, errors, count, seconds, detail)


def explained(known, test, cases):
    """Reports whether every case that failed matches a pattern of the explained ones."""
    return bool(cases) and all(any(fnmatch.fnmatchcase(c, p) for p in known.get(test, [])) for c in cases)


def run_test(args, known, test, spec):
    work = pathlib.Path(tempfile.mkdtemp(prefix="conformance-"))
    try:
        node = (Plain if args.plain else Node)(args, work)
        try:
            outcome = run_program(args, test, spec, work, node.mount)
            result = judge_command(test, outcome) if spec[1] else judge_script(test, outcome, known)
            wrong = node.check()
        finally:
            node.close()
    except (RuntimeError, subprocess.SubprocessError) as err:
        result, wrong = Result(test, "check", "-", "-", 0.0, ""), [("daemon", str(err))]
    if wrong:
        state = result.state
        if state in ("ok", "explained"):
            state = "explained" if explained(known, test, ["after:" + kind for kind, _ in wrong]) else "check"
        result = result._replace(state=state, detail=" ".join([result.detail] + ["| after:%s %s" % w for w in wrong]))
    if not args.plain and (work / "litefs.log").exists():
        shutil.copy(work / "litefs.log", args.out / (test + ".litefs.log"))
    if args.keep and result.state not in ("ok", "explained"):
        shutil.copytree(work / "data", args.out / (test + ".data"), dirs_exist_ok=True, ignore_dangling_symlinks=True)
    shutil.rmtree(work, ignore_errors=True)
    return result


def results(pool, runs):
    """Yields results as they come. An interrupt lets the tests that run come to their end, and no others."""
    try:
        for done in concurrent.futures.as_completed(runs):
            yield done.result()
    except KeyboardInterrupt:
        pool.shutdown(cancel_futures=True)
        raise


def main():
    args = parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    known = read_known(args.known)
    tests = read_lists(args.list, args.timeout)
    if args.tests:
        tests = {name: tests.get(name, (args.timeout, None)) for name in args.tests}
    tally = collections.Counter()
    started = time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (args.out / "results.tsv").open("w", buffering=1) as out, \
            concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        runs = [pool.submit(run_test, args, known, test, spec) for test, spec in tests.items()]
        for r in results(pool, runs):
            tally[r.state] += 1
            out.write("%s\t%s\t%s\t%s\t%.1f\t%s\n" % (r._replace(detail=r.detail[:2000])))
            if r.state not in ("ok", "explained"):
                print("%-9s %-24s %s" % (r.state, r.test, r.detail[:600]), flush=True)
    failed = {state: n for state, n in tally.items() if state not in ("ok", "explained")}
    print("passed %d, failed %d, explained %d, of %d, in %.0f s%s" % (
        tally["ok"], sum(failed.values()), tally["explained"], len(tests), time.monotonic() - started,
        " (%s)" % ", ".join("%s %d" % x for x in sorted(failed.items())) if failed else ""), flush=True)
    return 1 if failed or not tests else 0


if __name__ == "__main__":
    sys.exit(main())
