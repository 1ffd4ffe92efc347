"""Reads what a loader of macOS reads of a program or library: what it asks for, from which system on, and its signature."""

import hashlib
import struct

MAGIC_64 = b"\xcf\xfa\xed\xfe"
LOAD_DYLIB, LOAD_WEAK_DYLIB, REEXPORT_DYLIB = 0xC, 0x80000018, 0x8000001F
ID_DYLIB, CODE_SIGNATURE, VERSION_MIN, BUILD_VERSION = 0xD, 0x1D, 0x24, 0x32
CPU_ARM64 = 0x0100000C
SIGNATURE_MAGIC, DIRECTORY_MAGIC, DIRECTORY_SLOT, SHA256 = 0xFADE0CC0, 0xFADE0C02, 0, 2


class Malformed(Exception):
    """Why a file is not what a Mac would load."""


def commands(data):
    """Load commands of a 64-bit file, each as its number and its bytes."""
    if data[:4] != MAGIC_64:
        raise Malformed("not a 64-bit Mach-O file")
    (count,) = struct.unpack_from("<I", data, 16)
    at = 32
    for _ in range(count):
        kind, length = struct.unpack_from("<II", data, at)
        yield kind, data[at : at + length]
        at += length


def text_at(command, offset_at):
    (start,) = struct.unpack_from("<I", command, offset_at)
    return command[start:].split(b"\0")[0].decode()


def libraries(data):
    """Install names of the libraries the loader will look for."""
    wanted = (LOAD_DYLIB, LOAD_WEAK_DYLIB, REEXPORT_DYLIB)
    return [text_at(command, 8) for kind, command in commands(data) if kind in wanted]


def own_name(data):
    """The name that programs linked to a library look for; nothing for a program."""
    return next((text_at(command, 8) for kind, command in commands(data) if kind == ID_DYLIB), None)


def oldest_system(data):
    """The first version of macOS, (major, minor), the file says it runs on."""
    for kind, command in commands(data):
        if kind in (VERSION_MIN, BUILD_VERSION):
            (version,) = struct.unpack_from("<I", command, 8 if kind == VERSION_MIN else 12)
            return version >> 16, version >> 8 & 0xFF
    raise Malformed("names no version of macOS")


def check_signature(data):
    """Fails where macOS would kill the program at its start: on Apple's processors unsigned code, on any a wrong hash.

    The linker signs without an identity ("ad hoc"), which is a list of hashes of the file's pages. A tool that changes the file
    afterwards, as `strip` does, leaves a wrong list.
    """
    places = [struct.unpack_from("<II", command, 8) for kind, command in commands(data) if kind == CODE_SIGNATURE]
    if not places:
        if struct.unpack_from("<I", data, 4)[0] == CPU_ARM64:
            raise Malformed("not signed, which arm64 asks for")
        return "not signed"
    start, length = places[0]
    blob = data[start : start + length]
    magic, _, count = struct.unpack_from(">III", blob)
    slots = dict(struct.unpack_from(">II", blob, 12 + 8 * i) for i in range(count))
    if magic != SIGNATURE_MAGIC or DIRECTORY_SLOT not in slots:
        raise Malformed("its signature has no code directory")
    check_pages(data, blob[slots[DIRECTORY_SLOT] :], start)
    return "signed ad hoc"


def check_pages(data, directory, signed_bytes):
    magic, _, _, _, hashes_at, _, _, count, limit = struct.unpack_from(">9I", directory)
    hash_bytes, hash_kind, _, page_bits = struct.unpack_from(">4B", directory, 36)
    if (magic, hash_kind, hash_bytes, limit) != (DIRECTORY_MAGIC, SHA256, 32, signed_bytes):
        raise Malformed("its code directory is not one of SHA-256 over all before it")
    page_bytes = 1 << page_bits
    if count != -(-limit // page_bytes):
        raise Malformed(f"its signature lists {count} pages of {page_bytes} bytes for {limit} bytes")
    for page in range(count):
        found = hashlib.sha256(data[page * page_bytes : min(limit, (page + 1) * page_bytes)]).digest()
        if found != directory[hashes_at + 32 * page : hashes_at + 32 * (page + 1)]:
            raise Malformed(f"page {page} is not the one signed")
