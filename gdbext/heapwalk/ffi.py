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

API_VERSION = 2  # HW_API_VERSION
SONAME = "libheapwalk.so.0"
ENVIRONMENT = "HEAPWALK_LIBRARY"

STYLE_GDB = 1  # HW_OPTION_STYLE_GDB
# Words of hw_error_code_word(), and enum hw_state in its order.
INTERRUPTED, STALE, PARTIAL = "interrupted", "stale", "partial"
STATES = ("unknown", "in use", "free", "overhead")

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
        ("rules", ctypes.c_char_p),
        ("copy", ctypes.c_bool),
        ("debuginfod", ctypes.c_bool),
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


class StylesStruct(ctypes.Structure):  # struct hw_styles
    _fields_ = [
        ("title", ctypes.c_char_p),
        ("address", ctypes.c_char_p),
        ("metadata", ctypes.c_char_p),
        ("highlight", ctypes.c_char_p),
    ]


class OutputStruct(ctypes.Structure):  # struct hw_output
    _fields_ = [
        ("write", WriteFn),
        ("payload", ctypes.c_void_p),
        ("styles", ctypes.POINTER(StylesStruct)),
        ("width", ctypes.c_uint),
    ]


class BlockStruct(ctypes.Structure):  # struct hw_block
    # Strings as addresses: few different ones are borrowed many times, so each is decoded once.
    _fields_ = [
        ("start", ctypes.c_uint64),
        ("size", ctypes.c_uint64),
        ("allocator", ctypes.c_size_t),
        ("state_class", ctypes.c_int),
        ("state", ctypes.c_size_t),
        ("domain", ctypes.c_size_t),
        ("kind", ctypes.c_size_t),
        ("detail", ctypes.c_size_t),
        ("object", ctypes.c_uint64),
        ("refcount", ctypes.c_int64),
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
        ("runs_detached", ctypes.c_bool),
        ("is_of_session", ctypes.c_bool),
    ]


_P = ctypes.c_void_p
_TEXT = ctypes.c_char_p
_WORDS = ctypes.POINTER(ctypes.c_char_p)
_OPTIONS = ctypes.POINTER(OptionsStruct)
_HANDLE = ctypes.POINTER(ctypes.c_void_p)

PROTOTYPES = {  # name: (result, arguments)
    "hw_version": (_TEXT, []),
    "hw_error_code": (ctypes.c_int, [_P]),
    "hw_error_message": (_TEXT, [_P]),
    "hw_error_code_word": (_TEXT, [ctypes.c_int]),
    "hw_error_destroy": (None, [_P]),
    "hw_session_open_pid": (_P, [ctypes.c_int, _OPTIONS, _HANDLE]),
    "hw_session_open_core": (_P, [_TEXT, _OPTIONS, _HANDLE]),
    "hw_session_open_callbacks": (_P, [ctypes.POINTER(CallbacksStruct), _OPTIONS, _HANDLE]),
    "hw_session_open_detached": (_P, [_OPTIONS, _HANDLE]),
    "hw_session_move_labels": (None, [_P, _P]),
    "hw_session_invalidate": (None, [_P]),
    "hw_session_stop": (_P, [_P]),
    "hw_session_resume": (None, [_P]),
    "hw_session_set_threads": (_P, [_P, ctypes.c_uint]),
    "hw_session_set_default": (_P, [_P, _TEXT, _TEXT]),
    "hw_session_shortfall": (_P, [_P]),
    "hw_session_interrupt": (None, [_P]),
    "hw_session_close": (None, [_P]),
    "hw_session_find_block": (
        _P,
        [_P, ctypes.c_uint64, ctypes.POINTER(BlockStruct), ctypes.POINTER(ctypes.c_bool)],
    ),
    "hw_cursor_open": (_P, [_P, _TEXT, _HANDLE]),
    "hw_cursor_next": (
        _P,
        [_P, ctypes.POINTER(BlockStruct), ctypes.c_size_t, ctypes.POINTER(ctypes.c_size_t)],
    ),
    "hw_cursor_close": (None, [_P]),
    "hw_commands": (ctypes.POINTER(CommandStruct), []),
    "hw_session_run": (
        _P,
        [_P, ctypes.c_int, ctypes.c_int, _WORDS, ctypes.POINTER(OutputStruct)],
    ),
    "hw_complete": (
        None,
        [_P, ctypes.c_int, ctypes.c_int, _WORDS, _TEXT, EmitFn, _P],
    ),
}


class Error(Exception):
    """What went wrong, in one sentence. `code` is one of the words in heapwalk.h: "fault", …"""

    def __init__(self, message, code=""):
        super().__init__(message)
        self.code = code


class StaleError(Error):
    """Blocks were asked for of a moment that has passed: the target ran on, or is gone."""


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
        self.runs_detached = raw.runs_detached
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
            raise Error(
                "%s does not exist: build it with ./setup build, or name the library in $%s"
                % (places[0], ENVIRONMENT)
            )
        try:
            self.c = ctypes.CDLL(path)
            version = self.c.hw_api_version
        except (OSError, AttributeError) as problem:
            raise Error("%s is not a usable libheapwalk: %s" % (path, problem)) from None
        version.restype, version.argtypes = ctypes.c_int, []
        if version() != API_VERSION:
            raise Error(
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
        raise (StaleError if code == STALE else Error)(message, code)

    def check_default(self, option, value):
        """Raise Error unless some command takes that value (None: any) for the option."""
        self.check(self.c.hw_session_set_default(None, _encode(option), _encode(value)))

    def check_threads(self, threads):
        self.check(self.c.hw_session_set_threads(None, threads))

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


def text_at(address):
    """The string that a struct of C points at."""
    return ctypes.string_at(address).decode("utf-8", "backslashreplace") if address else ""


def _encode(text):
    return None if text is None else text.encode("utf-8", "surrogateescape")


def _strings(words):
    return (ctypes.c_char_p * (len(words) + 1))(*[_encode(word) for word in words], None)


class Session:
    """A hw_session. Callbacks may not raise into C: they note what happened, and run() tells.

    progress(what, done, total), or None, is called now and then during a walk.
    """

    def __init__(self, library, options, progress=None):
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
            threads=options.get("threads") or 0,
            no_stop=options.get("no_stop", False),
            progress=self._on_progress,
            rules=_encode(options.get("rules")),
        )

    def _open(self, function, *first):
        handle = ctypes.c_void_p()
        self._call(function, *first, ctypes.byref(self._options), ctypes.byref(handle))
        self.handle = handle
        return self

    def _call(self, function, *arguments):
        """Call a function that returns a hw_error. Raises it, or what a callback raised."""
        with self._guarded():
            error = function(*arguments)
        try:
            self.library.check(error)
        finally:
            if self._failure is not None:
                raise self._failure from None

    def open_pid(self, pid):
        return self._open(self.library.c.hw_session_open_pid, pid)

    def open_core(self, path):
        return self._open(self.library.c.hw_session_open_core, _encode(path))

    def open_detached(self):
        """Without a target: it reads files, and keeps labels."""
        return self._open(self.library.c.hw_session_open_detached)

    def move_labels(self, to):
        """Labels of this session, if it has any, become those of another one."""
        self.library.c.hw_session_move_labels(self.handle, to.handle)

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

    def set_threads(self, threads):
        self.library.check(self.library.c.hw_session_set_threads(self._open_handle(), threads))

    def _set_defaults(self, defaults):
        for option, value in defaults.items():
            self.library.check(
                self.library.c.hw_session_set_default(
                    self._open_handle(), _encode(option), _encode(value)
                )
            )

    def stop(self):
        """Keep a live target stopped until resume(); they nest."""
        self._call(self.library.c.hw_session_stop, self._open_handle())

    def resume(self):
        if self.handle:
            self.library.c.hw_session_resume(self.handle)

    def shortfall(self):
        """Why what was walked is not all of the heap; None when it is."""
        try:
            self.library.check(self.library.c.hw_session_shortfall(self._open_handle()))
        except Error as error:
            return error
        return None

    def find_block(self, address):
        """hw_session_find_block(): a BlockStruct, or None. Its strings are borrowed."""
        block, is_found = BlockStruct(), ctypes.c_bool()
        self._call(
            self.library.c.hw_session_find_block,
            self._open_handle(),
            address,
            ctypes.byref(block),
            ctypes.byref(is_found),
        )
        return block if is_found else None

    def open_cursor(self, query):
        """hw_cursor_open(): a handle for cursor_next() and cursor_close()."""
        handle = ctypes.c_void_p()
        self._call(
            self.library.c.hw_cursor_open, self._open_handle(), _encode(query), ctypes.byref(handle)
        )
        return handle

    def cursor_next(self, cursor, blocks):
        """Fill an array of BlockStruct; how many were filled in, 0 at the end."""
        count = ctypes.c_size_t()
        self._call(
            self.library.c.hw_cursor_next, cursor, blocks, len(blocks), ctypes.byref(count)
        )
        return count.value

    def cursor_close(self, cursor):
        self.library.c.hw_cursor_close(cursor)

    def _open_handle(self):
        if not self.handle:
            raise StaleError("this heap was closed: open the target again", STALE)
        return self.handle

    def run(self, argv, write, defaults=None, styles=None, width=0):
        """Run a command. write(text) prints; when it raises KeyboardInterrupt, printing ends.

        defaults: {option: value} for options that argv does not have, of this run only. `styles`:
        {part of the report: what sets it off}, as the members of hw_styles; None for plain text.

        Returns False when that happened. Raises Error, or what `write` or a reader raised.
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

        output = OutputStruct(write=WriteFn(on_write), width=width)
        if styles:
            members = {name: _encode(text) for name, text in styles.items()}
            output.styles = ctypes.pointer(StylesStruct(**members))
        self._set_defaults(defaults or {})
        try:
            self._call(
                self.library.c.hw_session_run,
                self._open_handle(),
                STYLE_GDB,
                len(argv),
                _strings(argv),
                ctypes.byref(output),
            )
        except Error:
            if not stopped:
                raise
        finally:
            self._set_defaults(dict.fromkeys(defaults or {}))
        return not stopped

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
            if self._progress:
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
