# SPDX-License-Identifier: LGPL-2.1-or-later
"""The oracles' texts, parsed: what sys._debugmallocstats(), malloc_info(3), mallinfo2(3) and /proc say."""

import collections
import os
import re
import struct
import xml.etree.ElementTree as xml

SizeClass = collections.namedtuple("SizeClass", "index size pools blocks_in_use blocks_free")


class PymallocStats:
    """sys._debugmallocstats() of one interpreter. No pymalloc in use: classes and totals are empty."""

    def __init__(self, text):
        self.text = text
        self.classes = []
        for line in text.splitlines():
            words = line.split()
            if len(words) == 5 and all(w.isdigit() for w in words):
                self.classes.append(SizeClass(*map(int, words)))

        def number(pattern):
            found = re.search(pattern, text, re.M)
            return int(found.group(1).replace(",", "")) if found else None

        self.arenas_allocated_total = number(r"^# arenas allocated total +=\s+([\d,]+)")
        self.arenas_highwater = number(r"^# arenas highwater mark +=\s+([\d,]+)")
        self.arenas = number(r"^# arenas allocated current +=\s+([\d,]+)")
        self.arena_bytes = number(r"^\d+ arenas \* (\d+) bytes/arena")
        self.arenas_total_bytes = number(r"^\d+ arenas \* \d+ bytes/arena +=\s+([\d,]+)")
        self.allocated_bytes = number(r"^# bytes in allocated blocks +=\s+([\d,]+)")
        self.available_bytes = number(r"^# bytes in available blocks +=\s+([\d,]+)")
        self.unused_pools = number(r"^(\d+) unused pools")
        self.pool_bytes = number(r"^\d+ unused pools \* (\d+) bytes")
        self.unused_pools_bytes = number(r"^\d+ unused pools \* \d+ bytes +=\s+([\d,]+)")
        self.pool_headers_bytes = number(r"^# bytes lost to pool headers +=\s+([\d,]+)")
        self.quantization_bytes = number(r"^# bytes lost to quantization +=\s+([\d,]+)")
        self.arena_alignment_bytes = number(r"^# bytes lost to arena alignment +=\s+([\d,]+)")
        self.total_bytes = number(r"^Total +=\s+([\d,]+)")
        self.map_mid_nodes = number(r"^# arena map mid nodes +=\s+([\d,]+)")
        self.map_bot_nodes = number(r"^# arena map bot nodes +=\s+([\d,]+)")
        # mimalloc's own lines, by heapwalk's names for them; empty: another allocator.
        self.mimalloc = {}
        if "Large object max size" in text:
            self.mimalloc = {
                "small_block_threshold": number(r"^Small block threshold = (\d+)"),
                "medium_block_threshold": number(r"^Medium block threshold = (\d+)"),
                "large_object_max": number(r"^Large object max size = (\d+)"),
                "size_classes": number(r"in (\d+) size classes"),
                "allocated_blocks": number(r"Allocated Blocks: (\d+)"),
                "allocated_bytes": number(r"Allocated Bytes: (\d+)"),
                "allocated_bytes_with_overhead": number(r"Allocated Bytes w/ Overhead: (\d+)"),
                "reserved_bytes": number(r"Bytes Reserved: (\d+)"),
                "committed_bytes": number(r"Bytes Committed: (\d+)"),
            }
        # (type, length of a tuple or None, objects, bytes of one)
        self.free_lists = [
            (kind, int(length) if length else None, int(count), int(size)) for count, length, kind, size in
            re.findall(r"(?m)^ *(\d+) free (?:(\d+)-sized )?(\w+)s \* (\d+) bytes each =", text)]

    @property
    def uses_pymalloc(self):
        return self.arenas is not None and self.arenas > 0


Arena = collections.namedtuple(
    "Arena", "number fast_count fast_bytes rest_count rest_bytes system_bytes max_bytes heaps mprotect"
)


class MallocInfo:
    """malloc_info(3): a tuple an arena, and the totals of mmapped chunks."""

    def __init__(self, text):
        root = xml.fromstring(text)
        self.arenas = []

        def entry(parent, tag, kind, attribute):
            for e in parent.findall(tag):
                if e.get("type") == kind:
                    return int(e.get(attribute))
            return 0

        for heap in root.findall("heap"):
            self.arenas.append(
                Arena(
                    int(heap.get("nr")),
                    entry(heap, "total", "fast", "count"),
                    entry(heap, "total", "fast", "size"),
                    entry(heap, "total", "rest", "count"),
                    entry(heap, "total", "rest", "size"),
                    entry(heap, "system", "current", "size"),
                    entry(heap, "system", "max", "size"),
                    entry(heap, "aspace", "subheaps", "size") or 1,
                    entry(heap, "aspace", "mprotect", "size"),
                )
            )
        self.mmapped_count = entry(root, "total", "mmap", "count")
        self.mmapped_bytes = entry(root, "total", "mmap", "size")


Mallinfo = collections.namedtuple(
    "Mallinfo", "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
)

CensusObject = collections.namedtuple("CensusObject", "address tp_name name sizeof old_style buffers")


def _without_calls(stats):
    return re.sub(r"(?m)^# times object malloc called.*$", "", stats or "")


class Oracles:
    """Everything a target wrote into its directory."""

    def __init__(self, directory):
        import json

        def text(name):
            path = os.path.join(directory, name)
            if not os.path.exists(path):
                return None
            with open(path, encoding="utf-8", errors="surrogateescape") as f:
                return f.read()

        def raw(name):
            path = os.path.join(directory, name)
            if not os.path.exists(path):
                return None
            with open(path, "rb") as f:
                return f.read()

        self.expect = json.loads(text("expect.json") or '{"counts": {}, "values": {}, "interpreters": [], "chunks": []}')
        self.stats_text, self.stats_again = text("stats"), text("stats-again")
        self.stats = PymallocStats(self.stats_text) if self.stats_text is not None else None
        # Taken twice, first and last of all; the hooks of 3.6 and 3.7 count calls, which is no state.
        self.stable = _without_calls(self.stats_text) == _without_calls(self.stats_again)
        self.malloc_info = MallocInfo(text("malloc_info"))
        packed = raw("mallinfo2")
        self.mallinfo = Mallinfo(*struct.unpack("10Q", packed)) if packed else None
        packed = raw("blocks")
        self.allocated_blocks = struct.unpack("q", packed)[0] if packed else None
        self.interpreters = {}  # id -> (stats, [CensusObject])
        for number in self.expect["interpreters"]:
            objects = []
            for line in text("interpreter-%d.census" % number).splitlines():
                address, kind = line.split()
                objects.append(CensusObject(int(address, 16), kind, kind, 0, "", []))
            self.interpreters[number] = PymallocStats(text("interpreter-%d.stats" % number)), objects
        # What stats of an interpreter must print, by its id; 2.7's release build can't tell.
        self.stats_texts = {}
        if self.stats_again is not None:
            self.stats_texts[0] = self.stats_again
            self.stats_texts.update((number, stats.text) for number, (stats, _) in self.interpreters.items())
        self._census = text("census")

    def census(self):
        objects = []
        for line in self._census.splitlines():
            address, tp_name, name, sizeof, old_style, owned = line.split("\t")
            buffers = [(word, int(at, 16)) for word, _, at in (b.partition("=") for b in owned.split(",") if b)]
            objects.append(CensusObject(int(address, 16), tp_name, name, int(sizeof), old_style, buffers))
        return objects


Mapping = collections.namedtuple("Mapping", "start end perms path")


def parse_mappings(text):
    """Every mapping of the text of /proc/PID/maps."""
    found = []
    for line in text.splitlines():
        words = line.split(None, 5)
        start, end = (int(x, 16) for x in words[0].split("-"))
        found.append(Mapping(start, end, words[1], words[5] if len(words) > 5 else ""))
    return found


def read_mappings(pid):
    with open("/proc/%d/maps" % pid) as f:
        return parse_mappings(f.read())


def private_writable(mappings):
    return [m for m in mappings if m.perms[1] == "w" and m.perms[3] == "p"]


def smaps_private_writable_bytes(pid):
    """The same total out of smaps, whose sizes the kernel prints itself."""
    total, counts = 0, False
    with open("/proc/%d/smaps" % pid) as f:
        for line in f:
            words = line.split()
            if "-" in words[0] and len(words[0].split("-")) == 2 and not words[0].endswith(":"):
                counts = words[1][1] == "w" and words[1][3] == "p"
            elif counts and words[0] == "Size:":
                total += int(words[1]) * 1024
    return total
