# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a report must equal. Each check is a generator of sentences, one a difference."""

import bisect
import collections
import itertools
import re

IN_USE = "in use"
# What malloc keeps for itself, by the glibc that brought it: the header of a thread arena, that of a further
# heap with its fence, the chunk of a tcache, and what each mremap adds to mmapped_mem without a reason.
GlibcFacts = collections.namedtuple("GlibcFacts", "since arena_header_bytes heap_bytes tcache_bytes mremap_slip")
# What a chunk and a pool begin with, what pymalloc's sizes are multiples of, issues that every table has.
Width = collections.namedtuple("Width", "word_bytes chunk_header_bytes pool_header_bytes pymalloc_alignment glibcs issue")
GLIBCS = [
    GlibcFacts((2, 27), 0x8C0, 0x20 + 0x20, [0x250], 0),
    GlibcFacts((2, 30), 0x8C0, 0x20 + 0x20, [0x290], 0),
    GlibcFacts((2, 35), 0x8D0, 0x30 + 0x20, [0x290], 0),
    GlibcFacts((2, 42), 0x8D0, 0x30 + 0x20, [0x300, 0x310], 0),
    GlibcFacts((2, 43), 0x870, 0x30 + 0x20, [0x300, 0x310], 16),
]
GLIBC_FREE = {"tcache", "fastbin", "unsorted bin", "small bin", "large bin", "top"}
# Types whose block is never resized and has no buffer beside it: its size follows from sys.getsizeof().
EXACT_TYPES = {"float", "complex", "function", "cell", "member_descriptor", "getset_descriptor",
               "Slotted", "Seventy", "SmallNode", "SlotGhost", "DictHolder", "MyFloat"}


# A 32-bit main arena begins 8 bytes behind a multiple of 16, a thread's with heap_info and malloc_state.
WIDTH_64 = Width(8, 16, 48, 16, GLIBCS, None)
WIDTH_32 = Width(4, 8, 32, 8, [GlibcFacts((2, 30), 0x18 + 1116 + 4, 0x18 + 0x18, [0x190], 0)], "the program is a 32-bit one")


def address(text):
    return int(text, 16) if text else 0


def past(row):
    """The first address behind a row or an arena: "end" is its last byte."""
    return address(row["end"]) + 1


def length(row):
    return past(row) - address(row["start"])


class Rows:
    """The rows of `all --format json`, with the ways in that the checks need."""

    def __init__(self, report, width=WIDTH_64):
        self.width = width
        self.rows = report["rows"]
        self.starts = [address(r["start"]) for r in self.rows]
        self.by_object = {}
        for row in self.rows:
            if row.get("object"):
                self.by_object.setdefault(address(row["object"]), row)

    def at(self, where):
        """The row that contains an address, or None."""
        i = bisect.bisect_right(self.starts, where) - 1
        if i < 0 or where >= past(self.rows[i]):
            return None
        return self.rows[i]

    def of_data(self, where):
        """The row whose data an address is in: a chunk's runs on over the next one's prev_size."""
        row, word = self.at(where), self.width.word_bytes
        return self.at(where - word) if row and row["allocator"] == "glibc" and where - address(row["start"]) < word else row


def show(row):
    return "no row" if row is None else "%(start)s-%(end)s %(allocator)s %(state)s %(domain)s/%(kind)s/%(detail)s" % row


def sound(report, name, width=WIDTH_64):
    """The frame that every report has."""
    if report.get("schema") != "heapwalk.%s/1" % name:
        yield "schema is %r" % report.get("schema")
    if report.get("partial"):
        yield "report says it is partial"
    for issue in report.get("issues", [])[:5]:
        if width.issue and issue["message"].startswith(width.issue):
            continue
        yield "issue: %s at %s: %s" % (issue.get("code"), issue.get("address"), issue.get("message"))
    missing = report.get("coverage", {}).get("missing_bytes")
    if missing != 0:
        yield "coverage.missing_bytes is %r" % missing


def ledger(rows, mappings, smaps_bytes):
    """Every byte of every private writable mapping in exactly one row."""
    total = sum(r["size"] for r in rows.rows)
    if total != smaps_bytes:
        yield "rows add up to %d bytes, private writable mappings of smaps to %d" % (total, smaps_bytes)
    at, i = None, 0
    for m in mappings:
        at = m.start
        while i < len(rows.rows) and rows.starts[i] < m.end:
            row = rows.rows[i]
            if rows.starts[i] != at:
                yield "row %s begins at %#x, the one before ended at %#x" % (show(row), rows.starts[i], at)
            at = past(row)
            if at - rows.starts[i] != row["size"]:
                yield "size of %s is said to be %d" % (show(row), row["size"])
            i += 1
        if at != m.end:
            yield "rows of mapping %#x-%#x %s end at %#x" % (m.start, m.end, m.path, at)
    if i != len(rows.rows):
        yield "%d rows lie outside of every private writable mapping" % (len(rows.rows) - i)


def nothing_dead_is_alive(rows):
    for row in rows.rows:
        if row["state"] != IN_USE and row.get("object"):
            yield "a row that is not in use has an object: %s" % show(row)


def nothing_unknown_in_heaps(rows):
    for row in rows.rows:
        if row["allocator"] != "none" and row["state"] == "unknown":
            yield "unknown bytes in a heap: %s" % show(row)


def is_static(where, mappings):
    """In a file's mapping, or in the .bss that follows one: no heap's business."""
    i = bisect.bisect_right([m.start for m in mappings], where) - 1
    if i < 0 or where >= mappings[i].end:
        return False
    if mappings[i].path.startswith("/"):
        return True
    return (mappings[i].path == "" and i > 0 and mappings[i - 1].path.startswith("/")
            and mappings[i - 1].end == mappings[i].start)


def kinds_of(o):
    return {o.tp_name, o.old_style} if o.old_style else {o.tp_name}


def census(rows, objects, mappings, python):
    """Every object that the process itself can list is in the table, in use, there, of that type."""
    debug = python.get("debug_bytes", 0)
    starts = [m.start for m in mappings]
    for o in objects:
        row = rows.by_object.get(o.address)
        if row is not None:
            if row["state"] != IN_USE:
                yield "%#x, a %s: %s" % (o.address, o.tp_name, show(row))
            elif row["kind"] not in kinds_of(o) or row["domain"] != "python":
                yield "%#x is a %s: %s" % (o.address, o.tp_name, show(row))
            elif not address(row["start"]) <= o.address < past(row):
                yield "%#x lies outside of its row: %s" % (o.address, show(row))
            elif row["allocator"] == "pymalloc" and o.tp_name in EXACT_TYPES and not python["values_inline"]:
                step = rows.width.pymalloc_alignment
                wanted = (o.sizeof + debug + step - 1) // step * step
                if row["size"] != wanted:
                    yield "%#x, a %s, needs a block of %d: %s" % (o.address, o.tp_name, wanted, show(row))
            continue
        row = rows.at(o.address)
        if python["version"] < (3,) and o.tp_name in ("int", "float"):
            if row is not None and row["kind"] == "_%sblock" % o.tp_name and row["state"] == IN_USE:
                continue
        i = bisect.bisect_right(starts, o.address) - 1
        if is_static(o.address, mappings) and (row is None or row["allocator"] == "none"):
            continue
        where = "in %s %s" % (mappings[i].perms, mappings[i].path) if i >= 0 and o.address < mappings[i].end else ""
        yield "%#x, a %s, is no row's object; there: %s %s" % (o.address, o.tp_name, show(row), where)


# What the block that a field points at may be called: {(type, field): pattern of its kind}.
BUFFER_KINDS = {
    ("list", "ob_item"): "ob_item", ("dict", "keys"): "[Kk]eys", ("dict", "values"): "values",
    ("dict", "table"): "table", ("set", "table"): "set", ("frozenset", "table"): "set",
    ("bytearray", "ob_bytes"): "bytearray",
}


def buffers(rows, objects, mappings):
    """What an object's field points at is a block of the interpreter's, in use, named by its owner."""
    for o in objects:
        for word, where in o.buffers:
            if not where or 0 <= where - o.address < 256:
                continue  # none, or a small table inside the object
            row = rows.of_data(where)
            if row is None or row["allocator"] == "none":
                if not is_static(where, mappings):
                    yield "%s of %#x, a %s, is %#x: %s" % (word, o.address, o.tp_name, where, show(row))
            elif row["state"] != IN_USE or row["domain"] != "cpython" or not re.search(
                    BUFFER_KINDS[o.tp_name, word], row["kind"]):
                yield "%s of %#x, a %s, is %#x: %s" % (word, o.address, o.tp_name, where, show(row))


def exact_counts(rows, expected):
    found = collections.Counter(r["kind"] for r in rows.rows if r.get("object") and r["state"] == IN_USE)
    for kind, number in sorted(expected.items()):
        if found[kind] != number:
            yield "%d instances of %s, not %d" % (found[kind], kind, number)


def tied_values(rows, expected, version):
    """Attribute values that live in blocks of their own are named by the class they belong to."""
    if version[:2] not in ((3, 11), (3, 12)):
        return  # before: a dict of its own, checked by the census; after: inside the instance
    for cls, number in sorted(expected.items()):
        found = sum(1 for r in rows.rows if r["state"] == IN_USE and r["domain"] == "cpython"
                    and "values" in r["kind"] and cls in r["detail"])
        if found != number:
            yield "%d blocks of values are tied to %s, not %d" % (found, cls, number)


def chunks(rows, expected):
    """Memory straight from malloc: what is held is in use, what a thread's tcache holds is not."""
    width = rows.width
    for mem, size, state in expected:
        row = rows.at(mem)
        if row is None or row["allocator"] != "glibc" or row["state"] != state:
            yield "malloc(%d) = %#x is %s: %s" % (size, mem, state, show(row))
        elif row["size"] < size + width.chunk_header_bytes // 2 or (size < 100000 and row["size"] > size + 8 + 16 + 31):
            yield "malloc(%d) = %#x: %s has the wrong size" % (size, mem, show(row))
        elif size < 100000 and address(row["start"]) != mem - width.chunk_header_bytes:
            yield "malloc(%d) = %#x: %s begins elsewhere" % (size, mem, show(row))


def pymalloc_state(state, stats, who, width=WIDTH_64):
    """One interpreter of `cpython-allocators` against its own sys._debugmallocstats()."""
    classes = {c["size"]: c for c in state["size_classes"]}
    for wanted in stats.classes:
        c = classes.pop(wanted.size, {"class": wanted.index, "pools": 0, "blocks_in_use": 0, "blocks_free": 0})
        got = tuple(c[k] for k in ("class", "pools", "blocks_in_use", "blocks_free"))
        if got != (wanted.index, wanted.pools, wanted.blocks_in_use, wanted.blocks_free):
            yield "%s: class of %d bytes: (class, pools, in use, free) is %r, not %r" % (
                who, wanted.size, got, (wanted.index,) + tuple(wanted[2:]))
    for size, c in sorted(classes.items()):
        if c["pools"] or c["blocks_in_use"] or c["blocks_free"]:
            yield "%s: class of %d bytes has %d pools, should have none" % (who, size, c["pools"])
    arenas = state["arenas"]
    lengths = {length(a) for a in arenas}
    if lengths - {stats.arena_bytes}:
        yield "%s: arenas of %r bytes, not %d" % (who, sorted(lengths), stats.arena_bytes)
    pool = stats.pool_bytes
    computed = {
        "arenas": len(arenas),
        "arenas_total_bytes": sum(length(a) for a in arenas),
        "arenas_allocated_total": state["arenas_allocated_total"],
        "arenas_highwater": state["arenas_highwater"],
        "unused_pools": state["unused_pools"],
        "unused_pools_bytes": sum(a["pools_free"] for a in arenas) * pool,
        "allocated_bytes": sum(c["size"] * c["blocks_in_use"] for c in state["size_classes"]),
        "available_bytes": sum(c["size"] * c["blocks_free"] for c in state["size_classes"]),
        "pool_headers_bytes": sum(c["pools"] for c in state["size_classes"]) * width.pool_header_bytes,
        "quantization_bytes": sum(
            c["pools"] * ((pool - width.pool_header_bytes) % c["size"]) for c in state["size_classes"]),
        "arena_alignment_bytes": sum(
            length(a) - a["pools_total"] * pool for a in arenas),
    }
    computed["total_bytes"] = sum(computed[k] for k in (
        "allocated_bytes", "available_bytes", "unused_pools_bytes", "pool_headers_bytes",
        "quantization_bytes", "arena_alignment_bytes"))
    for name, got in computed.items():
        wanted = getattr(stats, name)
        if got != wanted:
            yield "%s: %s is %r, not %r" % (who, name, got, wanted)
        if name.endswith("_bytes") and name in state and state[name] != wanted:
            yield "%s: reported %s is %r, not %r" % (who, name, state[name], wanted)


def pymalloc(report, oracles, width=WIDTH_64):
    if oracles.stats is None:  # 2.7's release build can't tell
        return
    states = {s["id"]: s for s in report["interpreters"]}
    if not oracles.stats.uses_pymalloc:
        for s in states.values():
            if s["arenas"] or any(c["pools"] for c in s["size_classes"]):
                yield "interpreter %s: %d arenas, should have none" % (s["id"], len(s["arenas"]))
        return
    wanted = {0: oracles.stats}
    wanted.update((number, stats) for number, (stats, _) in oracles.interpreters.items())
    if set(states) != set(wanted):
        yield "interpreters %r, not %r" % (sorted(states), sorted(wanted))
    for number, stats in sorted(wanted.items()):
        if number in states:
            for line in pymalloc_state(states[number], stats, "interpreter %d" % number, width):
                yield line


def same_text(text, wanted):
    """Byte for byte; the lines that differ are named."""
    if text == wanted:
        return
    for number, (got, line) in enumerate(itertools.zip_longest(text.splitlines(), wanted.splitlines()), 1):
        if got != line:
            yield "line %d is %r, not %r" % (number, got, line)


def stats_fields(report, stats):
    """The JSON of `stats` against the text of the process itself."""
    uses = stats.uses_pymalloc
    if report["allocator"] != ("pymalloc" if uses else "mimalloc" if stats.mimalloc else "malloc"):
        yield "allocator is %r" % report["allocator"]
    # "tags" is ours: what the call does not say where it prints zeroes
    mimalloc = {name: value for name, value in (report["mimalloc"] or {}).items() if name != "tags"}
    if mimalloc != stats.mimalloc:
        yield "mimalloc is %r, not %r" % (mimalloc, stats.mimalloc)
    lists = [(f["type"], f["length"], f["count"], f["object_bytes"]) for f in report["free_lists"]]
    if lists != stats.free_lists:
        yield "free lists are %r, not %r" % (lists, stats.free_lists)
    kept = sum(count for _, _, count, _ in stats.free_lists)
    if report["free_list_objects"] != kept:
        yield "free_list_objects is %r, not %d" % (report["free_list_objects"], kept)
    classes = [tuple(c[k] for k in ("class", "size", "pools", "blocks_in_use", "blocks_free"))
               for c in report["size_classes"]]
    if classes != [tuple(c) for c in stats.classes]:
        yield "size classes are %r" % classes
    blocks = sum(c.blocks_in_use for c in stats.classes)
    histogram = report["histogram"]
    sums = tuple(sum(b[k] for b in histogram) for k in ("arenas", "blocks_in_use", "bytes_in_use", "unused_pools"))
    wanted = (stats.arenas or 0, blocks, stats.allocated_bytes or 0, stats.unused_pools or 0)
    if sums != wanted or report["blocks_in_use"] != blocks:
        yield "histogram adds up to %r, not %r" % (sums, wanted)
    if not uses:
        return
    for key, name in (("arenas_allocated_total", "arenas_allocated_total"), ("arenas_highwater", "arenas_highwater"),
                      ("arenas", "arenas"), ("arena_bytes", "arena_bytes"), ("arenas_bytes", "arenas_total_bytes"),
                      ("allocated_bytes", "allocated_bytes"), ("available_bytes", "available_bytes"),
                      ("unused_pools", "unused_pools"), ("pool_bytes", "pool_bytes"),
                      ("unused_pool_bytes", "unused_pools_bytes"), ("pool_header_bytes", "pool_headers_bytes"),
                      ("quantization_bytes", "quantization_bytes"), ("total_bytes", "total_bytes"),
                      ("arena_alignment_bytes", "arena_alignment_bytes"),
                      ("arena_map_mid_nodes", "map_mid_nodes"), ("arena_map_bot_nodes", "map_bot_nodes")):
        if report[key] != getattr(stats, name):
            yield "%s is %r, not %r" % (key, report[key], getattr(stats, name))


def pymalloc_rows(rows, report):
    """The table and `cpython-allocators` are two views of one thing."""
    wanted = sum(length(a) for state in report["interpreters"] for a in state["arenas"])
    total = sum(r["size"] for r in rows.rows if r["allocator"] == "pymalloc")
    if total != wanted:
        yield "rows of pymalloc add up to %d bytes, arenas to %d" % (total, wanted)
    used = collections.Counter(r["size"] for r in rows.rows if r["allocator"] == "pymalloc" and r["state"] == IN_USE)
    wanted = collections.Counter()
    for state in report["interpreters"]:
        for c in state["size_classes"]:
            wanted[c["size"]] += c["blocks_in_use"]
    for size in sorted(set(used) | set(wanted)):
        if used[size] != wanted[size]:
            yield "%d rows of %d bytes are in use, %d blocks" % (used[size], size, wanted[size])


def mimalloc_rows(rows, report, oracles, python):
    """The table and `cpython-allocators` are two views of one thing, and sys.getallocatedblocks() has told its number."""
    mine = report["mimalloc"]
    if bool(mine) != bool(oracles.stats and oracles.stats.mimalloc):
        yield "mimalloc: %r, its lines: %r" % (bool(mine), oracles.stats and oracles.stats.mimalloc)
        return
    if not mine:
        return
    # What another thread has freed counts as used until its own thread collects it.
    used = collections.Counter(r["size"] for r in rows.rows if r["allocator"] == "mimalloc" and r["state"] in (
        IN_USE, "thread free block", "delayed free block"))
    wanted = {p["size"]: p["blocks_used"] for p in mine["page_sizes"] if p["blocks_used"]}
    if dict(used) != wanted:
        yield "blocks in use by size are %r, mimalloc's %r" % (sorted(used.items()), sorted(wanted.items()))
    free = sum(r["state"] in ("free block", "local free block") for r in rows.rows if r["allocator"] == "mimalloc")
    if free != sum(p["blocks_free"] for p in mine["page_sizes"]):
        yield "%d blocks are free, not %d" % (free, sum(p["blocks_free"] for p in mine["page_sizes"]))
    for name, total in (("heaps", "blocks_used"), ("segments", "blocks_used"), ("segments", "pages"), ("heaps", "pages")):
        if sum(r[total] for r in mine[name]) != sum(p[total] for p in mine["page_sizes"]):
            yield "%s of %s don't add up" % (total, name)
    if not python["gil"]:  # it counts the heaps of all threads of all interpreters, and what ended ones left
        total = sum(p["blocks_used"] for p in mine["page_sizes"])
        if total != oracles.allocated_blocks:
            yield "%d blocks, sys.getallocatedblocks() says %r" % (total, oracles.allocated_blocks)
        return
    # It counts the calling thread's heap once for each interpreter.
    times = 1 + len(oracles.interpreters)
    main = [h["blocks_used"] * times for h in mine["heaps"] if h["whose"] == "main thread"]
    if main != [oracles.allocated_blocks]:
        yield "%d times the main thread's heap is %r blocks, sys.getallocatedblocks() says %r" % (
            times, main, oracles.allocated_blocks)


def allocated_blocks(report, rows, oracles, python):
    """sys.getallocatedblocks() is pymalloc's blocks and those it passed on to malloc (3.4 and later)."""
    if oracles.allocated_blocks is None or not oracles.stats.uses_pymalloc:
        return
    raw = [s.get("raw_allocated_blocks") for s in report["interpreters"]]
    if None in raw:
        return
    found = sum(c["blocks_in_use"] for s in report["interpreters"] for c in s["size_classes"])
    if python["version"] >= (3, 9):  # before, the counter counts pymalloc's blocks too
        found += sum(raw)
    else:
        found = sum(raw)
    if found != oracles.allocated_blocks:
        yield "%d blocks are allocated, sys.getallocatedblocks() says %d" % (found, oracles.allocated_blocks)


def tcaches_and(rest, sizes):
    """What is left of `rest` bytes when as many whole tcache chunks as possible are taken away."""
    left = {rest}
    for size in sizes:
        left |= {each - size * n for each in left for n in range(each // size + 1)}
    return min(left) if rest >= 0 else rest


def glibc(report, oracles, width=WIDTH_64):
    """`arenas` against malloc_info(3) and mallinfo2(3): reference equations, difference 0.

    malloc_info adds up raw size fields of binned chunks, whose P bit is set: one too many for each.
    Its "rest" counts and adds top. tcache chunks count as used.
    """
    arenas, truth = report["arenas"], oracles.malloc_info
    if len(arenas) != len(truth.arenas):
        yield "%d arenas, malloc_info has %d" % (len(arenas), len(truth.arenas))
        return
    facts = [each for each in width.glibcs if each.since <= tuple(oracles.expect["glibc"])][-1]
    sums = collections.Counter()
    for a, t in zip(arenas, truth.arenas):
        who = "arena %d at %s" % (t.number, a["address"])
        if a["main"] != (t.number == 0):
            yield "%s: main is %r" % (who, a["main"])
        free = a["fastbin_bytes"] + a["bin_bytes"] + a["top_bytes"]
        for name, got, wanted in (
            ("system_bytes", a["system_bytes"], t.system_bytes),
            ("fastbin_bytes", a["fastbin_bytes"], t.fast_bytes),
            ("bin_bytes + top_bytes", a["bin_bytes"] + a["top_bytes"], t.rest_bytes - (t.rest_count - 1)),
        ):
            if got != wanted:
                yield "%s: %s is %d, malloc_info says %d" % (who, name, got, wanted)
        # What is neither free nor the program's: the header of a thread arena and of its further heaps with
        # the fences behind them, fences of the main arena where others called sbrk,
        # and the tcache structs that malloc makes for itself.
        # Up to 2.31 the break may begin at any byte: what alignment costs there is in no chunk.
        lost = 0 if t.number else (t.system_bytes + 16 - width.chunk_header_bytes) % 16
        overhead = t.system_bytes - lost - free - a["in_use_bytes"] - a["tcache_bytes"]
        if a["overhead_bytes"] != overhead or a["unknown_bytes"]:
            yield "%s: %d bytes are neither in use, cached, free nor overhead" % (who, overhead - a["overhead_bytes"])
        rest = overhead - (facts.arena_header_bytes + (t.heaps - 1) * facts.heap_bytes if t.number else 0)
        fences = tcaches_and(rest, facts.tcache_bytes)
        if rest < 0 or fences > (0 if t.number else 0x400):
            yield "%s: in use and cached is %d bytes, malloc_info says %d (%d for headers)" % (
                who, a["in_use_bytes"] + a["tcache_bytes"], t.system_bytes - free, overhead)
        sums.update(system=a["system_bytes"], free=free, fast=a["fastbin_bytes"])
    mapped = (report["mmapped"]["count"], report["mmapped"]["bytes"])
    slip = truth.mmapped_bytes - mapped[1]
    if not facts.mremap_slip or slip < 0 or slip % facts.mremap_slip:
        slip = 0
    if mapped != (truth.mmapped_count, truth.mmapped_bytes - slip):
        yield "mmapped chunks (count, bytes) are %r, malloc_info says %r" % (
            mapped, (truth.mmapped_count, truth.mmapped_bytes))
    m = oracles.mallinfo
    if m:
        for name, got, wanted in (
            ("arena", sums["system"], m.arena), ("fordblks", sums["free"], m.fordblks),
            ("uordblks", sums["system"] - sums["free"], m.uordblks), ("fsmblks", sums["fast"], m.fsmblks),
            ("hblks", mapped[0], m.hblks), ("hblkhd", mapped[1] + slip, m.hblkhd),
            ("keepcost", arenas[0]["top_bytes"], m.keepcost),
        ):
            if got != wanted:
                yield "mallinfo2.%s is %d, not %d" % (name, wanted, got)


def glibc_rows(rows, report):
    """The table and `arenas` are two views of one thing."""
    found = collections.Counter()
    for r in rows.rows:
        if r["allocator"] == "glibc":
            found[r["state"]] += r["size"]
    for state, name in (("tcache", "tcache_bytes"), ("fastbin", "fastbin_bytes"), ("top", "top_bytes")):
        wanted = sum(a[name] for a in report["arenas"])
        if found[state] != wanted:
            yield "rows of state %s add up to %d bytes, arenas to %d" % (state, found[state], wanted)
    bins = found["unsorted bin"] + found["small bin"] + found["large bin"]
    wanted = sum(a["bin_bytes"] for a in report["arenas"])
    if bins != wanted:
        yield "rows in bins add up to %d bytes, arenas to %d" % (bins, wanted)


def summary(census_report, rows, smaps_bytes):
    """`heap` is the table, counted, and adds up to what the kernel says."""
    wanted, sizes = collections.Counter(), collections.Counter()
    for r in rows.rows:
        key = (r["state"] == IN_USE, r["domain"], r["kind"], r["detail"])
        wanted[key] += 1
        sizes[key] += r["size"]
    got, got_sizes = collections.Counter(), collections.Counter()
    for r in census_report["rows"]:
        key = (r["state"] == IN_USE, r["domain"], r["kind"], r["detail"])
        got[key] += r["count"]
        got_sizes[key] += r["bytes"]
    for key in sorted(set(wanted) | set(got)):
        if (wanted[key], sizes[key]) != (got[key], got_sizes[key]):
            yield "census of %s: (count, bytes) is %r, table has %r" % (
                "/".join(key[1:]), (got[key], got_sizes[key]), (wanted[key], sizes[key]))
    total = census_report["total"]
    if (total["count"], total["bytes"]) != (len(rows.rows), smaps_bytes):
        yield "total is %d rows of %d bytes; table has %d, smaps %d bytes" % (
            total["count"], total["bytes"], len(rows.rows), smaps_bytes)
    for name, state in (("in_use_bytes", IN_USE), ("overhead_bytes", "overhead"), ("unknown_bytes", "unknown")):
        found = sum(r["size"] for r in rows.rows if r["state"] == state)
        if total[name] != found:
            yield "total.%s is %d, the table has %d" % (name, total[name], found)


def is_same_row(live, other):
    """In a core, a stack's guard page (glibc 2.42) is zeros; in a process, it can't be read."""
    if other and live.get("domain") == "stack" and not live["first_bytes"]:
        other = dict(other, first_bytes=live["first_bytes"])
    return live == other


def same_rows(live, other, who):
    """Two answers of one heap: byte for byte the same rows."""
    if live.rows_text() == other.rows_text():
        return
    here, there = live.report["rows"], other.report["rows"]
    if len(here) != len(there):
        yield "%s has %d rows, live %d" % (who, len(there), len(here))
    shown = 0
    mine = {r.get("start", str(r)): r for r in there}
    for r in here:
        if not is_same_row(r, mine.get(r.get("start", str(r)))):
            yield "%s: live has %s object %s, it has %s" % (
                who, show(r) if "start" in r else r, r.get("object"),
                show(mine.get(r["start"])) if "start" in r else "something else")
            shown += 1
            if shown == 5:
                return


def debug_bytes(mode, version, debug_build, width=WIDTH_64):
    """What the debug hooks add to a block."""
    hooked = mode in ("debug", "pymalloc_debug", "malloc_debug", "mimalloc_debug") or (debug_build and mode == "")
    if not hooked:
        return 0
    return (3 if version >= (3, 8) else 4) * width.word_bytes


def clean_stderr(text):
    return [line for line in text.splitlines() if line and not re.match(r"^\s*\d+ ?%", line)]
