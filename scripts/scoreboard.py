#!/usr/bin/env python3
"""What was tried against the client, and what came of it, as one table, from the runs themselves.

usage: scripts/scoreboard.py [--record] [--without-root] [--only-print]          (`make scoreboard`)
       scripts/scoreboard.py --long [--record] [--only-print] [RUN...]           (`make scoreboard LONG=1`)

Each run leaves its figures in target/scoreboard/; this runs them all, in their short form, and prints a row for each. A run
that fails, and a figure that is not there, end it. With --record the table is kept in docs/scoreboard.md, with the machine
and the commands. --without-root leaves out what mounts disks and makes networks, and says so in the table.

With --long the long forms are run, all or those that are named; they take hours. Their figures stay in target/scoreboard-long/
until the same is run again, so a table can be made of several sittings; --record keeps it in docs/scoreboard-long.md, and says
what of it was not run.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys

import lab

FIGURES = lab.REPOSITORY / "target/scoreboard"
PAGE = lab.REPOSITORY / "docs/scoreboard.md"
LONG_FIGURES = lab.REPOSITORY / "target/scoreboard-long"
LONG_PAGE = lab.REPOSITORY / "docs/scoreboard-long.md"

TESTS = [
    *("power", "crash", "corpora"),
    *("threats", "every_byte", "attacker", "fleet", "crowd", "user_files"),
    *("network", "torn_uploads", "long_downloads"),
]

# Of the whole workspace, as `make test` builds it.
CARGO_TEST = ["cargo", "test", "--release", "--workspace", "--locked"]

# What is run: a command, and whether it needs root.
RUNS = [
    ([*CARGO_TEST, *(f"--test={name}" for name in TESTS)], False),
    (["python3", "scripts/oracle.py", "1000"], False),
    (["python3", "scripts/edges.py"], False),
    (["python3", "scripts/giant.py", "--gib", "0.5"], False),
    (["python3", "scripts/slow_network.py"], True),
    (["python3", "scripts/faults.py"], True),
]

# Rows of what only root can run.
ROOT_ROWS = ("faults-", "slow-network")

# Long forms by name: the figures it leaves, a command, and what is set for it. Fleets in parts, which can be run one by one.
SEEDS, PART = 50_000, 5_000
LONG_RUNS = {
    "power": (["power-cuts", "power-cuts-after-kill", "power-cuts-after-failed-call", "power-cuts-overwritten"], [*CARGO_TEST, "--test=power"], {"LAMPLIGHTER_LONG": "1"}),
    "crash": (["deaths", "failing-calls"], [*CARGO_TEST, "--test=crash"], {"LAMPLIGHTER_LONG": "1"}),
    "crowd": (["crowd"], [*CARGO_TEST, "--test=crowd"], {"LAMPLIGHTER_LONG": "1"}),
    "user_files": (["user-files"], [*CARGO_TEST, "--test=user_files"], {"LAMPLIGHTER_HISTORIES": "10000"}),
    "network": (["network-faults", "network-storms"], [*CARGO_TEST, "--test=network"], {"LAMPLIGHTER_ALL": "1"}),
    "long_downloads": (
        ["resume-in-one-process", "resume-over-restarts", "resume-over-changing-ways"],
        [*CARGO_TEST, "--test=long_downloads"],
        {"LAMPLIGHTER_ALL": "1"},
    ),
    **{f"faults-{kind}": ([f"faults-{kind}"], ["python3", "scripts/faults.py", "--long", kind], {}) for kind in ("kills", "errors", "power", "full", "bare")},
    "oracle": (["oracle"], ["python3", "scripts/oracle.py", "100000"], {}),
    **{
        f"fleet-{first}": (
            [f"simulation-{first}"],
            [*CARGO_TEST, "--test=fleet"],
            {"LAMPLIGHTER_SEEDS": str(PART), "LAMPLIGHTER_SEEDS_FROM": str(first)},
        )
        for first in range(0, SEEDS, PART)
    },
}

# A row: its part, the name of its figures, what was tried, and the figure that must be 0.
ROWS = [
    ("Trust", "threats", "{cases} cases over {rows} rows of the table of threats", "failed"),
    ("Trust", "every-byte-*", "{changes} changes of a single byte of something signed", "accepted"),
    ("Trust", "oracle", "{histories} random histories beside python-tuf, {steps} steps", "disagreements"),
    ("Trust", "bad-line", "{updates} updates, {altered} of {answers} answers altered; {run_again} had to be run again", "wrong_bytes"),
    ("Trust", "corpora", "{executions} changed inputs to {targets} parsers and decoders", "failed"),
    ("Crashes", "power-cuts", "{cuts} power cuts on a disk that forgets: {distinct_disks} different disks, each started", "mixed_trees_or_lost_files"),
    ("Crashes", "power-cuts-after-kill", "{cuts} power cuts in the recovery after a kill at any change", "mixed_trees_or_lost_files"),
    ("Crashes", "power-cuts-after-failed-call", "{cuts} power cuts after any one change failed", "mixed_trees_or_lost_files"),
    ("Crashes", "power-cuts-overwritten", "the user writes over a file, removes it or its folder, and the recovery after that is cut, killed or fails: {disks} disks, each started", "mixed_trees_or_lost_files"),
    ("Crashes", "deaths", "the process ends at each of {deaths} calls of an update, a way back, a heal", "mixed_trees_or_lost_files"),
    ("Crashes", "failing-calls", "{failing_calls} calls fail there: EIO, ENOSPC, EACCES, EMFILE", "mixed_trees_or_lost_files"),
    ("Crashes", "user-files", "{histories} random histories, {steps} steps, {cut_off} cut off; {files_written_by_the_user} files of the user, {set_aside} set aside", "lost"),
    ("Crashes", "crowd", "{processes} launchers, updaters and patchers, {crowd} at once on one tree, {kills} of them killed", "violations"),
    ("Crashes", "faults-kills", "the client that ships, killed at {kills} system calls", "mixed_trees_or_lost_files"),
    ("Crashes", "faults-errors", "the client that ships, {failed_calls} system calls fail", "mixed_trees_or_lost_files"),
    ("Crashes", "faults-power", "{ext4_cuts} power cuts on ext4 ({ext4_old} old, {ext4_new} new), {xfs_cuts} on xfs ({xfs_old} old, {xfs_new} new)", "mixed_trees_or_lost_files"),
    ("Crashes", "faults-full", "{sizes} sizes of a full disk, {inode_counts} numbers of inodes, {remounts} disks that turn read-only", "mixed_trees_or_lost_files"),
    ("Crashes", "faults-bare", "the client that ships on exFAT, which has no links, modes or owners: killed at {kills} system calls; {sizes} amounts of free space", "mixed_trees_or_lost_files"),
    ("Crashes", "giant", "a file of {file_bytes} bytes with small changes: {extra_disk_ratio} of its size of disk beside it, {client_peak_kib} KiB of memory", None),
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
    ("Networks", "edges", "{passed} checks behind an nginx that caches slices and a varnish that knows no better: stale heads, files that are not yet there", "failed"),
    ("Networks", "slow-network", "a line of {rate_mbit} Mbit/s that loses {loss_percent} % of its packets: {share_of_curl} of curl's speed", None),
    ("Networks", "torn-uploads", "{moments} moments of uploads in seven orders, each updated and installed from", "torn"),
    ("Fleet", "simulation-*", "{seeds} simulated fleets, {simulated_days} days: {updates} updates, {crashes} crashes, {halts} halts, {rotations} rotations, {faulty_requests} of {requests} answers bad; last install {halt_to_last_install_hours} hours after a halt", "violations"),
]


def collect(directory):
    """Name → figures; of those of one kind, `kind-*`, counts are added up, and of other figures the largest stands."""
    found = {}
    for path in sorted(directory.glob("*.json")):
        figures = json.loads(path.read_text())
        found[path.stem] = figures
    for name in [name for _, name, _, _ in ROWS if name.endswith("*")]:
        parts = [figures for key, figures in found.items() if key.startswith(name[:-1])]
        if parts:
            found[name] = together(parts)
    return found


def together(parts):
    kinds = {key: int if isinstance(value, int) else float for part in parts for key, value in part.items() if isinstance(value, (int, float))}
    return {key: (sum if kind is int else max)(part.get(key, 0) for part in parts) for key, kind in kinds.items()}


def shown(value):
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else value


def table(found, left_out):
    """A row for each figure that was found; what is neither found nor in `left_out`, name → why, is an error."""
    rows = [("part", "what was tried", "must be 0", "found")]
    for part, name, text, zero in ROWS:
        if name in found:
            figures = found[name]
            found_bad = (zero.replace("_", " "), str(figures[zero])) if zero else ("", "")
            rows.append((part, text.format(**{key: shown(value) for key, value in figures.items()}), *found_bad))
        elif name not in left_out:
            raise lab.LabError(f"{name}.json is missing: the run that leaves it did not")
        elif left_out[name]:
            rows.append((part, f"{name}: {left_out[name]}", (zero or "").replace("_", " "), "-"))
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "| --- | --- | --- | --- |", *lines[1:]])


def judged(found):
    bad = [name for _, name, _, zero in ROWS if zero and name in found and found[name][zero]]
    if bad:
        raise lab.LabError(f"not 0: {', '.join(bad)}")


def listed(commands):
    return "\n".join(f"* `{' '.join([*(f'{name}={value}' for name, value in env.items()), *command])}`" for command, env in commands)


def machine():
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown")
    memory_kib = int(next(line for line in open("/proc/meminfo") if line.startswith("MemTotal")).split()[1])
    return f"{os.cpu_count()} cores of {cpu}, {memory_kib / (1 << 20):.0f} GiB, Linux {platform.release()}"


def short(arguments):
    runs = [command for command, needs_root in RUNS if not (needs_root and arguments.without_root)]
    root = [name for _, name, _, _ in ROWS if name.startswith(ROOT_ROWS)] if arguments.without_root else []
    if not arguments.only_print:
        shutil.rmtree(FIGURES, ignore_errors=True)
        for command in runs:
            print("scoreboard:", *command, flush=True)
            subprocess.run(command, cwd=lab.REPOSITORY, check=True)
    found = collect(FIGURES)
    text = table(found, {name: "not run, it needs root" for name in root})
    print(text)
    judged(found)
    if arguments.record:
        commands = listed((command, {}) for command in runs)
        PAGE.write_text(f"{HEAD}\n{text}\n\nMachine: {machine()}.\n\nRuns:\n\n{commands}\n")


def long(arguments):
    for name in [] if arguments.only_print else arguments.runs or LONG_RUNS:
        leaves, command, env = LONG_RUNS[name]
        for figures in leaves:
            (LONG_FIGURES / f"{figures}.json").unlink(missing_ok=True)
        print("scoreboard:", *command, flush=True)
        subprocess.run(command, cwd=lab.REPOSITORY, env={**os.environ, **env, "LAMPLIGHTER_FIGURES": str(LONG_FIGURES)}, check=True)
    there = {name for name, (leaves, _, _) in LONG_RUNS.items() if all((LONG_FIGURES / f"{figures}.json").exists() for figures in leaves)}
    found = collect(LONG_FIGURES)
    # Some rows have no long form.
    text = table(found, {name: "" for _, name, _, _ in ROWS})
    missing = [name for name in LONG_RUNS if name not in there]
    print(text, f"not run: {', '.join(missing) or 'none'}", sep="\n")
    # What is not as it must be is recorded, too: nobody runs hours again to see it.
    if arguments.record:
        not_run = f"\n\nNot run: {', '.join(missing)}." if missing else ""
        commands = listed((command, env) for name, (_, command, env) in LONG_RUNS.items() if name in there)
        LONG_PAGE.write_text(f"{LONG_HEAD}\n{text}{not_run}\n\nMachine: {machine()}.\n\nRuns:\n\n{commands}\n")
    judged(found)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="keep the table in docs/")
    parser.add_argument("--without-root", action="store_true", help="leave out what only root can do")
    parser.add_argument("--only-print", action="store_true", help="run nothing: print what earlier runs left")
    parser.add_argument("--long", action="store_true", help="the long forms")
    parser.add_argument("runs", nargs="*", metavar="RUN", help=f"of the long forms: {', '.join(LONG_RUNS)}")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.runs if name not in LONG_RUNS or not arguments.long]:
        parser.error(f"no such long form: {', '.join(unknown)}; they are {', '.join(LONG_RUNS)}")
    (long if arguments.long else short)(arguments)


HEAD = """# Scoreboard

What was tried against the client in the runs below, and what came of it; `make scoreboard` does them all again. All of it is the
short form; [the long forms](scoreboard-long.md) have a table of their own. Each run judges for itself and fails at the first
thing that is not as it must be.
"""

LONG_HEAD = """# Scoreboard, long forms

The runs of [the scoreboard](scoreboard.md) that have a long form, in that form: hours of processor time, so they were not one
sitting. `make scoreboard LONG=1` does them all again, `make scoreboard LONG=1 RUNS="power fleet-0"` some. Each run judges for itself
and fails at the first thing that is not as it must be.
"""


if __name__ == "__main__":
    try:
        main()
    except (lab.LabError, subprocess.CalledProcessError) as error:
        sys.exit(f"scoreboard: {error}")
