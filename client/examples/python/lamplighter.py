"""Lamplighter for Python, by ctypes: copy this file into a launcher, beside the library.

`Tree` is one installed directory. Its methods block, may be called from any thread, one at a time; `cancel` may be
called at any time. Errors are raised as `LamplighterError`, with `status`, `code` and the message.
"""

import ctypes
import json
import os
import sys
from ctypes import POINTER, byref, c_char, c_char_p, c_int32, c_size_t, c_uint32, c_uint64, c_void_p

ABI = 1
OK, OTHER, USAGE, NETWORK, NOT_TRUSTED, DAMAGED, DISK, LOCKED = 0, 1, 2, 4, 5, 6, 7, 8
TOO_OLD, CANCELLED, PANIC = 10, 11, 12
NOTHING, AVAILABLE, READY, DONE = 0, 1, 2, 3
STARTED, ADVANCED, NOTICE, MESSAGE, QUESTION, BUILD = 1, 2, 3, 4, 5, 6
START_PLAIN, START_PROBATION, START_GO_BACK = 0, 1, 2
LEAVE, BUILD_AND_DEPLOY, VERIFY_AND_DEPLOY, ALWAYS_DEPLOY = 0, 1, 2, 3
YES, LATER, SKIP = 0, 1, 2
RUN, HANDED_OVER, APP_STARTED, RESTART, END_LOCKED, UPDATE_REQUIRED = 0, 1, 2, 3, 4, 5


class Error(ctypes.Structure):
    _fields_ = [("size", c_uint32), ("status", c_int32), ("may_retry", c_uint32), ("reserved", c_uint32)]
    _fields_ += [("code", c_char * 48), ("message", c_char * 1024)]


class Origin(ctypes.Structure):
    _fields_ = [("size", c_uint32), ("reserved", c_uint32), ("site", c_char_p), ("app", c_char_p)]
    _fields_ += [("channel", c_char_p), ("platform", c_char_p), ("root", c_char_p), ("root_length", c_size_t)]


class Offer(ctypes.Structure):
    _fields_ = [("size", c_uint32), ("state", c_uint32), ("build", c_uint64), ("from_build", c_uint64)]
    _fields_ += [("version", c_char * 264), ("reason", c_char * 32), ("text", c_char * 256)]


class Report(ctypes.Structure):
    _fields_ = [("size", c_uint32), ("state", c_uint32), ("build", c_uint64)]
    _fields_ += [("files_written", c_uint64), ("files_removed", c_uint64), ("written_bytes", c_uint64)]
    _fields_ += [("received_bytes", c_uint64), ("requests", c_uint64)]
    _fields_ += [("kept_aside", c_uint64), ("left_edited", c_uint64)]
    _fields_ += [("version", c_char * 264), ("route", c_char * 16), ("reason", c_char * 32), ("text", c_char * 256)]


class Status(ctypes.Structure):
    _fields_ = [("size", c_uint32), ("installed", c_uint32), ("build", c_uint64), ("prepared_build", c_uint64)]
    _fields_ += [("previous_build", c_uint64), ("unfinished", c_uint32), ("reserved", c_uint32)]
    _fields_ += [("version", c_char * 264)]


class Start(ctypes.Structure):
    _fields_ = [("size", c_uint32), ("action", c_uint32), ("start", c_uint64), ("starts_max", c_uint64)]


class Setup(ctypes.Structure):
    _fields_ = [("size", c_uint32), ("check_minimum", c_uint32), ("check_for_updates", c_uint32), ("resources", c_uint32)]
    _fields_ += [("local", c_char_p), ("origin", POINTER(Origin)), ("resources_tree", c_uint64), ("compiled_build", c_uint64)]
    _fields_ += [("program", c_char_p), ("arguments", POINTER(c_char_p)), ("argument_count", c_size_t), ("language", c_char_p)]


class Launched(ctypes.Structure):
    _fields_ = [("size", c_uint32), ("action", c_uint32), ("build", c_uint64), ("pid", c_uint64), ("start", c_uint64)]


class Event(ctypes.Structure):
    _fields_ = [("size", c_uint32), ("kind", c_uint32), ("done_bytes", c_uint64), ("total_bytes", c_uint64)]
    _fields_ += [("phase", c_char_p), ("code", c_char_p), ("subject", c_char_p), ("text", c_char_p)]
    _fields_ += [("version", c_char_p), ("installed_version", c_char_p)]
    _fields_ += [("build", c_uint64), ("percent", c_int32), ("needs_restart", c_uint32), ("notes", c_char_p)]


Callback = ctypes.CFUNCTYPE(c_int32, POINTER(Event), c_void_p)


class LamplighterError(Exception):
    """What went wrong: `status` to act on, `code` for logs, the message for people."""

    def __init__(self, error):
        super().__init__(error.message.decode())
        self.status, self.code, self.may_retry = error.status, error.code.decode(), bool(error.may_retry)


def load(path=None):
    """Loads the library: from `path`, from LAMPLIGHTER_LIBRARY, or by its name."""
    name = {"win32": "lamplighter.dll", "darwin": "liblamplighter.dylib"}.get(sys.platform, "liblamplighter.so")
    library = ctypes.CDLL(path or os.environ.get("LAMPLIGHTER_LIBRARY") or name)
    events, text = [Callback, c_void_p], POINTER(c_void_p)
    functions = {
        "open": [c_char_p, c_char_p, c_char_p, POINTER(c_uint64), POINTER(Error)],
        "install": [c_uint64, POINTER(Origin), *events, POINTER(Report), text, POINTER(Error)],
        "check": [c_uint64, *events, POINTER(Offer), text, POINTER(Error)],
        "stage": [c_uint64, c_char_p, *events, POINTER(Offer), text, POINTER(Error)],
        "commit": [c_uint64, *events, POINTER(Report), text, POINTER(Error)],
        "heal": [c_uint64, c_char_p, *events, POINTER(Report), text, POINTER(Error)],
        "rollback": [c_uint64, *events, POINTER(Report), text, POINTER(Error)],
        "confirm_healthy": [c_uint64, POINTER(Error)],
        "count_start": [c_uint64, POINTER(Start), POINTER(Error)],
        "status": [c_uint64, POINTER(Status), text, POINTER(Error)],
        "launch": [c_uint64, POINTER(Setup), *events, POINTER(Launched), text, POINTER(Error)],
        "allow_network_share": [c_uint64, c_uint32],
        "cancel": [c_uint64],
        "clear_cancel": [c_uint64],
    }
    for name, arguments in functions.items():
        function = getattr(library, f"lamplighter_{name}")
        function.argtypes, function.restype = arguments, c_int32
    library.lamplighter_close.argtypes, library.lamplighter_close.restype = [c_uint64], None
    library.lamplighter_free_text.argtypes, library.lamplighter_free_text.restype = [c_void_p], None
    library.lamplighter_version.restype = library.lamplighter_platform.restype = c_char_p
    if library.lamplighter_abi_version() < ABI:
        raise RuntimeError("the library is older than this file")
    return library


class Tree:
    """An installed directory. `on_event` gets an `Event`; what it returns answers questions, None is 0."""

    def __init__(self, library, tree, state=None, proxy=None, on_event=None):
        self.library, self.handle = library, c_uint64()

        def deliver(event, _user):
            try:
                return (on_event(event.contents) if on_event else 0) or 0
            except BaseException as error:  # Nothing may be thrown through the library: stop the call, raise after it.
                self.thrown = error
                self.cancel()
                return 0

        # Kept as long as the tree: the library calls it during each call.
        self.callback = Callback(deliver)
        self.thrown = None
        self.call("open", encode(tree), encode(state), encode(proxy), byref(self.handle))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.library.lamplighter_close(self.handle)

    def call(self, name, *arguments):
        error = Error(size=ctypes.sizeof(Error))
        status = getattr(self.library, f"lamplighter_{name}")(*arguments, byref(error))
        if self.thrown:
            thrown, self.thrown = self.thrown, None
            self.library.lamplighter_clear_cancel(self.handle)
            raise thrown
        if status != OK:
            raise LamplighterError(error)

    def tell(self, name, record, *arguments):
        """A call that fills a struct; its JSON text becomes the attribute `json` of it."""
        record.size, text = ctypes.sizeof(record), c_void_p()
        self.call(name, self.handle, *arguments, byref(record), byref(text))
        record.json = json.loads(ctypes.cast(text, c_char_p).value)
        self.library.lamplighter_free_text(text)
        return record

    def status(self):
        return self.tell("status", Status())

    def install(self, site, app, channel, root, platform=None):
        origin = Origin(site=encode(site), app=encode(app), channel=encode(channel), platform=encode(platform))
        origin.size, origin.root, origin.root_length = ctypes.sizeof(origin), root, len(root)
        return self.tell("install", Report(), byref(origin), self.callback, None)

    def check(self):
        return self.tell("check", Offer(), self.callback, None)

    def stage(self, source=None):
        return self.tell("stage", Offer(), encode(source), self.callback, None)

    def commit(self):
        return self.tell("commit", Report(), self.callback, None)

    def heal(self, source=None):
        return self.tell("heal", Report(), encode(source), self.callback, None)

    def rollback(self):
        return self.tell("rollback", Report(), self.callback, None)

    def launch(self, program, arguments=(), check_for_updates=True, check_minimum=True, resources=LEAVE):
        """What a launcher does at its start, up to the point where the app runs; `action` says what is next. Questions come to
        `on_event` (QUESTION), which answers YES, LATER or SKIP. `program` is the file of this launcher."""
        texts = [encode(argument) for argument in arguments]
        setup = Setup(size=ctypes.sizeof(Setup), check_minimum=check_minimum, check_for_updates=check_for_updates)
        setup.resources, setup.program = resources, encode(program)
        setup.arguments, setup.argument_count = (c_char_p * len(texts))(*texts), len(texts)
        return self.tell("launch", Launched(), byref(setup), self.callback, None)

    def allow_network_share(self, allowed=True):
        """Calls from the next one on may install, stage and heal on a network share."""
        self.library.lamplighter_allow_network_share(self.handle, allowed)

    def count_start(self):
        start = Start(size=ctypes.sizeof(Start))
        self.call("count_start", self.handle, byref(start))
        return start

    def confirm_healthy(self):
        self.call("confirm_healthy", self.handle)

    def cancel(self):
        self.library.lamplighter_cancel(self.handle)

    def clear_cancel(self):
        self.library.lamplighter_clear_cancel(self.handle)


def encode(text):
    return None if text is None else os.fspath(text).encode()
