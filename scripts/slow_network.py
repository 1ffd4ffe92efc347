#!/usr/bin/env python3
"""An update over a slow line that loses packets, beside curl over the same line.

usage: scripts/slow_network.py [--rate MBIT] [--loss PERCENT] [--mib N] [--rounds N]          (`make slow-network`; as root)

Two network namespaces are joined by a pair of virtual devices: in one nginx with a site, in the other the client and curl. Each
end sends at most --rate (tc, a token bucket) and drops --loss percent of what it receives (nftables). Then curl fetches the
files an update needs, the client updates, curl again, and so on. Prints the speed of both over all rounds and the client's share
of curl's: that of the bytes, with all the client does beside, from its start to the end of the commit.

It fails if an update does not finish or is not whole. The share is a figure, not a limit: chance drops other packets each time.
"""

import argparse
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

import lab

PLATFORM = "linux-x86_64"
SERVER, CLIENT = "10.77.5.1", "10.77.5.2"


class Line:
    """Two namespaces and what joins them; gone when closed."""

    def __init__(self, rate_mbit, loss_percent):
        self.names = [f"lamplighter-{os.getpid()}-{end}" for end in ("server", "client")]
        self.close()
        ip = lab.find_tool("ip")
        for name in self.names:
            lab.run(ip, "netns", "add", name)
        one, two = self.names
        lab.run(ip, "link", "add", "lamp0", "netns", one, "type", "veth", "peer", "name", "lamp0", "netns", two)
        for name, address in zip(self.names, (SERVER, CLIENT)):
            inside = (ip, "netns", "exec", name)
            lab.run(*inside, ip, "address", "add", f"{address}/24", "dev", "lamp0")
            for device in ("lo", "lamp0"):
                lab.run(*inside, ip, "link", "set", device, "up")
            bucket = ("rate", f"{rate_mbit}mbit", "burst", "16k", "latency", "400ms")
            lab.run(*inside, lab.find_tool("tc"), "qdisc", "add", "dev", "lamp0", "root", "tbf", *bucket)
            nft = (*inside, lab.find_tool("nft"))
            lab.run(*nft, "add", "table", "inet", "lamp")
            lab.run(*nft, "add", "chain", "inet", "lamp", "in", "{ type filter hook input priority 0 ; }")
            loss = ("numgen", "random", "mod", "1000", "<", int(loss_percent * 10), "drop")
            lab.run(*nft, "add", "rule", "inet", "lamp", "in", "iifname", "lamp0", *loss)

    def prefix(self, end):
        return (lab.find_tool("ip"), "netns", "exec", self.names[end])

    def close(self):
        for name in self.names:
            subprocess.run([lab.find_tool("ip"), "netns", "delete", name], capture_output=True)


def fill(directory, build, mib):
    """Build 2 has `mib` MiB of new content that cannot be compressed."""
    directory.mkdir(parents=True)
    (directory / "app").write_text(f"build {build}\n")
    # A pack is made where it saves something.
    (directory / "changed.bin").write_bytes(random.Random(6).randbytes(1 << 19) + bytes([build]))
    if build == 2:
        (directory / "content.bin").write_bytes(random.Random(5).randbytes(mib << 20))


def prepare(scratch, programs, mib):
    site = lab.Site(scratch, programs)
    builds = {number: scratch / f"build-{number}" for number in (1, 2)}
    for number, directory in builds.items():
        fill(directory, number, mib)
        site.build(number, f"{number}.0", PLATFORM, directory, "--effort", "1", "--no-proof")
        if number == 1:
            lab.Client(programs, scratch / "template").install(site.path, site.root, PLATFORM)
    return site, builds[2]


def needed(site):
    """Names of what an update fetches."""
    pack = max((path for path in (site.path / "packs").rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    documents = [site.path / "channels" / f"{lab.CHANNEL}.head", site.release(2, PLATFORM) / "release"]
    return [str(path.relative_to(site.path)) for path in (*documents, pack)]


def measure(arguments, scratch, programs, line):
    site, expected = prepare(scratch, programs, arguments.mib)
    names = needed(site)
    size = sum((site.path / name).stat().st_size for name in names)
    times = {"curl": [], "client": []}
    inside = line.prefix(1)
    # Its address is of the server's end; who starts it looks at it from the client's.
    with lab.Nginx(site.path, scratch / "nginx", address=SERVER, prefix=line.prefix(0)) as nginx:
        for number in range(arguments.rounds):
            urls = [part for name in names for part in ("-o", scratch / "fetched", f"{nginx.url}/{name}")]
            times["curl"].append(lab.run(*inside, lab.find_tool("curl"), "-sSf", *urls).wall_s)
            tree = scratch / f"tree-{number}"
            shutil.copytree(scratch / "template", tree, symlinks=True)
            update = (programs / "client", "update", "--tree", tree, "--from", nginx.url)
            times["client"].append(lab.run(*inside, *update).wall_s)
            differences = lab.tree_difference(expected, tree)
            if differences:
                raise lab.LabError(f"the updated tree is not the new release: {differences[:3]}")
            print(f"round {number + 1}: curl {times['curl'][-1]:.1f} s, client {times['client'][-1]:.1f} s", flush=True)
    return size, times


def main():
    parser = argparse.ArgumentParser(description="An update over a slow line, beside curl.")
    parser.add_argument("--rate", type=float, default=2, help="Mbit/s each way (2)")
    parser.add_argument("--loss", type=float, default=2, help="percent of packets lost each way (2)")
    parser.add_argument("--mib", type=int, default=4, help="MiB an update fetches (4)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--inside", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        raise lab.LabError("network namespaces are made by root")
    if not arguments.inside:
        return from_outside(arguments)
    line = Line.__new__(Line)
    line.names = arguments.inside
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="lamplighter-slow-"))
    try:
        size, times = measure(arguments, scratch, lab.binaries(), line)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    speed = {name: size * len(walls) / sum(walls) for name, walls in times.items()}
    figures = {"rate_mbit": arguments.rate, "loss_percent": arguments.loss, "bytes": size, "rounds": arguments.rounds}
    figures |= {f"{name}_bytes_per_s": round(value) for name, value in speed.items()}
    figures["share_of_curl"] = round(speed["client"] / speed["curl"], 3)
    print(f"{figures['share_of_curl']:.3f} of curl's speed: {figures}", flush=True)
    lab.note_figures("slow-network", figures)
    return 0


def from_outside(arguments):
    """Makes the line and runs this script at the client's end of it, from where nginx can be seen."""
    line = Line(arguments.rate, arguments.loss)
    try:
        started = time.monotonic()
        flags = ["--rate", arguments.rate, "--loss", arguments.loss, "--mib", arguments.mib, "--rounds", arguments.rounds]
        command = [*line.prefix(1), sys.executable, __file__, *map(str, flags), "--inside", *line.names]
        code = subprocess.run(command).returncode
        print(f"slow network, {time.monotonic() - started:.0f} s", flush=True)
        return code
    finally:
        line.close()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except lab.LabError as error:
        sys.exit(f"slow-network: {error}")
