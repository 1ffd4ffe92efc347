#!/usr/bin/env python3
"""A site behind caches that know no better: the client has one release or the next, whole.

usage: scripts/edges.py          (`make edges`)

The origin is nginx. Before it stand two edges as a careless operator sets them up, each deaf to what client and origin say of
caching: an nginx that caches slices of 64 KiB, and a varnish that keeps everything, missing files too, for some seconds. So
heads are stale, roots and releases that are there are missing, and what an edge has of one moment meets what it fetches at
another. After every step the tree is compared, byte for byte, with the two releases; and when the caches have forgotten, the
next update arrives. Prints one line a check and ends with `N passed, N failed`.
"""

import contextlib
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import lab

PLATFORM = "linux-x86_64"
TTL_S = 3
DONE, NOTHING_TO_DO, NETWORK = 0, 3, 4

# Deaf to Cache-Control on both sides; ranges are cut into slices, each cached on its own.
SLICES = lab.nginx_config(
    """    location / {{
      proxy_pass {root};
      slice 64k;
      proxy_cache edge;
      proxy_cache_key $uri$slice_range;
      proxy_set_header Range $slice_range;
      proxy_ignore_headers Cache-Control Expires;
      proxy_cache_valid 200 206 404 {ttl_s}s;
    }}
""",
    http="  proxy_cache_path {scratch}/cache keys_zone=edge:1m;\n",
)

VCL = """vcl 4.1;
backend default {{ .host = "127.0.0.1"; .port = "{port}"; }}
sub vcl_recv {{ unset req.http.Cache-Control; unset req.http.Pragma; return (hash); }}
sub vcl_backend_response {{ set beresp.ttl = {ttl_s}s; set beresp.grace = 0s; return (deliver); }}
"""


class Varnish:
    """Real varnish on a loopback port before `origin`."""

    def __init__(self, origin, scratch):
        scratch.mkdir(parents=True)
        self.port = lab.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        (scratch / "edge.vcl").write_text(VCL.format(port=origin.port, ttl_s=TTL_S))
        # Its jail may not read our scratch directory.
        command = [lab.find_tool("varnishd"), "-j", "none", "-F", "-n", scratch / "work", "-a", f"127.0.0.1:{self.port}"]
        command += ["-f", scratch / "edge.vcl", "-s", "malloc,64m", "-t", str(TTL_S)]
        self.log = open(scratch / "log", "wb")
        self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        for _ in range(400):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        self.close()
        raise lab.LabError("varnish did not start: " + (scratch / "log").read_text()[-800:])

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=20)
        self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Checks:
    """Counts and prints what was checked."""

    def __init__(self):
        self.passed, self.failed, self.edge = 0, 0, ""

    def __call__(self, what, holds, detail=""):
        self.passed, self.failed = self.passed + bool(holds), self.failed + (not holds)
        word = "ok" if holds else "FAILED"
        print(f"{self.edge}: {word}: {what}" + (f" ({detail})" if detail and not holds else ""), flush=True)


class World:
    """A site of two builds, of which the origin shows as much as it is told to."""

    def __init__(self, scratch, programs):
        self.scratch, self.programs = scratch, programs
        self.site = lab.Site(scratch, programs)
        self.builds = {number: scratch / f"build-{number}" for number in (1, 2)}
        self.origin_root = scratch / "origin"
        for number, directory in self.builds.items():
            fill(directory, number)
            if number == 2:
                self.rotate()
            self.site.build(number, f"{number}.0", PLATFORM, directory, "--effort", "1", "--no-proof")
            if number == 1:
                self.before = self.snapshot("before")
        self.after = self.snapshot("after")
        self.trees = 0

    def rotate(self):
        """A second root, so that clients have to follow the chain."""
        path = self.scratch / "2.root"
        common = ("--site", self.site.path)
        lab.run(self.site.publisher, "root", "propose", *common, "--out", path, env=self.site.env)
        lab.run(self.site.publisher, "root", "sign", path, *common, "--keys", self.site.keys, env=self.site.env)
        lab.run(self.site.publisher, "root", "publish", path, *common, env=self.site.env)

    def snapshot(self, name):
        shutil.copytree(self.site.path, self.scratch / name)
        return self.scratch / name

    def show(self, snapshot):
        """The origin has what `snapshot` has, at once."""
        if self.origin_root.exists():
            shutil.rmtree(self.origin_root)
        shutil.copytree(snapshot, self.origin_root)

    def installed(self, url):
        """A tree of build 1, installed from the site itself, that follows `url`."""
        self.trees += 1
        client = lab.Client(self.programs, self.scratch / f"tree-{self.trees}")
        client.install(self.before, self.before / "root" / "1.root", PLATFORM)
        settings = client.tree / lab.STATE / "settings"
        lines = [f"site,{url}" if line.startswith("site,") else line for line in settings.read_text().split("\n")]
        settings.write_text("\n".join(lines))
        return client

    def build_of(self, client):
        """Which release the tree is, byte for byte; none if neither."""
        return next((n for n, directory in self.builds.items() if not lab.tree_difference(directory, client.tree)), None)


def fill(directory, build):
    """Files that change, of which one is many slices long, and one that comes."""
    directory.mkdir(parents=True)
    noise = random.Random(9)
    big = bytearray(noise.randbytes(1_500_000))
    for position in range(0, len(big), 90_000):
        big[position : position + 8] = build.to_bytes(8, "little")
    (directory / "app").write_text(f"build {build}\n" * 100)
    (directory / "big.bin").write_bytes(big)
    (directory / f"new-{build}.bin").write_bytes(random.Random(build).randbytes(700_000))


def forget():
    """Long enough for the caches to ask again."""
    time.sleep(TTL_S + 1)


def get(url):
    """Asks an edge as another client does, so that it has an answer in its cache."""
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            answer.read()
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def updated(world, client, checks, what, *flags, builds=(1, 2), codes=(DONE, NOTHING_TO_DO, NETWORK)):
    done = client("update", *flags, codes=None)
    build = world.build_of(client)
    checks(what, done.code in codes and build in builds, f"build {build}, {done}")
    return build


def arrives(world, client, checks):
    forget()
    updated(world, client, checks, "and when the cache has forgotten, the new release arrives", builds=(2,), codes=(DONE, NOTHING_TO_DO))


def stale_head(world, edge, checks):
    world.show(world.before)
    forget()
    client = world.installed(edge.url)
    get(f"{edge.url}/channels/{lab.CHANNEL}.head")
    world.show(world.after)
    updated(world, client, checks, "a stale head is no error, and the old release stays", builds=(1,), codes=(NOTHING_TO_DO,))
    arrives(world, client, checks)


def missing_files(world, edge, checks):
    """The edge remembers that there were no such files, and has the new head."""
    for kind, names in (
        ("release", [f"releases/2/{PLATFORM}/release"]),
        ("pack and manifest", [*names_of(world, "packs"), f"releases/2/{PLATFORM}/manifest.csv"]),
        ("root", ["root/2.root"]),
    ):
        world.show(world.before)
        forget()
        client = world.installed(edge.url)
        asked = [get(f"{edge.url}/{name}") for name in names]
        checks(f"the edge remembers that there was no {kind}", asked == [404] * len(names), str(asked))
        world.show(world.after)
        updated(world, client, checks, f"a {kind} that is there, and is not for the edge")
        arrives(world, client, checks)


def names_of(world, directory):
    """Files the new site has and the old one has not."""
    found = {path.relative_to(world.after) for path in (world.after / directory).rglob("*") if path.is_file()}
    return sorted(str(name) for name in found if not (world.before / name).exists())


def slices(world, edge, checks):
    world.show(world.after)
    forget()
    pack = names_of(world, "packs")[0]
    whole = (world.after / pack).read_bytes()
    # What a client broke off stays with the edge as the first slices only.
    curl = lab.run(lab.find_tool("curl"), "-sS", "-r", "0-150000", "-o", world.scratch / "part", f"{edge.url}/{pack}")
    checks("a range comes as asked", (world.scratch / "part").read_bytes() == whole[:150001], str(curl))
    client = world.installed(edge.url)
    updated(world, client, checks, "what lies in the cache by halves is put together", builds=(2,), codes=(DONE,))
    client = world.installed(edge.url)
    shutil.rmtree(world.origin_root / "packs")
    forget()
    updated(world, client, checks, "without packs at the origin the objects are taken", builds=(2,), codes=(DONE,))


def an_origin_that_dies(world, origin, edge, checks):
    world.show(world.after)
    forget()
    client = world.installed(edge.url)
    freeze(origin, signal.SIGSTOP)
    try:
        # A frozen origin keeps the edge waiting; nobody waits for ever, and nothing has changed.
        done = subprocess.Popen([str(client.program), "update", "--tree", str(client.tree)], stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)
        time.sleep(2)
        checks("while the origin is frozen the client waits, and the tree stays", done.poll() is None and world.build_of(client) == 1)
    finally:
        freeze(origin, signal.SIGCONT)
    code = done.wait(timeout=300)
    checks("and the update ends when it thaws", code in (DONE, NETWORK), str(code))
    arrives(world, client, checks)


def freeze(nginx, word):
    """Tells nginx's worker, a child of the process we know."""
    children = pathlib.Path(f"/proc/{nginx.process.pid}/task/{nginx.process.pid}/children").read_text().split()
    for child in children:
        os.kill(int(child), word)


def two_edges(world, one, two, checks):
    """One edge is stale, the other is not: the client is told of both."""
    world.show(world.before)
    forget()
    client = world.installed(one.url)
    get(f"{one.url}/channels/{lab.CHANNEL}.head")
    world.show(world.after)
    updated(world, client, checks, "content of a fresh edge under the head of a stale one", "--from", two.url, builds=(2,), codes=(DONE,))
    updated(world, client, checks, "after which the stale one does not lead back", builds=(2,))


def main():
    checks = Checks()
    programs = lab.binaries()
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="lamplighter-edges-"))
    started = time.monotonic()
    try:
        world = World(scratch, programs)
        world.show(world.before)
        with (
            lab.Nginx(world.origin_root, scratch / "origin-nginx") as origin,
            lab.Nginx(origin.url, scratch / "slices", SLICES, ttl_s=TTL_S) as nginx,
            Varnish(origin, scratch / "varnish") as varnish,
        ):
            for name, edge in (("nginx", nginx), ("varnish", varnish)):
                checks.edge = name
                stale_head(world, edge, checks)
                missing_files(world, edge, checks)
                slices(world, edge, checks)
                an_origin_that_dies(world, origin, edge, checks)
            for name, (one, two) in (("both", (nginx, varnish)), ("both, turned round", (varnish, nginx))):
                checks.edge = name
                two_edges(world, one, two, checks)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(f"behind caches, {time.monotonic() - started:.0f} s")
    print(f"{checks.passed} passed, {checks.failed} failed")
    lab.note_figures("edges", {"passed": checks.passed, "failed": checks.failed})
    return 1 if checks.failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except lab.LabError as error:
        sys.exit(f"edges: {error}")
