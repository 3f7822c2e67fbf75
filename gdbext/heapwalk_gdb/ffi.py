# SPDX-License-Identifier: LGPL-2.1-or-later
"""The C ABI of libheapwalk, as heapwalk.h declares it. No other file here knows it.

Every struct and prototype below has the order and the width of its namesake in heapwalk.h; the
version check in load() is what keeps the two from drifting apart unnoticed.
"""

import codecs
import contextlib
import ctypes
import os
import sys

API_VERSION = 1  # HW_API_VERSION
SONAME = "libheapwalk.so.0"
ENVIRONMENT = "HEAPWALK_LIBRARY"

STYLE_GDB = 1  # HW_OPTION_STYLE_GDB
INTERRUPTED = "interrupted"  # the word of HW_ERROR_INTERRUPTED

ProgressFn = ctypes.CFUNCTYPE(
    ctypes.c_bool, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint64, ctypes.c_uint64
)
ReadFn = ctypes.CFUNCTYPE(
    ctypes.c_bool, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_void_p, ctypes.c_size_t
)
WriteFn = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
EmitFn = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p)


class OptionsStruct(ctypes.Structure):  # struct hw_options
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("exe", ctypes.c_char_p),
        ("sysroot", ctypes.c_char_p),
        ("debug_dirs", ctypes.c_char_p),
        ("threads", ctypes.c_uint),
        ("no_stop", ctypes.c_bool),
        ("debug", ctypes.c_bool),
        ("progress", ProgressFn),
        ("progress_payload", ctypes.c_void_p),
    ]


class MapEntryStruct(ctypes.Structure):  # struct hw_map_entry
    _fields_ = [
        ("start", ctypes.c_uint64),
        ("end", ctypes.c_uint64),
        ("file_offset", ctypes.c_uint64),
        ("read", ctypes.c_bool),
        ("write", ctypes.c_bool),
        ("exec", ctypes.c_bool),
        ("shared", ctypes.c_bool),
        ("path", ctypes.c_char_p),
    ]


class CallbacksStruct(ctypes.Structure):  # struct hw_callbacks
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("read", ReadFn),
        ("payload", ctypes.c_void_p),
        ("maps", ctypes.POINTER(MapEntryStruct)),
        ("map_count", ctypes.c_size_t),
        ("pid", ctypes.c_int),
    ]


class OutputStruct(ctypes.Structure):  # struct hw_output
    _fields_ = [
        ("write", WriteFn),
        ("payload", ctypes.c_void_p),
        ("is_terminal", ctypes.c_bool),
        ("width", ctypes.c_uint),
    ]


class CommandOptionStruct(ctypes.Structure):  # struct hw_command_option
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("metavar", ctypes.c_char_p),
        ("help", ctypes.c_char_p),
        ("values", ctypes.POINTER(ctypes.c_char_p)),
    ]


class CommandStruct(ctypes.Structure):  # struct hw_command
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("usage", ctypes.c_char_p),
        ("summary", ctypes.c_char_p),
        ("help", ctypes.c_char_p),
        ("options", ctypes.POINTER(CommandOptionStruct)),
        ("takes_text", ctypes.c_bool),
    ]


PROTOTYPES = {  # name: (result, arguments)
    "hw_version": (ctypes.c_char_p, []),
    "hw_error_code": (ctypes.c_int, [ctypes.c_void_p]),
    "hw_error_message": (ctypes.c_char_p, [ctypes.c_void_p]),
    "hw_error_code_word": (ctypes.c_char_p, [ctypes.c_int]),
    "hw_error_destroy": (None, [ctypes.c_void_p]),
    "hw_session_open_pid": (
        ctypes.c_void_p,
        [ctypes.c_int, ctypes.POINTER(OptionsStruct), ctypes.POINTER(ctypes.c_void_p)],
    ),
    "hw_session_open_core": (
        ctypes.c_void_p,
        [ctypes.c_char_p, ctypes.POINTER(OptionsStruct), ctypes.POINTER(ctypes.c_void_p)],
    ),
    "hw_session_open_callbacks": (
        ctypes.c_void_p,
        [
            ctypes.POINTER(CallbacksStruct),
            ctypes.POINTER(OptionsStruct),
            ctypes.POINTER(ctypes.c_void_p),
        ],
    ),
    "hw_session_invalidate": (None, [ctypes.c_void_p]),
    "hw_session_interrupt": (None, [ctypes.c_void_p]),
    "hw_session_close": (None, [ctypes.c_void_p]),
    "hw_commands": (ctypes.POINTER(CommandStruct), []),
    "hw_session_run": (
        ctypes.c_void_p,
        [
            ctypes.c_void_p,
            ctypes.c_int,
            ctypes.c_int,
            ctypes.POINTER(ctypes.c_char_p),
            ctypes.POINTER(OutputStruct),
        ],
    ),
    "hw_complete": (
        None,
        [
            ctypes.c_void_p,
            ctypes.c_int,
            ctypes.c_int,
            ctypes.POINTER(ctypes.c_char_p),
            ctypes.c_char_p,
            EmitFn,
            ctypes.c_void_p,
        ],
    ),
}


class LibraryError(Exception):
    """A hw_error, copied and destroyed; or a library that can't be used. str() is one sentence."""

    def __init__(self, message, code=""):
        super().__init__(message)
        self.code = code  # the word of its hw_error_code


class Option:
    """struct hw_command_option, in Python's strings."""

    def __init__(self, raw):
        self.name = raw.name.decode()
        self.metavar = raw.metavar.decode() if raw.metavar else None
        self.help = raw.help.decode() if raw.help else ""
        self.values = _until_null(raw.values)


class Command:
    """struct hw_command, in Python's strings."""

    def __init__(self, raw):
        self.name = raw.name.decode()
        self.usage = (raw.usage or b"").decode()
        self.summary = (raw.summary or b"").decode()
        self.help = (raw.help or b"").decode()
        self.takes_text = raw.takes_text
        self.options = []
        index = 0
        while raw.options and raw.options[index].name:
            self.options.append(Option(raw.options[index]))
            index += 1


def _until_null(strings):
    words = []
    while strings and strings[len(words)]:
        words.append(strings[len(words)].decode())
    return words


def _candidates():
    """Where the library may be, best first."""
    named = os.environ.get(ENVIRONMENT)
    if named:
        return [named]
    here = os.path.dirname(os.path.abspath(__file__))
    try:
        from . import installed  # written by cmake --install, absent in a checkout
    except ImportError:
        checkout = os.path.dirname(os.path.dirname(here))
        return [os.path.join(checkout, "build", "lib", SONAME)]
    return [os.path.normpath(os.path.join(here, installed.LIBRARY_DIR, SONAME))]


class Library:
    """The loaded library."""

    def __init__(self):
        places = _candidates()
        path = next((place for place in places if os.path.exists(place)), None)
        if path is None:
            raise LibraryError(
                "%s does not exist: build it with ./setup build, or name the library in $%s"
                % (places[0], ENVIRONMENT)
            )
        try:
            self.c = ctypes.CDLL(path)
            version = self.c.hw_api_version
        except (OSError, AttributeError) as problem:
            raise LibraryError("%s is not a usable libheapwalk: %s" % (path, problem)) from None
        version.restype, version.argtypes = ctypes.c_int, []
        if version() != API_VERSION:
            raise LibraryError(
                "%s has API version %d, these gdb commands need %d: install both from one version"
                % (path, version(), API_VERSION)
            )
        for name, (result, arguments) in PROTOTYPES.items():
            function = getattr(self.c, name)
            function.restype, function.argtypes = result, arguments
        self.path = path
        self.version = self.c.hw_version().decode()

    def check(self, error):
        """Take over a `struct hw_error *`: raise it, destroyed, unless it is NULL."""
        if not error:
            return
        message = (self.c.hw_error_message(error) or b"").decode("utf-8", "backslashreplace")
        code = self.c.hw_error_code_word(self.c.hw_error_code(error)).decode()
        self.c.hw_error_destroy(error)
        raise LibraryError(message, code)

    def commands(self):
        table, commands = self.c.hw_commands(), []
        while table[len(commands)].name:
            commands.append(Command(table[len(commands)]))
        return commands

    def complete(self, session, argv, prefix):
        """Words that may follow argv. session: a Session or None."""
        words = []

        def emit(_payload, word):
            words.append(word.decode("utf-8", "backslashreplace"))

        self.c.hw_complete(
            session.handle if session else None,
            STYLE_GDB,
            len(argv),
            _strings(argv),
            _encode(prefix),
            EmitFn(emit),
            None,
        )
        return words


def _encode(text):
    return None if text is None else text.encode("utf-8", "surrogateescape")


def _strings(words):
    return (ctypes.c_char_p * (len(words) + 1))(*[_encode(word) for word in words], None)


class Session:
    """A hw_session. Callbacks may not raise into C: they note what happened, and run() tells.

    progress(what, done, total) is called now and then during a walk.
    """

    def __init__(self, library, options, progress):
        self.library = library
        self.handle = None
        self._progress = progress
        self._interrupted = False
        self._failure = None
        # Everything C keeps a pointer to lives as long as the session.
        self._on_progress = ProgressFn(self._progressed)
        self._keep = []
        self._options = OptionsStruct(
            size=ctypes.sizeof(OptionsStruct),
            exe=_encode(options.get("exe")),
            sysroot=_encode(options.get("sysroot")),
            debug_dirs=_encode(options.get("debug_dirs")),
            no_stop=options.get("no_stop", False),
            progress=self._on_progress,
        )

    def _open(self, function, first):
        handle = ctypes.c_void_p()
        with self._guarded():
            error = function(first, ctypes.byref(self._options), ctypes.byref(handle))
        self.library.check(error)
        self.handle = handle
        return self

    def open_pid(self, pid):
        return self._open(self.library.c.hw_session_open_pid, pid)

    def open_core(self, path):
        return self._open(self.library.c.hw_session_open_core, _encode(path))

    def open_callbacks(self, read, maps, pid):
        """read(address, length) gives the bytes, or None. maps: a list of maps.Mapping."""
        entries = (MapEntryStruct * max(len(maps), 1))()
        for entry, mapping in zip(entries, maps):
            entry.start, entry.end = mapping.start, mapping.end
            entry.file_offset = mapping.file_offset
            entry.read = mapping.perms[0] == "r"
            entry.write = mapping.perms[1] == "w"
            entry.exec = mapping.perms[2] == "x"
            entry.shared = mapping.perms[3] == "s"
            entry.path = _encode(mapping.path)

        def on_read(_payload, address, buffer, length):
            try:
                if self._interrupted:
                    return False
                data = read(address, length)
                if data is None or len(data) != length:
                    return False
                ctypes.memmove(buffer, bytes(data), length)
                return True
            except KeyboardInterrupt:
                self._interrupt()
            except Exception as problem:  # pylint: disable=broad-except
                self._fail(problem)
            return False

        callbacks = CallbacksStruct(
            size=ctypes.sizeof(CallbacksStruct),
            read=ReadFn(on_read),
            maps=entries,
            map_count=len(maps),
            pid=pid,
        )
        self._keep += [entries, callbacks]
        return self._open(self.library.c.hw_session_open_callbacks, ctypes.byref(callbacks))

    def run(self, argv, write, is_terminal, width):
        """Run a command. write(text) prints; when it raises KeyboardInterrupt, printing ends.

        Returns False when that happened. Raises LibraryError, or what `write` or a reader raised.
        """
        # A report comes in pieces, and a piece may end inside a character.
        decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        stopped = False

        def on_write(_payload, text, length):
            nonlocal stopped
            try:
                write(decoder.decode(ctypes.string_at(text, length)))
                return not stopped
            except KeyboardInterrupt:
                stopped = True
            except Exception as problem:  # pylint: disable=broad-except
                self._fail(problem)
            return False

        output = OutputStruct(write=WriteFn(on_write), is_terminal=is_terminal, width=width)
        with self._guarded():
            error = self.library.c.hw_session_run(
                self.handle, STYLE_GDB, len(argv), _strings(argv), ctypes.byref(output)
            )
        try:
            self.library.check(error)
        except LibraryError:
            if not stopped and self._failure is None:
                raise
        if self._failure is not None:
            raise self._failure
        return not stopped

    @property
    def was_interrupted(self):
        return self._interrupted

    def invalidate(self):
        self.library.c.hw_session_invalidate(self.handle)

    def close(self):
        handle, self.handle = self.handle, None
        if handle:
            self.library.c.hw_session_close(handle)

    def _interrupt(self):
        self._interrupted = True
        if self.handle:
            self.library.c.hw_session_interrupt(self.handle)

    def _fail(self, problem):
        self._failure = self._failure or problem
        self._interrupt()

    def _progressed(self, _payload, what, done, total):
        try:
            self._progress((what or b"").decode("utf-8", "replace"), done, total)
        except KeyboardInterrupt:
            self._interrupted = True
        except Exception as problem:  # pylint: disable=broad-except
            self._fail(problem)
        return self._interrupted

    @contextlib.contextmanager
    def _guarded(self):
        """A call into C during which Ctrl-C may arrive.

        gdb turns it into a pending KeyboardInterrupt, raised by the next Python code that runs: a
        callback, perhaps before its first line, where no `try` sees it and ctypes hands it to
        sys.unraisablehook.
        """
        usual = sys.unraisablehook

        def hook(unraisable):
            if isinstance(unraisable.exc_value, KeyboardInterrupt) or (
                unraisable.exc_type is KeyboardInterrupt
            ):
                self._interrupt()
            else:
                usual(unraisable)

        self._interrupted, self._failure = False, None
        sys.unraisablehook = hook
        try:
            yield
        finally:
            sys.unraisablehook = usual
