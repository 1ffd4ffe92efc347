#!/usr/bin/env python3
"""The library in use: the launchers of client/examples in Rust, C, C#, Python and Node, each through the life of an app.

usage: scripts/embed.py [--keep DIR] [CONSUMER...]
       default: rust c-shared c-static csharp python node; c-windows runs under wine and is run by its own make target

Builds the library and the publisher, publishes a site of two builds and serves it over loopback HTTP. Each launcher
installs the first build, is cancelled in the middle of a download, meets a site that was tampered with, and one that is
gone, updates to the second build and confirms it, and finds nothing more to do. What it prints, the code it ends with
and the tree, byte for byte, are compared each time. Prints one line a check; fails if anything did, and if a tool is
missing (`make setup-embed` installs them).
"""

import argparse
import functools
import http.server
import os
import pathlib
import random
import shutil
import sys
import tempfile
import threading
import time

import lab

APP, CHANNEL = "org.example.embedded", "stable"
EXAMPLES = lab.REPOSITORY / "client" / "examples"
INCLUDE = lab.REPOSITORY / "client" / "embed" / "include"
WINDOWS_TARGET = "x86_64-pc-windows-gnu"
# Statuses of the library, which the launchers end with.
OK, NETWORK, NOT_TRUSTED, CANCELLED = 0, 4, 5, 11
STALL_S = 60


class Checks:
    """Counts and prints what was checked."""

    def __init__(self):
        self.passed = self.failed = 0
        self.consumer = ""

    def __call__(self, what, holds, detail=""):
        self.passed += bool(holds)
        self.failed += not holds
        print(f"{self.consumer}: {'ok' if holds else 'FAILED'}: {what}" + ("" if holds else f": {detail}"), flush=True)


class Server:
    """Serves one directory after another; content stalls in the middle while `stalls` is set."""

    def __init__(self):
        self.directory = None
        self.stalls = False
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                path = owner.directory / self.path.lstrip("/")
                if not path.is_file():
                    self.send_error(404)
                    return
                content = path.read_bytes()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if owner.stalls and self.path.startswith(("/objects/", "/packs/")):
                    self.wfile.write(content[: len(content) // 2])
                    self.wfile.flush()
                    until = time.monotonic() + STALL_S
                    while owner.stalls and time.monotonic() < until:
                        time.sleep(0.05)
                    content = content[len(content) // 2 :]
                self.wfile.write(content)

            def handle(self):
                try:
                    super().handle()
                except ConnectionError:
                    pass  # The launcher was cancelled.

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class World:
    """Two builds, a site as it was after the first and after the second, and one that was tampered with."""

    def __init__(self, scratch, publisher):
        self.scratch = scratch
        self.builds = [scratch / "build-1", scratch / "build-2"]
        fill(self.builds[0], 1)
        fill(self.builds[1], 2)
        keys, site = scratch / "keys", scratch / "site"
        lab.run(publisher, "keygen", "--out", keys)
        lab.run(publisher, "init", "--site", site, "--app", APP, "--keys", keys)
        self.sites = []
        for number, build in enumerate(self.builds, 1):
            platforms = [f"--platform={platform}={build}" for platform in (host_platform(), "windows-x86_64")]
            command = [publisher, "build-release", "--site", site, "--app", APP, "--channel", CHANNEL, *platforms]
            lab.run(*command, "--build", number, "--version", f"{number}.0", "--keys", keys)
            self.sites.append(scratch / f"site-{number}")
            shutil.copytree(site, self.sites[-1])
        self.root = site / "root" / "1.root"
        self.tampered = scratch / "site-tampered"
        shutil.copytree(site, self.tampered)
        head = self.tampered / "channels" / f"{CHANNEL}.head"
        head.write_bytes(head.read_bytes().replace(b",2,2.0,", b",3,2.0,"))
        self.server = Server()


def fill(directory, build):
    """A program that changes in places, files that stay, come and go, a name that is not ASCII."""
    noise = random.Random(1)
    program = bytearray(noise.randbytes(1_500_000))
    for position in range(0, len(program), 100_000):
        program[position : position + 16] = build.to_bytes(16, "little")
    files = {
        "app": bytes(program) + random.Random(build).randbytes(300_000),
        "data/same.bin": noise.randbytes(200_000),
        f"data/only-{build}.txt": b"only here\n",
        "docs/ünïcode näme.txt": f"build {build}\n".encode(),
    }
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (directory / "app").chmod(0o755)


def host_platform():
    machine = {"arm64": "aarch64"}.get(os.uname().machine, os.uname().machine)
    return f"{ {'Darwin': 'macos'}.get(os.uname().sysname, os.uname().sysname.lower()) }-{machine}"


class Consumer:
    """A launcher: how it is built, run, and how it names files."""

    def __init__(self, command, env=None, name=str, has_modes=True):
        self.command, self.env, self.name, self.has_modes = command, env or {}, name, has_modes

    def run(self, world, tree, *more):
        arguments = (self.name(tree), world.server.url, self.name(world.root), APP, CHANNEL)
        return lab.run(*self.command, *arguments, *more, env=self.env, codes=None)


def c_flags():
    return ["-std=c99", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{INCLUDE}"]


def rust(library, _scratch):
    return Consumer([library / "examples" / "launcher"])


def c_shared(library, scratch):
    # The header is C++ as well.
    lab.run("g++", "-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-x", "c++", INCLUDE / "lamplighter.h")
    source, program = EXAMPLES / "c" / "launcher.c", scratch / "launcher-shared"
    lab.run("gcc", *c_flags(), source, f"-L{library}", "-llamplighter", f"-Wl,-rpath,{library}", "-o", program)
    return Consumer([program])


def c_static(library, scratch):
    source, program = EXAMPLES / "c" / "launcher.c", scratch / "launcher-static"
    archive = library / "liblamplighter.a"
    lab.run("gcc", *c_flags(), source, archive, "-lpthread", "-ldl", "-lm", "-lgcc_s", "-o", program)
    needed = lab.run("readelf", "-d", program).stdout
    assert "liblamplighter" not in needed, "the program is to stand alone"
    return Consumer([program])


def c_windows(library, scratch):
    # Made and run by scripts/windows.sh, which sets up the cross compiler's standard library and wine.
    windows = lab.REPOSITORY / "scripts" / "windows.sh"
    lab.run(windows, "cargo", "build", "--locked", "-p", "lamplighter-embed")
    built = lab.run(windows.with_name("cross.sh"), "dir", WINDOWS_TARGET).stdout.strip()
    place = scratch / "windows"
    place.mkdir()
    shutil.copy(pathlib.Path(built) / "debug" / "lamplighter.dll", place)
    source, program = EXAMPLES / "c" / "launcher.c", place / "launcher.exe"
    lab.run("x86_64-w64-mingw32-gcc", *c_flags(), source, place / "lamplighter.dll", "-o", program)
    # In the locale C wine cannot name files that are not ASCII.
    env = {"LC_ALL": "C.UTF-8"}
    return Consumer([windows, "run", program], env, name=lambda path: "Z:" + str(path).replace("/", "\\"), has_modes=False)


def csharp(library, scratch):
    program = scratch / "launcher.exe"
    sources = [EXAMPLES / "csharp" / name for name in ("Lamplighter.cs", "Launcher.cs")]
    lab.run("mcs", "-warnaserror", f"-out:{program}", *sources)
    return Consumer(["mono", program], {"LD_LIBRARY_PATH": str(library)})


def python(library, _scratch):
    env = {"LAMPLIGHTER_LIBRARY": str(library / "liblamplighter.so"), "PYTHONDONTWRITEBYTECODE": "1"}
    return Consumer([sys.executable, EXAMPLES / "python" / "launcher.py"], env)


def node(library, _scratch):
    place = lab.REPOSITORY / "target" / "embed-node"
    place.mkdir(parents=True, exist_ok=True)
    shutil.copy(EXAMPLES / "node" / "package.json", place)
    if not (place / "node_modules" / "koffi").is_dir():
        lab.run("npm", "install", "--prefix", place, "--no-package-lock", "--no-audit", "--no-fund")
    env = {"LAMPLIGHTER_LIBRARY": str(library / "liblamplighter.so"), "NODE_PATH": str(place / "node_modules")}
    return Consumer(["node", EXAMPLES / "node" / "launcher.js"], env)


CONSUMERS = {
    "rust": rust,
    "c-shared": c_shared,
    "c-static": c_static,
    "csharp": csharp,
    "python": python,
    "node": node,
    "c-windows": c_windows,
}


def life(consumer, world, tree, checks):
    """Install, a cancel, an attack, a site that is gone, an update, nothing more to do."""
    first, second = (functools.partial(difference, build, tree, consumer) for build in world.builds)
    server = world.server
    server.directory, server.stalls = world.sites[0], False
    expect(checks, "the first build is installed", consumer.run(world, tree), OK, "installed 1.0 (build 1)", "confirmed")
    checks("the tree is the first build", not first(), first())

    server.directory, server.stalls = world.sites[1], True
    started = time.monotonic()
    done = consumer.run(world, tree, "cancel")
    server.stalls = False
    expect(checks, "a download is cancelled", done, CANCELLED, "available 2.0 (build 2)", f"error {CANCELLED} E_CANCELLED:")
    checks("at once", time.monotonic() - started < STALL_S / 2, f"{done.wall_s:.0f} s")
    checks("the tree is still the first build", not first(), first())

    server.directory = world.tampered
    expect(checks, "a tampered site is refused", consumer.run(world, tree), NOT_TRUSTED, f"error {NOT_TRUSTED} E_SIGNATURE:")
    server.directory = world.scratch / "nowhere"
    expect(checks, "a site that is gone is told", consumer.run(world, tree), NETWORK, f"error {NETWORK} E_NETWORK:")
    checks("the tree is still the first build", not first(), first())

    server.directory = world.sites[1]
    lines = ("available 2.0 (build 2)", "  download: ", "staged 2.0 (build 2)", "updated to 2.0 (build 2)")
    done = consumer.run(world, tree)
    expect(checks, "the tree is updated and confirmed", done, OK, *lines, "start 1 of 3", "confirmed")
    checks("the tree is the second build", not second(), second())
    expect(checks, "there is nothing more to do", consumer.run(world, tree), OK, "nothing to do: up_to_date")


def launching(consumer, world, tree, checks):
    """The library's own launcher, from another language: it asks, updates, and counts the start."""
    world.server.directory = world.sites[0]
    consumer.run(world, tree)
    world.server.directory = world.sites[1]
    done = consumer.run(world, tree, "launch")
    expect(checks, "one call updates and says what is next", done, OK, "asked for build 2", "run build 2, start 1 on probation")
    checks("the tree is the second build", not difference(world.builds[1], tree, consumer))
    expect(checks, "and asks no more", consumer.run(world, tree, "launch"), OK, "run build 2, start 0 on probation")


def difference(build, tree, consumer):
    lines = lab.tree_difference(build, tree)
    return [line for line in lines if consumer.has_modes or not line.startswith("executable bit")]


def expect(checks, what, done, code, *texts):
    said = done.stdout + done.stderr
    missing = [text for text in texts if text not in said]
    checks(what, done.code == code and not missing, f"expected code {code} and {missing}, got {done.code}:\n{said}")


def main():
    parser = argparse.ArgumentParser(description="The library in use, from five languages.")
    parser.add_argument("consumers", nargs="*", metavar="CONSUMER", help=", ".join(CONSUMERS))
    parser.add_argument("--keep", type=pathlib.Path, help="leave sites and trees in this new directory")
    arguments = parser.parse_args()
    wanted = arguments.consumers or [name for name in CONSUMERS if name != "c-windows"]
    built = lab.build("--lib", "--example", "launcher")
    scratch = pathlib.Path(arguments.keep or tempfile.mkdtemp(prefix="lamplighter-embed-")).resolve()
    scratch.mkdir(exist_ok=True)
    checks = Checks()
    try:
        world = World(scratch, built / "publisher")
        for name in wanted:
            checks.consumer = name
            try:
                consumer = CONSUMERS[name](built, scratch)
                life(consumer, world, scratch / f"tree-{name}", checks)
                if name == "python":
                    launching(consumer, world, scratch / "tree-launched", checks)
            except (lab.LabError, FileNotFoundError, AssertionError) as error:
                checks("it is built and run", False, str(error))
    finally:
        if not arguments.keep:
            shutil.rmtree(scratch, ignore_errors=True)
    print(f"{checks.passed} passed, {checks.failed} failed")
    sys.exit(1 if checks.failed else 0)


if __name__ == "__main__":
    try:
        main()
    except lab.LabError as error:
        sys.exit(f"embed: {error}")
