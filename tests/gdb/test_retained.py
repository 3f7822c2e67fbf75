# SPDX-License-Identifier: LGPL-2.1-or-later
"""`retained`: what the process itself has less in use when a structure goes; live and in a core."""

import os

from support import check, check_equal, live_and_core, main, some_interpreters

os.environ["GLIBC_TUNABLES"] = "glibc.malloc.tcache_count=0"  # malloc's own count takes what is cached for in use
LIST = 1000 * 2  # blocks of a linked list, at least


def rows_of(heap, *ids):
    """{id: row} of these objects, and what is said of them together."""
    report = heap.report("retained", " or ".join("start <= %d and end >= %d" % (each, each) for each in ids), top=100)
    return {int(row["object"], 16): row for row in report["rows"]}, report["total"]


def check_structures(rows, facts):
    found, wrong = {}, {}
    for name, fact in facts.items():
        if "bytes" not in fact:
            continue
        row = rows[fact["id"]]
        found[name] = (row["retained_bytes"], row["retained_blocks"])
        if fact["bytes"] and row["retained_bytes"] not in range(
                fact["bytes"] - 16 * fact["chunks"], fact["bytes"] + 16 * fact["chunks"] + 1, 16):
            wrong[name] = (row["retained_bytes"], fact["bytes"])
    check_equal(wrong, {}, "retained, and freed")
    return found


def check_pair(heap, fact):
    sizes, _ = rows_of(heap, *fact.values())
    check_equal([sizes[fact[name]]["retained_blocks"] for name in ("left", "right")], [3, 3],
                "blocks of a list, its table and its text")
    check(sizes[fact["shared"]]["retained_blocks"] >= LIST, "the shared list:", sizes[fact["shared"]])
    _, total = rows_of(heap, fact["left"], fact["right"])
    check_equal(total["retained_bytes"], sum(row["retained_bytes"] for row in sizes.values()), "all three together")
    return sizes


def check_types(heap):
    rows = {row["kind"]: row for row in heap.report("retained", "kind = 'Slotted'", by="type")["rows"]}
    check_equal(list(rows), ["Slotted"], "types")
    return rows["Slotted"]


def ask(heap, facts):
    rows, _ = rows_of(heap, *(fact["id"] for fact in facts.values() if "id" in fact))
    check(facts["garbage"]["id"] not in rows, "nothing retains garbage:", rows)
    found = check_structures(rows, facts)
    pair = check_pair(heap, facts["pair"])
    slotted = check_types(heap)
    check_equal(slotted["count"], 3000, "instances")
    lists = 3 * found["slotted_list"][0]  # a number may be on a stack still
    check(lists - 32 <= slotted["retained_bytes"] <= lists, "what one type retains:", slotted, lists)
    report = heap.report("retained", top=1000)
    graph = report["graph"]
    check(graph["garbage_blocks"] >= 202, "garbage:", graph)
    check_equal(report["total"]["retained_bytes"], graph["bytes"] - graph["garbage_bytes"], "all of them")
    check_equal([row["retained_bytes"] for row in report["rows"]],
                sorted((row["retained_bytes"] for row in report["rows"]), reverse=True), "order")
    return found, pair, slotted, graph


def test():
    for name, path in some_interpreters().items():
        live, dead = live_and_core(path, "retained_target.py", ask)
        live[3].pop("memory_bytes"), dead[3].pop("memory_bytes")
        check_equal(live, dead, "%s: live and core" % name)
        print("ran on %s" % name)


main(test)
