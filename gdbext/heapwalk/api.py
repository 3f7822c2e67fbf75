# SPDX-License-Identifier: LGPL-2.1-or-later
"""What scripts use: a Heap, its blocks and its reports. Never a setting of gdb's in it."""

import collections
import contextlib
import json
import warnings

from . import ffi

_BATCH = 4096  # blocks that are fetched at a time


class PartialWarning(UserWarning):
    """What was answered is not all of the heap; the text says what is missing."""


class Block(
    collections.namedtuple(
        "Block", "start size allocator state state_class domain kind detail object refcount"
    )
):
    """A block of the target: plain values, good for ever.

    start        address
    size         bytes of the whole block: a size class, a chunk with its header
    allocator    "glibc", "pymalloc" or "none"
    state        "in use", or which kind of free: "tcache", "free block", …
    state_class  "in use", "free", "overhead" or "unknown"
    domain, kind, detail
                 what it is, in the words of the heap command
    object       what Python's id() gives; None when it is no Python object
    refcount     of that object; None when it is immortal, or not known
    """

    __slots__ = ()

    @property
    def end(self):
        """Address of its last byte."""
        return self.start + max(self.size, 1) - 1

    @property
    def is_in_use(self):
        return self.state_class == "in use"


class Heap:
    """The memory of one target. A `with` block closes it; so does close()."""

    def __init__(self, source):
        self._source = source  # .use(): a context manager that gives the ffi.Session; .close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._source.close()

    def refresh(self):
        """Look anew when asked next: the target has run on. Blocks that are being read end stale.

        gdb does it by itself; out of gdb nobody else can know.
        """
        with self._source.use() as session:
            session.invalidate()

    @contextlib.contextmanager
    def stopped(self):
        """Keep a live process stopped for the `with` block, so that all of it is of one moment."""
        with self._source.use() as session:
            _do(session.stop)
        try:
            yield self
        finally:
            session.resume()

    def blocks(self, query=None):
        """Iterate over the blocks that match a query of `heap select`, in its order; all without one.

        They are fetched as the loop goes on. Raises StaleError when the target has run on meanwhile,
        and warns with PartialWarning at the end when parts of the heap could not be read.
        """
        with self._source.use() as session:
            return _Blocks(self._source, session, query)

    def find(self, address):
        """The block that contains an address, or None. Fast: only the first call has to walk the heap."""
        with self._source.use() as session:
            raw = _do(session.find_block, address)
            return _block(raw, {}) if raw else None

    def report(self, command, args=(), **options):
        """The report of a command of `heap`, as the dict that docs/formats.md describes.

        args: its words, a list or one string ("-by size", for select the query); options: top=5 is
        "-top 5". A report that could not be finished is returned as well: its "partial" is true,
        "partial_reason" says why.
        """
        if isinstance(args, str):
            args = ["--", args] if _takes_text(command) else args.split()
        argv = [command, "-format", "json"]
        for name, value in options.items():
            argv += _option(name, value)
        return self._json(argv + [str(word) for word in args])

    def census(self, by=None, top=None, sort=None):
        """Rows of the `heap` command: domain, kind, detail, count, bytes, … as attributes."""
        options = {"by": by, "top": top, "sort": sort}
        report = self.report("census", **{name: word for name, word in options.items() if word})
        if report["partial"]:
            _warn(report["partial_reason"])
        rows = report["rows"]
        row_type = collections.namedtuple("Row", rows[0] if rows else "domain kind detail count bytes")
        return [row_type(**row) for row in rows]

    def _json(self, argv):
        pieces = []
        try:
            with self._source.use() as session:
                _do(session.run, argv, pieces.append)
        except ffi.Error as error:
            if error.code != ffi.PARTIAL:
                raise
        return json.loads("".join(pieces))


class _Blocks:
    """Iterator over the blocks of a cursor, which it closes at the end or when nobody wants it."""

    def __init__(self, source, session, query):
        self._cursor = None
        self._source, self._session = source, session
        self._texts = {}
        self._batch = (ffi.BlockStruct * _BATCH)()
        self._fetched = iter(())
        self._cursor = _do(session.open_cursor, query)

    def __iter__(self):
        return self

    def __next__(self):
        for block in self._fetched:
            return block
        if self._cursor is None:
            raise StopIteration
        self._fetched = iter(self._fetch())
        for block in self._fetched:
            return block
        self.close()
        _warn(self._session.shortfall())
        raise StopIteration

    def _fetch(self):
        with self._source.use(self._session):
            count = _do(self._session.cursor_next, self._cursor, self._batch)
            # Strings are borrowed until the session forgets its walk: copied before that.
            return [_block(self._batch[index], self._texts) for index in range(count)]

    def close(self):
        cursor, self._cursor = self._cursor, None
        if cursor is not None:
            self._session.cursor_close(cursor)

    def __del__(self):
        self.close()


def _do(function, *arguments):
    """Call; an interrupted walk was interrupted by Ctrl-C."""
    try:
        return function(*arguments)
    except ffi.Error as error:
        if error.code == ffi.INTERRUPTED:
            raise KeyboardInterrupt from None
        raise


def _option(name, value):
    word = "-" + name.rstrip("_").replace("_", "-")
    if value is True:
        return [word]
    return [] if value is None or value is False else [word, str(value)]


def _takes_text(command):
    return any(each.takes_text for each in library().commands() if each.name == command)


def _block(raw, texts):
    words = []
    for address in (raw.allocator, raw.state, raw.domain, raw.kind, raw.detail):
        word = texts.get(address)
        if word is None:
            word = texts[address] = ffi.text_at(address)
        words.append(word)
    return Block(
        raw.start,
        raw.size,
        words[0],
        words[1],
        ffi.STATES[raw.state_class],
        words[2],
        words[3],
        words[4],
        raw.object or None,
        raw.refcount if raw.refcount >= 0 else None,
    )


def _warn(reason):
    if reason:
        warnings.warn(str(reason), PartialWarning, stacklevel=3)


# ---- where a heap comes from ----


def library():
    """The loaded library. Raises Error when there is none."""
    if library.loaded is None:
        library.loaded = ffi.Library()
    return library.loaded


library.loaded = None


class _Own:
    """A session that belongs to its Heap."""

    def __init__(self, session):
        self._session = session

    @contextlib.contextmanager
    def use(self, _session=None):
        yield self._session

    def close(self):
        self._session.close()


def attach(pid, **options):
    """The heap of a live process. It is stopped while it is read, and left as it was.

    options: sysroot, debug_dirs, rules (texts), threads (a number), no_stop (somebody else has stopped
    it).
    """
    return Heap(_Own(ffi.Session(library(), _checked(options, "exe")).open_pid(pid)))


def open_core(path, **options):
    """The heap in a core file. options: exe, sysroot, debug_dirs, rules (texts), threads (a number)."""
    return Heap(_Own(ffi.Session(library(), _checked(options, "no_stop")).open_core(path)))


def no_target(**options):
    """What needs no target: reports on snapshot files, report("diff", [FILE, FILE])."""
    return Heap(_Own(ffi.Session(library(), _checked(options, "no_stop")).open_detached()))


def _checked(options, unfit):
    known = {"exe", "sysroot", "debug_dirs", "rules", "threads", "no_stop"} - {unfit}
    for name in options:
        if name not in known:
            raise TypeError("there is no option %s: there are %s" % (name, ", ".join(sorted(known))))
    return options


def current():
    """In gdb: the heap of the inferior that is selected now."""
    try:
        import gdb  # pylint: disable=import-outside-toplevel,unused-import
    except ImportError:
        raise ffi.Error(
            "heapwalk.current() is for scripts inside gdb: use heapwalk.attach(PID) or "
            "heapwalk.open_core(PATH)",
            "unsupported",
        ) from None
    from heapwalk_gdb import runner  # pylint: disable=import-outside-toplevel

    return Heap(runner.Inferior(runner.runner()))
