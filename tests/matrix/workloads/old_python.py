# SPDX-License-Identifier: LGPL-2.1-or-later
"""What only Python 2 has."""

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
