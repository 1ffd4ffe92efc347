#!/usr/bin/env python3
"""What was tried against the client, and what came of it, as one table, from the runs themselves.

usage: scripts/scoreboard.py [--record] [--without-root] [--only-print]          (`make scoreboard`)

Each run leaves its figures in target/scoreboard/; this runs them all, in their short form, and prints a row for each. A run
that fails, and a figure that is not there, end it. With --record the table is kept in docs/scoreboard.md, with the machine
and the commands. --without-root leaves out what mounts disks and makes networks, and says so in the table.
"""

import argparse
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys

import lab

FIGURES = lab.REPOSITORY / "target/scoreboard"
PAGE = lab.REPOSITORY / "docs/scoreboard.md"

TESTS = [
    *("power", "crash", "corpora"),
    *("threats", "every_byte", "attacker", "fleet", "crowd", "user_files"),
    *("network", "torn_uploads", "long_downloads"),
]

# What is run: a command, whether it needs root, and the figures it leaves.
RUNS = [
    # Of the whole workspace, as `make test` builds it.
    (["cargo", "test", "--release", "--workspace", "--locked", *(f"--test={name}" for name in TESTS)], False),
    (["python3", "scripts/oracle.py", "1000"], False),
    (["python3", "scripts/faults.py"], True),
]

# A row: its part, the name of its figures, what was tried, and the figure that must be 0.
ROWS = [
    ("Trust", "threats", "{cases} cases over {rows} rows of the table of threats", "failed"),
    ("Trust", "every-byte-*", "{changes} changes of a single byte of something signed", "accepted"),
    ("Trust", "oracle", "{histories} random histories beside python-tuf, {steps} steps", "disagreements"),
    ("Trust", "bad-line", "{updates} updates, {altered} of {answers} answers altered; {run_again} had to be run again", "wrong_bytes"),
    ("Trust", "corpora", "{executions} changed inputs to {targets} parsers and decoders", "failed"),
    ("Crashes", "power-cuts", "{cuts} power cuts on a disk that forgets: {distinct_disks} different disks, each started", "mixed_trees_or_lost_files"),
    ("Crashes", "deaths", "the process ends at each of {deaths} calls of an update, a way back, a heal", "mixed_trees_or_lost_files"),
    ("Crashes", "failing-calls", "{failing_calls} calls fail there: EIO, ENOSPC, EACCES, EMFILE", "mixed_trees_or_lost_files"),
    ("Crashes", "user-files", "{histories} random histories, {steps} steps, {cut_off} cut off; {files_written_by_the_user} files of the user, {set_aside} set aside", "lost"),
    ("Crashes", "crowd", "{processes} launchers, updaters and patchers, {crowd} at once on one tree, {kills} of them killed", "violations"),
    ("Crashes", "faults-kills", "the client that ships, killed at {kills} system calls", "mixed_trees_or_lost_files"),
    ("Crashes", "faults-errors", "the client that ships, {failed_calls} system calls fail", "mixed_trees_or_lost_files"),
    ("Crashes", "faults-power", "{ext4_cuts} power cuts on ext4 ({ext4_old} old, {ext4_new} new), {xfs_cuts} on xfs ({xfs_old} old, {xfs_new} new)", "mixed_trees_or_lost_files"),
    ("Crashes", "faults-full", "{sizes} sizes of a full disk, {inode_counts} numbers of inodes, {remounts} disks that turn read-only", "mixed_trees_or_lost_files"),
    ("Networks", "network-faults", "{cases} cases of {forms} forms of 30 faults of a network, at the first, middle and last request for each kind of file", "failed"),
    ("Networks", "network-storms", "{storms} updates with faults at half of all files, of which {whole} arrived at once", "failed"),
    *(
        ("Networks", f"resume-{name}", "a pack of {pack_bytes} bytes, cut {cuts} times, " + text + ": {ratio} times its bytes", None)
        for name, text in (
            ("in-one-process", "in one process"),
            ("over-restarts", "over restarts"),
            ("over-changing-ways", "over changing proxies"),
        )
    ),
    ("Networks", "torn-uploads", "{moments} moments of uploads in seven orders, each updated and installed from", "torn"),
    ("Fleet", "simulation", "{seeds} simulated fleets, {simulated_days} days: {updates} updates, {crashes} crashes, {halts} halts, {rotations} rotations, {faulty_requests} of {requests} answers bad; last install {halt_to_last_install_hours} hours after a halt", "violations"),
]


def collect():
    """Name → figures; those of one kind, `kind-*`, are added up."""
    found = {}
    for path in sorted(FIGURES.glob("*.json")):
        figures = json.loads(path.read_text())
        found[path.stem] = figures
    for name in [name for _, name, _, _ in ROWS if name.endswith("*")]:
        parts = [figures for key, figures in found.items() if key.startswith(name[:-1])]
        if parts:
            numbers = {key for part in parts for key, value in part.items() if isinstance(value, int)}
            found[name] = {key: sum(part.get(key, 0) for part in parts) for key in numbers}
    return found


def shown(value):
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else value


def table(found, left_out):
    rows = [("part", "what was tried", "must be 0", "found")]
    for part, name, text, zero in ROWS:
        if name in found:
            figures = found[name]
            found_bad = (zero.replace("_", " "), str(figures[zero])) if zero else ("", "")
            rows.append((part, text.format(**{key: shown(value) for key, value in figures.items()}), *found_bad))
        elif name in left_out:
            rows.append((part, f"{name}: not run, it needs root", zero.replace("_", " "), "-"))
        else:
            raise lab.LabError(f"{FIGURES / name}.json is missing: the run that leaves it did not")
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "| --- | --- | --- | --- |", *lines[1:]])


def machine():
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown")
    memory_kib = int(next(line for line in open("/proc/meminfo") if line.startswith("MemTotal")).split()[1])
    return f"{os.cpu_count()} cores of {cpu}, {memory_kib / (1 << 20):.0f} GiB, Linux {platform.release()}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="keep the table in docs/scoreboard.md")
    parser.add_argument("--without-root", action="store_true", help="leave out what only root can do")
    parser.add_argument("--only-print", action="store_true", help="run nothing: print what earlier runs left")
    arguments = parser.parse_args()
    runs = [command for command, needs_root in RUNS if not (needs_root and arguments.without_root)]
    left_out = {name for _, name, _, _ in ROWS if name.startswith("faults-")} if arguments.without_root else set()
    if not arguments.only_print:
        shutil.rmtree(FIGURES, ignore_errors=True)
        for command in runs:
            print("scoreboard:", *command, flush=True)
            subprocess.run(command, cwd=lab.REPOSITORY, check=True)
    found = collect()
    text = table(found, left_out)
    print(text)
    bad = [name for _, name, _, zero in ROWS if zero and name in found and found[name][zero]]
    if bad:
        raise lab.LabError(f"not 0: {', '.join(bad)}")
    if arguments.record:
        commands = "\n".join(f"* `{' '.join(command)}`" for command in runs)
        PAGE.write_text(f"{HEAD}\n{text}\n\nMachine: {machine()}.\n\nRuns:\n\n{commands}\n")


HEAD = """# Scoreboard

What was tried against the client in the runs below, and what came of it; `make scoreboard` does them all again. All of it is the
short form; the long forms are in the Makefile. Each run judges for itself and fails at the first thing that is not as it must
be.
"""


if __name__ == "__main__":
    try:
        main()
    except (lab.LabError, subprocess.CalledProcessError) as error:
        sys.exit(f"scoreboard: {error}")
