# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the targets of the test matrix fill their heaps with. Runs unchanged on Python 2.7 and 3.6 to 3.13.

A workload takes a Notes object, returns whatever keeps its objects alive, and notes what the walk has to
find: exact numbers of instances, and chunks that it got straight from malloc. Class names are unique
to this file, so that a count of their instances can be exact.
"""
from __future__ import print_function

import array
import collections
import ctypes
import gc
import io
import itertools
import os
import signal
import sys
import threading
import time
import types
import weakref

PY2 = sys.version_info[0] == 2
if PY2:
    text = unicode  # noqa: F821
    char = unichr  # noqa: F821
    intern_ = intern  # noqa: F821
    big = long  # noqa: F821
else:
    text, char, intern_, big = str, chr, sys.intern, int

LIBC = ctypes.CDLL(None)
LIBC.malloc.restype = ctypes.c_void_p
LIBC.malloc.argtypes = [ctypes.c_size_t]
LIBC.free.restype = None
LIBC.free.argtypes = [ctypes.c_void_p]
LIBC.memset.restype = None
LIBC.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]


class Notes(object):
    """What a workload promises; written as JSON next to the other oracles."""

    def __init__(self, directory):
        self.directory = directory
        self.counts = {}  # kind -> exact number of objects in use
        self.values = {}  # class -> instances whose attribute values must be tied to it
        self.chunks = []  # [what malloc returned, bytes asked for, state] of memory that is not Python's
        self.interpreters = []  # ids of sub-interpreters that were made
        self.paused = 0  # threads that wait in pause(2)

    def count(self, kind, number):
        self.counts[kind] = self.counts.get(kind, 0) + number


# ---- objects ---------------------------------------------------------------------------------------


class SmallNode(object):
    __slots__ = ("left", "right")


def small(notes):
    """Many small objects of many types."""
    keep = []
    for i in range(12000):
        keep.append((i + 100000, float(i) + 0.5))
        keep.append([i, i + 1])
        keep.append({i: None})
        keep.append("small-%d" % i)
        keep.append(big(1) << (i % 400))
        keep.append(complex(i, 1))
        keep.append(("b%d" % i).encode("ascii"))
    nodes = [SmallNode() for _ in range(8000)]
    for left, right in zip(nodes, nodes[1:]):
        left.right, right.left = right, left
    notes.count("SmallNode", 8000)
    return keep, nodes


def buffers(notes):
    """Large buffers: up to a few MiB each, in malloc's bins and in mappings of their own."""
    keep = []
    for size in (600, 4000, 70000, 131000, 140000, 1 << 20, (3 << 20) + 17):
        keep.append(b"x" * size)
        keep.append(u"y" * size)
        keep.append(u"\u20ac" * (size // 2))
        keep.append(bytearray(size))
        keep.append(array.array("d", [1.5]) * (size // 8))
        keep.append([None] * (size // 8))
        keep.append((None,) * (size // 8))
        keep.append(ctypes.create_string_buffer(size))
        keep.append(io.BytesIO(b"z" * size))
        keep.append(memoryview(bytearray(size)))
    keep.append(dict.fromkeys(range(50000)))
    keep.append(set(range(1000, 41000)))
    keep.append(dict(("key%d" % i, i) for i in range(30000)))
    front = bytearray(9000)
    del front[:100]  # ob_start leaves ob_bytes
    keep.append(front)
    return keep


class Ghost(object):
    def __init__(self, i):
        self.i = i
        self.name = "ghost %d" % i


class SlotGhost(object):
    __slots__ = ("a", "b", "c", "d")


def fragmented(notes):
    """Many freed, few survivors: what is dead must stay dead, though it keeps its type."""
    everything = []
    for i in range(30000):
        everything.append(Ghost(i))
        everything.append(SlotGhost())
        everything.append((i, i))
        everything.append([i] * (i % 70))
        everything.append("dead or alive %d" % i * (i % 9 + 1))
        everything.append(bytearray(i % 3000))
        everything.append(float(i))
    survivors = everything[:: 7 * 219] + everything[1 :: 7 * 501]
    notes.count("Ghost", len([1 for x in survivors if type(x) is Ghost]))
    notes.count("SlotGhost", len([1 for x in survivors if type(x) is SlotGhost]))
    assert notes.counts["Ghost"] == 137 and notes.counts["SlotGhost"] == 60, notes.counts
    # alternate survivors keep bins apart
    del everything[:]
    keep = [bytearray(2000 + 16 * (i % 50)) for i in range(600)]
    del keep[::2]
    gc.collect()
    return survivors, keep


def make_strings():
    kinds = []
    for size in (0, 1, 2, 3, 7, 15, 40, 100, 461, 470, 600, 5000):
        for fill in (u"a", u"\xe9", u"\u20ac", u"\U0001f40d" if sys.maxunicode > 65535 else u"\u4e00"):
            for i in range(12):
                kinds.append(char(0x61 + i) + fill * size)
    return kinds


class StrChild(text):
    pass


class StrSlots(text):
    __slots__ = ()


class BytesChild(bytes):
    pass


def strings(notes):
    """All widths, with UTF-8 and wchar_t caches, interned, with surrogates, sub-classes."""
    keep = make_strings()
    keep += [intern_("interned_%d" % i) for i in range(500)]
    keep += [u"\ud800%d" % i for i in range(50)]
    keep += [StrChild(s) for s in make_strings()]
    keep += [StrSlots(s) for s in make_strings()]
    keep += [BytesChild(b"bytes %d" % i if not PY2 else "bytes %d" % i) for i in range(100)]
    notes.count("StrChild", 12 * 4 * 12)
    notes.count("StrSlots", 12 * 4 * 12)
    notes.count("BytesChild", 100)
    api = ctypes.pythonapi
    if PY2:
        for width in ("UCS4", "UCS2"):
            encode = getattr(api, "_PyUnicode%s_AsDefaultEncodedString" % width, None)
            if encode:
                encode.restype, encode.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_void_p]
                for i in range(300):
                    keep.append(u"default encoded %d" % i)
                    encode(keep[-1], None)  # a byte string is cached in it
        return keep
    cached = make_strings()
    api.PyUnicode_AsUTF8.restype = ctypes.c_void_p
    api.PyUnicode_AsUTF8.argtypes = [ctypes.py_object]
    for s in cached:
        api.PyUnicode_AsUTF8(s)
    keep += cached
    if sys.version_info < (3, 12):
        wide = make_strings()
        api.PyUnicode_AsUnicode.restype = ctypes.c_void_p
        api.PyUnicode_AsUnicode.argtypes = [ctypes.py_object]
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for s in wide:
                api.PyUnicode_AsUnicode(s)
            keep += wide
            api.PyUnicode_FromUnicode.restype = ctypes.py_object
            api.PyUnicode_FromUnicode.argtypes = [ctypes.c_void_p, ctypes.c_ssize_t]
            for size in range(1, 200):  # made of wchar_t and never made ready
                s = api.PyUnicode_FromUnicode(None, size)
                LIBC.memset(api.PyUnicode_AsUnicode(s), 0, size * ctypes.sizeof(ctypes.c_wchar))
                keep.append(s)
    return keep


# ---- classes ---------------------------------------------------------------------------------------


class Slotted(object):
    __slots__ = ("a", "b")


class Dicted(object):
    pass


class SlotsAndDict(Slotted):
    pass


class SlotsAndWeak(object):
    __slots__ = ("a", "__weakref__")


class Seventy(object):
    __slots__ = ("value",)


class MyList(list):
    pass


class MyDict(dict):
    pass


class MyTuple(tuple):
    pass


class MyInt(int):
    pass


class MyFloat(float):
    __slots__ = ()


class MySet(set):
    pass


class MyError(Exception):
    pass


class Meta(type):
    def __new__(mcs, name, bases, body):
        return type.__new__(mcs, name, bases, body)


Made = Meta("Made", (object,), {"x": 1})
Odd = type('odd "name" \\ here', (object,), {})
Renamed = type("BeforeRename", (object,), {})
Renamed.__name__ = "AfterRename"
Umlaut = type("Gr\xc3\xb6\xc3\x9fe" if PY2 else u"Gr\xf6\xdfe", (object,), {})
Pair = collections.namedtuple("Pair", "one two")


def classes(notes):
    """__slots__, __dict__, both; sub-classes of built-in types; metaclasses; odd names."""
    keep = [Seventy() for _ in range(70000)]
    notes.count("Seventy", 70000)
    for cls, number in (
        (Slotted, 3000), (Dicted, 3000), (SlotsAndDict, 3000), (SlotsAndWeak, 2000), (MyList, 700),
        (MyDict, 700), (MyTuple, 700), (MyInt, 700), (MyFloat, 700), (MySet, 700), (MyError, 500),
        (Made, 400), (Odd, 30), (Renamed, 40), (Umlaut, 50),
    ):
        made = [cls() for _ in range(number)]
        for i, one in enumerate(made):
            if hasattr(one, "__dict__") and i % 3:
                one.first = i
                if i % 3 == 2:
                    one.second = [i]
        keep.append(made)
        name = cls.__name__
        notes.count(name.decode("utf-8") if PY2 else name, number)
    keep.append([Pair(i, [i]) for i in range(900)])
    notes.count("Pair", 900)
    # A dict read through __dict__ and one that got too many keys to share them.
    odd_ones = [Dicted() for _ in range(300)]
    notes.count("Dicted", 300)
    for i, one in enumerate(odd_ones):
        one.__dict__["k%d" % i] = i
        if i % 7 == 0:
            for k in range(50):
                setattr(one, "many%d_%d" % (i, k), k)
    keep.append(odd_ones)
    keep.append([type("Local%d" % i, (Dicted,), {"v": i}) for i in range(200)])
    return keep


class Attributed(object):
    def __init__(self, i):
        self.number = i
        self.name = "attributed"
        self.items = None


def instances(notes):
    """60 000 instances with attributes: on 3.11 and later their values have no dict."""
    notes.count("Attributed", 60000)
    notes.values["Attributed"] = 60000
    return [Attributed(i) for i in range(60000)]


class DictHolder(object):
    __slots__ = ("d",)


def untracked(notes):
    """5 000 dicts and as many tuples that the collector does not track."""
    keep = []
    for i in range(5000):
        holder = DictHolder()
        holder.d = {"n": i, "m": i + 1}
        keep.append(holder)
    notes.count("DictHolder", 5000)
    keep.append([(i, float(i), "t") for i in range(5000)])
    gc.collect()
    return keep


# ---- running code ----------------------------------------------------------------------------------


def chain(depth):
    if depth:
        for x in chain(depth - 1):
            yield x
    yield depth


ASYNC = """
import types
class AsyncBox:
    async def coroutine(self, other):
        a = [1]; b = {2: 3}
        await other
    async def agen(self):
        for i in range(10):
            c = str(i) * 3
            yield c
@types.coroutine
def stop():
    yield 1
def make(n):
    made = []
    for i in range(n):
        box = AsyncBox()
        co = box.coroutine(stop())
        co.send(None)
        ag = box.agen()
        step = ag.asend(None)
        try:
            step.send(None)
        except StopIteration:
            pass
        fresh = box.coroutine(None)
        made.append((box, co, ag, fresh, box.agen()))
    return made
"""


class Closer(object):
    def method(self):
        return self

    @classmethod
    def cls_method(cls):
        return cls

    @property
    def prop(self):
        return 1


def boom(depth):
    local = "local %d" % depth
    if depth:
        return boom(depth - 1), local
    raise MyError(local)


def code(notes):
    """Generators, frames, coroutines; exceptions, closures, bound methods, weak references."""
    keep = []
    for i in range(60):
        generator = chain(i)
        next(generator)
        keep.append(generator)
    keep += [chain(3) for _ in range(200)]
    keep += [(y for y in [x]) for x in range(300)]
    if not PY2:
        scope = {}
        exec(ASYNC, scope)  # noqa: S102
        keep.append(scope["make"](150))
        notes.count("AsyncBox", 150)
    caught = []
    for i in range(200):
        try:
            boom(i % 20)
        except MyError as error:
            caught.append((error, sys.exc_info()[2]))
    notes.count("MyError", 200)
    keep.append(caught)
    if PY2:
        sys.exc_clear()  # noqa: F821

    def outer(value):
        def inner(x, _default=[value]):
            return value, x

        return inner, lambda: value

    keep.append([outer(i) for i in range(1500)])
    closers = [Closer() for _ in range(1000)]
    notes.count("Closer", 1000)
    keep.append(closers)
    keep.append([c.method for c in closers])
    keep.append([weakref.ref(c, lambda r: None) for c in closers])
    keep.append([weakref.proxy(c) for c in closers[:100]])
    keep.append(weakref.WeakValueDictionary(enumerate(closers)))
    keep.append([c.append for c in ([] for _ in range(500))])
    keep.append([compile("a%d = %d + x" % (i, i + 1000), "<made>", "exec") for i in range(300)])
    return keep


# ---- containers ------------------------------------------------------------------------------------


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_double), ("y", ctypes.c_double), ("name", ctypes.c_char * 40)]


def containers(notes):
    """What holds a buffer of its own, and what iterates over it."""
    keep = []
    for i in range(400):
        size = i % 90
        keep.append(set(range(i, i + size)))
        keep.append(frozenset(range(i, i + size)))
        keep.append(collections.deque(range(size * 3)))
        keep.append(collections.OrderedDict((str(k), k) for k in range(size)))
        keep.append(collections.defaultdict(list, ((k, [k]) for k in range(size))))
        keep.append(collections.Counter("abcabc%d" % i))
        keep.append(bytearray(size * 20))
        keep.append(array.array("i", range(size * 4)))
        keep.append(memoryview(bytearray(size * 7)))
        keep.append(memoryview(b"0123456789" * 3)[2:9])
        keep.append(io.BytesIO(b"b" * size * 11))
        keep.append(io.StringIO(u"s" * size * 11))
        keep.append(ctypes.create_string_buffer(size * 13 + 1))
        keep.append((ctypes.c_int * (size + 1))())
        keep.append(Point(1, 2))
        keep.append(dict((k, k) for k in range(size * 2)))
        keep.append(list(range(size * 3)))
        keep.append(iter(list(range(size))))
        keep.append(itertools.count(i + 1000))
        keep.append(zip(range(i), range(i)))
        keep.append(slice(i, i + 1000, 3))
        keep.append(types.ModuleType("made_module_%d" % i))
    notes.count("Point", 400)
    growing = io.BytesIO()
    for i in range(1000):
        growing.write(b"line of output\n")
    keep.append(growing)
    emptied = dict((k, k) for k in range(1000))
    emptied.clear()
    keep.append(emptied)
    keep.append(open(os.devnull, "rb"))
    keep.append(io.BufferedReader(io.BytesIO(b"abc" * 1000)))
    if not PY2:
        keep.append([types.SimpleNamespace(a=i) for i in range(100)])
        keep.append([types.MappingProxyType({i: i}) for i in range(100)])
    return keep


# ---- threads and plain malloc ----------------------------------------------------------------------


def malloc_some(notes, lock, goes_on, bin_sizes=(24, 100, 500, 1016, 5000, 40000)):
    """Chunks straight from malloc in the calling thread's arena: some kept, some freed; returns what is left to free."""
    used, cached = [], []
    for size in bin_sizes:
        for i in range(40):
            used.append((LIBC.malloc(size + i), size + i))
    spare = [LIBC.malloc(3000 + 16 * i) for i in range(60)]
    for address in spare[::2]:
        LIBC.free(address)  # too big for a tcache: into bins, kept apart by their neighbours
    used += [(a, 3000 + 16 * (2 * i + 1)) for i, a in enumerate(spare[1::2])]
    used.append((LIBC.malloc(700000), 700000))  # a mapping of its own
    cached = [LIBC.malloc(1000) for _ in range(7)]
    guard = LIBC.malloc(1000)
    used.append((guard, 1000))
    with lock:
        notes.chunks += [[a, size, "in use"] for a, size in used]
        if not goes_on:  # a thread that goes on will use them again
            notes.chunks += [[a, 1000, "tcache"] for a in cached]
            return cached
    for address in cached:
        LIBC.free(address)
    return []


def deep_pause(depth, ready, cached):
    padding = [depth]
    if depth:
        return deep_pause(depth - 1, ready, cached), padding
    ready.append(1)
    for address in cached:  # last: what the interpreter allocates before would take them
        LIBC.free(address)
    signal.pause()


def block(notes, lock, ready, depth):
    deep_pause(depth, ready, malloc_some(notes, lock, False))


PAUSE = {"x86_64": "34", "aarch64": "73"}.get(os.uname()[4], "34")  # pause(2), ppoll(2)


def wait_until_paused(others):
    """Until `others` threads of this process are inside pause(2), where they allocate no more."""
    deadline = time.time() + 60
    while True:
        paused = 0
        for tid in os.listdir("/proc/self/task"):
            with open("/proc/self/task/%s/syscall" % tid) as f:
                paused += f.read().split()[0] == PAUSE
        if paused >= others:
            return
        if time.time() > deadline:
            raise SystemExit("%d of %d threads reached pause(2)" % (paused, others))
        time.sleep(0.001)


def threads(notes):
    """Four threads, each with its own malloc arena and chunks in it, blocked in the kernel."""
    lock, ready, started = threading.Lock(), [], []
    malloc_some(notes, lock, True)
    for i in range(4):
        thread = threading.Thread(target=block, args=(notes, lock, ready, 20 + 100 * i))
        thread.daemon = True
        thread.start()
        started.append(thread)
    notes.paused += len(started)
    wait_until_paused(notes.paused)
    return lock, ready, started


# ---- 2.7 only --------------------------------------------------------------------------------------

OLD_STYLE = """
class OldStyle:
    def __init__(self, i):
        self.i = i
class OldParent:
    pass
class OldChild(OldParent):
    x = 1
"""


def python2(notes):
    """Old-style classes and instances; ints and floats, many to a block."""
    scope = {}
    exec(OLD_STYLE, scope)  # noqa: S102
    keep = [scope["OldStyle"](i) for i in range(3000)]
    keep += [scope["OldChild"]() for _ in range(300)]
    numbers = [i + 1000 for i in range(20000)]
    floats = [i * 1.25 for i in range(20000)]
    del numbers[::3], floats[::5]
    keep += [numbers, floats, [u"unicode %d" % i for i in range(3000)]]
    keep.append([xrange(i + 5) for i in range(300)])  # noqa: F821
    return keep


# ---- 3.12 and later --------------------------------------------------------------------------------

ISOLATED = """
import gc, os, sys, signal
class SubThing:
    __slots__ = ('x',)
class SubDicted:
    pass
def run(name, number, stats=sys._debugmallocstats, close=os.close, pause=signal.pause):
    keep = [SubThing() for _ in range(number)]
    more = [SubDicted() for _ in range(500)]
    for i, m in enumerate(more):
        m.a = i
        m.b = [i, str(i)]
    texts = ['sub-interpreter %d' % i * (i % 60) for i in range(5000)]
    dead = [(i, i) for i in range(9000)]
    del dead[::2]
    with open(name, 'w') as f:
        for x in keep:
            f.write('%#x SubThing\\n' % id(x))
        for x in more:
            f.write('%#x SubDicted\\n' % id(x))
        for x in texts:
            f.write('%#x str\\n' % id(x))
        for x in dead:
            f.write('%#x tuple\\n' % id(x))
    del f, x, i, m
    gc.collect()
    gc.disable()
    stats()
    close(2)
    pause()
"""


def subinterpreters(notes):
    """Two isolated interpreters with arenas of their own, blocked; each has told its statistics last."""
    try:
        import _interpreters as api  # 3.13

        def create():
            return api.create("isolated", reqrefs=False)
    except ImportError:
        import _xxsubinterpreters as api  # 3.12

        def create():
            return api.create(isolated=True)
    keep = []
    saved = os.dup(2)
    for number in (3000, 7000):
        made = create()
        name = os.path.join(notes.directory, "interpreter-%d" % int(made))
        script = ISOLATED + "\nrun(%r, %d)\n" % (name + ".census", number)
        read_end, write_end = os.pipe()
        os.dup2(write_end, 2)
        os.close(write_end)
        # Nobody else may hold the write end: closing descriptor 2 is how the interpreter says "done".
        thread = threading.Thread(target=api.run_string, args=(made, script))
        thread.daemon = True
        thread.start()
        with open(read_end, "rb") as pipe:
            output = pipe.read()
        os.dup2(saved, 2)
        with open(name + ".stats", "wb") as f:
            f.write(output)
        if b"Error" in output or b"free PyFloatObjects" not in output:
            raise SystemExit("interpreter %d: %s" % (int(made), output.decode("utf-8", "replace")))
        notes.interpreters.append(int(made))
        notes.count("SubThing", number)
        notes.count("SubDicted", 500)
        keep.append((made, thread))
    notes.paused += 2
    wait_until_paused(notes.paused)
    return keep


WORKLOADS = collections.OrderedDict(
    (f.__name__, f)
    for f in (small, buffers, fragmented, strings, classes, instances, untracked, code, containers, threads)
)
if PY2:
    WORKLOADS["python2"] = python2
if sys.version_info >= (3, 12):
    WORKLOADS["subinterpreters"] = subinterpreters
