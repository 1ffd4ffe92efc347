#!/usr/bin/env python3
"""Builds the programs for every platform, checks them, and publishes them with the publisher itself.

usage: scripts/dist.py [--keys DIR] [--version TEXT] [--build N] [PLATFORM...]       (`make dist`)

Leaves dist/<platform>/ with the programs and the C library, stripped; dist/SHA256SUMS and dist/B3SUMS over all of them; and
dist/site, a site that offers them on the channel `stable`. Without --keys the site is signed with keys made for the
occasion, in dist/keys. A binary that asks for a library or a version of glibc that not every supported system has counts as
not built. Programs are started where this system, wine or qemu can, and then one platform is installed from the site.

A platform that could not be built is named with its reason and left out of the site. That is a failure for a platform
asked for by name, and where nothing was built at all.
"""

import argparse
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import macho

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
CROSS = REPOSITORY / "scripts/cross.sh"
DIST = REPOSITORY / "dist"
GLIBC_MAX = (2, 17)
# The first for Apple's own processors.
MACOS_MAX = (11, 0)
APP = "org.lamplighter.programs"

# platform: triple as cargo-zigbuild takes it, how a program's name ends, names of the C library's files
PLATFORMS = {
    "windows-x86_64": ("x86_64-pc-windows-gnu", ".exe", ["{}.dll", "lib{}.dll.a"]),
    "linux-x86_64": ("x86_64-unknown-linux-gnu.2.17", "", ["lib{}.so", "lib{}.a"]),
    "linux-aarch64": ("aarch64-unknown-linux-gnu.2.17", "", ["lib{}.so", "lib{}.a"]),
    "macos-aarch64": ("aarch64-apple-darwin", "", ["lib{}.dylib", "lib{}.a"]),
    "macos-x86_64": ("x86_64-apple-darwin", "", ["lib{}.dylib", "lib{}.a"]),
}

# Libraries that every system of the kind has: those seen to be asked for, so that a new one is looked at first. Windows' come
# with Windows 10, the first that Rust's standard library runs on; their names are compared without case.
LIBRARIES = {
    "windows": re.compile(
        r"(advapi32|bcrypt|bcryptprimitives|crypt32|kernel32|ktmw32|msvcrt|ntdll|oleaut32|pdh|powrprof|psapi|shell32|userenv"
        r"|ws2_32|api-ms-win-core-(synch-l1-2-0|winrt-error-l1-1-0))\.dll",
        re.I,
    ),
    "linux": re.compile(r"(libc|libm|libpthread|libdl|librt|libgcc_s|libutil)\.so\.\d|ld-linux(-x86-64|-aarch64)\.so\.\d"),
    "macos": re.compile(
        r"/usr/lib/(libSystem\.B|libobjc\.A|libiconv\.2|libcharset\.1)\.dylib"
        r"|/System/Library/Frameworks/(CoreFoundation|Foundation|Security|SystemConfiguration)\.framework/Versions/[AC]/\w+"
    ),
}


# How a program of a platform is started here; {} stands for the repository.
RUNNERS = {
    "windows-x86_64": ["{}/scripts/windows.sh", "run"],
    "linux-x86_64": [],
    "linux-aarch64": ["qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu"],
}

# What compiles a C program that uses the library, where the result can be started here.
C_COMPILERS = {
    "windows-x86_64": "x86_64-w64-mingw32-gcc",
    "linux-x86_64": "cc",
    "linux-aarch64": "aarch64-linux-gnu-gcc",
}
C_PROGRAM = """
#include <stdio.h>
#include "lamplighter.h"
int main(void) { return puts(lamplighter_version()) < 0; }
"""


class Failed(Exception):
    """Why something was not built."""


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], cwd=REPOSITORY, **options)
    if done.returncode:
        raise Failed(f"{' '.join(str(part) for part in command)}: exit code {done.returncode}")
    return done.stdout


def metadata():
    text = run("cargo", "metadata", "--no-deps", "--format-version", "1", stdout=subprocess.PIPE)
    return {package["name"]: package for package in json.loads(text)["packages"]}


def programs(packages):
    targets = packages["lamplighter-client"]["targets"]
    return sorted(target["name"] for target in targets if target["kind"] == ["bin"])


def library(packages):
    """Name of the crate with the C interface and of the library it makes; nothing while there is none."""
    for name, package in packages.items():
        for target in package["targets"]:
            if "cdylib" in target["kind"]:
                return name, target["name"].replace("-", "_"), pathlib.Path(package["manifest_path"]).parent
    return None


def build(platform, packages):
    """Builds for one platform with zig, or with mingw for Windows; gives the files made."""
    triple, suffix, library_files = PLATFORMS[platform]
    names, found = programs(packages), library(packages)
    # One call for all: apart, most of what they depend on would be compiled twice.
    wanted = ["-p", "lamplighter-client", *(part for name in names for part in ("--bin", name))]
    wanted += ["-p", found[0], "--lib"] if found else []
    command = [CROSS, "cargo", triple, "build"] if "windows" in platform else [CROSS, "zig", triple, "zigbuild"]
    # As small as stripping makes it; what is left out is of use to a debugger alone. Not for macOS: there a program is
    # stripped after the linker has signed it, and one with a wrong signature is killed when it starts.
    environment = os.environ if "macos" in platform else {**os.environ, "CARGO_PROFILE_RELEASE_STRIP": "symbols"}
    run(*command, "--release", "--locked", *wanted, env=environment)
    made = run(CROSS, "dir", triple.split(".")[0], stdout=subprocess.PIPE, text=True).strip()
    made = pathlib.Path(made) / "release"
    files = [made / f"{name}{suffix}" for name in names]
    if found:
        files += [made / pattern.format(found[1]) for pattern in library_files]
        files += sorted((found[2] / "include").glob("*.h"))
    return files


def collect(platform, files):
    folder = DIST / platform
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file in files:
        # A library of one kind may be missing where the target has none.
        if file.exists():
            shutil.copy2(file, folder / file.name)
        elif not file.name.endswith(".dll.a"):
            raise Failed(f"{file} was not built")
    for document in ("LICENSE-MIT", "LICENSE-APACHE"):
        shutil.copy2(REPOSITORY / document, folder / document)
    return folder


def glibc_versions(text):
    return {tuple(int(part) for part in found.split(".")) for found in re.findall(r"GLIBC_(\d+(?:\.\d+)+)", text)}


def needed_libraries(system, file):
    """Names of the libraries the loader will look for."""
    if system == "windows":
        text = run("x86_64-w64-mingw32-objdump", "-p", file, stdout=subprocess.PIPE, text=True)
        # One library is listed once for each crate that asks for it, in its own spelling.
        return sorted({name.lower() for name in re.findall(r"DLL Name: (\S+)", text)})
    if system == "linux":
        text = run("readelf", "-d", "-W", file, stdout=subprocess.PIPE, text=True)
        return re.findall(r"\(NEEDED\).*\[(.+)\]", text)
    return macho.libraries(file.read_bytes())


def check_macho(file):
    """Fails where a supported Mac would not load the file; says from which macOS on it runs and how it is signed."""
    data = file.read_bytes()
    try:
        signed, oldest, name = macho.check_signature(data), macho.oldest_system(data), macho.own_name(data)
    except macho.Malformed as reason:
        raise Failed(f"{file.name}: {reason}") from None
    if name and not name.startswith("@rpath/"):
        raise Failed(f"{file.name} would be looked for where it was built, {name}")
    if oldest > MACOS_MAX:
        raise Failed(f"{file.name} asks for macOS {'.'.join(map(str, oldest))}")
    return f", macOS {'.'.join(map(str, oldest))}, {signed}"


def check(platform, folder):
    """Fails on a library or a glibc that not every system has; prints what each binary needs."""
    system = platform.split("-")[0]
    binaries = [f for f in sorted(folder.iterdir()) if f.suffix in ("", ".exe", ".dll", ".so", ".dylib")]
    for file in (f for f in binaries if not f.name.startswith("LICENSE")):
        needed = needed_libraries(system, file)
        strange = [name for name in needed if not LIBRARIES[system].fullmatch(name)]
        if strange:
            raise Failed(f"{file.name} needs {', '.join(strange)}, which is not on every system")
        said = f"{platform}/{file.name}: {file.stat().st_size} bytes, needs {' '.join(needed) or 'nothing'}"
        if system == "linux":
            versions = glibc_versions(run("readelf", "-V", "-W", file, stdout=subprocess.PIPE, text=True))
            newest = max(versions, default=(0,))
            if newest > GLIBC_MAX:
                raise Failed(f"{file.name} asks for glibc {'.'.join(map(str, newest))}")
            said += f", glibc {'.'.join(map(str, newest))}"
        elif system == "macos":
            said += check_macho(file)
        print(said, flush=True)


def can_start(platform):
    runner = RUNNERS.get(platform)
    if runner:
        return shutil.which(runner[0].format(REPOSITORY)) is not None
    host = os.uname()
    return runner is not None and platform == f"{host.sysname.lower()}-{host.machine}"


def start(platform, folder):
    """Starts the programs as far as they can be here: what is printed was seen to run."""
    if not can_start(platform):
        print(f"{platform}: not started, nothing here runs it")
        return
    runner, suffix = RUNNERS[platform], PLATFORMS[platform][1]
    for program, argument in (("client", "--version"), ("patcher", "--self-test")):
        command = [*(part.format(REPOSITORY) for part in runner), folder / f"{program}{suffix}", argument]
        said = run(*command, stdout=subprocess.PIPE, text=True).strip()
        print(f"{platform}/{program}{suffix} {argument}: {said}", flush=True)


def start_library(platform, folder):
    """Compiles a C program against the header and the library as they are shipped, and starts it."""
    library = next((file for file in folder.iterdir() if file.suffix in (".dll", ".so")), None)
    if not library or not can_start(platform):
        return
    with tempfile.TemporaryDirectory() as scratch:
        program = pathlib.Path(scratch) / f"version{PLATFORMS[platform][1]}"
        command = [C_COMPILERS[platform], "-x", "c", "-", "-o", program, "-I", folder, "-L", scratch, f"-l:{library.name}"]
        shutil.copy2(library, scratch)
        run(*command, *([] if "windows" in platform else ["-Wl,-rpath,$ORIGIN"]), input=C_PROGRAM, text=True)
        runner = [part.format(REPOSITORY) for part in RUNNERS[platform]]
        said = run(*runner, program, stdout=subprocess.PIPE, text=True).strip()
    print(f"{platform}/{library.name} from C: {said}", flush=True)


def write_digests(platforms):
    files = [file for platform in platforms for file in sorted((DIST / platform).iterdir())]
    names = [file.relative_to(DIST).as_posix() for file in files]
    sums = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    (DIST / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for digest, name in zip(sums, names)))
    done = subprocess.run(["b3sum", *names], cwd=DIST, check=True, stdout=subprocess.PIPE, text=True)
    (DIST / "B3SUMS").write_text(done.stdout)


def publish(platforms, options, packages):
    site, keys = DIST / "site", options.keys or DIST / "keys"
    run("cargo", "build", "--release", "--locked", "-p", "lamplighter-publisher", "--bin", "publisher")
    publisher = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "release/publisher"
    if not options.keys:
        # Nobody trusts these keys, so nothing of an earlier run is worth keeping.
        for stale in (site, keys):
            shutil.rmtree(stale, ignore_errors=True)
        run(publisher, "keygen", "--out", keys)
    if not site.exists():
        run(publisher, "init", "--site", site, "--app", APP, "--keys", keys)
    version = options.version or packages["lamplighter-client"]["version"]
    given = [part for platform in platforms for part in ("--platform", f"{platform}={DIST / platform}")]
    common = ["--site", site, "--app", APP, "--channel", "stable", "--keys", keys]
    run(publisher, "build-release", *common, "--build", options.build, "--version", version, *given)
    run(publisher, "verify", "--site", site)


def prove(platform, site):
    """Installs one platform from the site with its own client, and compares: nothing may be missing or differ."""
    runner = [part.format(REPOSITORY) for part in RUNNERS[platform]]
    client = DIST / platform / f"client{PLATFORMS[platform][1]}"
    tree = DIST / "installed"
    shutil.rmtree(tree, ignore_errors=True)
    origin = ["--site", site, "--root", site / "root/1.root", "--app", APP, "--channel", "stable"]
    run(*runner, client, "--quiet", "install", *origin, "--platform", platform, "--tree", tree)
    run("diff", "-r", "--exclude", ".lamplighter", DIST / platform, tree)
    start(platform, tree)
    shutil.rmtree(tree)
    print(f"dist: {platform} installed from the site with its own client, equal to what was published")


def build_all(platforms, packages):
    """Gives the platforms that were built; says why the others were not."""
    built = []
    for platform in platforms:
        try:
            folder = collect(platform, build(platform, packages))
            check(platform, folder)
            start(platform, folder)
            start_library(platform, folder)
            built.append(platform)
        except Failed as reason:
            shutil.rmtree(DIST / platform, ignore_errors=True)
            print(f"dist: NOT BUILT: {platform}: {reason}", file=sys.stderr, flush=True)
    return built


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--keys", type=pathlib.Path, help="directory with the secret keys to sign with")
    parser.add_argument("--version", help="text for people; that of the crate if left out")
    parser.add_argument("--build", type=int, default=1, help="number of the release")
    parser.add_argument("platforms", nargs="*", metavar="PLATFORM", help=f"{', '.join(PLATFORMS)}; all if left out")
    options = parser.parse_args()
    unknown = set(options.platforms) - set(PLATFORMS)
    if unknown:
        parser.error(f"unknown platform: {', '.join(sorted(unknown))}")
    packages = metadata()
    built = build_all(options.platforms or list(PLATFORMS), packages)
    missing = [platform for platform in options.platforms if platform not in built]
    if missing or not built:
        raise Failed(f"not built: {', '.join(missing) or 'any platform'}; no site was made")
    write_digests(built)
    publish(built, options, packages)
    if "linux-x86_64" in built and can_start("linux-x86_64"):
        prove("linux-x86_64", DIST / "site")
    print(f"dist: {', '.join(built)} in {DIST.relative_to(REPOSITORY)}/, and a site of them")


if __name__ == "__main__":
    try:
        main()
    except Failed as reason:
        sys.exit(f"dist: {reason}")
