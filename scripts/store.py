#!/usr/bin/env python3
"""Sites in real buckets: whole flows against SeaweedFS, and against a provider that ignores conditions.

usage: scripts/store.py          (`make store`)

A site is made and uploaded; the next release is built by a machine that keeps nothing, from the bucket alone; clients update
over HTTP from that bucket. Two publishers race, and one is told. A publisher is cut off after every single write of an upload:
clients are fine at each moment, and the next upload finishes. rclone's server takes conditions and ignores them: that is
noticed and told. Prints one line a check and ends with `N passed, N failed`.
"""

import contextlib
import json
import os
import pathlib
import random
import shutil
import sys
import tempfile
import time

import buckets
import lab

PLATFORM = "linux-x86_64"
OTHER = "windows-x86_64"
DONE, NOTHING_TO_DO, SITE, DISK = 0, 3, 5, 6
HEAD = f"channels/{lab.CHANNEL}.head"


class Checks:
    """Counts and prints what was checked."""

    def __init__(self):
        self.passed, self.failed = 0, 0

    def __call__(self, what, holds, detail=""):
        self.passed, self.failed = self.passed + bool(holds), self.failed + (not holds)
        print(f"{'ok' if holds else 'FAILED'}: {what}" + (f" ({detail})" if detail and not holds else ""), flush=True)


class World:
    """A site of two builds, kept on disk as it was after each."""

    def __init__(self, scratch, programs):
        self.scratch, self.programs = scratch, programs
        self.publisher = programs / "publisher"
        self.site = lab.Site(scratch, programs)
        self.builds = {number: scratch / f"build-{number}" for number in (1, 2, 3)}
        for number, directory in self.builds.items():
            fill(directory, number)
        self.snapshots = {}
        for number in (1, 2):
            self.site.build(number, f"{number}.0", PLATFORM, self.builds[number], "--effort", "1")
            self.snapshots[number] = scratch / f"site-{number}"
            shutil.copytree(self.site.path, self.snapshots[number])
        self.trees = 0

    def upload(self, server, number, prefix, url=None, codes=(DONE,)):
        """Uploads the site as it was after build `number`; the run and its last event."""
        to = f"s3://{buckets.BUCKET}/{prefix}"
        command = (self.publisher, "--json", "upload", "--site", self.snapshots[number], "--to", to)
        done = lab.run(*command, env=server.env(url), codes=codes)
        events = [json.loads(line) for line in (done.stdout + done.stderr).splitlines() if line.startswith("{")]
        return done, events

    def installed(self, url):
        """A tree of build 1, installed from the local site, that follows `url`."""
        self.trees += 1
        client = lab.Client(self.programs, self.scratch / f"tree-{self.trees}")
        site = self.snapshots[1]
        client.install(site, site / "root" / "1.root", PLATFORM)
        settings = client.tree / lab.STATE / "settings"
        lines = [f"site,{url}" if line.startswith("site,") else line for line in settings.read_text().split("\n")]
        settings.write_text("\n".join(lines))
        return client

    def build_of(self, client):
        """Which release the tree is, byte for byte; none if neither."""
        return next((n for n, directory in self.builds.items() if not lab.tree_difference(directory, client.tree)), None)


def fill(directory, build):
    """Files that change and one that comes, in more than one object."""
    directory.mkdir(parents=True)
    big = bytearray(random.Random(9).randbytes(600_000))
    for position in range(0, len(big), 90_000):
        big[position : position + 8] = build.to_bytes(8, "little")
    (directory / "app").write_text(f"build {build}\n" * 100)
    (directory / "big.bin").write_bytes(big)
    (directory / f"new-{build}.bin").write_bytes(random.Random(build).randbytes(300_000))


def site_files(site):
    """What is of a site, by name."""
    return {name: path.read_bytes() for name, path in lab.tree_files(site).items() if not name.startswith(".publisher")}


def in_bucket(server, prefix, names):
    """Files of the bucket as any client gets them, with their headers."""
    found = {}
    for name in names:
        connection = buckets.http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        connection.request("GET", f"/{buckets.BUCKET}/{prefix}/{name}")
        answer = connection.getresponse()
        found[name] = (answer.status, answer.read(), dict(answer.getheaders()))
        connection.close()
    return found


def whole_site(world, server, checks):
    """A site arrives, with its headers, and clients go by it."""
    prefix = "whole"
    _, events = world.upload(server, 1, prefix)
    local = site_files(world.snapshots[1])
    found = in_bucket(server, prefix, local)
    same = all(status == 200 and body == local[name] for name, (status, body, _) in found.items())
    checks("a site arrives whole", same and events[-1]["conditions"] == "kept", str(events[-1:]))
    cache = {name: headers.get("Cache-Control", "") for name, (_, _, headers) in found.items()}
    right = all(("immutable" in value) == (name != HEAD) for name, value in cache.items())
    checks("heads are not kept by caches, all else is", right and cache[HEAD] == "no-cache", str(cache))
    again, events = world.upload(server, 1, prefix)
    checks("a second upload sends nothing", events[-1]["files"] == 0 and not events[-1]["heads"][0]["moved"], str(again))
    client = world.installed(f"{server.url}/{buckets.BUCKET}/{prefix}")
    _, events = world.upload(server, 2, prefix)
    news = set(site_files(world.snapshots[2])) - set(local)
    checks("only what is new is sent", events[-1]["files"] == len(news), f"{events[-1]} {len(news)}")
    client("update")
    checks("a client updates from the bucket", world.build_of(client) == 2)
    old, _ = world.upload(server, 1, prefix, codes=None)
    checks("an older head is refused", old.code == SITE and "sequence 2" in old.stderr, str(old))


def crashes(world, server, checks):
    """The publisher is cut off after every write of the second upload."""
    cut = finished = fine = 0
    for allowed in range(200):
        prefix = f"crash-{allowed}"
        world.upload(server, 1, prefix)
        with buckets.Proxy(server, allowed) as proxy:
            done, _ = world.upload(server, 2, prefix, proxy.url, codes=None)
        client = world.installed(f"{server.url}/{buckets.BUCKET}/{prefix}")
        updated = client("update", codes=None)
        build = world.build_of(client)
        expected = (DONE, 2) if done.code == DONE else (NOTHING_TO_DO, 1)
        fine += (updated.code, build) == expected
        if (updated.code, build) != expected:
            print(f"after {allowed} writes: {updated}, build {build}")
        _, events = world.upload(server, 2, prefix)
        client("update", codes=(DONE, NOTHING_TO_DO))
        finished += world.build_of(client) == 2 and events[-1]["event"] == "uploaded"
        shutil.rmtree(client.tree)
        cut += 1
        if done.code == DONE:
            break
    checks(f"cut off after each of {cut - 1} writes, clients are fine", fine == cut and cut > 5, f"{fine} of {cut}")
    checks("the next upload finishes each", finished == cut, f"{finished} of {cut}")


def race(world, server, checks):
    """Two publishers sign the same sequence; one of them comes second, at the last moment."""
    prefix = "race"
    world.upload(server, 1, prefix)
    theirs = world.scratch / "theirs"
    shutil.copytree(world.snapshots[1], theirs)
    lab.run(
        *(world.publisher, "halt", "--site", theirs, "--channel", lab.CHANNEL, "--keys", world.site.keys), env=world.site.env
    )
    command = (world.publisher, "upload", "--site", theirs, "--to", f"s3://{buckets.BUCKET}/{prefix}")
    ran = []

    def meddle(path):
        if path.endswith(HEAD) and not ran:
            ran.append(lab.run(*command, env=server.env()))

    with buckets.Proxy(server) as proxy:
        proxy.before_write = meddle
        done, _ = world.upload(server, 2, prefix, proxy.url, codes=None)
    head = in_bucket(server, prefix, [HEAD])[HEAD][1]
    won = head == (theirs / HEAD).read_bytes()
    checks("of two publishers the second is told", done.code == SITE and "another publisher" in done.stderr, str(done))
    checks("the first one's head stays", won and len(ran) == 1)


def ignoring(world, scratch, checks):
    """A provider that takes conditions and writes all the same."""
    with buckets.Rclone(scratch / "rclone") as server:
        _, events = world.upload(server, 1, "app")
        warned = [event for event in events if event.get("code") == "no-conditions"]
        checks("ignored conditions are noticed", len(warned) == 1 and events[-1]["conditions"] == "ignored", str(events))
        folder = scratch / "rclone" / "data" / buckets.BUCKET / "app"
        checks("all of it arrives there as well", site_files(folder) == site_files(world.snapshots[1]))
        _, events = world.upload(server, 2, "app")
        again, _ = world.upload(server, 1, "app", codes=None)
        checks("an older head is refused there, too", again.code == SITE, str(again))


def run(scratch, checks):
    world = World(scratch, lab.binaries())
    with buckets.SeaweedFS(scratch / "seaweed") as server:
        whole_site(world, server, checks)
        race(world, server, checks)
        crashes(world, server, checks)
    ignoring(world, scratch, checks)


def main():
    checks = Checks()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lamplighter-store-") as scratch:
        run(pathlib.Path(scratch), checks)
    print(f"{checks.passed} passed, {checks.failed} failed in {time.monotonic() - started:.0f} s")
    return checks.failed != 0


if __name__ == "__main__":
    sys.exit(main())
