#!/usr/bin/env python3
"""Random histories of roots, rotations, heads, releases and clocks, judged by our client and by python-tuf.

usage: scripts/oracle.py [--first N] [HISTORIES]      default: 1000 histories from number 0 on

`cargo run -p lamplighter-client --example histories` tells the histories and what `trust::judge` says to every step;
tuf_side.py writes each step as metadata of The Update Framework and has python-tuf judge it; oracle_rules.py compares,
and lists the differences that are meant. A step nobody foresaw ends with its number, to be told again alone, and a
failure. So does a run of 1000 or more in which a kind of verdict or of difference never came up: it was not tested.

python-tuf is installed once, at the versions below, into `target/oracle`; that needs python3 with venv and pip.
"""

import argparse
import collections
import json
import multiprocessing
import os
import pathlib
import subprocess
import sys
import time

import lab

PINS = ["tuf==7.0.1", "securesystemslib==1.6.0", "cryptography==50.0.2"]
# Enough of them that a kind that is missing is missing by mistake.
WHOLE = 1000
CHUNK = 25
PROGRESS = 2000


def python_tuf():
    """Goes on in the interpreter that has python-tuf; makes it first, if need be."""
    place = lab.TARGET / "oracle"
    stamp, python = place / "pins", place / "bin" / "python"
    if not stamp.exists() or stamp.read_text() != "\n".join(PINS):
        print(f"oracle: installing {' '.join(PINS)} (once)", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PINS], check=True)
        stamp.write_text("\n".join(PINS))
    if pathlib.Path(sys.prefix).resolve() != place.resolve():
        os.execv(python, [python, __file__, *sys.argv[1:]])


def storyteller():
    """The program that tells the histories."""
    return lab.build() / "examples/histories"


def compare(job):
    """Counts of one chunk, and the disagreements in it."""
    import oracle_rules

    program, first, count = job
    told = subprocess.run([program, str(first), str(count)], check=True, capture_output=True, text=True).stdout
    counts, disagreements = collections.Counter(), []
    for line in told.splitlines():
        comparer = oracle_rules.Comparer(json.loads(line))
        try:
            comparer.run()
        except oracle_rules.Disagreement as found:
            disagreements.append(str(found))
        counts += comparer.counts
    return counts, disagreements


def report(counts, wanted, seconds):
    import oracle_rules

    verdicts = [oracle_rules.AGREED + stage for stage in oracle_rules.STAGES]
    for name in verdicts + oracle_rules.DIFFERENCES:
        print(f"oracle: {counts[name]:>9} {name if name in verdicts else 'meant difference: ' + name}")
    accepted = counts[oracle_rules.AGREED + "accept"]
    refused = sum(counts[verdict] for verdict in verdicts) - accepted
    print(
        f"oracle: {counts['histories']} histories, {counts['steps']} steps: both accept {accepted}, both refuse {refused};"
        f" {seconds:.0f} s, {seconds * 1000 / wanted:.0f} s a thousand"
    )
    return [name for name in verdicts + oracle_rules.DIFFERENCES if not counts[name]] if wanted >= WHOLE else []


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("histories", metavar="HISTORIES", type=int, nargs="?", default=WHOLE)
    arguments.add_argument("--first", type=int, default=0)
    given = arguments.parse_args()
    python_tuf()
    program = storyteller()
    begin, end = given.first, given.first + given.histories
    jobs = [(program, first, min(CHUNK, end - first)) for first in range(begin, end, CHUNK)]
    counts, disagreements, started = collections.Counter(), [], time.monotonic()
    with multiprocessing.Pool() as pool:
        for done, found in pool.imap_unordered(compare, jobs):
            counts += done
            disagreements += found
            if counts["histories"] // PROGRESS > (counts["histories"] - done["histories"]) // PROGRESS:
                print(f"oracle: {counts['histories']} histories, {len(disagreements)} disagreements", flush=True)
    missing = report(counts, given.histories, time.monotonic() - started)
    figures = {"histories": counts["histories"], "steps": counts["steps"], "disagreements": len(disagreements)}
    lab.note_figures("oracle", figures)
    for disagreement in disagreements[:20]:
        print(f"oracle: DISAGREEMENT: {disagreement}")
    for name in missing:
        print(f"oracle: never came up: {name}")
    if disagreements or missing:
        sys.exit(f"oracle: {len(disagreements)} disagreements")


if __name__ == "__main__":
    main()
