# SPDX-License-Identifier: LGPL-2.1-or-later
"""`explain` on Python's objects: what it says is what Python itself said, live and in a core."""

import struct
import sys

from support import TOP, check, check_equal, interpreters, live_and_core, main

sys.path.insert(0, str(TOP / "gdbext"))
import heapwalk  # pylint: disable=wrong-import-position

WANTED = ("2.7.", "3.6.", "3.8.", "3.11.", "3.12.", "3.13.")


def explain(heap, address):
    return heap.report("explain", hex(address))


def check_object(heap, name, fact):
    report = explain(heap, fact["id"])
    found = report["object"]
    check(found, name, "is not found:", report)
    check_equal(int(found["address"], 16), fact["id"], "%s: address" % name)
    check_equal(found["type"].split(".")[-1], fact["type"], "%s: type" % name)
    check_equal(found["value_is_exact"], fact["exact"], "%s: exact, %s" % (name, found["value"]))
    if fact["exact"]:
        check_equal(found["value"], fact["repr"], "%s: repr" % name)
    if fact["size"] is not None:
        check_equal(found["size"], fact["size"], "%s: size" % name)
    if "refcount" in fact:
        check_equal(found["refcount"], fact["refcount"], "%s: references" % name)
    if report["block"]["allocator"] != "none":
        check_block(heap, name, report)
    return report


def check_block(heap, name, report):
    """Every address inside finds the same block, and its neighbours are those of the table."""
    block = report["block"]
    start, end = int(block["start"], 16), int(block["end"], 16)
    for address in (start, int(report["object"]["address"], 16) + 1, end):
        inside = explain(heap, address)
        check_equal(inside["block"]["start"], block["start"], "%s: block of %#x" % (name, address))
        check_equal(inside["object"], report["object"], "%s: object of %#x" % (name, address))
        check_equal(inside["block"]["offset"], address - start, "%s: offset" % name)
    for side, address in (("before", start - 1), ("after", end + 1)):
        row = heap.find(address)
        if report[side] is None:
            check(row is None, name, "has a neighbour", side, row)
        else:
            check_equal((int(report[side]["start"], 16), report[side]["size"]), (row.start, row.size), side)
    if report["pool"]:
        pool = report["pool"]
        check_equal(start, int(pool["start"], 16) + 48 + pool["block_index"] * pool["block_size"], "%s: index" % name)
        check(pool["header"]["ref_count"] + pool["blocks_free"] + pool["blocks_virgin"] == pool["blocks"], pool)
        check(report["what"] == "block in use" and pool["free_list_position"] is None, name, report["what"])
        place = (pool["list"], pool["list_is_known"])
        check_equal(place, ("usedpools" if pool["state"] == "used" else None, True), "%s: list of its pool" % name)


def check_owned(heap, owner, field):
    """Through the pointer to the buffer, and from the buffer back."""
    owned = {each["field"]: each for each in explain(heap, owner)["owns"]}
    check(field in owned, field, "is not among", owned)
    buffer = int(owned[field]["pointer"], 16)
    back = explain(heap, buffer)
    check_equal(back["owner_count"], 1, "owners by %s" % field)
    check_equal((int(back["owners"][0]["owner"], 16), back["owners"][0]["field"]), (owner, field), "owner")
    check_equal(back["block"]["start"], owned[field]["block"]["start"], "block that is owned")
    return back


def check_all(heap, expected):
    objects = expected["objects"]
    for name, fact in objects.items():
        check_object(heap, name, fact)
    for name, field in expected["owners"].items():
        check_owned(heap, objects[name]["id"], field)
    keys = {each["field"] for each in explain(heap, objects["wide dict"]["id"])["owns"]}
    check(keys in ({"ma_keys"}, {"ma_table"}), "tables of a dict:", keys)
    check_owned(heap, objects["wide dict"]["id"], keys.pop())
    instance = explain(heap, expected["dict_of_instance"])
    check(instance["object"]["type"] == "dict", "dict of an instance:", instance["object"])
    if instance["owner_count"]:  # 3.12: made when it was asked for, and put into the instance
        check_equal(int(instance["owners"][0]["owner"], 16), objects["instance"]["id"], "owner of the dict")
        check_equal(instance["owners"][0]["field"], "__dict__", "field of the dict")
    check(instance["owner_count"] == 1, "owners of the instance's dict:", instance["owners"])
    return [explain(heap, fact["id"]) for fact in objects.values()]


def cut_before(core, address):
    """Leave out of the core the memory at the address, and the rest of its segment."""
    with open(core, "r+b") as file:
        header = file.read(64)
        offset, count = struct.unpack_from("<Q", header, 32)[0], struct.unpack_from("<H", header, 56)[0]
        for at in range(offset, offset + 56 * count, 56):
            file.seek(at)
            kind, _flags, _offset, start, _physical, size = struct.unpack_from("<IIQQQQ", file.read(56))
            if kind == 1 and start <= address < start + size:
                file.seek(at + 32)  # p_filesz
                file.write(struct.pack("<Q", (address - start) // 4096 * 4096))
                return
    check(False, "the core has no memory at", hex(address))


def check_missing(core, exe, fact):
    """What is not in the core is called that: no free block, no object."""
    cut_before(core, fact["id"])
    with heapwalk.open_core(core, exe=exe) as heap:
        report = explain(heap, fact["id"])
    check_equal((report["object"], report["block"]["state"], report["partial"]), (None, "unknown", True),
                "bytes that the core lacks")
    # A pool whose header is missing too is no better than one whose header is damaged.
    check(report["what"] in ("bytes missing", "damaged pool"), report["what"])


def check_interpreter(name, path):
    live, dead = live_and_core(path, "explain_target.py", check_all,
                               lambda core, exe, expected: check_missing(core, exe, expected["objects"]["list"]))
    for ours, theirs in zip(live, dead):
        for report in (ours, theirs):
            for member in ("target", "coverage", "mapping", "stack", "stopped_seconds"):  # a core tells them otherwise
                del report[member]
        check_equal(ours, theirs, "%s: live and core" % name)
    print("ran on %s" % name)


def test():
    for name, path in interpreters().items():
        if name.startswith(WANTED) or "system" in name:
            try:
                check_interpreter(name, path)
            except Exception as failure:
                failure.args = ("%s: %s" % (name, failure),)
                raise


main(test)
