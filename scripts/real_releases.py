#!/usr/bin/env python3
"""Fetches pairs of successive real releases, by package name, with pip and npm.

usage: scripts/real_releases.py [--out DIR] [PAIR...]     default: the four pairs of the end-to-end test
       scripts/real_releases.py --list

A pair lies in DIR/<pair>/old and DIR/<pair>/new (default DIR: target/real-releases), and its archives' names, sizes
and SHA-256 in DIR/<pair>/archives.csv. A pair that is there is not fetched again. An archive other than the one this
file pins is refused, so that figures taken on different days speak of the same bytes. Archives are unpacked here;
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


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two successive releases of one package."""

    name: str
    kind: str  # wheel, sdist or npm
    package: str
    wheel_platforms: tuple  # tags pip may choose from; empty for sdist and npm
    platform: str  # as the site names it
    versions: tuple  # old, new
    sha256: tuple  # of the archives of old and new


MANYLINUX = tuple(f"manylinux{tag}_x86_64" for tag in ("_2_17", "2014", "_2_28", "1"))
MACOS = tuple(f"macosx_{tag}" for tag in ("11_0_arm64", "11_0_universal2", "12_0_universal2"))

PAIRS = [
    Pair(
        "ruff-win",
        "wheel",
        "ruff",
        ("win_amd64",),
        "windows-x86_64",
        ("0.17.5", "0.17.6"),
        (
            "aa415d57c244299279901d776607fee3df7831c2a7435433fbfacde8632c6550",
            "9cd2fd9923e9806b8b6b67a3469e2258e84bd4d21e45d5a1a690afdfb9c8e57d",
        ),
    ),
    Pair(
        "ruff-lin",
        "wheel",
        "ruff",
        MANYLINUX,
        "linux-x86_64",
        ("0.17.5", "0.17.6"),
        (
            "40ca8afaac309b41a5b2e09e4e7beb1f824826b93c25697c4d74f573324fba4e",
            "aa3b08254a732acba246891089a152c47c5733dc36b8ecb76ce8602f8326e5e4",
        ),
    ),
    Pair(
        "playwright-lin",
        "wheel",
        "playwright",
        MANYLINUX,
        "linux-x86_64",
        ("1.65.1", "1.65.2"),
        (
            "5660e0b050a5bd5672bf8e366ed2580288a3d3640ff9444436ed2d890d3dc442",
            "58932d35f56767ab7ebcdd3d4a733bfb3e62a1a5bc43c08e28b9fa9b3e61cf33",
        ),
    ),
    Pair(
        "pygame-win",
        "wheel",
        "pygame-ce",
        ("win_amd64",),
        "windows-x86_64",
        ("2.5.7", "2.5.8"),
        (
            "b6b7eec2779fac11ed265a18ab926b3829654120a5c9a07c36eeedeb012b8c3c",
            "2cfe8afe1e7955780f0bd4f01d65f1b4903f561407052081cfcec31e80957c3c",
        ),
    ),
    Pair(
        "pyside-win",
        "wheel",
        "PySide6-Essentials",
        ("win_amd64",),
        "windows-x86_64",
        ("6.11.2", "6.11.3"),
        (
            "c8a29def77032773a30879f7f24415b5395ad08592d147c170824ef4c735dfc1",
            "ea61687d2c27f8cc7a851c259481be1001dbffa3bebacea4491d9905e7a5d0cf",
        ),
    ),
    Pair(
        "panda3d-mac",
        "wheel",
        "panda3d",
        MACOS,
        "macos-aarch64",
        ("1.10.15", "1.10.16"),
        (
            "d90cf73d83cf583acdcf1eea7a5cd60bf4af0de7bb83b96f2fa21541c539a744",
            "69ebff55f625161bd5d8589539345d1732095ec735af05c50583a49e0619f870",
        ),
    ),
    Pair(
        "pyspark",
        "sdist",
        "pyspark",
        (),
        "any",
        ("4.0.4", "4.0.5"),
        (
            "7e119366364d48e3cda1b1efd1ebc6cd672949500667c9cabbeef858daba700f",
            "a0d44b0e7faf0458ad83b7aa664e7ed8b96beed8a55d66ce3b0dfac2309dfca6",
        ),
    ),
    Pair(
        "cesium",
        "npm",
        "cesium",
        (),
        "any",
        ("1.143.0", "1.144.0"),
        (
            "bc3ad40d551b160134f0608d8d10979f2c10b4523cf910b30baeb4361a5f4932",
            "fdca2a2efd63bd53bcb37636c7a6bb165ee378583992cc6857b040a9792539d7",
        ),
    ),
    Pair(
        "biome-mac-arm",
        "npm",
        "@biomejs/cli-darwin-arm64",
        (),
        "macos-aarch64",
        ("2.5.14", "2.5.15"),
        (
            "b345eee7831454aeb36b487869dbda236357b1cda0fcb9c72c433325e6f69e5e",
            "22bd2c8f37b9d0f2de048313fcd8f80c96a54c8c017be515c78c9a0fd5aaff27",
        ),
    ),
]
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
            command += [f"--platform={tag}" for tag in pair.wheel_platforms]
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
        for row in list(csv.reader(open(place / "archives.csv", newline="")))[1:]:
            print(name, *row)


if __name__ == "__main__":
    try:
        main()
    except FetchError as error:
        sys.exit(f"real_releases: {error}")
