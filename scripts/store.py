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
PAGE = "index.html"


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
        for number in (1, 2, 3):
            self.site.build(number, f"{number}.0", PLATFORM, self.builds[number], "--effort", "1")
            self.snapshots[number] = scratch / f"site-{number}"
            shutil.copytree(self.site.path, self.snapshots[number])
        self.trees = 0

    def upload(self, server, number, prefix, url=None, codes=(DONE,)):
        """Uploads the site as it was after build `number`; the run and its last event."""
        to = f"s3://{buckets.BUCKET}/{prefix}"
        command = (self.publisher, "--json", "upload", "--site", self.snapshots[number], "--to", to)
        done = lab.run(*command, env=server.env(url), codes=codes)
        events = [json.loads(line) for line in (done.stderr + done.stdout).splitlines() if line.startswith("{")]
        return done, events

    def installed(self, url):
        """A tree of build 1, installed from the local site, that follows `url`."""
        self.trees += 1
        client = lab.Client(self.programs, self.scratch / f"tree-{self.trees}")
        site = self.snapshots[1]
        client.install(site, site / "root" / "1.root", PLATFORM)
        client.follow(url)
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
    right = all(value == "no-cache" if name in (HEAD, PAGE) else "immutable" in value for name, value in cache.items())
    checks("heads and the page are not kept by caches, all else is", right and {HEAD, PAGE} <= set(cache), str(cache))
    again, events = world.upload(server, 1, prefix)
    checks("a second upload sends nothing but the page", events[-1]["files"] == 1 and not events[-1]["heads"][0]["moved"], str(again))
    client = world.installed(f"{server.url}/{buckets.BUCKET}/{prefix}")
    _, events = world.upload(server, 2, prefix)
    news = set(site_files(world.snapshots[2])) - set(local)
    checks("only what is new is sent, and the page", events[-1]["files"] == len(news) + 1, f"{events[-1]} {len(news)}")
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


def objects_of(site, build):
    """Names and lengths of the objects one release consists of, from its index."""
    lines = (site / "releases" / str(build) / PLATFORM / "objects.csv").read_text().splitlines()
    rows = [line.split(",") for line in lines if line.startswith("object,")]
    return {f"objects/{row[1][:2]}/{row[1]}": int(row[2]) for row in rows}


def stateless(world, server, checks):
    """Releases built by machines that keep nothing, or only a cache."""
    prefix, scratch = "ci", world.scratch
    site, url = f"s3://{buckets.BUCKET}/{prefix}", f"{server.url}/{buckets.BUCKET}/{prefix}"
    keys = ("--keys", world.site.keys)

    def publisher(command, cache, *flags, at=site, env=None, codes=(DONE,), signs=True):
        environment = {**world.site.env, **(env or server.env())}
        place = ("--site", at, "--cache", scratch / cache, *(("--channel", lab.CHANNEL, *keys) if signs else ()))
        done = lab.run(world.publisher, "--json", command, *place, *flags, env=environment, codes=codes)
        events = [json.loads(line) for line in done.stdout.splitlines()]
        return {event["event"]: event for event in events}

    def release(number, *flags):
        tree = f"{PLATFORM}={world.builds[number]}"
        more = ("--app", lab.APP, "--build", number, "--version", f"{number}.0", "--platform", tree, "--effort", "1")
        return (*more, *flags)

    world.upload(server, 1, prefix)
    client = world.installed(url)
    with buckets.Proxy(server) as proxy:
        told = publisher("build-release", "cache-a", *release(2), env=server.env(proxy.url))
        got = [path.removeprefix(f"/{buckets.BUCKET}/{prefix}/") for method, path in proxy.requests if method == "GET"]
    local = site_files(world.snapshots[2])
    found = in_bucket(server, prefix, local)
    # The page comes with a command of its own.
    same = all(body == local[name] for name, (_, body, _) in found.items() if name != PAGE)
    checks("a machine without state makes the very site that one with state makes", same)
    needed = objects_of(world.snapshots[1], 1)
    content = [name for name in got if name.startswith(("objects/", "packs/"))]
    checks("it fetches each object of the base release once, and no pack", sorted(content) == sorted(needed), str(content))
    documents = [name for name in got if name.startswith("releases/")]
    checks("of documents it fetches what it needs, once", len(documents) == len(set(documents)) <= 4, str(documents))
    least = sum(needed.values())
    checks("it tells what it fetched", least < told["fetched"]["bytes"] < least + 20_000, str(told["fetched"]))
    client("update")
    checks("clients update to what it made", world.build_of(client) == 2)
    with buckets.Proxy(server) as proxy:
        told = publisher("build-release", "cache-a", *release(3, "--no-channel"), env=server.env(proxy.url))
        got = [path.removeprefix(f"/{buckets.BUCKET}/{prefix}/") for method, path in proxy.requests if method == "GET"]
    again = [name for name in got if name.startswith(("objects/", "packs/"))]
    checks("a second run with its cache fetches no content again", again == [] and told["uploaded"]["files"] > 3, str(again))
    checks("a release without a channel waits", not told["uploaded"]["heads"][0]["moved"])
    told = publisher("promote", "cache-b", "--build", "3")
    client("update")
    checks("it is promoted from another machine", told["head"]["changed"] and world.build_of(client) == 3, str(told))
    told = publisher("refresh", "cache-c", "--force")
    checks("heads are refreshed by a job that has nothing", told["refreshed"]["changed"] and told["uploaded"]["heads"][0]["moved"])
    checks("which fetches documents only", told["fetched"]["bytes"] < 20_000, str(told["fetched"]))
    publisher("halt", "cache-c")
    checks("a halt reaches clients", client("check", codes=None).code == NOTHING_TO_DO)
    publisher("resume", "cache-d")
    told = publisher("page", "cache-d", signs=False)
    page = in_bucket(server, prefix, [PAGE])[PAGE][1].decode()
    checks("the page is put there, and tells of all releases", told["page"]["changed"] and all(f"{n}.0" in page for n in (1, 2, 3)))
    shards(world, server, checks)
    from_web(world, server, checks, publisher, release, url)
    look(world, server, checks, url, prefix)
    prune(world, server, checks, prefix)


def prune(world, server, checks, prefix):
    """Old releases go from the bucket, by a machine that has nothing."""
    site = f"s3://{buckets.BUCKET}/{prefix}"
    later = {"SOURCE_DATE_EPOCH": str(int(time.time()) + 30 * 86_400)}

    def run(*flags):
        place = ("--site", site, "--cache", world.scratch / "cache-prune")
        command = (world.publisher, "--json", "prune", *place, "--keep", "1", *flags)
        done = lab.run(*command, env={**world.site.env, **server.env(), **later})
        return next(event for event in map(json.loads, done.stdout.splitlines()) if event["event"] == "prune")

    look_first = run()
    names = [file["name"] for file in look_first["removed"]]
    there = in_bucket(server, prefix, names)
    checks("pruning a bucket first only looks", len(names) > 3 and all(there[name][0] == 200 for name in names), str(names))
    gone = run("--delete")
    there = in_bucket(server, prefix, names)
    all_gone = gone["removed"] == look_first["removed"] and all(there[name][0] == 404 for name in names)
    checks("then all of that is gone", all_gone, str(there))
    fresh = world.installed(f"{server.url}/{buckets.BUCKET}/{prefix}")
    fresh("update")
    checks("a client of a release that is gone updates", world.build_of(fresh) == 4)


def shards(world, server, checks):
    """Two machines make a share of the packs each, without keys; a third one collects them from the bucket and signs."""
    prefix, scratch = "shards", world.scratch
    world.upload(server, 2, prefix)

    def build(cache, *flags):
        place = ("--site", f"s3://{buckets.BUCKET}/{prefix}", "--cache", scratch / cache, "--channel", lab.CHANNEL)
        more = ("--app", lab.APP, "--build", 3, "--version", "3.0", "--platform", f"{PLATFORM}={world.builds[3]}")
        command = (world.publisher, "--json", "build-release", *place, *more, "--effort", "1", *flags)
        return lab.run(*command, env={**world.site.env, **server.env()})

    build("share-1", "--shard", "1/2")
    build("share-2", "--shard", "2/2")
    notes = [f"shards/3/{PLATFORM}/{index}-of-2" for index in (1, 2)]
    there = [in_bucket(server, prefix, [name])[name][0] for name in notes]
    done = build("collector", "--collect", "--keys", world.site.keys)
    local = site_files(world.snapshots[3])
    found = in_bucket(server, prefix, local)
    # The page comes with a command of its own.
    same = all(body == local[name] for name, (_, body, _) in found.items() if name != PAGE)
    made = "no-shard" not in done.stderr
    checks("packs made in shares meet in the bucket, to the same site", same and made and there == [200, 200], str(done))
    checks("notes of shards are gone then", [in_bucket(server, prefix, [n])[n][0] for n in notes] == [404, 404])


def from_web(world, server, checks, publisher, release, url):
    """The web server in front of the bucket is enough for reading."""
    fill(world.scratch / "build-4", 4)
    world.builds[4] = world.scratch / "build-4"
    told = publisher("build-release", "cache-web", *release(4, "--bases", "1"), at=url)
    checks("a release is built from the web alone", told["release"]["build"] == 4 and "uploaded" not in told, str(told))
    to = f"s3://{buckets.BUCKET}/ci"
    lab.run(world.publisher, "upload", "--site", world.scratch / "cache-web", "--to", to, env=server.env())
    client = world.installed(url)
    client("update")
    checks("and sent to the bucket", world.build_of(client) == 4)


def look(world, server, checks, url, prefix):
    """The published site is looked at from outside."""
    pinned = ("--root", world.site.root, "--channel", lab.CHANNEL)
    for place, env in ((url, {}), (f"s3://{buckets.BUCKET}/{prefix}", server.env())):
        done = lab.run(world.publisher, "check-remote", "--deep", *pinned, place, env=env, codes=None)
        checks(f"nothing is wrong at {place.split(':')[0]}://", done.code == DONE, str(done))


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
        stateless(world, server, checks)
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
