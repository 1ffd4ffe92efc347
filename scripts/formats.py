#!/usr/bin/env python3
"""Makes docs/formats.md, the reference of all formats, from the specifications at the heads of their modules.

usage: scripts/formats.py            writes it
       scripts/formats.py --check    fails if it is not what the modules say (scripts/tidy.py asks the same)
"""

import pathlib
import re
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
FOLDER = "client/src/format"
PAGE = "docs/formats.md"
# Name of the section and its modules, the ones a reader needs first in front.
PARTS = [
    ("Conventions", ["format.rs"]),
    ("What the formats share", ["format/digest.rs", "format/path.rs", "format/document.rs", "format/signed.rs"]),
    ("Documents of a site", ["format/layout.rs", "format/root.rs", "format/head.rs", "format/release.rs", "format/notes.rs"]),
    ("Content of a site", ["format/manifest.rs", "format/objects.rs", "format/pack.rs", "format/pack/edits.rs",
                           "format/pack/units.rs", "format/pack/codec.rs", "patch.rs", "patch/references.rs", "patch/deflate.rs"]),
    ("State of a tree", ["format/settings.rs", "trust/state.rs", "format/launch.rs", "format/last.rs", "format/handover.rs",
                         "format/journal.rs"]),
]
HEAD = """\
# Formats

<!-- Made by scripts/formats.py from the heads of the modules; edit those. -->

Every format of Lamplighter, as its reader in [`client/src/`](../client/src/) specifies it. A file of a site that a client reads
today can be read by every later one.
"""
LINK = re.compile(r"\[`(?:crate|super|self)?:{0,2}([\w:]+)`\](?:\([^)]*\))?")


def head_of(text):
    """The comment a module begins with."""
    lines = []
    for line in text.split("\n"):
        if not line.startswith("//!"):
            break
        lines.append(line[3:].removeprefix(" "))
    return lines


def anchor(title):
    return re.sub(r"[^a-z0-9 _-]", "", title.lower()).replace(" ", "-")


def title_of(module):
    return f"{pathlib.PurePath(module).with_suffix('').as_posix().removeprefix('format/')}"


def modules():
    return [module for _, part in PARTS for module in part]


def linked(line, known):
    """A link of rustdoc as one of this page, or as code where it leads to none of its sections."""

    def replace(match):
        path = match[1].replace("::", "/").removeprefix("format/")
        names = [path, f"pack/{path}", path.rsplit("/", 1)[0]]
        target = next((name for name in names if name in known), None)
        shown = match[1].removeprefix("format::")
        return f"[`{shown}`](#{anchor(target)})" if target else f"`{shown}`"

    return LINK.sub(replace, line)


def section(module, known):
    """The head comment with its headings two levels down, and blocks of code left alone."""
    lines, fenced = [], False
    for line in head_of((REPOSITORY / "client/src" / module).read_text(encoding="utf-8")):
        if line.startswith("```"):
            fenced = not fenced
        if not fenced and line.startswith("#"):
            line = "###" + line
        lines.append(line if fenced else linked(line, known))
    source = f"[`client/src/{module}`](../client/src/{module})"
    return f"### {title_of(module)}\n\n{source}\n\n" + "\n".join(lines).strip() + "\n"


def page():
    known = {title_of(module) for module in modules()}
    parts = [HEAD]
    for name, part in PARTS:
        parts.append(f"## {name}\n")
        parts += [section(module, known) for module in part]
    return "\n".join(parts)


def offences():
    """What is wrong with the page, if anything."""
    if (REPOSITORY / PAGE).read_text(encoding="utf-8") != page():
        return [(PAGE, 1, "is not what the modules say: run scripts/formats.py")]
    listed = {f"{FOLDER}/{module.removeprefix('format/')}" for module in modules()}
    specified = {
        path.relative_to(REPOSITORY).as_posix()
        for path in (REPOSITORY / FOLDER).rglob("*.rs")
        if "# Specification" in head_of(path.read_text(encoding="utf-8"))
    }
    return [(path, 1, "is not listed in scripts/formats.py") for path in sorted(specified - listed)]


def main():
    if "--check" not in sys.argv[1:]:
        (REPOSITORY / PAGE).write_text(page(), encoding="utf-8")
    found = offences()
    for path, line, what in found:
        print(f"{path}:{line}: {what}")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
