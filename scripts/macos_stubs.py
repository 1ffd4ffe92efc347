#!/usr/bin/env python3
"""Writes stand-ins for those of Apple's libraries that the programs link to and zig does not bring.

usage: scripts/macos_stubs.py DIR      makes DIR/System/Library/Frameworks and DIR/usr/lib

A stand-in is a text file (.tbd) that tells the linker a library's install name and the symbols it exports; it has no code, and
nothing of it gets into a program but the names. Only the symbols the programs use are listed: if the linker misses one that a
new dependency asks for, it belongs here. With an SDK (SDKROOT) none of this is used.
"""

import pathlib
import sys

FRAMEWORK = "System/Library/Frameworks/{0}.framework/{0}"
FRAMEWORK_INSTALLED = "/System/Library/Frameworks/{0}.framework/Versions/{1}/{0}"

# framework: its version letter, symbols without the leading underscore
FRAMEWORKS = {
    "CoreFoundation": ("A", ""),
    "Foundation": ("C", ""),
    "IOKit": ("A", ""),
    "Security": ("A", ""),
    "SystemConfiguration": ("A", ""),
}

# library: its install name, symbols without the leading underscore
LIBRARIES = {
    "iconv": ("/usr/lib/libiconv.2.dylib", ""),
    "objc": ("/usr/lib/libobjc.A.dylib", ""),
}


def stub(installed, symbols):
    names = ", ".join(f"_{name}" for name in sorted(symbols.split()))
    exports = f"exports:\n  - targets: [ x86_64-macos, arm64-macos ]\n    symbols: [ {names} ]\n" if names else ""
    return (
        "--- !tapi-tbd\n"
        "tbd-version: 4\n"
        "targets: [ x86_64-macos, arm64-macos ]\n"
        f"install-name: '{installed}'\n"
        f"{exports}...\n"
    )


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    root = pathlib.Path(sys.argv[1])
    for name, (version, symbols) in FRAMEWORKS.items():
        write(root / f"{FRAMEWORK.format(name)}.tbd", stub(FRAMEWORK_INSTALLED.format(name, version), symbols))
    for name, (installed, symbols) in LIBRARIES.items():
        write(root / f"usr/lib/lib{name}.tbd", stub(installed, symbols))


if __name__ == "__main__":
    main()
