#!/usr/bin/env python3
"""The client that ships, on a real disk that dies: killed at system calls, cut off from power, on a disk that fills up.

usage: scripts/faults.py [--long] [--seed N] [kills] [errors] [power] [full] [bare]          (`make faults`; as root)

A tree of build 1, with files of the user in it, is updated to build 2 again and again, and each time something happens:

  kills   strace ends the client at the n-th call of a kind (write, fsync, rename, link, unlink ...), in an update by pack,
          an update by objects, a heal and a rollback
  errors  there the n-th call of a kind fails instead: EIO, ENOSPC, EACCES or EMFILE
  power   the tree lies on an ext4, and then an xfs, of its own in a loop device, which is shut down at a random moment
          without its log being written, as if the power had gone; then it is mounted again
  full    the tree lies on a tmpfs of every size from too small to large enough, in steps of 64 KiB; and on one that runs
          out of inodes; and on one that turns read-only in the middle
  bare    the tree lies on an exFAT of another user's, which has no links, no modes and no owners: the life of an app, kills as
          above, and updates with too little room for copies of what they replace

After each, the app is started through the launcher, without the site: the tree must be the old release or the new one,
byte for byte, and everything the user wrote must be there. Then the update is run again and must finish. Prints what was
tried; fails at the first tree that is anything else, and keeps it.
"""

import argparse
import ctypes
import fcntl
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

import lab

PLATFORM = "linux-x86_64"
CALLS = ["write", "pwrite64", "ftruncate", "fsync", "fdatasync", "rename", "renameat", "renameat2", "link", "linkat", "unlink",
         "unlinkat", "mkdir", "mkdirat", "symlinkat", "fchmod"]
# Calls that only read can fail, too; to be killed there is no different from before the next that writes.
READS = ["openat", "read", "pread64", "statx", "newfstatat", "getdents64", "fstatfs"]
ERRORS = ["EIO", "ENOSPC", "EACCES", "EMFILE"]
# EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN are one number, and so are their flags.
SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2
LIBC = ctypes.CDLL(None)
MS_RDONLY, MS_REMOUNT = 1, 32
KILLED, DAMAGED, DISK, NOTHING_TO_DO = 137, 6, 7, 3
# Changed files from which on one flush of the volume is asked for, and some (client/src/tree/fs/volume.rs).
MANY = 300
MINE = {"mine.txt": b"of the user\n", "lib/plugins/own.so": b"a plugin\n", "readme.txt": b"edited by the user\n"}


class World:
    """Programs, a site with two builds, and a tree of the first with files of the user; `many` more files change.

    What happens, happens to trees in the directory `trees`. A `bare` world has nothing that exFAT has not.
    """

    def __init__(self, scratch, programs, many=0, bare=False):
        self.scratch, self.client, self.trees, self.bare = scratch, programs / "client", scratch, bare
        self.site = lab.Site(scratch, programs)
        self.builds = {1: scratch / "build-1", 2: scratch / "build-2"}
        for number, directory in self.builds.items():
            fill(directory, number, many, links=not bare)
        self.template = scratch / "template"
        config = scratch / "publisher.toml"
        for number, directory in self.builds.items():
            config.write_text(f'[platform.{PLATFORM}]\ndir = "{directory}"\nentry = "app"\nkeep = ["settings.ini"]\n')
            lab.run(self.site.publisher, "build-release", "--site", self.site.path, "--app", lab.APP, "--channel", lab.CHANNEL,
                    "--config", config, "--build", number, "--version", f"{number}.0", "--keys", self.site.keys,
                    "--effort", "1", "--no-proof", env=self.site.env)
            if number == 1:
                lab.run(self.client, "install", "--site", self.site.path, "--root", self.site.root, "--app", lab.APP,
                        "--channel", lab.CHANNEL, "--platform", PLATFORM, "--tree", self.template)
        for name, content in MINE.items():
            path = self.template / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self.updated = scratch / "updated"
        copy(self.template, self.updated)
        self.update(self.updated)
        # readme.txt changes in build 2, so the edited one is kept aside; everything else of the user stays where it is.
        back = scratch / "back"
        copy(self.template, back)
        self.run("update", back)
        self.run("rollback", back)
        # Going back brings the released readme.txt; what the user had made of it stays aside.
        self.expected = {1: [self.contents(self.template), self.contents(back)], 2: [self.contents(self.updated)]}
        if self.expected[2][0]["readme.txt"] != (self.builds[2] / "readme.txt").read_bytes():
            raise lab.LabError("the update did not replace readme.txt")
        self.without_packs = scratch / "site-of-objects"
        shutil.copytree(self.site.path, self.without_packs)
        shutil.rmtree(self.without_packs / "packs")

    def run(self, command, tree, *flags, codes=(0,), prefix=()):
        return lab.run(*prefix, self.client, command, "--tree", tree, *flags, codes=codes)

    def contents(self, tree):
        return contents(tree, modes=not self.bare)

    def copy(self, source, target):
        # Owners and modes cannot be copied to where there are none.
        lab.run("cp", "-r" if self.bare else "-a", source, target)

    def update(self, tree):
        self.run("update", tree, codes=(0, NOTHING_TO_DO))

    def recover_and_compare(self, tree, what):
        """Starts the app offline; the tree must be one of the two releases, with everything of the user's."""
        self.run("launch", tree, "--no-update", "--quiet")
        found = self.contents(tree)
        build = next((number for number, states in self.expected.items() if found in states), None)
        if build is None:
            all_states = [(n, state) for n, states in self.expected.items() for state in states]
            differs = [(n, sorted(k for k in {*found, *e} if found.get(k) != e.get(k))) for n, e in all_states]
            raise lab.LabError(f"{what}: the tree is neither release; it differs in {differs}; it is kept in {tree}")
        self.require_kept(tree, what, edited_is_aside=found != self.expected[1][0])
        return build

    def require_kept(self, tree, what, edited_is_aside):
        if edited_is_aside and MINE["readme.txt"] not in self.contents(tree / lab.STATE / "kept").values():
            raise lab.LabError(f"{what}: the file the user edited is lost; the tree is kept in {tree}")

    def finish(self, tree, what):
        """The update goes through after all."""
        self.update(tree)
        if self.contents(tree) not in self.expected[2]:
            raise lab.LabError(f"{what}: the next update did not make it right; it is kept in {tree}")
        self.require_kept(tree, what, edited_is_aside=True)


def fill(directory, build, many, links):
    """Files that change, stay, come, go, move, turn into directories and back; links and empty directories."""
    noise = random.Random(7)
    big = bytearray(noise.randbytes(400_000))
    for position in range(0, len(big), 50_000):
        big[position : position + 8] = build.to_bytes(8, "little")
    files = {
        "app": f"#!/bin/sh\n# build {build}\nexit 0\n".encode(),
        "big.bin": bytes(big),
        "same.bin": noise.randbytes(100_000),
        "readme.txt": f"about build {build}\n".encode(),
        "settings.ini": f"default of build {build}\n".encode(),
        f"only-{build}.txt": b"comes and goes\n",
        "lib/plugins/first.so": random.Random(build).randbytes(5_000),
        f"moved-{build}/thing": noise.randbytes(30_000),
        "shape" if build == 1 else "shape/inside": b"a file, then a directory\n",
        "form/inside" if build == 1 else "form": b"a directory, then a file\n",
    }
    for number in range(12):
        files[f"data/{number}"] = f"{number}".encode() if number % 3 else f"{number} of build {build}".encode()
    files |= {f"many/{number}": f"{number} of build {build}\n".encode() for number in range(many)}
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (directory / "app").chmod(0o755)
    if links:
        (directory / "link").symlink_to("app" if build == 1 else "big.bin")
    (directory / f"empty-{build}").mkdir()


def copy(source, target):
    lab.run("cp", "-a", source, target)


def contents(tree, modes=True):
    """Every file, link and empty directory of a tree but the state: name → content, and whether it may be executed."""
    found = {}
    if not tree.exists():
        return found
    for directory, names, files in os.walk(tree):
        here = pathlib.Path(directory)
        if lab.STATE in names:
            names.remove(lab.STATE)
        for name in files + [name for name in names if (here / name).is_symlink()]:
            path = here / name
            mode = b"" if path.is_symlink() or not modes else b"x" * os.access(path, os.X_OK) * bool(path.stat().st_mode & 0o100)
            found[str(path.relative_to(tree))] = os.readlink(path).encode() if path.is_symlink() else path.read_bytes() + mode
        if not names and not files and here != tree:
            found[f"{here.relative_to(tree)}/"] = b""
    return found


def counts(world, command, prepare, calls):
    """How often each kind of call is made by a run that nothing happens to."""
    tree, log = world.trees / "counted", world.scratch / "strace.txt"
    prepare(tree)
    trace = ["strace", "-f", "-qq", "-e", f"trace={','.join(calls)}", "-o", log]
    world.run(*command(tree), prefix=trace)
    shutil.rmtree(tree)
    found = {}
    for line in log.read_text(errors="replace").splitlines():
        match = re.match(r"\d+ +(\w+)\(", line)
        if match:
            found[match[1]] = found.get(match[1], 0) + 1
    return found


def scenarios(world):
    """What is done to which tree: name → (the tree before, the command)."""
    updated = world.scratch / "confirmable"
    # One that was not started yet, so that the way back is open.
    copy(world.template, updated)
    world.run("update", updated)
    damaged = world.scratch / "damaged"
    copy(world.updated, damaged)
    (damaged / "big.bin").write_bytes(b"damaged")
    (damaged / "data/0").unlink()
    # Goes by a site without packs.
    by_objects = world.scratch / "by-objects"
    copy(world.template, by_objects)
    lab.Client(world.client.parent, by_objects).follow(world.without_packs)
    return {
        "update by pack": (world.template, lambda tree: ("update", tree)),
        "update by objects": (by_objects, lambda tree: ("update", tree)),
        "heal": (damaged, lambda tree: ("heal", tree)),
        "rollback": (updated, lambda tree: ("rollback", tree)),
    }


def at_calls(world, long, calls, inject, said):
    """Something happens at every call of these kinds, or in the short form at some spread evenly over each kind. `inject`
    gives what strace is told, for the number of the run. Returns how often, and how many came back as the old release."""
    total = recovered_old = 0
    for name, (start, command) in scenarios(world).items():
        made = counts(world, command, lambda tree, start=start: world.copy(start, tree), calls)
        # A log line of ours is written, too; what matters is that every call of the tree's is among them.
        for call, count in sorted(made.items()):
            step = 1 if long else max(1, count // 3)
            for number in range(1, count + 1, step):
                tree = world.trees / "tree"
                world.copy(start, tree)
                happens = inject(total)
                what = f"{name}, {happens} at {call} {number} of {count}"
                strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e",
                          f"inject={call}:{happens}:when={number}"]
                world.run(*command(tree), codes=None, prefix=strace)
                if name == "heal":
                    # A damaged tree is healed, not launched; that it recovers is seen by healing it again.
                    world.run("heal", tree, codes=(0, NOTHING_TO_DO))
                    if world.contents(tree) not in world.expected[2]:
                        raise lab.LabError(f"{what}: not healed; it is kept in {tree}")
                else:
                    recovered_old += world.recover_and_compare(tree, what) == 1
                    if name != "rollback":
                        world.finish(tree, what)
                shutil.rmtree(tree)
                total += 1
        print(f"{said}: {name}: {sum(made.values())} calls of {len(made)} kinds", flush=True)
    return total, recovered_old


def kills(world, long, _dice):
    """The process ends."""
    total, old = at_calls(world, long, CALLS + READS if long else CALLS, lambda _: "signal=KILL", "kills")
    print(f"kills: {total} kills, {old} came back as the old release; no tree in between, nothing of the user lost")
    return {"kills": total, "came_back_old": old, "mixed_trees_or_lost_files": 0}


def errors(world, long, _dice):
    """One call fails."""
    total, old = at_calls(world, long, CALLS + READS, lambda number: f"error={ERRORS[number % len(ERRORS)]}", "errors")
    print(f"errors: {total} failed calls, {old} came back as the old release; no tree in between, nothing of the user lost")
    return {"failed_calls": total, "came_back_old": old, "mixed_trees_or_lost_files": 0}


class Loop:
    """A file system of its own in a file."""

    MAKE = {"ext4": ("64m", "mkfs.ext4", "-qF"), "xfs": ("400m", "mkfs.xfs", "-qf")}

    def __init__(self, scratch, kind):
        self.image, self.at = scratch / f"{kind}.img", scratch / kind
        self.at.mkdir()
        size, program, flags = self.MAKE[kind]
        lab.run("truncate", "-s", size, self.image)
        lab.run(lab.find_tool(program), flags, self.image)
        self.mount()

    def mount(self):
        lab.run("mount", "-o", "loop", self.image, self.at)

    def umount(self):
        for _ in range(50):
            if lab.run("umount", self.at, codes=None).code == 0:
                return
            time.sleep(0.1)
        lab.run("umount", self.at)

    def cut(self):
        """From here on nothing reaches the disk, not even the log."""
        directory = os.open(self.at, os.O_RDONLY)
        try:
            fcntl.ioctl(directory, SHUTDOWN, bytes(ctypes.c_uint32(NO_LOG_FLUSH)))
        finally:
            os.close(directory)


def power(world, long, dice):
    """The power goes at random moments of an update, of so many files that they are flushed all at once; sometimes once more
    while it recovers."""
    if not counts(world, lambda tree: ("update", tree), lambda tree: copy(world.template, tree), ["syncfs"]):
        raise lab.LabError("power: an update of many files flushed each of them")
    figures = {}
    for kind in Loop.MAKE:
        loop = Loop(world.scratch, kind)
        cycles = (2000 if long else 200) if kind == "ext4" else (500 if long else 50)
        old, new = power_on(world, loop, cycles, dice)
        loop.umount()
        print(f"power: {kind}: {cycles} cuts, after which {old} trees were the old release and {new} the new one", flush=True)
        if not old or not new:
            raise lab.LabError("power: all cuts came to the same, so they were not in the middle")
        figures |= {f"{kind}_cuts": cycles, f"{kind}_old": old, f"{kind}_new": new}
    return figures | {"mixed_trees_or_lost_files": 0}


def power_on(world, loop, cycles, dice):
    tree = loop.at / "tree"
    copy(world.template, tree)
    lab.run("sync", "-f", loop.at)
    started = time.monotonic()
    world.update(tree)
    whole_s = time.monotonic() - started
    lab.run("rm", "-rf", tree)
    found = {1: 0, 2: 0}
    for cycle in range(cycles):
        copy(world.template, tree)
        lab.run("sync", "-f", loop.at)
        cut_during(world, loop, ("update", "--tree", tree), dice.random() * whole_s * 1.1)
        what = f"power, cycle {cycle} on {loop.at.name}"
        if dice.random() < 0.3:
            cut_during(world, loop, ("launch", "--tree", tree, "--no-update"), dice.random() * 0.05)
        found[world.recover_and_compare(tree, what)] += 1
        if cycle % 10 == 0:
            world.finish(tree, what)
        lab.run("rm", "-rf", tree)
    return found[1], found[2]


def cut_during(world, loop, command, after_s):
    """The power goes while the client runs; then the disk is there again."""
    program = subprocess.Popen([world.client, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(after_s)
    loop.cut()
    program.kill()
    program.wait()
    loop.umount()
    loop.mount()


def full(world, long, dice):
    """Disks of every size, disks without inodes, disks that turn read-only."""
    at = world.scratch / "small"
    at.mkdir()
    tree = at / "tree"
    step = 64 << 10

    def on_tmpfs(options, happens):
        lab.run("mount", "-t", "tmpfs", "-o", options, "tmpfs", at)
        try:
            copy(world.template, tree)
            happens()
        finally:
            lab.run("umount", "-l", at)

    def too_small():
        done = world.run("update", tree, codes=(0, DISK))
        results.append(done.code)
        build = world.recover_and_compare(tree, f"{what}: {done.stderr.strip()}")
        if build != (2 if done.code == 0 else 1):
            raise lab.LabError(f"{what}: exit code {done.code} and build {build}")
        lab.run("mount", "-o", "remount,size=64m,nr_inodes=100000", at)
        world.finish(tree, what)

    used = sum(path.lstat().st_size for path in world.template.rglob("*")) + (256 << 10)
    figures = {}
    results, size, enough = [], used // step * step, 0
    while enough < 3:
        what = f"a disk of {size >> 10} KiB"
        on_tmpfs(f"size={size}", too_small)
        enough = enough + 1 if results[-1] == 0 else 0
        size += step
    print(f"full: {len(results)} sizes in steps of 64 KiB, {results.count(DISK)} too small: told, and nothing changed")
    figures |= {"sizes": len(results), "too_small": results.count(DISK)}
    files = sum(1 for _ in world.template.rglob("*"))
    results, enough, inodes = [], 0, files + 4
    while enough < 3:
        what = f"a disk of {inodes} inodes"
        on_tmpfs(f"size=64m,nr_inodes={inodes}", too_small)
        enough = enough + 1 if results[-1] == 0 else 0
        inodes += 1 if long else 4
    print(f"full: {len(results)} numbers of inodes, {results.count(DISK)} too few: told, and nothing changed")
    figures |= {"inode_counts": len(results), "too_few": results.count(DISK)}
    whole_s = []

    def timed():
        started = time.monotonic()
        world.update(tree)
        whole_s.append(time.monotonic() - started)

    on_tmpfs("size=64m", timed)
    turned = 0
    for number in range(300 if long else 40):
        what = f"a disk that turns read-only, {number}"

        def read_only():
            nonlocal turned
            program = subprocess.Popen([world.client, "update", "--tree", tree], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(dice.random() * whole_s[0])
            # Refused while a file is open for writing; a program for it would be slower than the update.
            while LIBC.mount(None, bytes(at), None, MS_REMOUNT | MS_RDONLY, None) and program.poll() is None:
                pass
            turned += program.wait() == DISK
            lab.run("mount", "-o", "remount,rw", at)
            world.recover_and_compare(tree, what)
            world.finish(tree, what)

        on_tmpfs("size=64m", read_only)
    print(f"full: a disk that turned read-only stopped {turned} updates; each was finished later")
    if not turned:
        raise lab.LabError("full: no disk turned read-only in the middle")
    return figures | {"remounts": 300 if long else 40, "stopped_by_remount": turned, "mixed_trees_or_lost_files": 0}


class Bare:
    """An exFAT in a file, mounted for everybody and owned by root, as drives are that two systems share."""

    def __init__(self, scratch):
        self.image, self.at = scratch / "exfat.img", scratch / "exfat"
        self.at.mkdir()
        lab.run("truncate", "-s", "64m", self.image)
        lab.run(lab.find_tool("mkfs.exfat"), self.image)
        self.device = lab.run("losetup", "--find", "--show", self.image).stdout.strip()
        try:
            lab.run(lab.find_tool("mount.exfat-fuse"), "-o", "umask=0,uid=0,gid=0", self.device, self.at)
        except lab.LabError:
            lab.run("losetup", "--detach", self.device)
            raise

    def close(self):
        lab.run("umount", self.at)
        lab.run("losetup", "--detach", self.device)

    def leave_free(self, size):
        """Fills it but for `size` bytes."""
        stat = os.statvfs(self.at)
        with open(self.at / "filler", "wb") as file:
            file.truncate(max(0, stat.f_bavail * stat.f_frsize - size))

    def make_room(self):
        (self.at / "filler").unlink()


def bare(world, long, _dice):
    """A volume without links, modes and owners."""
    volume = Bare(world.scratch)
    world.trees = volume.at
    try:
        life_as_somebody(world)
        killed, old = at_calls(world, long, CALLS, lambda _: "signal=KILL", "bare")
        sizes, too_small = room_for_copies(world, volume)
    finally:
        volume.close()
    print(f"bare: {killed} kills, {old} came back as the old release; {too_small} of {sizes} amounts of free space too small: told")
    return {"kills": killed, "came_back_old": old, "sizes": sizes, "too_small": too_small, "mixed_trees_or_lost_files": 0}


def life_as_somebody(world):
    """Install, damage, heal, update and rollback by a user who owns nothing there, and may set no mode."""
    world.scratch.chmod(0o755)
    program = shutil.copy(world.client, world.scratch / "client")

    def run(command, tree, *flags, codes=(0,)):
        somebody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        return lab.run(*somebody, program, command, "--tree", tree, *flags, codes=codes)

    def expect(tree, wanted):
        if world.contents(tree) not in wanted:
            raise lab.LabError(f"bare: it is not the release; it is kept in {tree}")

    fresh, used = world.trees / "fresh", world.trees / "used"
    run("install", fresh, "--site", world.site.path, "--root", world.site.root, "--app", lab.APP, "--channel", lab.CHANNEL,
        "--platform", PLATFORM)
    expect(fresh, [world.contents(world.builds[2])])
    run("verify", fresh)
    (fresh / "big.bin").write_bytes(b"damaged")
    run("verify", fresh, codes=(DAMAGED,))
    run("heal", fresh)
    run("verify", fresh)
    world.copy(world.template, used)
    run("update", used)
    expect(used, world.expected[2])
    run("rollback", used)
    expect(used, world.expected[1])
    shutil.rmtree(fresh)
    shutil.rmtree(used)


def room_for_copies(world, volume):
    """Updates with less and less room; where files have one name only, copies of what is replaced need some."""
    tree, results, free = world.trees / "tree", [], 256 << 10
    while results[-3:] != [0, 0, 0]:
        what = f"{free >> 10} KiB free"
        world.copy(world.template, tree)
        volume.leave_free(free)
        done = world.run("update", tree, "--json", codes=(0, DISK))
        results.append(done.code)
        volume.make_room()
        if "copies_old" not in done.stdout:
            raise lab.LabError(f"bare: nothing was said of copies: {done}")
        build = world.recover_and_compare(tree, f"{what}: {done.stdout.strip()[-300:]}")
        if build != (2 if done.code == 0 else 1):
            raise lab.LabError(f"bare: {what}: exit code {done.code} and build {build}")
        world.finish(tree, what)
        shutil.rmtree(tree)
        free += 256 << 10
    return len(results), results.count(DISK)


FAULTS = {"kills": kills, "errors": errors, "power": power, "full": full, "bare": bare}


def main():
    parser = argparse.ArgumentParser(description="Kills, power cuts, full disks and poor ones, for real.")
    parser.add_argument("--long", action="store_true", help="every call, and ten times as many power cuts")
    parser.add_argument("--seed", type=int, default=1, help="of the moments that are chosen by chance")
    parser.add_argument("--programs", type=pathlib.Path, help="directory of publisher and client, instead of the release build")
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=", ".join(FAULTS))
    arguments = parser.parse_args()
    if os.geteuid():
        raise lab.LabError("disks are mounted here, which only root may do")
    for name in arguments.faults or FAULTS:
        scratch = pathlib.Path(tempfile.mkdtemp(prefix="lamplighter-faults-"))
        world = World(scratch, arguments.programs or lab.binaries(), MANY if name == "power" else 0, bare=name == "bare")
        figures = FAULTS[name](world, arguments.long, random.Random(arguments.seed))
        lab.note_figures(f"faults-{name}", {"long": arguments.long, **figures})
        shutil.rmtree(scratch)


if __name__ == "__main__":
    try:
        main()
    except lab.LabError as error:
        sys.exit(f"faults: {error}")
