#!/usr/bin/env python3
"""Writes the archives of `fixtures/archives`: old and new of a zip, a gzip and a PNG file, as Python's zlib makes them.

usage: scripts/archive_fixtures.py fixtures/archives

The zip begins with a few bytes of its own, as one that extracts itself does, and has entries of every kind: stored, of
several levels, with sizes behind the data, equal on both sides, changed, renamed, added and gone.
"""

import gzip
import io
import pathlib
import random
import struct
import sys
import zipfile
import zlib


class Pipe(io.RawIOBase):
    """Takes bytes and can't go back, so that zipfile writes sizes behind the data."""

    def __init__(self):
        self.bytes = bytearray()

    def writable(self):
        return True

    def write(self, data):
        self.bytes += data
        return len(data)


def prose(seed, lines):
    """Lines of words that a compressor finds much in."""
    rest = random.Random(seed)
    words = ["".join(rest.choices("abcdefghijklmnop", k=rest.randint(2, 9))) for _ in range(300)]
    return [" ".join(rest.choices(words, k=rest.randint(3, 12))) for _ in range(lines)]


def edited(lines, seed):
    """A few lines changed, one added, one gone."""
    rest = random.Random(seed)
    lines = list(lines)
    for at in rest.sample(range(len(lines) - 1), 3):
        lines[at] += " changed"
    lines.insert(rest.randrange(len(lines)), "added")
    del lines[rest.randrange(len(lines))]
    return lines


def text(lines):
    return "\n".join(lines).encode()


def write_zip(entries):
    pipe = Pipe()
    pipe.write(b"#!/bin/sh\nexec unzip \"$0\"\n")
    with zipfile.ZipFile(pipe, "w") as archive:
        for name, content, level in entries:
            info = zipfile.ZipInfo(name, (2000, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED if level else zipfile.ZIP_STORED
            archive.writestr(info, content, compresslevel=level or None)
    return bytes(pipe.bytes)


def write_png(width, rows):
    """Gray rows, each behind its filter byte."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 15, 9, zlib.Z_FILTERED)
    data = packer.compress(b"".join(b"\0" + row for row in rows)) + packer.flush()
    out = bytearray(b"\x89PNG\r\n\x1a\n")
    header = struct.pack(">IIBBBBB", width, len(rows), 8, 0, 0, 0, 0)
    for kind, content in [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]:
        out += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return bytes(out)


def picture(seed, width, height):
    rest = random.Random(seed)
    row = [rest.randrange(256) for _ in range(width)]
    rows = []
    for _ in range(height):
        row = [value + rest.choice([0, 0, 0, 1, 255]) & 255 for value in row]
        rows.append(bytes(row))
    return rows


def main():
    into = pathlib.Path(sys.argv[1])
    into.mkdir(parents=True, exist_ok=True)
    a, b, c, gone = (prose(seed, 700) for seed in (1, 2, 3, 4))
    old = [("a", text(a), 6), ("same", text(b), 6), ("nine", text(c), 9), ("gone", text(gone), 1)]
    new = [("a", text(edited(a, 5)), 6), ("same", text(b), 6), ("nine", text(edited(c, 6)), 9)]
    old += [("stored", text(a[:50]), 0)]
    new += [("stored", text(a[:50]), 0), ("renamed", text(edited(gone, 7)), 1), ("empty", b"", 6), ("tiny", b"x", 6)]
    (into / "old.zip").write_bytes(write_zip(old))
    (into / "new.zip").write_bytes(write_zip(new))
    (into / "old.gz").write_bytes(gzip.compress(text(a + b), mtime=0))
    (into / "new.gz").write_bytes(gzip.compress(text(edited(a + b, 8)), mtime=1))
    rows = picture(9, 120, 200)
    (into / "old.png").write_bytes(write_png(120, rows))
    (into / "new.png").write_bytes(write_png(120, rows[:90] + picture(10, 120, 3) + rows[93:]))


if __name__ == "__main__":
    main()
