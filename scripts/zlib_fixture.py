#!/usr/bin/env python3
"""Writes what zlib makes of generated texts under many settings, as `client/src/zlib.rs` is to make it.

usage: scripts/zlib_fixture.py > fixtures/zlib/streams.csv

Each row names a text by seed, length and number of words, the settings, and the length and CRC-32 of the raw deflate
stream. The texts come from the generator below, which `client/src/zlib.rs` has, too, in its tests.
"""

import sys
import zlib

MASK = (1 << 64) - 1
TEXTS = [(1, 0, 1), (2, 5, 3), (3, 20_000, 4), (4, 90_000, 50), (5, 200_000, 1000), (6, 150_000, 40_000), (7, 131_072, 1)]


def numbers(seed):
    """An endless xorshift sequence."""
    state = (seed * 0x9E37_79B9_7F4A_7C15 & MASK) | 1
    while True:
        state ^= state << 13 & MASK
        state ^= state >> 7
        state ^= state << 17 & MASK
        yield state


def text(seed, length, vocabulary):
    """Words of a vocabulary, runs of one byte, and noise."""
    rest = numbers(seed)
    words = []
    for _ in range(max(vocabulary, 1)):
        count = next(rest) % 40 + 1
        words.append(bytes(next(rest) % 90 for _ in range(count)))
    out = bytearray()
    while len(out) < length:
        kind = next(rest) % 9
        if kind == 0:
            out.append(next(rest) & 255)
        elif kind == 1:
            byte = next(rest) & 255
            out += bytes([byte]) * (next(rest) % 600)
        else:
            out += words[next(rest) % len(words)]
    return bytes(out[:length])


def main():
    out = sys.stdout
    out.write("seed,length,words,level,memory_level,window_bits,filtered,stream_bytes,stream_crc32\n")
    for seed, length, vocabulary in TEXTS:
        content = text(seed, length, vocabulary)
        for level in range(1, 10):
            for memory_level, window_bits in [(8, 15), (9, 15), (1, 15), (8, 9), (4, 12)]:
                for filtered in (0, 1):
                    packer = zlib.compressobj(level, zlib.DEFLATED, -window_bits, memory_level, filtered)
                    stream = packer.compress(content) + packer.flush()
                    row = (seed, length, vocabulary, level, memory_level, window_bits, filtered)
                    out.write(",".join(map(str, (*row, len(stream), zlib.crc32(stream)))) + "\n")


if __name__ == "__main__":
    main()
