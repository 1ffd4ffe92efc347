#!/usr/bin/env python3
"""Runs the commands of the guides in docs/ as a reader would, and compares what they print.

usage: scripts/guides.py [GUIDE...]    (`make guides`; default: every guide that has commands to run)

Blocks marked ```sh are run, one after the other in one shell that stops at the first failure, in an empty directory with
`publisher`, `client` and `patcher` on the path. A block marked ```text names lines that what ran since the last such block must
have printed, in this order, others between them; `…` stands for anything. Blocks marked otherwise are not run. The port 8080
is replaced by a free one. LAMPLIGHTER_BIN: where the programs are; target/release otherwise.
"""

import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
GUIDES = ["docs/ten-minutes.md", "docs/handbook.md"]
BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```$", re.S | re.M)
MARK = "@@@ end of block "
SECONDS_MAX = 300


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def script_of(blocks):
    """One script for all commands; a line marks where each block has ended, on both outputs as one."""
    lines = ["exec 2>&1", "set -eu", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"]
    for number, (kind, text) in enumerate(blocks):
        if kind == "sh":
            lines += [text.rstrip("\n"), f"echo '{MARK}{number}'"]
    return "\n".join(lines) + "\n"


def pattern(line):
    return re.compile(".*".join(re.escape(part) for part in line.split("…")))


def missing(expected, printed):
    """The first expected line that does not come in its turn."""
    rest = iter(printed)
    for line in expected:
        if not any(pattern(line).fullmatch(found.rstrip()) for found in rest):
            return line
    return None


def run(guide):
    text = (REPOSITORY / guide).read_text(encoding="utf-8").replace("127.0.0.1:8080", f"127.0.0.1:{free_port()}")
    blocks = BLOCK.findall(text)
    if not any(kind == "sh" for kind, _ in blocks):
        return f"{guide} has no commands"
    programs = pathlib.Path(os.environ.get("LAMPLIGHTER_BIN", REPOSITORY / "target/release")).resolve()
    with tempfile.TemporaryDirectory(prefix="guide-") as work:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LAMPLIGHTER_")}
        environment |= {"PATH": f"{programs}:{environment['PATH']}", "HOME": work, "LC_ALL": "C.UTF-8", "NO_COLOR": "1"}
        shell = subprocess.Popen(
            ["bash"], cwd=work, env=environment, start_new_session=True, encoding="utf-8",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        try:
            printed, _ = shell.communicate(script_of(blocks), timeout=SECONDS_MAX)
        except subprocess.TimeoutExpired:
            os.killpg(shell.pid, signal.SIGKILL)
            return f"{guide}: not done after {SECONDS_MAX} s"
    if shell.returncode:
        return f"{guide}: a command failed with {shell.returncode}; what it and those before it printed:\n{printed}"
    return compare(guide, blocks, printed.split("\n"))


def compare(guide, blocks, printed):
    since = []
    for number, (kind, text) in enumerate(blocks):
        if kind == "sh":
            end = printed.index(f"{MARK}{number}")
            since, printed = since + printed[:end], printed[end + 1 :]
            continue
        line = missing(text.rstrip("\n").split("\n"), since)
        if line is not None:
            return f"{guide}: expected the line\n  {line}\nfound\n  " + "\n  ".join(since)
        since = []
    return None


def main():
    failures = 0
    for guide in sys.argv[1:] or GUIDES:
        failure = run(guide)
        print(failure or f"guides: {guide} is as it says")
        failures += bool(failure)
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
