#!/usr/bin/env python3
"""The main job on real releases: publish, serve with nginx, install the old one, update, verify, break, heal.

usage: scripts/e2e.py [--keep DIR] [PAIR...]      default: the four pairs of real_releases.py

Every claim is checked with a tool that is not ours: trees with `diff -r`, both CRC columns with Python's zlib, BLAKE3
with b3sum, signatures with minisign, requests and bytes with nginx's own log. Prints one line a check and ends with
`N passed, N failed`; fails if anything did.
"""

import argparse
import os
import pathlib
import shutil
import sys
import tempfile
import time

import lab
import real_releases

CHECK_BYTES_MAX = 2 * 1024
UPDATE_REQUESTS_MAX = 3
PLAYWRIGHT_UPDATE_BYTES_MAX = 8 * 1024
# Exit codes of `client`.
DONE, NOTHING_TO_DO, DAMAGED = 0, 3, 6
FOREIGN = "notes of the user.txt"


class Checks:
    """Counts and prints what was checked."""

    def __init__(self):
        self.passed = 0
        self.failed = 0
        self.pair = ""

    def __call__(self, what, holds, detail=""):
        if holds:
            self.passed += 1
            print(f"{self.pair}: ok: {what}" + (f" ({detail})" if detail else ""), flush=True)
        else:
            self.failed += 1
            print(f"{self.pair}: FAILED: {what}: {detail}", flush=True)

    def same(self, what, differences):
        self(what, not differences, "; ".join(differences[:5]))


def run_pair(pair, checks, scratch, programs):
    """The whole story of one pair."""
    trees = real_releases.fetch_pair(pair, real_releases.DEFAULT_OUT)
    old, new = trees / "old", trees / "new"
    tree = scratch / "tree"
    site = lab.Site(scratch, programs)
    built = site.build(1, pair.versions[0], pair.platform, old)
    checks("the old release is published", True, f"{built.wall_s:.1f} s")
    with lab.Nginx(site.path, scratch / "nginx") as nginx:
        client = lab.Client(programs, tree)
        install(client, nginx, site, pair, old, checks)
        check(client, nginx, checks, "a check of a current tree", NOTHING_TO_DO)
        built = site.build(2, pair.versions[1], pair.platform, new)
        checks("the new release is published", True, f"{built.wall_s:.1f} s")
        check(client, nginx, checks, "a check that finds an update", DONE)
        update(client, nginx, pair, old, new, checks)
        heal(client, nginx, new, checks)
        nothing_to_do(client, nginx, checks)
        install_new(programs, nginx, site, pair, new, checks, scratch)
    documents(site, pair, old, new, checks, scratch)


def install(client, nginx, site, pair, old, checks):
    done = client.install(nginx.url, site.root, pair.platform)
    requests = nginx.requests()
    checks("the old release is installed over HTTP", True, traffic(requests) + f", {done.wall_s:.1f} s")
    checks.same("the installed tree is the old one, byte for byte", lab.tree_difference(old, client.tree))
    objects = len({r.name for r in requests if r.name.startswith("objects/")})
    checks("an install takes at most objects + 4 requests", len(requests) <= objects + 4, traffic(requests))


def check(client, nginx, checks, what, code):
    nginx.requests()
    done = client("check", codes=None)
    requests = nginx.requests()
    small = sum(r.body_bytes for r in requests) <= CHECK_BYTES_MAX
    checks(f"{what} is one request of at most 2 KiB", len(requests) == 1 and small, traffic(requests))
    checks("and says so by its exit code", done.code == code, str(done) if done.code != code else str(code))


def update(client, nginx, pair, old, new, checks):
    foreign = client.tree / FOREIGN
    foreign.write_text("not in any manifest\n")
    before = lab.identities(client.tree)
    nginx.requests()
    done = client("update")
    requests = nginx.requests()
    fetched = sum(r.body_bytes for r in requests)
    checks("the tree is updated over HTTP", True, traffic(requests) + f", {done.wall_s:.1f} s")
    checks("an update takes at most 3 requests", len(requests) <= UPDATE_REQUESTS_MAX, traffic(requests))
    checks("no request asks for several ranges", not any("," in r.range for r in requests))
    if pair.name == "playwright-lin":
        checks("the update fetches at most 8 KiB", fetched <= PLAYWRIGHT_UPDATE_BYTES_MAX, f"{fetched} bytes")
    kept = foreign.read_text() if foreign.exists() else ""
    checks("a file no manifest lists is left alone", kept == "not in any manifest\n", kept.strip())
    foreign.unlink(missing_ok=True)
    checks.same("the updated tree is the new one, byte for byte", lab.tree_difference(new, client.tree))
    changed, added = lab.changed_names(old, new)
    after = lab.identities(client.tree)
    unchanged = set(before) - set(changed) - set(added)
    touched = [name for name in unchanged if name in after and after[name] != before[name]]
    checks(
        "unchanged files keep their inode and time",
        not touched,
        f"{len(unchanged)} files" if not touched else touched[0],
    )
    verified = client("verify", "--crc", codes=None)
    checks("the updated tree verifies, CRC pairs included", verified.code == DONE, verified.stdout.strip())


def heal(client, nginx, new, checks):
    """Flips one byte of the largest file, removes another file, and has both put right."""
    files = sorted(lab.tree_files(client.tree).items(), key=lambda item: (-item[1].lstat().st_size, item[0]))
    files = [path for _, path in files if not path.is_symlink()]
    broken, removed = files[0], files[1]
    with open(broken, "r+b") as file:
        file.seek(broken.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    removed.unlink()
    found = client("verify", codes=None)
    text = found.stdout + found.stderr
    named = all(path.name in text for path in (broken, removed))
    checks("verify finds the damage and names both files", found.code == DAMAGED and named, f"exit code {found.code}")
    nginx.requests()
    done = client("heal", codes=None)
    checks("heal puts them right", done.code == 0, traffic(nginx.requests()) if done.code == 0 else str(done))
    checks.same("the healed tree is the new one, byte for byte", lab.tree_difference(new, client.tree))


def nothing_to_do(client, nginx, checks):
    nginx.requests()
    before = lab.identities(client.tree)
    done = client("update", codes=None)
    requests = nginx.requests()
    idle = done.code == NOTHING_TO_DO and len(requests) == 1
    checks("an update with nothing to do is one request", idle, f"exit code {done.code}, {traffic(requests)}")
    checks("and changes nothing", before == lab.identities(client.tree))


def install_new(programs, nginx, site, pair, new, checks, scratch):
    client = lab.Client(programs, scratch / "fresh")
    client.install(nginx.url, site.root, pair.platform)
    checks.same("a fresh install gives the new release", lab.tree_difference(new, client.tree))
    nginx.requests()


def documents(site, pair, old, new, checks, scratch):
    for number, directory in ((1, old), (2, new)):
        manifest = site.release(number, pair.platform) / "manifest.csv"
        wrong = lab.manifest_difference(manifest, directory)
        checks.same(f"zlib and b3sum agree with the manifest of build {number}", wrong)
    signed = [
        (site.root, "root.pub"),
        (site.path / "channels" / f"{lab.CHANNEL}.head", "channel.pub"),
        (site.release(1, pair.platform) / "release", "release.pub"),
        (site.release(2, pair.platform) / "release", "release.pub"),
    ]
    for document, key in signed:
        done = lab.minisign_verify(document, site.keys / key, scratch)
        name = document.relative_to(site.path)
        checks(f"minisign verifies {name}", done.returncode == 0, (done.stdout + done.stderr).strip().split("\n")[0])
    proved = lab.run(site.publisher, "verify", "--site", site.path, codes=None)
    checks("publisher verify proves the whole site", proved.code == 0, "" if proved.code == 0 else str(proved))


def traffic(requests):
    return f"{len(requests)} requests, {sum(r.body_bytes for r in requests):,} bytes"


def main():
    parser = argparse.ArgumentParser(description="The main job on real releases.")
    parser.add_argument("pairs", nargs="*", metavar="PAIR")
    parser.add_argument("--keep", type=pathlib.Path, help="leave sites and trees in this new directory")
    arguments = parser.parse_args()
    checks = Checks()
    programs = lab.binaries()
    scratch = pathlib.Path(arguments.keep or tempfile.mkdtemp(prefix="lamplighter-e2e-")).resolve()
    started = time.monotonic()
    try:
        for name in arguments.pairs or real_releases.END_TO_END:
            checks.pair = name
            place = scratch / name
            place.mkdir(parents=True)
            try:
                run_pair(real_releases.by_name(name), checks, place, programs)
            except lab.LabError as error:
                checks("every program ends well", False, str(error))
            if not arguments.keep:
                shutil.rmtree(place)
    finally:
        if not arguments.keep:
            shutil.rmtree(scratch, ignore_errors=True)
    print(f"end to end on real releases, {time.monotonic() - started:.0f} s")
    print(f"{checks.passed} passed, {checks.failed} failed")
    sys.exit(1 if checks.failed else 0)


if __name__ == "__main__":
    try:
        main()
    except (lab.LabError, real_releases.FetchError) as error:
        sys.exit(f"e2e: {error}")
