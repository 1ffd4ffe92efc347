#!/usr/bin/env python3
"""Clicks through the real windows under Xvfb, and checks what came of it.

usage: scripts/screens.py [--record]

A launcher with a window runs from an installed tree, shows what is new, is told to update, and hands over to the patcher;
the patcher's window asks what to do while the launcher still runs, is told to wait, and finishes once it has ended.
--record keeps the pictures in docs/images/.
"""

import argparse
import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import lab
from lab import REPOSITORY, LabError, find_tool, run

BUILT = lab.TARGET / "release"
APP = "org.lamplighter.screens"
PLATFORM = "linux-x86_64"
WAIT_S = 60
NOTES = {
    1: "First release.",
    2: "# Faster lanterns\n\n* Opens files **twice** as fast.\n* Keeps your *settings* where they are.\n\n"
    "Set `wick = 2` for a brighter light.",
    3: "# Fewer surprises\n\n* A window that was closed stays closed.",
}


def build():
    lab.build()
    cargo = os.environ.get("CARGO", "cargo")
    window = ["-p", "lamplighter-client", "--features", "window", "--bins", "--example", "window_launcher"]
    run(cargo, "build", "--quiet", "--release", "--locked", *window)


@contextlib.contextmanager
def display():
    """A screen of its own; programs drawn by software."""
    read, write = os.pipe()
    # Without -noreset the server starts over whenever its last client leaves, and refuses who comes in that moment; each
    # look with xdotool is a client that leaves.
    server = subprocess.Popen(
        [find_tool("Xvfb"), "-displayfd", str(write), "-screen", "0", "1100x760x24", "+extension", "GLX", "-nolisten", "tcp",
         "-noreset"],
        pass_fds=[write], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    os.close(write)
    try:
        number = os.read(read, 16).decode().strip()
        if not number:
            raise LabError("Xvfb did not start")
        environment = {**os.environ, "DISPLAY": f":{number}", "LIBGL_ALWAYS_SOFTWARE": "1"}
        environment.pop("WAYLAND_DISPLAY", None)
        yield environment
    finally:
        os.close(read)
        server.terminate()
        server.wait()


class Window:
    """One window, found by a part of its title."""

    def __init__(self, title, environment, scratch):
        self.title, self.environment, self.scratch = title, environment, scratch
        self.id = self.wait(lambda: self.tool("xdotool", "search", "--name", title, codes=(0, 1)).split("\n")[0], "a window")
        self.wait(lambda: self.colours() > 20, "something drawn in it")

    def tool(self, *command, codes=(0,)):
        return run(find_tool(command[0]), *command[1:], env=self.environment, codes=codes).stdout.strip()

    def wait(self, condition, what):
        until = time.monotonic() + WAIT_S
        while time.monotonic() < until:
            found = condition()
            if found:
                return found
            time.sleep(0.1)
        raise LabError(f"window {self.title!r}: waited {WAIT_S} s for {what}")

    def picture(self, name):
        path = self.scratch / f"{name}.png"
        self.tool("import", "-window", self.id, str(path))
        return path

    def colours(self):
        """Colours in the window; none while it is not on the screen yet."""
        path = self.scratch / "probe.png"
        path.unlink(missing_ok=True)
        self.tool("import", "-window", self.id, str(path), codes=(0, 1))
        return int(self.tool("identify", "-format", "%k", str(path))) if path.exists() else 0

    def click(self, x, y):
        self.tool("xdotool", "mousemove", "--window", self.id, str(x), str(y), "sleep", "0.2", "click", "1")

    def move(self, x, y):
        self.tool("xdotool", "windowmove", self.id, str(x), str(y), "sleep", "0.3")


class Tree:
    """A tree at build 1, two builds on offer, and a launcher that lies in it."""

    def __init__(self, scratch):
        self.scratch, self.tree, self.log = scratch, scratch / "lantern", scratch / "log"
        self.publisher, self.client = BUILT / "publisher", BUILT / "client"
        run(self.publisher, "keygen", "--out", scratch / "keys")
        run(self.publisher, "init", "--site", scratch / "site", "--app", APP, "--keys", scratch / "keys")
        self.release(1)
        run(self.client, "install", "--site", scratch / "site", "--root", scratch / "site/root/1.root", "--app", APP,
            "--channel", "stable", "--platform", PLATFORM, "--tree", self.tree)
        self.release(2)
        self.release(3)
        shutil.copy2(BUILT / "examples/window_launcher", self.tree / "launcher")

    def release(self, build):
        source = self.scratch / f"input-{build}"
        source.mkdir()
        patcher = f'exec {BUILT / "patcher"} --view window --ask-after 2 "$@"'
        for name, text in (("app", f'echo "build {build} $*" >> {self.log}'), ("patcher", patcher)):
            (source / name).write_text(f"#!/bin/sh\n# build {build}\n{text}\n")
            (source / name).chmod(0o755)
        (source / "data").write_bytes(os.urandom(200_000))
        notes = self.scratch / f"notes-{build}.md"
        notes.write_text(NOTES[build])
        config = self.scratch / "publisher.toml"
        config.write_text(f'[platform.{PLATFORM}]\ndir = "{source}"\nentry = "app"\npatcher = "patcher"\n')
        run(self.publisher, "build-release", "--site", self.scratch / "site", "--app", APP, "--config", config,
            "--build", build, "--version", f"1.{build}", "--channel", "stable", "--keys", self.scratch / "keys",
            "--notes", f"en={notes}", "--no-proof")

    def status(self):
        return run(self.client, "status", "--tree", self.tree).stdout

    def expect(self, condition, what):
        until = time.monotonic() + WAIT_S
        while not condition():
            if time.monotonic() > until:
                raise LabError(f"waited {WAIT_S} s for {what}")
            time.sleep(0.1)


def click_through(scratch, environment):
    """Gives the pictures by name."""
    tree, pictures = Tree(scratch), {}
    launcher = subprocess.Popen([tree.tree / "launcher", tree.tree, "--open", "a file"], env=environment)
    try:
        window = Window("Lamplighter launcher", environment, scratch)
        # The question comes once the site has answered; until then there is one line and a bar.
        window.wait(lambda: window.colours() > 60, "the question")
        pictures["launcher"] = window.picture("launcher")
        window.click(50, 385)
        patcher = Window("Updating lantern", environment, scratch)
        patcher.move(0, 430)
        # Nobody has ended the launcher, so the patcher asks.
        time.sleep(3)
        pictures["patcher"] = patcher.picture("patcher")
        if "(build 1)" not in tree.status():
            raise LabError("something changed while the launcher still ran")
        patcher.click(30, 112)
        time.sleep(1)
    finally:
        launcher.terminate()
        launcher.wait()
    tree.expect(lambda: "(build 3)" in tree.status(), "the update")
    tree.expect(lambda: tree.log.exists() and "build 3 --open a file" in tree.log.read_text(), "the new version")
    return pictures


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--record", action="store_true", help="keep the pictures in docs/images/")
    arguments = parser.parse_args()
    build()
    with tempfile.TemporaryDirectory() as scratch, display() as environment:
        pictures = click_through(pathlib.Path(scratch), environment)
        for name, path in pictures.items():
            print(f"{name}: {path.stat().st_size} bytes")
            if arguments.record:
                images = REPOSITORY / "docs/images"
                images.mkdir(exist_ok=True)
                shutil.copyfile(path, images / f"{name}.png")
    print("screens: the windows did what was clicked")


if __name__ == "__main__":
    try:
        main()
    except LabError as error:
        sys.exit(f"screens: {error}")
