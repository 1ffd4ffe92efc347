#!/usr/bin/env python3
"""Compares Lamplighter with stock binary-diff tools on real pairs of releases, in one run, taking turns.

usage: scripts/bench.py [--record] [PAIR...]     default: all pairs of real_releases.csv, one or two hours
       scripts/bench.py --short                  pygame-win alone, beside the tools that Debian packages: a minute

Every peer patches the changed files one by one (hdiffz the two directories, too); every patch is applied and compared.
A pack above the smallest patch of any peer is a failure. Times and memory are shown beside their goals, not asserted,
as they are the machine's as much as ours. A peer that cannot be had is named; with CI=true that is a failure.
`--record` writes rows, figures, machine, versions, a table and plots to docs/figures/<date>-<machine>-peers/.
"""

import argparse
import math
import os
import pathlib
import shutil
import statistics
import sys
import tempfile

import bench_report
import contest
import lab
import peers
import real_releases
import report
from contest import OURS

SHORT_PAIR = "pygame-win"
NATIVE_PAIRS = ("ruff-win", "ruff-lin", "biome-mac-arm", "pyside-win", "pygame-win", "panda3d-mac")
NATIVE_MEAN_GOAL = 0.68
CPU_PER_CHANGED_MB_GOALS = {"ruff-win": 0.7, "ruff-lin": 0.7}
EFFORT_1_CPU_GOAL = 0.25
PEAK_BASE = 256 * report.MIB
PEAK_PER_OLD_BYTE = 8
MANY_FILES = 100
WALL_PER_CPU_GOAL = 0.6
APPLY_PAIRS = ("ruff-win", "pyside-win")
APPLY_GOALS = {"hdiffz": 1.5, "zucchini+xz": 0.5}
UPDATE_PER_COPY_GOAL = 2.0
VERIFY_PAIR = "panda3d-mac"
VERIFY_ROUNDS = 5
VERIFY_GOALS = {(): 1 / 0.8, ("--crc",): 1 / 0.4}


def size_figures(pair, results, outcome):
    best = outcome.best_peer()
    results.figure(pair.name, "pack", outcome.ours.pack_bytes)
    results.figure(pair.name, f"best peer: {best.tool}", best.patch_bytes)
    ratio = outcome.ours.pack_bytes / best.patch_bytes
    results.figure(pair.name, "pack against the best peer", ratio, 1.0, "ratio")


def diff_figures(pair, results, outcome):
    """What making the pack costs; objects and proof are the site's, not the pack's."""
    spent, trees = outcome.of(OURS).diff, outcome.trees

    def goal(what, value, limit, unit="ratio"):
        results.figure(pair.name, what, value, limit, unit, asserted=False)

    megabytes = trees.changed_bytes / 1e6
    goal("pack-making: cpu per changed MB", spent.cpu_s / megabytes, CPU_PER_CHANGED_MB_GOALS.get(pair.name), "s")
    for tool in ("bsdiff", "zucchini+xz"):
        if peer := outcome.of(tool):
            goal(f"pack-making: cpu against {tool}", spent.cpu_s / peer.diff.cpu_s, 1.0)
    if bsdiff := outcome.of("bsdiff"):
        quick = outcome.ours.make_pack(effort=1)
        goal("pack-making at effort 1: cpu against bsdiff", quick.cpu_s / bsdiff.diff.cpu_s, EFFORT_1_CPU_GOAL)
    limit = PEAK_BASE + PEAK_PER_OLD_BYTE * trees.largest_old_bytes * os.cpu_count()
    goal("pack-making: peak memory", spent.peak_kib * 1024, limit, "MiB")
    many = os.cpu_count() == 2 and len(trees.changed) >= MANY_FILES
    goal("pack-making: wall against cpu", spent.wall_s / spent.cpu_s, WALL_PER_CPU_GOAL if many else None)


def apply_figures(pair, results, outcome):
    spent = outcome.of(OURS).apply
    for tool, limit in APPLY_GOALS.items() if pair.name in APPLY_PAIRS else ():
        if peer := outcome.of(tool):
            ratio = spent.wall_s / peer.apply.wall_s
            results.figure(pair.name, f"update: wall against {tool}", ratio, limit, "ratio", asserted=False)
    copy_s = statistics.median(copy.wall_s for copy in outcome.copies)
    what = "update: wall against cp -r of the changed files and sync"
    results.figure(pair.name, what, spent.wall_s / copy_s, UPDATE_PER_COPY_GOAL, "ratio", asserted=False)
    results.figure(pair.name, "update: peak memory", spent.peak_kib * 1024, unit="MiB")


def verify_figures(pair, results, outcome, programs):
    client = lab.Client(programs, outcome.ours.base, measure=outcome.ours.scratch / "time.txt")
    for flags, limit in VERIFY_GOALS.items():
        ours, theirs = lab.verify_beside_b3sum(client, VERIFY_ROUNDS, *flags)
        ratio = statistics.median(r.wall_s for r in ours) / statistics.median(r.wall_s for r in theirs)
        what = " ".join(("verify", *flags, "against b3sum: wall"))
        results.figure(pair.name, what, ratio, limit, "ratio", asserted=False)


def mean_figure(results, outcomes):
    """Over the native-code pairs of this run; the goal is for all of them."""
    measured = [name for name in NATIVE_PAIRS if name in outcomes]
    if measured:
        logs = [math.log(o.ours.pack_bytes / o.best_peer().patch_bytes) for o in map(outcomes.get, measured)]
        limit = NATIVE_MEAN_GOAL if len(measured) == len(NATIVE_PAIRS) else None
        what = "pack against the best peer, geometric mean"
        subject = f"{len(measured)} of {len(NATIVE_PAIRS)} native pairs"
        results.figure(subject, what, math.exp(statistics.mean(logs)), limit, "ratio", asserted=False)


def say(row):
    """One line a round, as it ends."""
    spent = [f"{w} {s.cpu_s:.2f} s cpu, {s.wall_s:.2f} s" for w, s in (("diff", row.diff), ("apply", row.apply)) if s]
    print(f"{row.pair}  {row.tool}  {row.patch_bytes:,}  " + "  ".join(spent), flush=True)


def measure(pair, found, results, programs, scratch):
    outcome = contest.hold(pair, found, programs, scratch, say)
    for number, run in enumerate(outcome.ours.published):
        results.run(pair.name, f"publish {('old', 'new')[number]}, objects and proof included", run)
    if len(outcome.tools()) > 1:
        size_figures(pair, results, outcome)
    diff_figures(pair, results, outcome)
    apply_figures(pair, results, outcome)
    if pair.name == VERIFY_PAIR:
        verify_figures(pair, results, outcome, programs)
    return outcome


def verdict(results, missing):
    """Prints what failed; true if nothing did."""
    over = [f for f in results.figures if f.asserted and not f.holds]
    for figure in over:
        print(f"FAILED: {figure.subject}: {figure.what}: {report.shown(figure.value, figure.unit)}")
    for name, reason in missing.items():
        print(f"MISSING: {name}: {reason}")
    return not over and not (missing and os.environ.get("CI") == "true")


def main():
    parser = argparse.ArgumentParser(description="Lamplighter and its peers on real releases.")
    parser.add_argument("pairs", nargs="*", metavar="PAIR")
    parser.add_argument("--short", action="store_true", help=f"only {SHORT_PAIR}, beside the tools that Debian packages")
    parser.add_argument("--record", action="store_true", help="keep the result under docs/figures/")
    arguments = parser.parse_args()
    names = arguments.pairs or ([SHORT_PAIR] if arguments.short else [pair.name for pair in real_releases.PAIRS])
    pairs = [real_releases.by_name(name) for name in names]
    programs = lab.binaries()
    found, missing = peers.provide(packaged_only=arguments.short)
    if not found:
        raise lab.LabError("no peer can be had")
    results, outcomes = report.Results(), {}
    with tempfile.TemporaryDirectory(prefix="lamplighter-bench-") as scratch:
        for pair in pairs:
            place = pathlib.Path(scratch).resolve() / pair.name
            place.mkdir()
            outcomes[pair.name] = measure(pair, found, results, programs, place)
            missing.update({f"{n} on {pair.name}": why for n, why in outcomes[pair.name].failures.items()})
            shutil.rmtree(place)
    mean_figure(results, outcomes)
    text = bench_report.Text(results, outcomes, found, missing)
    print("\n" + text.summary() + "\n" + report.markdown(results))
    if arguments.record:
        text.record(" ".join(sys.argv[1:]))
    sys.exit(0 if verdict(results, missing) else 1)


if __name__ == "__main__":
    try:
        main()
    except (lab.LabError, real_releases.FetchError) as error:
        sys.exit(f"bench: {error}")
