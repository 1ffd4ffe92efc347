#!/usr/bin/env python3
"""A file far larger than memory should ever see is updated: how much disk and memory that takes.

usage: scripts/giant.py [--gib N]          (`make giant`; GIB=20: the size games have)

The old file is N GiB of bytes nothing compresses; the new one has a hundred small changes, four parts that moved, and 1 MiB
that came in the middle, so that everything behind it lies elsewhere. It is published, installed, and updated by pack over
nginx. Reported: the largest size of the tree with its state while the update runs, beyond what it had before, as a multiple
of the new file; peak memory of publisher and client; times. It fails if the tree is not the new release, if the update
took more extra disk than 1.05 of the new file, or if the client's peak exceeds 256 MiB.
"""

import argparse
import os
import pathlib
import random
import shutil
import sys
import tempfile
import threading
import time

import lab

PLATFORM = "linux-x86_64"
PIECE = 16 << 20
DISK_MAX = 1.05
MEMORY_MAX_KIB = 256 << 10


def write_old(path, pieces):
    with open(path, "wb") as file:
        for number in range(pieces):
            file.write(random.Random(number).randbytes(PIECE))


def write_new(path, old, pieces):
    """The old file, changed; read and written piece by piece."""
    dice = random.Random("changes")
    edits = {}
    for _ in range(100):
        edits.setdefault(dice.randrange(pieces), []).append(dice.randrange(PIECE - 64))
    order = list(range(pieces))
    for _ in range(2):
        left, right = dice.randrange(pieces), dice.randrange(pieces)
        order[left], order[right] = order[right], order[left]
    with open(old, "rb") as source, open(path, "wb") as file:
        for position, number in enumerate(order):
            source.seek(number * PIECE)
            piece = bytearray(source.read(PIECE))
            for at in edits.get(number, []):
                piece[at : at + 64] = dice.randbytes(64)
            if position == pieces // 2:
                file.write(dice.randbytes(1 << 20))
            file.write(piece)


def on_disk(directory):
    """Bytes a directory takes, a file with several names counted once."""
    seen, total = set(), 0
    for here, _, names in os.walk(directory):
        for name in names:
            try:
                at = os.lstat(os.path.join(here, name))
            except FileNotFoundError:
                continue
            if (at.st_dev, at.st_ino) not in seen:
                seen.add((at.st_dev, at.st_ino))
                total += at.st_blocks * 512
    return total


class Peak:
    """The largest size of a directory while something runs."""

    def __init__(self, directory):
        self.directory, self.bytes, self.ended = directory, 0, threading.Event()
        self.thread = threading.Thread(target=self.look)

    def look(self):
        while not self.ended.wait(0.05):
            self.bytes = max(self.bytes, on_disk(self.directory))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()


def main():
    parser = argparse.ArgumentParser(description="Updates a giant file.")
    parser.add_argument("--gib", type=float, default=2.0, help="size of the old file")
    parser.add_argument("--programs", type=pathlib.Path, help="directory of publisher and client, instead of the release build")
    arguments = parser.parse_args()
    programs = arguments.programs or lab.binaries()
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="lamplighter-giant-"))
    try:
        figures = measure(scratch, programs, max(4, int(arguments.gib * (1 << 30)) // PIECE))
    finally:
        shutil.rmtree(scratch)
    for name, value in figures.items():
        print(f"{name:28} {value}")
    lab.note_figures("giant", figures)
    if figures["extra_disk_ratio"] > DISK_MAX or figures["client_peak_kib"] > MEMORY_MAX_KIB:
        raise lab.LabError("more disk or memory than the limits above")


def measure(scratch, programs, pieces):
    builds = {1: scratch / "one", 2: scratch / "two"}
    for directory in builds.values():
        directory.mkdir()
        (directory / "app").write_text("#!/bin/sh\n")
    write_old(builds[1] / "world.pak", pieces)
    write_new(builds[2] / "world.pak", builds[1] / "world.pak", pieces)
    new_bytes = (builds[2] / "world.pak").stat().st_size
    site, tree, clock = lab.Site(scratch, programs), scratch / "tree", scratch / "time.txt"
    published = [site.build(1, "1.0", PLATFORM, builds[1], "--no-proof")]
    flags = ("--root", site.root, "--app", lab.APP, "--channel", lab.CHANNEL, "--platform", PLATFORM)
    with lab.Nginx(site.path, scratch / "nginx") as nginx:
        lab.run(programs / "client", "install", "--site", nginx.url, *flags, "--tree", tree)
        shutil.rmtree(builds[1])
        # The base comes out of the site.
        published.append(site.build(2, "2.0", PLATFORM, builds[2], "--no-proof"))
        nginx.requests()
        before = on_disk(tree)
        started = time.monotonic()
        with Peak(tree) as peak:
            updated = lab.run(programs / "client", "update", "--tree", tree, measure=clock)
        seconds = time.monotonic() - started
        fetched = sum(request.body_bytes for request in nginx.requests())
    lab.run("cmp", tree / "world.pak", builds[2] / "world.pak")
    return {
        "file_bytes": new_bytes,
        "pack_bytes": site.pack_rows(2, PLATFORM)[0]["pack_bytes"],
        "fetched_bytes": fetched,
        "extra_disk_bytes": peak.bytes - before,
        "extra_disk_ratio": round((peak.bytes - before) / new_bytes, 3),
        "client_peak_kib": updated.peak_kib,
        "publisher_peak_kib": published[1].peak_kib,
        "publish_seconds": round(published[1].wall_s, 1),
        "update_seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    try:
        main()
    except lab.LabError as error:
        sys.exit(f"giant: {error}")
