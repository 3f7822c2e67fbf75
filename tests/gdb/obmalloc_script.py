# SPDX-License-Identifier: LGPL-2.1-or-later
"""In gdb: obmalloc's lists and structures as the debug information reads them, against the commands' words."""

import gdb
import heapwalk

POOLS_CHECKED = 60  # of each kind of list


def state(static, member):
    """A static of obmalloc.c, up to 3.11, or a member of the main interpreter's state."""
    for expression in (static, "_PyRuntime.interpreters.main->obmalloc." + member):
        try:
            value = gdb.parse_and_eval(expression)
            value.fetch_lazy()
            return value
        except gdb.error:
            pass
    raise gdb.GdbError("no debug information for %s" % static)


def chain(first, link, end=0):
    """Addresses from `first` on, along a member."""
    found, at = [], first
    while int(at) != end:
        found.append(hex(int(at)))
        at = at[link]
    return found


POOL = gdb.lookup_type("struct pool_header").pointer()
USED, ARENAS = state("usedpools", "pools.used"), state("arenas", "mgmt.arenas")
COUNT = int(state("maxarenas", "mgmt.maxarenas"))
BLOCK = gdb.lookup_type("unsigned long").pointer()


def usedpools(size_class):
    head = int(USED[2 * size_class].address) - 2 * USED.type.target().sizeof
    return chain(gdb.Value(head).cast(POOL)["nextpool"], "nextpool", head)


def expected_lists():
    lists = {}
    for size_class in range((USED.type.range()[1] + 1) // 2):
        lists["usedpools", size_class, None] = usedpools(size_class)
    for index in range(COUNT):
        if int(ARENAS[index]["address"]):
            pools = chain(ARENAS[index]["freepools"].cast(POOL), "nextpool")
            lists["freepools", None, hex(int(ARENAS[index].address))] = pools
    for name in ("usable_arenas", "unused_arena_objects"):
        lists[name, None, None] = chain(state(name, "mgmt." + name), "nextarena")
    return {key: members for key, members in lists.items() if members}


def found_lists(heap):
    report = heap.report("cpython-allocators", lists=True)
    assert not report["partial"] and not report["issues"], report["issues"]
    lists = {}
    for row in report["interpreters"][0]["lists"]:
        members = lists.setdefault((row["list"], row["class"], row["arena_object"]), [])
        assert row["position"] == len(members), row
        members.append(row["address"])
    assert report["interpreters"][0]["lists_unknown"] == []
    return lists


def fields(value, names):
    return {name: int(value[name]) for name in names}


def numbers(found, names):
    return {name: int(found[name], 16) if isinstance(found[name], str) else found[name] for name in names}


def check_pool(heap, address, place):
    report = heap.report("explain", address)
    pool, header = report["pool"], gdb.Value(int(address, 16)).cast(POOL).dereference()
    names = ("freeblock", "nextpool", "prevpool", "arenaindex", "szidx", "nextoffset", "maxnextoffset")
    assert report["what"] == ("unused pool" if place[0] == "freepools" else "pool header"), report["what"]
    assert numbers(pool["header"], names) == fields(header, names), (pool["header"], str(header))
    assert pool["header"]["ref_count"] == int(header["ref"]["count"])
    assert (pool["list"], pool["list_position"]) == place, (pool, place)
    if place[0] == "freepools":
        return
    free, block = [], int(header["freeblock"])
    while block:
        free.append(hex(block))
        block = int(gdb.Value(block).cast(BLOCK).dereference())
    assert pool["free_list"] == free and pool["free_list_is_whole"], (address, pool["free_list"], free)
    for position, block in enumerate(free[:3]):
        inside = heap.report("explain", block)
        assert inside["what"] == "free block" and inside["block"]["state"] == "free block", inside
        assert inside["pool"]["free_list_position"] == position, (block, inside["pool"])


def check_arena_objects(heap, lists):
    names = ("address", "pool_address", "nfreepools", "ntotalpools", "freepools", "nextarena", "prevarena")
    where = {member: (key[0], position) for key, members in lists.items() if key[0].endswith(("arenas", "objects"))
             for position, member in enumerate(members)}
    for index in range(min(COUNT, 32)):
        address = hex(int(ARENAS[index].address))
        found = heap.report("explain", hex(int(address, 16) + 5))["arena_object"]
        assert found["start"] == address and found["index"] == index, found
        assert numbers(found, names) == fields(ARENAS[index], names), (found, str(ARENAS[index]))
        place = (found["list"], found["list_position"])
        assert place == where.get(address, (None, None)) and found["list_is_known"], (place, where.get(address))


def check():
    heap = heapwalk.current()
    expected, found = expected_lists(), found_lists(heap)
    for key in set(expected) | set(found):
        assert expected.get(key) == found.get(key), (key, expected.get(key), found.get(key))
    checked = {}
    for key, members in sorted(expected.items(), key=str):
        for position, member in enumerate(members):
            if key[0] in ("usedpools", "freepools") and checked.setdefault(key[0], 0) < POOLS_CHECKED:
                checked[key[0]] += 1
                check_pool(heap, member, (key[0], position))
    assert checked.get("usedpools", 0) > 10 and checked.get("freepools", 0) > 0, checked
    check_arena_objects(heap, expected)
    print("script: all is well: %d lists, %s" % (len(expected), checked))


check()
