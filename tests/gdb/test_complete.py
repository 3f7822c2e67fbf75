# SPDX-License-Identifier: LGPL-2.1-or-later
"""TAB with a target: what the walked heap has, and no walk for it."""

import re
import sys

from support import check, check_equal, gdb, main, python_target

STATE = ("python import heapwalk_gdb.runner as r; s = r.runner().sessions.cached();"
         " print('session', s is not None)")


def offered(process, before, *texts):
    """What may follow each of the texts, after the commands `before`."""
    commands = ["echo MARK\\n", *before]
    for text in texts:
        commands += ["echo MARK\\n", "complete %s" % text]
    answers = gdb(commands + ["echo MARK\\n", STATE], "-p", process.pid).out.split("MARK\n")
    # gdb 16's complete prints a closing single quote once more; TAB does not.
    return [[re.sub("''$", "'", line) for line in answer.splitlines()] for answer in answers[2:]]


def test():
    with python_target(sys.executable) as process:
        # Nothing was walked: only what the tables know, and TAB does not begin a walk.
        kinds, states, session = offered(process, [], 'heap select kind = "Th', 'heap select state = "ov')
        check_equal(kinds, [], "kinds before a walk")
        check_equal(states, ['heap select state = "overhead"'], "states")
        check_equal(session[0], "session False", "after TAB")

        (types, both, free, blanks, more, joined, single, domains, allocators, attributes, operators,
         labels, every, keys, _session) = offered(
             process, ["heap -top 1 -output /dev/null", "heap label before", "heap label later"],
             'heap select kind = "Thin', "heap select size > 1K and kind ~ 'Slott", 'heap select state = "free po',
             'heap select kind = "PyListObject ob', 'heap select kind = "PyListObject ob_item t',
             'heap select kind="Slott', "heap select not (domain = 'pytho", 'heap select domain = "py',
             'heap select allocator = "pym', "heap select -top 5 s", "heap select kind ", "heap diff la",
             "heap diff before ", "heap -sort bytes:")
        check_equal(types, ['heap select kind = "Thing"'], "types")
        check_equal(both, ["heap select size > 1K and kind ~ 'Slotted'"], "types, in single quotes")
        check_equal(free, ['heap select state = "free pool"'], "states of the heap")
        check_equal(blanks, ['heap select kind = "PyListObject ob_item table"'], "a kind with blanks")
        check_equal(more, ['heap select kind = "PyListObject ob_item table"'], "a kind with blanks")
        check_equal(joined, ['heap select kind="Slotted"'], "without blanks around the operator")
        check_equal(single, ["heap select not (domain = 'python'"], "in parentheses")
        check('heap select domain = "python"' in domains, domains)
        check_equal(allocators, ['heap select allocator = "pymalloc"'], "allocators")
        check_equal(attributes, ["heap select -top 5 size", "heap select -top 5 start", "heap select -top 5 state"],
                    "attributes")
        check_equal(operators, ["heap select kind !=", "heap select kind !~", "heap select kind =",
                                "heap select kind ~"], "operators")
        check_equal(labels, ["heap diff later"], "labels")
        check_equal(every, ["heap diff before before", "heap diff before later"], "labels")
        check_equal(keys, ["heap -sort bytes:asc", "heap -sort bytes:desc"], "ways to sort")


main(test)
