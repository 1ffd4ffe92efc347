#!/usr/bin/env python3
"""Runs the test programs of the workspace, several at a time: many of them wait more than they work.

usage: scripts/unit.py      (`make unit`)

`cargo test` builds them and would run them one after the other, to the first that fails; here all are run, and what a failing
one said is shown whole. Tests in documents follow, by cargo itself.
"""

import concurrent.futures
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import time

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
CARGO = os.environ.get("CARGO", "cargo")
# The optimised build, which `make release` and the scripts use too: nothing is compiled twice.
COMMON = ["--workspace", "--locked", "--release"]
# These take longest, so they begin first; a name that is missing here costs time and nothing else.
LONG = ("fleet", "power", "json", "corpora", "tamper", "every_byte", "mirrors", "network", "attacker", "crash")


@dataclasses.dataclass(frozen=True)
class Program:
    name: str
    path: str
    package: pathlib.Path

    def order(self):
        return LONG.index(self.name) if self.name in LONG else len(LONG)


def build():
    """Builds all test programs; cargo's own words go where they always do."""
    command = [CARGO, "test", *COMMON, "--no-run", "--message-format=json-render-diagnostics"]
    done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    made = [m for m in messages if m["reason"] == "compiler-artifact" and m["profile"]["test"] and m["executable"]]
    programs = [Program(m["target"]["name"], m["executable"], pathlib.Path(m["manifest_path"]).parent) for m in made]
    return sorted(programs, key=Program.order)


def run(program):
    """Runs one as cargo would: in the directory of its package."""
    began = time.monotonic()
    environment = {**os.environ, "CARGO": CARGO}
    command = [program.path, "--quiet"]
    done = subprocess.run(
        command, cwd=program.package, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    return program, done, time.monotonic() - began


def main():
    programs = build()
    if not programs:
        sys.exit("unit: cargo built no test program")
    failed = []
    # One more than processors: one of them waits.
    with concurrent.futures.ThreadPoolExecutor((os.cpu_count() or 1) + 1) as pool:
        for future in concurrent.futures.as_completed([pool.submit(run, program) for program in programs]):
            program, done, seconds = future.result()
            where = f"{program.package.relative_to(REPOSITORY)}: {program.name}"
            summary = [line for line in done.stdout.splitlines() if line.startswith("test result: ")]
            print(f"{where}: {summary[-1] if summary else 'no result'}; {seconds:.0f} s in all", flush=True)
            if done.returncode or not summary:
                failed.append(where)
                print(f"{done.stdout}\n{where}: ended with {done.returncode}", flush=True)
    documents = subprocess.run([CARGO, "test", *COMMON, "--doc"], cwd=REPOSITORY)
    if documents.returncode:
        failed.append("tests in documents")
    if failed:
        sys.exit(f"unit: failed: {', '.join(failed)}")
    print(f"unit: {len(programs)} programs passed")


if __name__ == "__main__":
    main()
