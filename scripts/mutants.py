#!/usr/bin/env python3
"""Breaks the code on purpose, as a tired maintainer might, and demands that a named test notices.

usage: scripts/mutants.py [--target-dir DIR] [NAME_OR_NUMBER...]     (`make mutants`); all breaks, or these
       scripts/mutants.py --check     only that every break of the table still finds its place in the code: no cargo
       scripts/mutants.py --list      numbers, names and tests

The breaks are in scripts/mutants.toml. Files that git tracks are copied to target/mutants/tree, so nothing here is touched. There
each test runs once on whole code and must pass; then each break is made, its test must fail by a test (what does not compile, or
runs no test, is an error of the table), and the break is taken back. Exit code 0: all were noticed.
"""

import argparse
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
TABLE = REPOSITORY / "scripts/mutants.toml"
TREE = REPOSITORY / "target/mutants/tree"
# A break may make a test wait for ever.
RUN_SECONDS_MAX = 1200
# Nearly all of the time goes into compiling what was broken.
QUICK = {"CARGO_PROFILE_DEV_OPT_LEVEL": "0", "CARGO_PROFILE_DEV_DEBUG": "false"}
RESULT = re.compile(r"^test result: (ok|FAILED)\. (\d+) passed; (\d+) failed", re.M)
FAILED = re.compile(r"^test (\S+)(?: - should panic)? \.\.\. FAILED$", re.M)
FIELDS = {"name", "what", "file", "edits", "test", "says", "environment"}


class Unusable(Exception):
    """An entry, or a test, that says nothing about the code."""


class Mutant:
    """A break: where it is made, and the test that must notice."""

    def __init__(self, number, entry):
        self.number = number
        self.name = entry["name"]
        self.what = entry["what"]
        self.test = entry["test"]
        self.says = entry.get("says")
        self.environment = entry.get("environment", {})
        self.edits = [(edit.get("file", entry.get("file")), edit["old"], edit["new"]) for edit in entry["edits"]]
        if unknown := set(entry) - FIELDS:
            raise Unusable(f"unknown fields {sorted(unknown)}")
        if not self.edits or not all(self.edits):
            raise Unusable("no edits")

    def run(self):
        """What its test is run by: mutants that have the same share the run on whole code."""
        return (self.test, tuple(sorted(self.environment.items())))

    def broken(self, root):
        """The files it alters, each with its altered bytes."""
        texts = {}
        for file, old, new in self.edits:
            path = root / file
            if file not in texts and not path.is_file():
                raise Unusable(f"{file} is not there")
            text = texts.get(file) or path.read_text(encoding="utf-8")
            found = text.count(old)
            if found != 1:
                raise Unusable(f"{file}: expected once, found {found} times: {old!r}")
            if old == new:
                raise Unusable(f"{file}: nothing is altered: {old!r}")
            texts[file] = text.replace(old, new)
        return {file: text.encode() for file, text in texts.items()}


def read_table():
    mutants, names = [], set()
    for number, entry in enumerate(tomllib.loads(TABLE.read_text(encoding="utf-8"))["mutant"], 1):
        try:
            mutant = Mutant(number, entry)
        except (KeyError, Unusable) as error:
            sys.exit(f"{TABLE.name}: entry {number}: {error}")
        if mutant.name in names or mutant.name.isdigit():
            sys.exit(f"{TABLE.name}: entry {number}: {mutant.name} is no name of its own")
        names.add(mutant.name)
        mutants.append(mutant)
    return mutants


def check(mutants):
    """Every break still finds its place in the code, and changes something."""
    offences = []
    for mutant in mutants:
        try:
            mutant.broken(REPOSITORY)
        except Unusable as error:
            offences.append(f"{TABLE.name}: {mutant.number} {mutant.name}: {error}")
    for offence in offences:
        print(offence)
    if offences:
        sys.exit(1)
    print(f"mutants: {len(mutants)} breaks find their place")


def put(source, path):
    """`path` becomes what `source` is, and is not touched if it is that already: cargo goes by times."""
    if source.is_symlink():
        if not path.is_symlink() or os.readlink(path) != os.readlink(source):
            path.unlink(missing_ok=True)
            path.symlink_to(os.readlink(source))
        return
    data = source.read_bytes()
    if path.is_symlink() or not path.is_file() or path.read_bytes() != data:
        path.unlink(missing_ok=True)
        path.write_bytes(data)
    mode = source.stat().st_mode & 0o777
    if path.stat().st_mode & 0o777 != mode:
        path.chmod(mode)


def copy_tree():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, check=True, capture_output=True).stdout.decode()
    tracked = {name for name in listed.split("\0") if name and os.path.lexists(REPOSITORY / name)}
    for name in sorted(tracked):
        path = TREE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        put(REPOSITORY / name, path)
    for folder, folders, files in os.walk(TREE, topdown=False):
        for name in files + [name for name in folders if os.path.islink(os.path.join(folder, name))]:
            path = pathlib.Path(folder, name)
            if str(path.relative_to(TREE)) not in tracked:
                path.unlink()
        if not os.listdir(folder):
            shutil.rmtree(folder)


class Cargo:
    """Runs tests in the copy."""

    def __init__(self, target):
        outer = {name: value for name, value in os.environ.items() if not name.startswith("LAMPLIGHTER_")}
        self.environment = outer | QUICK | {"CARGO_TARGET_DIR": str(target), "CARGO_TERM_COLOR": "never"}

    def test(self, mutant):
        """Runs the test of `mutant`: how many passed, how many failed, what it printed."""
        command = ["cargo", "test", "--locked", *shlex.split(mutant.test)]
        # A group of its own: what the test has started ends with it.
        done = subprocess.Popen(
            command,
            cwd=TREE,
            env=self.environment | mutant.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            said = done.communicate(timeout=RUN_SECONDS_MAX)[0].decode(errors="replace")
        except subprocess.TimeoutExpired as error:
            raise Unusable(f"no end after {RUN_SECONDS_MAX} s") from error
        finally:
            if done.poll() is None:
                os.killpg(done.pid, signal.SIGKILL)
                done.wait()
        results = RESULT.findall(said)
        if not results:
            raise Unusable(f"no test was run:\n{said[-3000:]}")
        passed, failed = (sum(int(found[index]) for found in results) for index in (1, 2))
        if passed + failed == 0:
            raise Unusable("its words choose no test")
        if (done.returncode == 0) != (failed == 0):
            raise Unusable(f"{failed} tests failed, and cargo ended with {done.returncode}:\n{said[-3000:]}")
        return passed, failed, said


def sound(cargo, mutants):
    """The runs, by `Mutant.run`, that pass on whole code."""
    passing = {}
    for mutant in mutants:
        if mutant.run() in passing:
            continue
        begun = time.monotonic()
        try:
            passed, failed, said = cargo.test(mutant)
            verdict = f"{passed} passed" if failed == 0 else f"FAILED: {', '.join(FAILED.findall(said))}"
            passing[mutant.run()] = failed == 0
        except Unusable as error:
            verdict, passing[mutant.run()] = f"UNUSABLE: {error}", False
        print(f"whole code  {time.monotonic() - begun:6.1f} s  {mutant.test}: {verdict}", flush=True)
    return {run for run, passes in passing.items() if passes}


def judge(cargo, mutant):
    """Breaks, tests, mends: the verdict, and what is to be said of it."""
    broken = mutant.broken(TREE)
    whole = {file: (TREE / file).read_bytes() for file in broken}
    try:
        for file, data in broken.items():
            (TREE / file).write_bytes(data)
        _, failed, said = cargo.test(mutant)
    finally:
        # Written now, so cargo sees that they changed again.
        for file, data in whole.items():
            (TREE / file).write_bytes(data)
    if failed == 0:
        return "SURVIVED", mutant.test
    if mutant.says and mutant.says not in said:
        raise Unusable(f"the test fails, and does not say {mutant.says!r}:\n{said[-3000:]}")
    names = FAILED.findall(said)
    return "noticed", ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def campaign(mutants, target):
    copy_tree()
    cargo = Cargo(target)
    passing = sound(cargo, mutants)
    counts = {"noticed": 0, "SURVIVED": 0, "UNUSABLE": 0}
    for mutant in mutants:
        begun = time.monotonic()
        try:
            if mutant.run() not in passing:
                raise Unusable("its test does not pass on whole code")
            verdict, said = judge(cargo, mutant)
        except Unusable as error:
            verdict, said = "UNUSABLE", error
        counts[verdict] += 1
        seconds = time.monotonic() - begun
        print(f"{verdict:<10}  {seconds:6.1f} s  {mutant.number:>2} {mutant.name}: {mutant.what} [{said}]", flush=True)
    print(f"mutants: {counts['noticed']} of {len(mutants)} noticed, {counts['SURVIVED']} survived, {counts['UNUSABLE']} unusable")
    return counts["noticed"] == len(mutants)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chosen", nargs="*", metavar="NAME_OR_NUMBER")
    parser.add_argument("--target-dir", type=pathlib.Path, default=REPOSITORY / "target/mutants/target")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--list", action="store_true")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    mutants = read_table()
    if given.check:
        return check(mutants)
    if given.chosen:
        known = {key for mutant in mutants for key in (mutant.name, str(mutant.number))}
        if unknown := set(given.chosen) - known:
            sys.exit(f"no such break: {' '.join(sorted(unknown))}")
        mutants = [m for m in mutants if m.name in given.chosen or str(m.number) in given.chosen]
    if given.list:
        for mutant in mutants:
            print(f"{mutant.number:>2} {mutant.name}: {mutant.test}")
        return None
    sys.exit(0 if campaign(mutants, given.target_dir.resolve()) else 1)


if __name__ == "__main__":
    main()
