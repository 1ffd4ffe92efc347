#!/usr/bin/env python3
"""Fetches pairs of successive real releases, by package name, with pip and npm.

usage: scripts/real_releases.py [--out DIR] [PAIR...]     default: the four pairs of the end-to-end test
       scripts/real_releases.py --list

A pair lies in DIR/<pair>/old and DIR/<pair>/new (default DIR: target/real-releases), and its archives' names, sizes
and SHA-256 in DIR/<pair>/archives.csv. A pair that is there is not fetched again. An archive other than the one
real_releases.csv pins is refused, so that figures taken on different days speak of the same bytes. Archives are unpacked here;
nothing in them is run, except that pip asks a source archive for its metadata.
"""

import argparse
import csv
import dataclasses
import hashlib
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
DEFAULT_OUT = REPOSITORY / "target" / "real-releases"


# Tags pip may choose a wheel from, by the platform it is for.
WHEEL_PLATFORMS = {
    "windows-x86_64": ["win_amd64"],
    "linux-x86_64": [f"manylinux{tag}_x86_64" for tag in ("_2_17", "2014", "_2_28", "1")],
    "macos-aarch64": [f"macosx_{tag}" for tag in ("11_0_arm64", "11_0_universal2", "12_0_universal2")],
}


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two successive releases of one package."""

    name: str
    kind: str  # wheel, sdist or npm
    package: str
    platform: str  # as a site names it
    versions: tuple  # old, new
    sha256: tuple  # of the archives of old and new


def read_pairs():
    """The pairs that real_releases.csv names."""
    with open(pathlib.Path(__file__).with_suffix(".csv"), newline="", encoding="utf-8") as file:
        return [
            Pair(
                *(row[k] for k in ("pair", "kind", "package", "platform")),
                (row["old"], row["new"]),
                (row["old_sha256"], row["new_sha256"]),
            )
            for row in csv.DictReader(file)
        ]


PAIRS = read_pairs()
END_TO_END = ("ruff-win", "ruff-lin", "playwright-lin", "pygame-win")


class FetchError(Exception):
    """A release could not be had; the text says which and why."""


def by_name(name):
    """The pair called `name`."""
    for pair in PAIRS:
        if pair.name == name:
            return pair
    raise FetchError(f"no pair is called {name}; there are: " + " ".join(pair.name for pair in PAIRS))


def fetch_pair(pair, out):
    """Makes `out`/<pair>/old and new, unless they are there; returns that directory."""
    place = out / pair.name
    if (place / "archives.csv").exists():
        return place
    shutil.rmtree(place, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{pair.name}-", dir=out) as scratch:
        scratch = pathlib.Path(scratch)
        rows = []
        for side, version, expected in zip(("old", "new"), pair.versions, pair.sha256):
            archive = download(pair, version, scratch / f"{side}-archive")
            actual = hashlib.sha256(archive.read_bytes()).hexdigest()
            if actual != expected:
                raise FetchError(f"{archive.name}: expected SHA-256 {expected}, got {actual}")
            unpack(archive, scratch / side)
            forget_version(scratch / side, version)
            rows.append((side, version, archive.name, archive.stat().st_size, actual))
            shutil.rmtree(archive.parent)
        with open(scratch / "archives.csv", "w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([("side", "version", "archive", "bytes", "sha256"), *rows])
        place.mkdir()
        for name in ("old", "new", "archives.csv"):  # the list last: it says that the pair is whole
            (scratch / name).rename(place / name)
    return place


def download(pair, version, into):
    """Has the package's own client put one archive into the new directory `into`; returns the archive."""
    into.mkdir()
    if pair.kind == "npm":
        command = ["npm", "pack", "--silent", f"{pair.package}@{version}"]
    else:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        if pair.kind == "sdist":
            command += ["--no-binary=:all:"]
        else:
            command += ["--only-binary=:all:", "--implementation=cp", "--python-version=3.12"]
            command += [f"--platform={tag}" for tag in WHEEL_PLATFORMS[pair.platform]]
        command += ["--dest=.", f"{pair.package}=={version}"]
    try:
        done = subprocess.run(command, cwd=into, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except FileNotFoundError:
        raise FetchError(f"{pair.name} needs {command[0]}, which is not installed") from None
    archives = list(into.iterdir())
    if done.returncode or len(archives) != 1:
        raise FetchError(f"{pair.name} {version}: {' '.join(command[:3])} failed:\n{done.stdout[-2000:]}")
    return archives[0]


def unpack(archive, into):
    """Unpacks a zip or a tar; keeps the executable bits and strips a lone top directory of a source archive."""
    into.mkdir()
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            for entry in opened.infolist():
                path = opened.extract(entry, into)
                if entry.external_attr >> 16 & 0o111 and not entry.is_dir():
                    pathlib.Path(path).chmod(0o755)
        return
    with tarfile.open(archive) as opened:
        opened.extractall(into, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    top = list(into.iterdir())
    if len(top) == 1 and top[0].is_dir():
        aside = into.with_name(into.name + "-top")
        top[0].rename(aside)
        into.rmdir()
        aside.rename(into)


def forget_version(tree, version):
    """Takes the version out of directory names that only a package index puts there (`x-1.2.dist-info`)."""
    for path in sorted(tree.rglob(f"*{version}*"), reverse=True):
        if path.is_dir() and path.name.endswith((".dist-info", ".egg-info", ".data")):
            path.rename(path.with_name(path.name.replace(version, "VERSION")))


def main():
    parser = argparse.ArgumentParser(description="Fetches pairs of successive real releases.")
    parser.add_argument("pairs", nargs="*", metavar="PAIR", help="default: " + " ".join(END_TO_END))
    parser.add_argument("--out", type=pathlib.Path, default=DEFAULT_OUT)
    parser.add_argument("--list", action="store_true", help="name the pairs and what they are")
    arguments = parser.parse_args()
    if arguments.list:
        for pair in PAIRS:
            print(f"{pair.name:15} {pair.kind:6} {pair.package} {pair.versions[0]} -> {pair.versions[1]}")
        return
    for name in arguments.pairs or END_TO_END:
        place = fetch_pair(by_name(name), arguments.out)
        for row in (place / "archives.csv").read_text().splitlines()[1:]:
            print(name, *row.split(","))


if __name__ == "__main__":
    try:
        main()
    except FetchError as error:
        sys.exit(f"real_releases: {error}")
