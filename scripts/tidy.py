#!/usr/bin/env python3
"""Checks the rules of CONTRIBUTING.md that no compiler checks, over every file git tracks or would track.

usage: scripts/tidy.py        prints each offence as `path:line: what`, and fails if there is one
"""

import ast
import pathlib
import re
import subprocess
import sys

import formats

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
RUST_LINES_MAX = 550
FUNCTION_LINES_MAX = 70
FORMATS = "client/src/format/"
# Shared words of the formats; they have no bytes of their own to specify.
NOT_FORMATS = {"client/src/format/text.rs", "client/src/format/digest.rs"}
TEXT_SUFFIXES = {".rs", ".toml", ".md", ".py", ".sh", ".csv", ".txt", ".yml", ".json", ".c", ".h", ".cs", ".js", ""}

# Written so that this file does not match itself.
MACHINE_PATH = re.compile(r"(?<![\w.>\])}*/$-])/(?:[w]ork|[r]oot|[h]ome|[U]sers)/[\w.]")
REGISTRY_HOST = re.compile(
    r"crates[.]io|pypi[.]org|pythonhosted[.]org|npmjs[.](?:org|com)|deb[.]debian[.]org|rust-lang[.]org/dist", re.I
)
UNFINISHED = re.compile(r"\b(?:todo|unimplemented)[!]|\b(?:TODO|FIXME|XXX|HACK)\b")
PRINTS = re.compile(r"\b(?:e?print(?:ln)?|dbg)!|clippy::print_std")
IO = re.compile(r"\bstd::(?:fs|net|process|env)\b|\breqwest::|\btempfile::")
FUNCTION = re.compile(r"^( *)(?:pub(?:\([a-z]+\))? )?(?:const |async )*fn (\w+)")
NAMED_TEST = re.compile(r"`(\w+)(?:::(\w+|\*))?`")
TEST_FOLDERS = ("client/tests", "publisher/tests", "client/src", "client/src/launch", "client/src/trust")
# A piece of code in a document that says which tested file it is from.
SNIPPET = re.compile(r"<!-- from (\S+) -->\n```\w*\n(.*?)\n```\n", re.S)
# The one module that may have unsafe code; tests of it call it as a C program does.
UNSAFE = "client/embed/src/abi.rs"
UNSAFE_TESTS = "client/embed/tests/"
MARKDOWN_LINK = re.compile(r"\[[^\]]*\]\(([^)#:\s]+)(?:#[^)\s]*)?\)")


class Tidy:
    """Collects offences."""

    def __init__(self):
        self.offences = []
        self.files = 0

    def report(self, path, line, what):
        self.offences.append(f"{path}:{line}: {what}")

    def check(self, path):
        full = REPOSITORY / path
        if full.suffix not in TEXT_SUFFIXES or path.startswith(("fixtures/", "fuzz/corpus/")) or full.is_symlink():
            return
        text = full.read_text(encoding="utf-8")
        self.files += 1
        if not path.endswith("Cargo.lock"):
            self.check_text(path, text)
        if path.endswith(".rs"):
            self.check_rust(path, text)
        if path.endswith(".py"):
            self.check_python(path, text)
        if path.endswith(".md"):
            self.check_links(path, text)
            self.check_snippets(path, text)
        if text.startswith("#!/bin/sh") or text.startswith("#!/bin/bash"):
            self.check_shell(path, text)

    def check_text(self, path, text):
        if text and not text.endswith("\n"):
            self.report(path, text.count("\n") + 1, "no newline at the end")
        for number, line in enumerate(text.split("\n"), 1):
            if line.rstrip() != line and not path.startswith("LICENSE"):
                self.report(path, number, "white space at the end of the line")
            if MACHINE_PATH.search(line):
                self.report(path, number, "a path of one machine")
            if REGISTRY_HOST.search(line):
                self.report(path, number, "the host of a package registry: name packages, not hosts")
            if UNFINISHED.search(line) and path != "scripts/tidy.py":
                self.report(path, number, "unfinished work")

    def check_rust(self, path, text):
        lines = text.split("\n")
        if len(lines) - 1 > RUST_LINES_MAX:
            self.report(path, 1, f"{len(lines) - 1} lines; at most {RUST_LINES_MAX}: one module, one idea")
        code = [] if path.endswith("/tests.rs") else lines[: first_test_line(lines)]
        may_print = "/bin/" in path or path.startswith(("publisher/src/commands", "publisher/src/term"))
        may_print = may_print or path == "publisher/src/main.rs" or "/src/" not in path
        for number, line in enumerate(code, 1):
            if not may_print and PRINTS.search(line) and not line.lstrip().startswith("//"):
                self.report(path, number, "only binaries print")
            if path.startswith((FORMATS, "client/src/patch/", "client/src/patch.rs")) and IO.search(line):
                self.report(path, number, "formats and patches do no I/O")
            if "allow(unsafe_code" in line and path != UNSAFE and not path.startswith(UNSAFE_TESTS):
                self.report(path, number, f"only {UNSAFE} has unsafe code")
            if path.startswith("client/") and "lamplighter_publisher" in line:
                self.report(path, number, "the arrow goes from publisher to client only")
        self.check_functions(path, code)
        if path.startswith(FORMATS) and path.count("/") == FORMATS.count("/") and path not in NOT_FORMATS:
            head = "\n".join(line for line in lines if line.startswith("//!"))
            for heading in ("//! # Specification", "//! # Changelog"):
                if heading not in head:
                    self.report(path, 1, f"a format's head comment has the heading {heading[4:]!r}")

    def check_functions(self, path, code):
        """rustfmt puts a function's closing brace below its first letter."""
        opened = {}
        for number, line in enumerate(code, 1):
            begun = FUNCTION.match(line)
            if begun and not line.rstrip().endswith((";", "}")):
                opened[begun[1]] = (number, begun[2])
            indent = line[: len(line) - len(line.lstrip())]
            if line == indent + "}" and indent in opened:
                start, name = opened.pop(indent)
                if number - start + 1 > FUNCTION_LINES_MAX:
                    self.report(path, start, f"{name} has {number - start + 1} lines; at most {FUNCTION_LINES_MAX}")

    def check_python(self, path, text):
        try:
            tree = ast.parse(text, path)
        except SyntaxError as error:
            self.report(path, error.lineno, f"not Python: {error.msg}")
            return
        if ast.get_docstring(tree) is None:
            self.report(path, 1, "a script's docstring says what it does and how it is called")

    def check_shell(self, path, text):
        shell = text.split("\n", 1)[0][2:].split()[0]
        done = subprocess.run([shell, "-n", REPOSITORY / path], capture_output=True, text=True)
        if done.returncode:
            self.report(path, 1, done.stderr.strip())

    def check_links(self, path, text):
        for number, line in enumerate(text.split("\n"), 1):
            for destination in MARKDOWN_LINK.findall(line):
                if not (REPOSITORY / path).parent.joinpath(destination).exists():
                    self.report(path, number, f"the link {destination} leads nowhere")

    def check_named_tests(self, path="docs/flows.md"):
        """Every test a table names exists: `file::test`, `file::*`, or the name of a module with tests."""
        for number, line in enumerate((REPOSITORY / path).read_text().split("\n"), 1):
            if not line.startswith("|"):
                continue
            for file, test in NAMED_TEST.findall(line.rsplit("|", 2)[1]):
                places = [REPOSITORY / place / f"{file}.rs" for place in TEST_FOLDERS]
                texts = [place.read_text() for place in places if place.exists()]
                if not any("#[test]" in text and (test in ("", "*") or f"fn {test}(" in text) for text in texts):
                    self.report(path, number, f"no test {file}::{test or '*'}")

    def check_snippets(self, path, text):
        for source, code in SNIPPET.findall(text):
            if code not in (REPOSITORY / source).read_text(encoding="utf-8"):
                line = text[: text.index(code)].count("\n") + 1
                self.report(path, line, f"is not what {source} says")

    def check_manifests(self):
        client = (REPOSITORY / "client/Cargo.toml").read_text()
        if "lamplighter-publisher" in client:
            self.report("client/Cargo.toml", 1, "the arrow goes from publisher to client only")
        if 'unsafe_code = "forbid"' not in (REPOSITORY / "Cargo.toml").read_text():
            self.report("Cargo.toml", 1, "unsafe code is forbidden in the whole workspace")
        embed = (REPOSITORY / "client/embed/Cargo.toml").read_text()
        if 'unsafe_code = "deny"' not in embed:
            self.report("client/embed/Cargo.toml", 1, "unsafe code is denied but where the C interface needs it")
        for manifest in sorted(set(REPOSITORY.glob("*/Cargo.toml")) - {REPOSITORY / "fuzz/Cargo.toml"}):
            if "[lints]\nworkspace = true" not in manifest.read_text():
                self.report(manifest.relative_to(REPOSITORY), 1, "takes its lints from the workspace")


def first_test_line(lines):
    """Index of the line that begins the unit tests, or the number of lines."""
    for index, line in enumerate(lines):
        if line == "#[cfg(test)]" and index + 1 < len(lines) and lines[index + 1].startswith("mod "):
            return index
    return len(lines)


def main():
    tidy = Tidy()
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    ).stdout.decode()
    for path in sorted(set(listed.split("\0")) - {""}):
        if (REPOSITORY / path).is_file():
            tidy.check(path)
    tidy.check_manifests()
    tidy.check_named_tests()
    for offence in formats.offences():
        tidy.report(*offence)
    for offence in tidy.offences:
        print(offence)
    if tidy.offences:
        sys.exit(1)
    print(f"tidy: {tidy.files} files, nothing to report")


if __name__ == "__main__":
    main()
