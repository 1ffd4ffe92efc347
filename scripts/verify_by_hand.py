#!/usr/bin/env python3
"""Runs the recipes of docs/verifying.md, as they stand there, over a site it makes: stock tools agree with the publisher.

usage: scripts/verify_by_hand.py      (`make verify-by-hand`); needs cargo, minisign, openssl, b3sum

The site has two builds and a root whose key was replaced. Then one byte of each kind of file is altered, and the recipes
that look at it must fail.
"""

import base64
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import lab

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
PAGE = REPOSITORY / "docs/verifying.md"
RECIPE = re.compile(r"<!-- recipe: (\w+) -->\n```sh\n(.*?)\n```\n", re.S)
APP = "org.example.app"
PLATFORM = "linux-x86_64"
TOOLS = ("minisign", "openssl", "b3sum", "python3")


def fail(text):
    sys.exit(f"verify-by-hand: {text}")


class Recipes:
    """The recipes of the page; each run is counted, and none may be left over."""

    def __init__(self, work):
        self.work = work
        self.known = dict(RECIPE.findall(PAGE.read_text(encoding="utf-8")))
        self.passed = {name: 0 for name in self.known}
        self.failed = {name: 0 for name in self.known}

    def run(self, recipe, given):
        scratch = self.work / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        environment = {**os.environ, **{name: str(value) for name, value in given.items()}}
        return subprocess.run(
            ["sh", "-euc", self.known[recipe]], cwd=scratch, env=environment, capture_output=True, text=True
        )

    def passes(self, recipe, **given):
        done = self.run(recipe, given)
        if done.returncode:
            fail(f"{recipe} fails with {given}:\n{done.stdout}{done.stderr}")
        self.passed[recipe] += 1
        return done.stdout

    def must_fail(self, recipe, file, at, **given):
        """Alters one byte of `file` for the time of the run."""
        kept = file.read_bytes()
        altered = bytearray(kept)
        altered[at] ^= 1
        file.write_bytes(altered)
        done = self.run(recipe, given)
        file.write_bytes(kept)
        if not done.returncode:
            fail(f"{recipe} passes although byte {at} of {file} was altered")
        self.failed[recipe] += 1


def make_site(publisher, work):
    """Build 1 under the first root, build 2 under one whose root key is another; what was published is `work/2`."""

    def run(*arguments):
        clean = {name: value for name, value in os.environ.items() if not name.startswith("LAMPLIGHTER_")}
        done = subprocess.run([publisher, *arguments], cwd=work, env=clean, capture_output=True, text=True)
        if done.returncode:
            fail(f"publisher {' '.join(arguments)}:\n{done.stdout}{done.stderr}")

    def release(number):
        run(
            *["build-release", "--site", "site", "--app", APP, "--channel", "stable", "--keys", "keys"],
            *["--build", number, "--version", f"{number}.0", "--platform", f"{PLATFORM}={number}"],
            *["--notes", f"en={number}.md", "--notes", f"de={number}.md"],
        )

    text = b"".join(b"line %d of a file that changes a little\n" % n for n in range(3000))
    for number, big in (("1", text), ("2", text.replace(b"line 17 ", b"line seventeen "))):
        tree = work / number
        (tree / "folder/empty").mkdir(parents=True)
        (tree / "app").write_bytes(b"#!/bin/sh\necho " + number.encode() + b"\n")
        (tree / "app").chmod(0o755)
        (tree / "big.txt").write_bytes(big)
        (tree / "folder/a name, with a comma").write_bytes(bytes(range(256)) * 9)
        (tree / "nothing").write_bytes(b"")
        (tree / "link").symlink_to("folder/a name, with a comma")
        (work / f"{number}.md").write_text(f"# News of {number}\n")
    run("keygen", "--out", "keys")
    run("init", "--site", "site", "--app", APP, "--keys", "keys")
    release("1")
    run("keygen", "--role", "root", "--out", "new")
    run(
        *["root", "propose", "--site", "site", "--add-key", "root=new/root.pub"],
        *["--remove-key", "root=keys/root.pub", "--out", "2.root"],
    )
    for keys in ("keys", "new"):
        run("root", "sign", "2.root", "--site", "site", "--keys", keys)
    run("root", "publish", "2.root", "--site", "site")
    release("2")
    return work / "site"


def place_of(document, key):
    """The place of the signature by `key`, which its key number tells."""
    lines = document.read_text(encoding="utf-8").split("\nend\n", 1)[1].split("\n")
    numbers = [base64.b64decode(line)[2:10] for line in lines[1::4]]
    wanted = base64.b64decode(key)[2:10]
    if wanted not in numbers:
        fail(f"{document} has no signature by {key}")
    return numbers.index(wanted) + 1


def check_documents(recipes, site):
    """Each signed document under each key that must have signed it, by both tools."""
    roots = [site / "root/1.root", site / "root/2.root"]

    def keys(role, root):
        found = recipes.passes("keys", role=role, root=root).split()
        if len(found) != 1:
            fail(f"{root} should name one key of the role {role}, found {found}")
        return found[0]

    old_root, new_root = (keys("root", root) for root in roots)
    if old_root == new_root:
        fail("the root's key was not replaced")
    signed = [(roots[0], old_root), (roots[1], old_root), (roots[1], new_root)]
    signed.append((site / "channels/stable.head", keys("channel", roots[1])))
    signed += [(site / f"releases/{n}/{PLATFORM}/release", keys("release", roots[1])) for n in (1, 2)]
    for document, key in signed:
        place = place_of(document, key)
        text = document.read_bytes()
        lines = [found.start() + 1 for found in re.finditer(rb"\n", text[:-1])]
        signature = lines[text.count(b"\n", 0, text.index(b"\nend\n") + 5) - 1 + 4 * (place - 1) :]
        # In the first record, before the line `end`, in the signature, the trusted comment, and the global signature.
        places = [25, text.index(b"\nend\n") - 1, signature[1] + 40, signature[2] + 20, signature[3] + 40]
        for recipe in ("minisign", "openssl"):
            recipes.passes(recipe, document=document, key=key, k=place)
            for at in places:
                recipes.must_fail(recipe, document, at, document=document, key=key, k=place)
            other = new_root if key == old_root else old_root
            if recipes.run(recipe, {"document": document, "key": other, "k": place}).returncode == 0:
                fail(f"{recipe} passes for {document} under a key that did not sign it")
    given = {"site": site, "head": site / "channels/stable.head"}
    recipes.passes("releases", **given)
    recipes.must_fail("releases", site / f"releases/2/{PLATFORM}/release", 25, **given)


def check_content(recipes, site, work):
    """Everything a release names, and the tree it was made from."""
    release = f"releases/2/{PLATFORM}"
    given = {"site": site, "release": release}
    recipes.passes("files", **given)
    for name in ("manifest.csv", "objects.csv", "notes.en.md", "notes.de.md"):
        recipes.must_fail("files", site / release / name, 5, **given)
    recipes.passes("packs", **given)
    packs = [path for path in site.glob("packs/*/*") if path.is_file()]
    recipes.must_fail("packs", packs[0], 10, **given)
    recipes.passes("objects", site=site)
    objects = [path for path in site.glob("objects/*/*") if path.is_file()]
    for path in objects:
        recipes.must_fail("objects", path, path.stat().st_size // 2, site=site)
    if not packs or not objects:
        fail("the site has no pack or no object")
    tree = work / "2"
    given["tree"] = tree
    manifest = site / release / "manifest.csv"
    number = manifest.read_bytes().index(b"\nbig.txt,") + len(b"\nbig.txt,")
    second = manifest.read_bytes().index(b",", number) + 1
    for recipe in ("crc", "contents"):
        recipes.passes(recipe, **given)
        recipes.must_fail(recipe, tree / "big.txt", 100, **given)
    for at in (number, second):
        recipes.must_fail("crc", manifest, at, **given)
    blake3 = re.search(rb"\nbig\.txt,\d+,\d+,\d+,", manifest.read_bytes()).end()
    recipes.must_fail("contents", manifest, blake3, **given)
    for n in ("1", "2"):
        for recipe in ("files", "crc", "contents"):
            recipes.passes(recipe, site=site, release=f"releases/{n}/{PLATFORM}", tree=work / n)


def main():
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        fail(f"not installed: {', '.join(missing)}; scripts/setup-debian.sh test installs them")
    publisher = lab.build() / "publisher"
    with tempfile.TemporaryDirectory(prefix="lamplighter-by-hand.") as directory:
        work = pathlib.Path(directory)
        recipes = Recipes(work)
        site = make_site(publisher, work)
        check_documents(recipes, site)
        check_content(recipes, site, work)
        idle = [name for name in recipes.known if not recipes.passed[name]]
        idle += [name for name in recipes.known if name != "keys" and not recipes.failed[name]]
        if idle or not recipes.known:
            fail(f"recipes nobody tried: {idle}")
        for name in recipes.known:
            print(f"{name}: passes {recipes.passed[name]} times, fails on {recipes.failed[name]} altered files")


if __name__ == "__main__":
    main()
