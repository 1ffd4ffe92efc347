#!/usr/bin/env python3
"""Measures what Lamplighter promises in numbers, and prints each figure beside its limit.

usage: scripts/figures.py [--record] [PAIR...]     default: the four pairs of the end-to-end test, then 50,000 files
       scripts/figures.py --short                  one pair, no repetition: about a minute
       scripts/figures.py --small-files            only the tree of 50,000 small files

Limits on bytes, requests, memory and files opened are asserted. Times are reported, as they are the machine's as much
as ours; the one ratio asserted is taken between two programs that run alternately. What the limits are measured
against (bsdiff, zstd, b3sum) is run here too, in the same run. `--record` writes the table, the raw rows and what
the machine and the tools are to docs/figures/<date>-<machine>/.
"""

import argparse
import concurrent.futures
import os
import pathlib
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

import lab
import real_releases
import report

MIB = report.MIB
CLIENT_PEAK_MAX = 96 * MIB
PUBLISHER_PEAK_BASE = 256 * MIB
PUBLISHER_PEAK_PER_CHANGED_BYTE = 10
JOBS = 2
PLAYWRIGHT_UPDATE_BYTES_MAX = 8 * 1024
NEW_OBJECT_SHARE_MAX = 0.05
FIRST_INSTALL_RATIO_MAX = 1.1
FIRST_INSTALL_LIMITED = ("pygame-win", "ruff-win")
SMALL_FILES = 50_000
SMALL_FILES_CHANGED = 10
SMALL_OVERHEAD_BYTES_MAX = 20 * 1024
VERIFY_RATIO_MAX = 1.5
VERIFY_ROUNDS = 7
SHORT_PAIR = "pygame-win"


# What others need, computed here with the stock tools.


def bsdiff_bytes(old, new, scratch):
    """Bytes of bsdiff patches of all changed files, plus added files packed by zstd -19."""
    changed, added = lab.changed_names(old, new)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        patches = pool.map(
            lambda item: bsdiff_one(old / item[1], new / item[1], scratch / f"{item[0]}.bsdiff"), enumerate(changed)
        )
        return sum(patches) + sum(pool.map(lambda name: zstd_one(new / name), added))


def bsdiff_one(old, new, patch):
    lab.run(lab.find_tool("bsdiff"), old, new, patch)
    size = patch.stat().st_size
    patch.unlink()
    return size


def zstd_bytes(tree):
    """Sum of `zstd -19` over every file of a tree."""
    paths = [path for path in lab.tree_files(tree).values() if not path.is_symlink()]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return sum(pool.map(zstd_one, paths))


def zstd_one(path):
    command = [lab.find_tool("zstd"), "-19", "--single-thread", "-q", "-c", str(path)]
    return len(subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE).stdout)


# Real pairs.


def measure_pair(pair, results, scratch, programs, short):
    trees = real_releases.fetch_pair(pair, real_releases.DEFAULT_OUT)
    old, new = trees / "old", trees / "new"
    site = lab.Site(scratch, programs)
    with lab.Nginx(site.path, scratch / "nginx") as nginx:
        client = lab.Client(programs, scratch / "tree", measure=scratch / "time.txt")
        first = results.run(pair.name, "publish old", site.build(1, "1", pair.platform, old, "--jobs", JOBS))
        runs = [results.run(pair.name, "install old", client.install(nginx.url, site.root, pair.platform))]
        before = site.files()
        second = results.run(pair.name, "publish new", site.build(2, "2", pair.platform, new, "--jobs", JOBS))
        publisher_figures(pair, results, (first, second), old, new)
        pack_figures(pair, results, site, old, new, scratch)
        object_figures(pair, results, site, before)
        nginx.requests()
        runs.append(results.run(pair.name, "update", client("update")))
        update_figures(pair, results, runs[-1], nginx.requests(), lab.tree_difference(new, client.tree))
        runs.append(results.run(pair.name, "verify", client("verify")))
        fresh = lab.Client(programs, scratch / "fresh", measure=scratch / "time.txt")
        runs.append(results.run(pair.name, "install new", fresh.install(nginx.url, site.root, pair.platform)))
        install_figures(pair, results, runs[-1], nginx.requests(), new)
        results.figure(pair.name, "client: peak memory", max(r.peak_kib for r in runs) * 1024, CLIENT_PEAK_MAX, "MiB")
    if not short:
        jobs_figure(pair, results, site, scratch, programs, old, new)


def publisher_figures(pair, results, runs, old, new):
    changed, _ = lab.changed_names(old, new)
    largest = max((new / name).stat().st_size for name in changed)
    limit = PUBLISHER_PEAK_BASE + PUBLISHER_PEAK_PER_CHANGED_BYTE * largest * JOBS
    results.figure(
        pair.name, f"publisher: peak memory, {JOBS} jobs", max(r.peak_kib for r in runs) * 1024, limit, "MiB"
    )
    results.figure(pair.name, "publisher: wall time, new release", runs[1].wall_s, unit="s")


def pack_figures(pair, results, site, old, new, scratch):
    (pack,) = site.pack_rows(2, pair.platform)
    stock = bsdiff_bytes(old, new, scratch)
    results.figure(pair.name, "pack, against bsdiff 4.3 (and zstd -19 of added files)", pack["pack_bytes"], stock)


def object_figures(pair, results, site, before):
    """How much of the second release's content is new to the site."""
    objects = {name: size for name, size in site.files().items() if name.startswith("objects/")}
    used = {name: size for name, size in objects.items() if name_of(name) in named_objects(site, 2, pair.platform)}
    fresh = sum(size for name, size in used.items() if name not in before)
    limit = NEW_OBJECT_SHARE_MAX if pair.name == "playwright-lin" else None
    share = fresh / sum(used.values())
    results.figure(pair.name, "objects: share of bytes new in the second release", share, limit, "ratio")


def named_objects(site, number, platform_name):
    """Digests that stand in a release's objects index."""
    text = (site.release(number, platform_name) / "objects.csv").read_text()
    return set(re.findall(r"\b[0-9a-f]{64}\b", text))


def name_of(path):
    return path.rsplit("/", 1)[-1]


def update_figures(pair, results, run, requests, differences):
    if differences:
        raise lab.LabError(f"{pair.name}: the updated tree differs: {differences[:3]}")
    limit = PLAYWRIGHT_UPDATE_BYTES_MAX if pair.name == "playwright-lin" else None
    results.figure(pair.name, "update: bytes fetched", sum(r.body_bytes for r in requests), limit)
    results.figure(pair.name, "update: requests", len(requests), 3, "requests")
    results.figure(pair.name, "update: wall time", run.wall_s, unit="s")


def install_figures(pair, results, run, requests, new):
    limited = pair.name in FIRST_INSTALL_LIMITED
    fetched = sum(r.body_bytes for r in requests)
    objects = len({r.name for r in requests if r.name.startswith("objects/")})
    limit = FIRST_INSTALL_RATIO_MAX if limited else None
    results.figure(
        pair.name, "first install: bytes, against zstd -19 of each file", fetched / zstd_bytes(new), limit, "ratio"
    )
    results.figure(pair.name, "first install: requests", len(requests), objects + 4 if limited else None, "requests")
    connections = len({r.connection for r in requests})
    results.figure(pair.name, "first install: connections in parallel", connections, unit="connections")
    if limited and connections < 2 <= objects:
        raise lab.LabError(f"{pair.name}: a first install of {objects} objects used one connection")
    results.figure(pair.name, "first install: wall time", run.wall_s, unit="s")


def jobs_figure(pair, results, site, scratch, programs, old, new):
    """The same keys, time and trees with one job: files that differ from the site made with two."""
    place = scratch / "one-job"
    place.mkdir()
    other = lab.Site(place, programs, keys=site.keys, epoch=site.env["SOURCE_DATE_EPOCH"])
    for number, tree in ((1, old), (2, new)):
        run = other.build(number, str(number), pair.platform, tree, "--jobs", 1)
        results.run(pair.name, f"publish {('old', 'new')[number - 1]}, 1 job", run)
    done = lab.run(lab.find_tool("diff"), "-rq", site.path, other.path, codes=None)
    results.figure(
        pair.name, f"files that differ between --jobs 1 and {JOBS}", len(done.stdout.splitlines()), 0, "files"
    )


# Many small files.


def make_small_files(tree, count):
    """A tree of `count` small text files, the same on every machine."""
    generator = random.Random(20_240_229)
    words = ["".join(generator.choices("etaoinshrdlu", k=generator.randint(2, 9))) for _ in range(4000)]
    for index in range(count):
        directory = tree / f"{index // 1000:03}" / f"{index // 100 % 10}"
        directory.mkdir(parents=True, exist_ok=True)
        text = " ".join(generator.choices(words, k=generator.randint(20, 500)))
        (directory / f"{index:05}.txt").write_text(f"{index}\n{text}\n")


def edit_small_files(tree, count):
    """Changes a few words in each of `count` files spread over the tree; returns their names."""
    paths = sorted(lab.tree_files(tree).items())
    chosen = paths[17 :: len(paths) // count][:count]
    for number, (_, path) in enumerate(chosen):
        lines = path.read_text().split(" ")
        lines[len(lines) // 2] = f"edited-{number}"
        path.write_text(" ".join(lines))
    return [name for name, _ in chosen]


def measure_small_files(results, scratch, programs):
    subject = f"{SMALL_FILES:,} files"
    old, new = scratch / "old", scratch / "new"
    make_small_files(old, SMALL_FILES)
    shutil.copytree(old, new)
    edited = edit_small_files(new, SMALL_FILES_CHANGED)
    site = lab.Site(scratch, programs)
    with lab.Nginx(site.path, scratch / "nginx") as nginx:
        client = lab.Client(programs, scratch / "tree", measure=scratch / "time.txt")
        published = results.run(subject, "publish old", site.build(1, "1", "any", old, "--jobs", JOBS))
        installed = results.run(subject, "install", client.install(nginx.url, site.root, "any"))
        verify_figure(subject, results, client)
        opened = files_opened(client, scratch, "update")
        results.figure(subject, "update with nothing to do: files of the tree opened", len(opened), 0, "files")
        results.run(subject, "publish new", site.build(2, "2", "any", new, "--jobs", JOBS))
        few_changed(subject, results, site, client, nginx, new, edited, scratch)
        results.figure(subject, "publisher: wall time, first release", published.wall_s, unit="s")
        results.figure(subject, "first install: wall time", installed.wall_s, unit="s")
        results.figure(subject, "client: peak memory, first install", installed.peak_kib * 1024, unit="MiB")


def verify_figure(subject, results, client):
    """`client verify` and b3sum over the same files, alternately; medians, everything in the page cache."""
    ours, theirs = lab.verify_beside_b3sum(client, VERIFY_ROUNDS)
    for verify, b3sum in zip(ours, theirs):
        results.run(subject, "verify", verify)
        results.run(subject, "b3sum", b3sum)
    ours, theirs = (statistics.median(run.wall_s for run in runs) for runs in (ours, theirs))
    results.figure(subject, "verify: wall time, median", ours, unit="s")
    results.figure(subject, "b3sum: wall time, median", theirs, unit="s")
    results.figure(subject, "verify against b3sum", ours / theirs, VERIFY_RATIO_MAX, "ratio")


def few_changed(subject, results, site, client, nginx, new, edited, scratch):
    before = lab.identities(client.tree)
    nginx.requests()
    opened = files_opened(client, scratch, "update")
    fetched = sum(r.body_bytes for r in nginx.requests())
    differences = lab.tree_difference(new, client.tree)
    if differences:
        raise lab.LabError(f"{subject}: the updated tree differs: {differences[:3]}")
    after = lab.identities(client.tree)
    touched = {name for name in before if before[name] != after.get(name)}
    (pack,) = site.pack_rows(2, "any")
    patches = pack["pack_bytes"] - pack["header_bytes"]
    changed = f"update of {len(edited)} files"
    results.figure(subject, f"{changed}: other files opened", len(opened - set(edited)), 0, "files")
    results.figure(subject, f"{changed}: other files written", len(touched - set(edited)), 0, "files")
    results.figure(
        subject, f"{changed}: bytes fetched beyond their patches", fetched - patches, SMALL_OVERHEAD_BYTES_MAX
    )


def files_opened(client, scratch, command):
    """Names of the tree's own files a command opens, as the kernel saw it (strace)."""
    trace = scratch / "trace.txt"
    lab.run(
        *(lab.find_tool("strace"), "-f", "-y", "-qq", "-e", "trace=open,openat,openat2,creat", "-o", trace),
        *(client.program, command, "--tree", client.tree),
        codes=None,
    )
    text = trace.read_text(errors="replace")
    if "client" not in text and "/lib" not in text:
        raise lab.LabError("strace saw no file opened at all")
    state = client.tree / lab.STATE
    found = set()
    for match in re.finditer(r" = \d+<([^>\n]+)>", text):
        path = pathlib.Path(match[1].removesuffix("(deleted)"))
        if client.tree in path.parents and state not in path.parents and path != state and not path.is_dir():
            found.add(str(path.relative_to(client.tree)))
    return found


def record(results, arguments):
    place = report.folder()
    facts = [
        *report.machine(),
        ("nginx", report.first_line(lab.find_tool("nginx"), "-v").rsplit(" ", 1)[-1]),
        ("zstd", report.first_line("zstd", "--version")),
        ("bsdiff", report.first_line("dpkg-query", "-W", "-f", "${Version}", "bsdiff")),
    ]
    (place / "README.md").write_text(
        f"# Figures\n\nCommand: `scripts/figures.py {arguments}`. Raw rows: [runs.csv](runs.csv), "
        f"[figures.csv](figures.csv).\n\n{report.facts_table(facts)}\n{report.markdown(results)}"
    )
    report.write_csv(place / "runs.csv", report.RUN_COLUMNS, results.runs)
    report.write_csv(place / "figures.csv", report.FIGURE_COLUMNS, report.figure_rows(results))
    print(f"recorded in {place.relative_to(lab.REPOSITORY)}")


def main():
    parser = argparse.ArgumentParser(description="Figures with their limits.")
    parser.add_argument("pairs", nargs="*", metavar="PAIR")
    parser.add_argument("--short", action="store_true", help=f"only {SHORT_PAIR}, without the comparison of job counts")
    parser.add_argument("--small-files", action="store_true", help="only the tree of small files")
    parser.add_argument("--record", action="store_true", help="keep the result under docs/figures/")
    arguments = parser.parse_args()
    pairs = arguments.pairs or ([SHORT_PAIR] if arguments.short else real_releases.END_TO_END)
    pairs = [] if arguments.small_files else pairs
    programs = lab.binaries()
    results = report.Results()
    with tempfile.TemporaryDirectory(prefix="lamplighter-figures-") as scratch:
        scratch = pathlib.Path(scratch).resolve()
        for name in pairs:
            place = scratch / name
            place.mkdir()
            measure_pair(real_releases.by_name(name), results, place, programs, arguments.short)
            shutil.rmtree(place)
        if arguments.small_files or not (arguments.short or arguments.pairs):
            (scratch / "small").mkdir()
            measure_small_files(results, scratch / "small", programs)
    print()
    print(report.markdown(results))
    if arguments.record:
        record(results, " ".join(sys.argv[1:]))
    over = [figure for figure in results.figures if not figure.holds]
    print(f"{sum(f.limit is not None for f in results.figures) - len(over)} passed, {len(over)} failed")
    sys.exit(1 if over else 0)


if __name__ == "__main__":
    try:
        main()
    except (lab.LabError, real_releases.FetchError) as error:
        sys.exit(f"figures: {error}")
