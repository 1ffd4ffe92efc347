#!/usr/bin/env python3
"""What becomes of a site, a tree and a server when releases, files and users grow.

usage: scripts/growth.py [--long] [--record] [--releases N] [--platforms N] [--files N] [PART ...]
                                                      (`make growth`; `LONG=1`, `RECORD=1`)

Parts:
  releases   A site gets one release after the other. Processor time of publishing one more, size of the head, requests of a
             check, and what `publisher verify` takes, by the number of releases.
  tree       A tree of many small files and some large ones is published, installed, updated and verified: memory and time,
             beside `cp`, `sync` and b3sum over the same files.
  crowd      A thousand clients check at once, straight at nginx and through an nginx that caches for a second.

Sizes and times are figures, with the machine they were taken on. What must hold is asserted: a head of at most 2 KiB, one
request a check, no check that fails, one request a file and second at the origin, memory below the limits named here.
"""

import argparse
import os
import pathlib
import random
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import lab
import scoreboard

PAGE = lab.REPOSITORY / "docs/growth.md"
HEAD_MAX = 2 << 10
NOTHING_TO_DO = 3
# Where the site of many releases lies, if it can: for minutes ext4 walks past the inodes of files that were deleted, so what one
# run or another program removes would cost the next run, which comes at once here, more than its own work.
MEMORY = pathlib.Path("/dev/shm")
# What patches may take together: one of a file of 64 MiB takes nearly as much.
PATCHES_MIB = 1200
# Of a client that updates a tree, and of a publisher that publishes one: a base, and bytes a file.
CLIENT_MAX_KIB, PUBLISHER_MAX_KIB, FILE_MAX_KIB = 96 << 10, (256 + PATCHES_MIB) << 10, 4

CROWD = lab.nginx_config(lab.ORIGIN, connections=8192)
EDGE = lab.nginx_config(
    """    location / {{
      proxy_pass {root};
      proxy_cache edge;
      proxy_cache_lock on;
      proxy_cache_lock_timeout 60s;
      proxy_cache_use_stale updating;
      proxy_ignore_headers Cache-Control;
      proxy_cache_valid 200 206 404 1s;
    }}
""",
    http="  proxy_cache_path {scratch}/cache keys_zone=edge:1m;\n",
    connections=8192,
)


def fail_unless(holds, what):
    if not holds:
        raise lab.LabError(what)


def write_files(directory, count, bytes_each, seed):
    """Files in folders of a thousand, half text that compresses, half noise."""
    for number in range(count):
        folder = directory / f"{number // 1000:04}"
        folder.mkdir(parents=True, exist_ok=True)
        dice = random.Random(f"{seed} {number}")
        text = (f"{dice.random()} lantern\n" * (bytes_each // 24 + 1)).encode()[: bytes_each // 2]
        (folder / f"{number % 1000:03}.dat").write_bytes(text + dice.randbytes(bytes_each - len(text)))


def change_files(directory, files, build):
    """Four files are others in each build."""
    for number in random.Random(build).sample(range(files), 4):
        with open(directory / f"{number // 1000:04}" / f"{number % 1000:03}.dat", "r+b") as file:
            file.write(f"build {build}".encode())


def releases(scratch, programs, sizes):
    """One row a stage: how many releases the site has, and what the next one, a check and a verification cost then."""
    count, platforms, files = sizes.releases, sizes.platforms, sizes.files or (10_000 if sizes.long else 1000)
    names = [f"linux-{number}" for number in range(platforms)]
    inputs, site = scratch / "input", lab.Site(scratch, programs)
    write_files(inputs, files, 2048, "releases")
    (inputs / "app").write_text("#!/bin/sh\n")
    others = [flag for name in names[1:] for flag in ("--platform", f"{name}={inputs}")]
    stages, spent, rows = {count // 4, count // 2, count}, [], []
    for build in range(1, count + 1):
        change_files(inputs, files, build)
        spent.append(site.build(build, f"1.{build}", names[0], inputs, *others, "--bases", 2, "--no-proof").cpu_s)
        if build in stages:
            clock = scratch / "verify.txt"
            verified = lab.run(site.publisher, "verify", "--site", site.path, "--no-proof", env=site.env, measure=clock)
            head = (site.path / "channels" / f"{lab.CHANNEL}.head").stat().st_size
            fail_unless(head <= HEAD_MAX, f"the head has {head} bytes")
            rows.append({
                "releases": build,
                "publish one more, cpu s": statistics.median(spent[-count // 8 :]),
                "verify, cpu s a release": verified.cpu_s / build,
                "verify, peak MiB": verified.peak_kib / 1024,
                "head, bytes": head,
                "files in the site": len(site.files()),
            })
    tree = lab.Client(programs, scratch / "tree")
    with lab.Nginx(site.path, scratch / "nginx") as nginx:
        tree.install(nginx.url, site.root, names[0])
        nginx.requests()
        tree("check", codes=(NOTHING_TO_DO,))
        asked = [request.name for request in nginx.requests()]
    fail_unless(len(asked) == 1, f"a check asked for {asked}")
    clock = scratch / "prune.txt"
    pruned = lab.run(
        *(site.publisher, "prune", "--site", site.path, "--keep", "10", "--keep-days", "0", "--grace-days", "0", "--delete"),
        env={"SOURCE_DATE_EPOCH": str(int(time.time()) + 86_400)}, measure=clock,
    )
    left = len(list((site.path / "releases").iterdir()))
    fail_unless(left < count // 4, f"{left} builds are left after pruning")
    rows[-1]["prune to 10, cpu s a release gone"] = pruned.cpu_s / (count - left)
    for row in rows[:-1]:
        row["prune to 10, cpu s a release gone"] = ""
    title = f"{count:,} releases x {platforms} platforms x {files:,} files of 2 KiB, four of them changed a release; a check: 1 request"
    return title, rows


def tree(scratch, programs, sizes):
    """One row a job over one tree."""
    files, large = sizes.files or (1_000_000 if sizes.long else 50_000), 16 if sizes.long else 4
    builds, site = {1: scratch / "one", 2: scratch / "two"}, lab.Site(scratch, programs)
    write_files(builds[1], files, 1024, "tree")
    (builds[1] / "app").write_text("#!/bin/sh\n")
    for number in range(large):
        (builds[1] / f"large-{number}.pak").write_bytes(random.Random(number).randbytes(64 << 20))
    clock, rows = scratch / "time.txt", []

    def row(job, done, limit_kib=None, beside=None):
        peak = done.peak_kib
        fail_unless(limit_kib is None or peak <= limit_kib, f"{job}: {peak} KiB at the peak, {limit_kib} allowed")
        ratio = "" if beside is None else round(done.wall_s / beside.wall_s, 2)
        rows.append({"job": job, "s": done.wall_s, "cpu s": done.cpu_s, "peak MiB": peak / 1024, "x of stock": ratio})

    copied = lab.run("sh", "-c", f"cp -a '{builds[1]}' '{builds[2]}' && sync", measure=clock)
    for build in range(100):
        change_files(builds[2], files, build)
    for number in range(large):
        with open(builds[2] / f"large-{number}.pak", "r+b") as file:
            file.seek(number << 20)
            file.write(b"changed")
    row("cp -a and sync of the tree", copied)
    bound = PUBLISHER_MAX_KIB + FILE_MAX_KIB * files
    row("publish the first release", site.build(1, "1.0", "linux", builds[1], "--no-proof"), bound)
    client = lab.Client(programs, scratch / "tree", clock)
    row("install over a directory", client.install(site.path, site.root, "linux"), CLIENT_MAX_KIB + FILE_MAX_KIB * files, copied)
    second = site.build(2, "2.0", "linux", builds[2], "--no-proof", "--memory", PATCHES_MIB)
    row("publish the second, 400 small files and all large ones changed", second, bound)
    row("update", client("update"), CLIENT_MAX_KIB + FILE_MAX_KIB * files, copied)
    ours, theirs = lab.verify_beside_b3sum(client, 1)
    row("b3sum of all files", theirs[0])
    row("verify", ours[0], CLIENT_MAX_KIB + FILE_MAX_KIB * files, theirs[0])
    fail_unless(not lab.tree_difference(builds[2], client.tree), "the tree is not the release")
    size = files * 1024 + large * (64 << 20)
    return f"A tree of {files:,} files of 1 KiB and {large} of 64 MiB, {size / (1 << 30):.1f} GiB", rows


def check_all(programs, trees, scratch):
    """All at once; gives seconds, and processor time (that of the `time` around it included) and peak memory of each."""
    started = time.monotonic()
    running = []
    for number, tree in enumerate(trees):
        command = [lab.find_tool("time"), "--quiet", "--format=%M", f"--output={scratch / f'clock-{number}'}"]
        with open(scratch / f"error-{number}", "wb") as error:
            running.append(subprocess.Popen(
                [*command, programs / "client", "check", "--tree", tree],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=error, env={**os.environ, "NO_PROXY": "127.0.0.1"},
            ))
    cpu, failed = [], []
    for number, process in enumerate(running):
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        cpu.append(used.ru_utime + used.ru_stime)
        if process.returncode != NOTHING_TO_DO:
            failed.append((scratch / f"error-{number}").read_text())
    seconds = time.monotonic() - started
    fail_unless(not failed, f"{len(failed)} checks failed, the first: {failed[:1]}")
    peaks = [int((scratch / f"clock-{number}").read_text().split()[-1]) / 1024 for number in range(len(trees))]
    return seconds, cpu, peaks


def crowd(scratch, programs, _sizes):
    """One row a way to the origin."""
    clients = 1000
    inputs, site = scratch / "input", lab.Site(scratch, programs)
    inputs.mkdir()
    (inputs / "app").write_text("#!/bin/sh\n")
    site.build(1, "1.0", "linux", inputs, "--no-proof")
    rows = []
    with lab.Nginx(site.path, scratch / "origin", CROWD) as origin:
        for way in ("nginx", "nginx behind an nginx that caches for 1 s"):
            is_edge = way != "nginx"
            here = scratch / ("edge" if is_edge else "direct")
            near = lab.Nginx(origin.url, here, EDGE) if is_edge else origin
            trees = [here / f"tree-{number}" for number in range(clients)]
            lab.Client(programs, here / "template").install(near.url, site.root, "linux")
            for copy in trees:
                shutil.copytree(here / "template", copy, symlinks=True)
            origin.requests()
            seconds, cpu, peaks = check_all(programs, trees, here)
            asked = origin.requests()
            most = int(seconds) + 1 if is_edge else clients
            fail_unless({request.name for request in asked} == {f"channels/{lab.CHANNEL}.head"}, "a check asked for more than the head")
            fail_unless(len(asked) <= most and (is_edge or len(asked) == clients), f"{len(asked)} requests at the origin")
            rows.append({
                "checks at once": clients, "by way of": way, "failed": 0, "requests at the origin": len(asked),
                "s in all": seconds, "cpu ms a check": 1000 * statistics.median(cpu), "peak MiB a check": statistics.median(peaks),
            })
            if is_edge:
                near.close()
    return "A thousand clients at once", rows


PARTS = {"releases": releases, "tree": tree, "crowd": crowd}


def table(title, rows):
    def shown(value):
        return f"{value:,}" if isinstance(value, int) else f"{value:.3g}" if isinstance(value, float) else str(value)

    lines = ["| " + " | ".join(cells) + " |" for cells in [list(rows[0]), *([*map(shown, row.values())] for row in rows)]]
    return "\n".join([f"## {title}", "", lines[0], "| " + " | ".join("---" for _ in rows[0]) + " |", *lines[1:], ""])


def record(tables, command):
    """Puts the tables, by part, in place of those the page has of the same parts."""
    marks = {name: f"<!-- {name} -->" for name in PARTS}
    page = PAGE.read_text() if PAGE.exists() else ""
    kept = {name: page.split(mark)[1] for name, mark in marks.items() if page.count(mark) == 2}
    for name, text in tables.items():
        kept[name] = f"\n{text}\nFrom one run of `{command}`. Machine: {scoreboard.machine()}.\n\n"
    head = "# Growth\n\nWhat becomes of a site, a tree and a server when releases, files and users grow (`make growth`).\n"
    PAGE.write_text("\n".join([head, *(marks[name] + kept[name] + marks[name] + "\n" for name in PARTS if name in kept)]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true", help="sizes few sites ever have; hours")
    parser.add_argument("--record", action="store_true", help="keep the tables in docs/growth.md")
    parser.add_argument("--releases", type=int, metavar="N", help="of a site [100; 1000]")
    parser.add_argument("--platforms", type=int, metavar="N", help="of each of its releases [1; 3]")
    parser.add_argument("--files", type=int, metavar="N", help="of a release [1000; 10000], or of the tree [50000; 1000000]")
    parser.add_argument("--programs", type=pathlib.Path, help="directory of publisher and client, instead of the release build")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        parser.error(f"unknown part {', '.join(sorted(unknown))}: expected {', '.join(PARTS)}")
    arguments.releases = arguments.releases or (1000 if arguments.long else 100)
    arguments.platforms = arguments.platforms or (3 if arguments.long else 1)
    tables = {}
    for name in arguments.parts or PARTS:
        volume = MEMORY if name == "releases" and MEMORY.is_dir() else None
        scratch = pathlib.Path(tempfile.mkdtemp(prefix="lamplighter-growth-", dir=volume))
        try:
            tables[name] = table(*PARTS[name](scratch, arguments.programs or lab.binaries(), arguments))
        finally:
            shutil.rmtree(scratch)
        print(tables[name], flush=True)
    if arguments.record:
        record(tables, shlex.join(["python3", "scripts/growth.py", *(word for word in sys.argv[1:] if word != "--record")]))


if __name__ == "__main__":
    try:
        main()
    except lab.LabError as error:
        sys.exit(f"growth: {error}")
