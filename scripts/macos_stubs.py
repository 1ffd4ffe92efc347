#!/usr/bin/env python3
"""Writes stand-ins for those of Apple's libraries that the programs link to and zig does not bring.

usage: scripts/macos_stubs.py DIR      makes DIR/System/Library/Frameworks and DIR/usr/lib

A stand-in is a text file (.tbd) that tells the linker a library's install name and the symbols it exports; it has no code, and
nothing of it gets into a program but the names. Only symbols the programs' crates ask for are listed, in macos_symbols.txt: one
that a new dependency asks for, and the linker misses, belongs there, under the library that Apple's documentation names.
Nothing here says that a Mac has it: that is for who adds it to look up. With an SDK (SDKROOT) none of this is used.
"""

import pathlib
import re
import sys

SYMBOLS = pathlib.Path(__file__).with_name("macos_symbols.txt")
TARGETS = "[ x86_64-macos, arm64-macos ]"


def read_symbols(text):
    """Symbols by the install name of their library."""
    libraries, symbols = {}, None
    for line in text.splitlines():
        if line.startswith("/"):
            symbols = libraries.setdefault(line.strip(), [])
        elif line.startswith(" "):
            symbols += line.split()
    return libraries


def stub_path(installed):
    """Where the linker looks for a library: frameworks without their version, libraries without their number."""
    framework = re.fullmatch(r"/(.+[.]framework)/Versions/\w/(\w+)", installed)
    if framework:
        return f"{framework[1]}/{framework[2]}.tbd"
    return re.sub(r"[.]\w+[.]dylib$", ".tbd", installed[1:])


def stub(installed, symbols):
    names = ", ".join(f"_{name}" for name in symbols)
    exports = f"exports:\n  - targets: {TARGETS}\n    symbols: [ {names} ]\n" if names else ""
    return f"--- !tapi-tbd\ntbd-version: 4\ntargets: {TARGETS}\ninstall-name: '{installed}'\n{exports}...\n"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for installed, symbols in read_symbols(SYMBOLS.read_text()).items():
        path = pathlib.Path(sys.argv[1]) / stub_path(installed)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(stub(installed, symbols))


if __name__ == "__main__":
    main()
