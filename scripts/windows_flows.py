#!/usr/bin/env python3
"""The launcher, the patcher and the single binary on Windows: programs made by mingw, run by wine.

usage: scripts/windows_flows.py [--keep DIR]            (`make test-windows`)

Publishes builds of an app for Windows whose launcher is the client itself and lies in the tree, as does the patcher. Then,
each time beginning with an installed build: a launcher that runs hands over to the staged patcher and is replaced; one
without a patcher commits by itself while it and the app run; a patcher that does not work gives way to the installed one; a
new version that cannot start goes back; the patcher uninstalls the tree it lies in; a single binary replaces itself; a crowd
of launchers, updaters and patchers works on one tree, a third of them killed. Trees are compared byte for byte. Prints one line a check; fails if anything did, and if a tool is missing
(`make setup-windows` installs them).
"""

import argparse
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import lab

APP, CHANNEL, PLATFORM = "org.example.flows", "stable", "windows-x86_64"
WINDOWS = lab.REPOSITORY / "scripts" / "windows.sh"
MINGW = "x86_64-w64-mingw32"
STAMP = b"single_binary build 0000000"
WAIT_S = 120
CROWD = 64
# Exit codes: done, nothing to do, another updater is at work.
DONE, NOTHING_TO_DO, LOCKED = 0, 3, 8
# Whatever a command line of Windows can get wrong.
ODD = ["--open", 'a "quoted" word', "%PATH%", "trailing\\", 'slash\\"quote', "", "-", "--", "two\nlines", "ünï"]


def dos(path):
    """A path as programs under wine name it."""
    return "Z:" + str(path).replace("/", "\\")


class World:
    """The programs, a publisher's keys and site, and what the app logged."""

    def __init__(self, scratch, built):
        self.scratch, self.built = scratch, built
        self.publisher = lab.TARGET / "release/publisher"
        self.programs = {name: self.stripped(built / f"{name}.exe") for name in ("client", "patcher")}
        self.programs["single"] = self.stripped(built / "examples" / "single_binary.exe")
        app, source = scratch / "app.exe", lab.REPOSITORY / "client/tests/programs/app.c"
        flags = ["-municode", "-Os", "-s", "-Wall", "-Wextra", "-Werror"]
        lab.run(f"{MINGW}-gcc", *flags, source, "-o", app)
        self.programs["app"] = app.read_bytes()
        self.checks = []
        self.case = ""

    def stripped(self, program):
        out = self.scratch / f"stripped-{program.name}"
        lab.run(f"{MINGW}-strip", "-o", out, program)
        return out.read_bytes()

    def check(self, what, holds, detail=""):
        self.checks.append(bool(holds))
        print(f"{self.case}: {'ok' if holds else 'FAILED'}: {what}" + ("" if holds else f": {detail}"), flush=True)

    def wine(self, program, *arguments, codes=(0,), **env):
        """Runs a Windows program to its end; names of files are as wine has them."""
        # In the locale C wine cannot name files that are not ASCII.
        environment = {"LC_ALL": "C.UTF-8", **{name: str(value) for name, value in env.items()}}
        return lab.run(WINDOWS, "run", program, *arguments, env=environment, codes=codes)


class Case:
    """A site of its own and a tree in which the first of `builds` is installed."""

    def __init__(self, world, name, *builds):
        world.case = name
        self.world, self.dir = world, world.scratch / name
        self.dir.mkdir()
        self.site, self.tree, self.log_file = self.dir / "site", self.dir / "tree", self.dir / "log"
        keys = self.dir / "keys"
        lab.run(world.publisher, "keygen", "--out", keys)
        lab.run(world.publisher, "init", "--site", self.site, "--app", APP, "--keys", keys)
        self.publish(1, builds[0])
        network = ["--site", dos(self.site), "--root", dos(self.site / "root" / "1.root"), "--app", APP]
        client = self.dir / "client.exe"
        client.write_bytes(world.programs["client"])
        # The installer names the tree; from then on the tree knows its site.
        world.wine(client, "install", *network, "--channel", CHANNEL, "--platform", PLATFORM, "--tree", dos(self.tree))
        for number, files in enumerate(builds[1:], 2):
            self.publish(number, files)

    def input(self, build):
        return self.dir / f"build-{build}"

    def publish(self, build, files):
        for name, content in files.items():
            path = self.input(build) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        patcher = 'patcher = "patcher.exe"\n' if "patcher.exe" in files else ""
        config = self.dir / "publisher.toml"
        config.write_text(f'[platform.{PLATFORM}]\ndir = "{self.input(build)}"\nentry = "app.exe"\n{patcher}')
        command = [self.world.publisher, "build-release", "--site", self.site, "--app", APP, "--config", config]
        named = ["--build", build, "--version", f"{build}.0", "--channel", CHANNEL, "--keys", self.dir / "keys"]
        # How well the publisher works is seen elsewhere.
        lab.run(*command, *named, "--effort", "1", "--no-proof")

    def log(self):
        return self.log_file.read_text(encoding="utf-8") if self.log_file.exists() else ""

    def run(self, program, *arguments, codes=(0,)):
        """Runs a program of the tree."""
        return self.world.wine(self.tree / program, *arguments, codes=codes, APP_LOG=dos(self.log_file))

    def launch(self, *arguments):
        """Runs the launcher of the tree to its end and returns what it said; a patcher it starts runs on."""
        command = [WINDOWS, "run", self.tree / "launcher.exe", "launch", "--tree", dos(self.tree), "--yes", *arguments]
        # Not through a pipe, whose end would come only with that of the patcher, which speaks there, too.
        said = self.dir / "said"
        with said.open("w") as out:
            started = subprocess.run(command, env=self.env(), stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        if started.returncode:
            raise lab.LabError(f"the launcher ended with {started.returncode}\n{said.read_text()}")
        return said.read_text()

    def start(self, program, *arguments):
        """Starts a program of the tree and leaves it running."""
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen([WINDOWS, "run", self.tree / program, *arguments], env=self.env(), **quiet)

    def env(self):
        return {**os.environ, "LC_ALL": "C.UTF-8", "APP_LOG": dos(self.log_file)}

    def start_staying(self):
        """Starts the app of build 1, which runs until `let_go`."""
        staying = self.start("app.exe", "until", dos(self.dir / "go"))
        self.expect_log(line(1, "until", dos(self.dir / "go")))
        return staying

    def let_go(self, staying):
        (self.dir / "go").touch()
        staying.wait(WAIT_S)

    def expect_no_trash(self):
        """Old programs that ran are moved to the trash, which the next start empties."""
        left = [path.name for path in self.state("trash").rglob("*")] if self.state("trash").exists() else []
        self.world.check("the next start removes the programs that ran", not left, left)

    def expect_log(self, text):
        until = time.monotonic() + WAIT_S
        while text not in self.log() and time.monotonic() < until:
            time.sleep(0.1)
        self.world.check(f"the app logged {text[:60]!r}", text in self.log(), self.log()[:3000])

    def expect_tree(self, build):
        # A patcher's last strokes come after the start of the app.
        until = time.monotonic() + 10
        while (found := self.difference(build)) and time.monotonic() < until:
            time.sleep(0.2)
        self.world.check(f"the tree is build {build}, byte for byte", not found, found)

    def difference(self, build):
        found = lab.tree_difference(self.input(build), self.tree)
        return [line for line in found if not line.startswith("executable bit")]

    def try_update(self):
        command = ["update", "--tree", dos(self.tree)]
        return self.world.wine(self.dir / "client.exe", *command, codes=(DONE, NOTHING_TO_DO, LOCKED)).code

    def state(self, name):
        return self.tree / lab.STATE / name


def stamped(program, build):
    """Windows programs may be followed by anything: the build, for the app to read."""
    return program + f"\0<{build}>".encode()


def files(world, build, **more):
    """The files of one build: app, launcher, patcher, data; `more` replaces them, None leaves one out."""
    found = {
        "app.exe": stamped(world.programs["app"], build),
        "launcher.exe": stamped(world.programs["client"], build),
        "patcher.exe": stamped(world.programs["patcher"], build),
        "data/same.bin": random.Random(1).randbytes(50_000),
        "data/changed.bin": random.Random(build).randbytes(20_000),
        f"only-{build}.txt": b"comes and goes",
    }
    found.update({f"{name}.exe": content for name, content in more.items()})
    return {name: content for name, content in found.items() if content is not None}


def line(build, *arguments):
    return f"<{build}>" + "".join(f"<{argument}>" for argument in arguments) + "\n"


def patched(world):
    case = Case(world, "patcher", files(world, 1), files(world, 2))
    staying = case.start_staying()
    long = "y" * 30_000
    said = case.launch("--", *ODD, long)
    world.check("the launcher hands over", "the patcher finishes the update" in said, said)
    world.check("nothing changes while the app runs", staying.poll() is None and not case.difference(1), case.difference(1))
    case.let_go(staying)
    case.expect_log(line(2, *ODD, long))
    case.expect_tree(2)
    case.launch("--", "again")
    case.expect_log(line(2, "again"))
    left = [name for name in ("journal", "handover") if case.state(name).exists()]
    world.check("nothing is left to be done", not left, left)
    case.expect_no_trash()


def running(world):
    """The launcher is replaced by itself, while the app of the old version runs, too."""
    case = Case(world, "running", files(world, 1, patcher=None), files(world, 2, patcher=None))
    staying = case.start_staying()
    case.launch("--", "x")
    world.check("the old app still runs", staying.poll() is None)
    case.expect_log(line(2, "x"))
    case.expect_tree(2)
    case.let_go(staying)
    case.launch("--", "y")
    case.expect_log(line(2, "y"))
    case.expect_no_trash()


def bad_patcher(world):
    case = Case(world, "bad-patcher", files(world, 1), files(world, 2, patcher=b"MZ, but not a program"))
    case.launch("--", "x")
    case.expect_log(line(2, "x"))
    case.expect_tree(2)


def bad_app(world):
    case = Case(world, "bad-app", files(world, 1), files(world, 2, app=b"MZ, but not a program"))
    case.launch("--", "x")
    case.expect_log(line(1, "x"))
    case.expect_tree(1)
    case.launch("--", "y")
    case.expect_log(line(1, "y"))
    world.check("what did not start is not installed again", not case.difference(1), case.difference(1))


def uninstalled(world):
    case = Case(world, "uninstall", files(world, 1))
    (case.tree / "data" / "mine.txt").write_text("of the user")
    done = case.run("patcher.exe", "--uninstall", dos(case.tree))
    world.check("the files that stay are named", "mine.txt" in done.stdout + done.stderr, str(done))
    left = sorted(str(path.relative_to(case.tree)) for path in case.tree.rglob("*") if path.is_file())
    # A program cannot remove its own file while it runs; it is moved out of the way, and said.
    others = [name for name in left if name != "data/mine.txt" and not name.startswith(lab.STATE)]
    world.check("only the user's file is left", "data/mine.txt" in left and not others, left)
    print(f"{world.case}: what is left: {left}")


def single(world):
    def build(number):
        program = world.programs["single"]
        assert program.count(STAMP) == 1
        return program.replace(STAMP + b"1", STAMP + str(number).encode()) + random.Random(number).randbytes(3000)

    case = Case(world, "single", {"app.exe": build(1)}, {"app.exe": build(2)})
    program = case.dir / "desk" / "any name.exe"
    program.parent.mkdir()
    program.write_bytes(build(1))
    root = case.site / "root" / "1.root"
    env = {"DEMO_SITE": dos(case.site), "DEMO_ROOT": dos(root), "DEMO_APP": APP, "DEMO_CHANNEL": CHANNEL}
    env["DEMO_PLATFORM"] = PLATFORM
    said = world.wine(program, "check", **env).stdout
    world.check("it sees the new build", "2.0 (build 2) is available" in said, said)
    said = world.wine(program, "update", **env).stdout
    world.check("it replaces itself by a patch", "replaced by build 2 by pack" in said, said)
    world.check("it is the new build", program.read_bytes() == build(2))
    said = world.wine(program, "update", **env).stdout
    world.check("the new build runs and is up to date", "build 2" in said and "UpToDate" in said, said)
    left = sorted(path.name for path in program.parent.rglob("*"))
    world.check("nothing is left beside it", left == ["any name.exe"], left)
    program.write_bytes(build(1) + b"changed by somebody")
    said = world.wine(program, "update", **env).stdout
    world.check("an unknown one is fetched whole", "replaced by build 2 by" in said and "pack" not in said, said)
    world.check("and is the new build", program.read_bytes() == build(2))


def member(case, number, dice, ended):
    """One launcher, or every fourth time an updater, on the tree of everyone; a third is killed on the way. Whatever a
    launcher hands over to a patcher is another process."""
    what = ["update"] if number % 4 == 0 else ["launch", "--yes"]
    kill_after_s = dice.random() * 4 if dice.random() < 1 / 3 else None
    time.sleep(dice.random() * 25)
    with (case.dir / f"said-{number}").open("w") as out:
        command = [WINDOWS, "run", case.dir / "client.exe", *what, "--tree", dos(case.tree)]
        running = subprocess.Popen(command, env=case.env(), stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            ended[number] = what[0], running.wait(kill_after_s or 4 * WAIT_S)
        except subprocess.TimeoutExpired:
            # The shell has become wine, and that is the program.
            running.kill()
            running.wait()
            ended[number] = what[0], "killed" if kill_after_s else "never ended"


def crowd(world):
    builds = 4
    case = Case(world, "crowd", files(world, 1), files(world, 2))
    mine = case.tree / "data" / "mine.txt"
    mine.write_text("of the user")
    dice, ended = random.Random(5), {}
    members = [threading.Thread(target=member, args=(case, n, random.Random(dice.random()), ended)) for n in range(CROWD)]
    for one in members:
        one.start()
    for build in range(3, builds + 1):
        case.publish(build, files(world, build))
    for one in members:
        one.join()
    codes = {"update": {DONE, NOTHING_TO_DO, LOCKED, "killed"}, "launch": {DONE, LOCKED, "killed"}}
    wrong = {n: (what, code, (case.dir / f"said-{n}").read_text()[-500:]) for n, (what, code) in ended.items() if code not in codes[what]}
    counts = {key: list(ended.values()).count(key) for key in sorted(set(ended.values()), key=str)}
    world.check(f"{len(ended)} at once end as they should: {counts}", len(ended) == CROWD and not wrong, wrong)
    world.check("some were killed and some were not", 0 < sum(code == "killed" for _, code in ended.values()) < CROWD, counts)
    world.check("they have updated the tree", case.difference(1))
    until = time.monotonic() + WAIT_S
    # A patcher may still be at work.
    while (code := case.try_update()) == LOCKED and time.monotonic() < until:
        time.sleep(1)
    world.check("one more update goes through", code in (DONE, NOTHING_TO_DO), code)
    world.check("the user's file is there", mine.exists() and mine.read_text() == "of the user")
    mine.unlink()
    case.expect_tree(builds)


def main():
    parser = argparse.ArgumentParser(description="Launcher, patcher and single binary on Windows, under wine.")
    parser.add_argument("--keep", type=pathlib.Path, help="leave sites and trees in this new directory")
    parser.add_argument("cases", nargs="*", metavar="CASE", help="; ".join(CASES))
    arguments = parser.parse_args()
    lab.build()
    programs = ["--bins", "--example", "single_binary"]
    lab.run(WINDOWS, "cargo", "build", "--locked", "-p", "lamplighter-client", *programs)
    built = pathlib.Path(lab.run(lab.REPOSITORY / "scripts/cross.sh", "dir", "x86_64-pc-windows-gnu").stdout.strip())
    scratch = pathlib.Path(arguments.keep or tempfile.mkdtemp(prefix="lamplighter-flows-")).resolve()
    scratch.mkdir(exist_ok=True)
    try:
        world = World(scratch, built / "debug")
        for name in arguments.cases or CASES:
            try:
                CASES[name](world)
            except lab.LabError as error:
                world.check("every program ends as it should", False, str(error))
    finally:
        if not arguments.keep:
            shutil.rmtree(scratch, ignore_errors=True)
    print(f"{sum(world.checks)} passed, {len(world.checks) - sum(world.checks)} failed")
    sys.exit(0 if all(world.checks) else 1)


CASES = {
    "patched": patched,
    "running": running,
    "bad-patcher": bad_patcher,
    "bad-app": bad_app,
    "uninstalled": uninstalled,
    "single": single,
    "crowd": crowd,
}

if __name__ == "__main__":
    try:
        main()
    except lab.LabError as error:
        sys.exit(f"windows_flows: {error}")
