# SPDX-License-Identifier: LGPL-2.1-or-later
"""The library session of the selected inferior: made when first needed, forgotten when stale.

Where the bytes come from:

    native process    the library reads it itself; it never stops it: ptrace is gdb's
    core file         the library maps the same file
    anything else     gdb reads (gdbserver, a simulator, …): same answer, more slowly
"""

import contextlib
import os
import re
import struct
import tempfile

import gdb
from heapwalk import ffi

from . import maps

_ET_CORE = 4  # e_type of a core file, elf.h
_FILE_ROW = re.compile(r"[`'\"\u2018\u201c](/.*)['\"\u2019\u201d],")  # `FILE', file type elf64-…


class Target:
    """What identifies the bytes of an inferior: equal targets may share a session."""

    def __init__(self, kind, pid=0, core=None, exe=None, birth=None):
        self.kind = kind  # "live", "core" or "callbacks"
        self.pid = pid
        self.core = core
        self.exe = exe
        self.birth = birth  # tells a reused pid and an exec from the process that was there

    def __eq__(self, other):
        return isinstance(other, Target) and vars(self) == vars(other)


class Sessions:
    """One session an inferior, dropped as gdb's events tell that it is stale."""

    def __init__(self, library, progress):
        self._library = library
        self._progress = progress
        self._open = {}  # inferior number: (Target, settings, ffi.Session)
        self._detached = {}  # inferior number: ffi.Session without a target, has its labels meanwhile
        self._running = None  # the session whose command is under way
        self._moments = {}  # inferior number: _switches() when its heap was walked for a condition
        self._stale = set()  # numbers of inferiors that changed while that command ran
        self._connect()

    def current(self, in_condition=False):
        """The session of the selected inferior. Raises gdb.GdbError or ffi.Error.

        in_condition: gdb decides whether to stop, and calls the process a running one meanwhile.
        """
        number = gdb.selected_inferior().num
        target, settings = find_target(in_condition), find_settings()
        known = self._open.get(number)
        if known:
            if known[:2] == (target, settings):
                self._pass_labels(self._detached.get(number), known[2])
                return known[2]
            self.drop(number)
        session = self._start(target, settings)
        self._open[number] = (target, settings, session)
        self._pass_labels(self._detached.get(number), session)
        return session

    def detached(self):
        """A session with the labels of the selected inferior, for what needs no target."""
        return self._detach(gdb.selected_inferior().num)

    def _detach(self, number):
        if number not in self._detached:
            self._detached[number] = ffi.Session(self._library, {}, self._progress).open_detached()
        if number in self._open:
            self._pass_labels(self._open[number][2], self._detached[number])
        return self._detached[number]

    @staticmethod
    def _pass_labels(giver, taker):
        """Labels are the inferior's: they outlive a session, and the process too."""
        if giver is not None and taker is not None:
            giver.move_labels(taker)

    def cached(self):
        """The session of the selected inferior, else what has its labels, else None. Never raises."""
        number = gdb.selected_inferior().num
        return self._open[number][2] if number in self._open else self._detached.get(number)

    @contextlib.contextmanager
    def held(self):
        """The session, for a function of gdb's expressions: the condition of a breakpoint may call it.

        There no event tells that the process ran since the condition was evaluated last, and other
        threads may run on. The kernel's counts of when threads were switched tell both.
        """
        inferior = gdb.selected_inferior()
        if not _is_running(inferior):
            session = self.current()
            with self.busy(session):
                yield session
            return
        session = self.current(in_condition=True)
        target = self._open[inferior.num][0]
        before = _switches(inferior.pid) if target.kind == "live" else None
        if before is None or before != self._moments.get(inferior.num):
            self._moments.pop(inferior.num, None)
            session = self._anew(inferior.num)
        with self.busy(session):
            yield session
        if before is None:
            return
        if before != _switches(inferior.pid):
            session.invalidate()
            raise gdb.GdbError(
                "Other threads ran while the heap was read: give maint set target-non-stop off "
                "before the program is started or attached to, then gdb stops them all."
            )
        self._moments[inferior.num] = before

    def _anew(self, number):
        """The session of an inferior, with nothing in it of a moment that may have passed."""
        target, _settings, session = self._open[number]
        if target.kind == "live":
            session.invalidate()
            return session
        if target.kind == "core":
            return session
        self.drop(number)
        return self.current(in_condition=True)

    @contextlib.contextmanager
    def busy(self, session):
        """While it is used, events do not pull the session from under its user."""
        outer, self._running = self._running, session
        try:
            yield
        finally:
            self._running = outer
            while self._stale and outer is None:
                self.drop(self._stale.pop())

    def forget(self):
        """Close the session of the selected inferior."""
        self.drop(gdb.selected_inferior().num)

    def drop(self, number):
        """Close the session of an inferior, now or when its command has returned."""
        known = self._open.get(number)
        if known is None:
            return
        if known[2] is self._running:
            self._stale.add(number)
            return
        self._detach(number)
        del self._open[number]
        known[2].close()

    def _start(self, target, settings):
        options = dict(settings, exe=target.exe, no_stop=True)
        session = ffi.Session(self._library, options, self._progress)
        if target.kind == "live":
            return session.open_pid(target.pid)
        if target.kind == "core":
            return session.open_core(target.core)
        return session.open_callbacks(read_memory, find_mappings(target.pid), target.pid)

    def _connect(self):
        # Events that this gdb is too old for are made up for by the comparison in current().
        for names, handler in (
            (("cont", "stop", "memory_changed", "inferior_call", "new_objfile"), self._on_change),
            (("exited", "clear_objfiles", "connection_removed"), self._on_end),
            (("inferior_deleted",), self._on_deleted),
        ):
            for name in names:
                registry = getattr(gdb.events, name, None)
                if registry is not None:
                    registry.connect(handler)

    def _on_change(self, _event):
        # Most of these events do not say which inferior they are about: it is every one, then.
        for number, (target, _settings, session) in list(self._open.items()):
            if target.kind == "live" and session is not self._running:
                session.invalidate()
            elif target.kind != "core":  # a core does not run on
                self.drop(number)  # its memory map is a copy, stale as well

    def _on_end(self, event):
        inferior = getattr(event, "inferior", None)
        for number in list(self._open) if inferior is None else [inferior.num]:
            self.drop(number)

    def _on_deleted(self, event):
        self.drop(event.inferior.num)
        detached = self._detached.pop(event.inferior.num, None)
        if detached is not None:
            detached.close()


def _is_running(inferior):
    return any(thread.is_running() for thread in inferior.threads())


def _task_file(pid, tid, name):
    with open("/proc/%d/task/%d/%s" % (pid, tid, name), encoding="utf-8", errors="replace") as file:
        return file.read()


def _is_traced_stop(pid):
    """Does the kernel say that gdb holds the selected thread?"""
    thread = gdb.selected_thread()
    try:
        return thread is not None and "\nState:\tt" in _task_file(pid, thread.ptid[1], "status")
    except OSError:
        return False


_TASK_STATUS = re.compile(r"^(?:State|voluntary_ctxt_switches|nonvoluntary_ctxt_switches):\t(\S+)", re.M)


def _switches(pid):
    """{thread: how often it was switched}: two equal answers, and none of them has run in between.

    A thread that runs now makes the answer unequal to any other.
    """
    found = {}
    try:
        for tid in os.listdir("/proc/%d/task" % pid):
            found[tid] = _TASK_STATUS.findall(_task_file(pid, int(tid), "status"))
            if found[tid][:1] == ["R"]:
                found[tid] = object()
    except OSError:  # a thread that ended meanwhile
        return {0: object()}
    return found


def find_target(in_condition=False):
    """What the selected inferior is. Raises gdb.GdbError when there is nothing to look at."""
    inferior = gdb.selected_inferior()
    kind = _connection_type(inferior)
    if kind == "core":
        return Target("core", inferior.pid, _core_file(inferior), _executable())
    if not inferior.pid:
        raise gdb.GdbError(
            "There is no process and no core file to look at: use attach PID or core-file FILE first."
        )
    is_held = in_condition and (kind != "native" or _is_traced_stop(inferior.pid))
    if not is_held and _is_running(inferior):
        raise gdb.GdbError("The process is running: stop it with interrupt first.")
    if kind == "native":
        return Target("live", inferior.pid, birth=_birth(inferior.pid))
    return Target("callbacks", inferior.pid, exe=_executable())


def find_settings():
    """gdb's settings that say where files are, as the library's options."""
    sysroot = gdb.parameter("sysroot") or ""
    if sysroot.startswith("target:"):
        sysroot = sysroot[len("target:") :]
    return {
        "sysroot": sysroot or None,
        "debug_dirs": gdb.parameter("debug-file-directory") or None,
    }


def _connection_type(inferior):
    """ "native", "core", "remote", "extended-remote", …; None: no target."""
    if hasattr(inferior, "connection"):  # gdb 11
        return inferior.connection.type if inferior.connection else None
    # `info inferiors` of gdb 10: "* 1  process 42  1 (native)  /bin/cat"
    row = re.search(
        r"^\*\s+%d\s.*?\s\d+ \(([a-z-]+)" % inferior.num,
        gdb.execute("info inferiors", to_string=True),
        re.MULTILINE,
    )
    return row.group(1) if row else None


def _core_file(inferior):
    core = getattr(inferior, "corefile", None)  # gdb 17
    if core is not None:
        return core.filename
    # The words around the name are translated; the file itself says that it is a core.
    for path in _FILE_ROW.findall(gdb.execute("info files", to_string=True)):
        if _elf_type(path) == _ET_CORE:
            return path
    raise gdb.GdbError("gdb does not tell which core file it has: load it with core-file FILE.")


def _elf_type(path):
    try:
        with open(path, "rb") as file:
            header = file.read(18)
    except OSError:
        return None
    if len(header) < 18 or header[:4] != b"\x7fELF":
        return None
    return struct.unpack(">H" if header[5] == 2 else "<H", header[16:])[0]


def _executable():
    """The executable that gdb was given or found, or None."""
    space = gdb.current_progspace()
    name = getattr(space, "executable_filename", None) or space.filename  # the first: gdb 16
    if not name or name.startswith("target:") or not os.path.isabs(name):
        return None
    return name


def _birth(pid):
    """When the process began and which file it runs: another answer is another process."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            began = file.read().rpartition(b")")[2].split()[19]  # field 22, starttime
        exe = os.stat("/proc/%d/exe" % pid)
    except (OSError, IndexError):
        return None
    return (began, exe.st_dev, exe.st_ino)


def read_memory(address, length):
    """Bytes of the selected inferior through gdb, or None."""
    try:
        return gdb.selected_inferior().read_memory(address, length)
    except gdb.MemoryError:
        return None


def find_mappings(pid):
    """The memory map of a target that gdb reads for us."""
    try:
        text = gdb.execute("info proc mappings", to_string=True)
        problem = "it shows no permissions"
    except gdb.error as error:
        text, problem = "", str(error).rstrip(".")
    found = maps.parse_gdb(text) or _mappings_by_file(pid)
    if not found:
        raise gdb.GdbError(
            "The memory map of this target can't be had (info proc mappings: %s): "
            "make a core on its machine with gcore and open that." % problem
        )
    return found


def _mappings_by_file(pid):
    with tempfile.TemporaryDirectory(prefix="heapwalk-") as folder:
        copy = os.path.join(folder, "maps")
        try:
            gdb.execute("remote get /proc/%d/maps %s" % (pid, copy), to_string=True)
            with open(copy, encoding="utf-8", errors="surrogateescape") as file:
                return maps.parse_kernel(file.read())
        except (gdb.error, OSError):
            return []
