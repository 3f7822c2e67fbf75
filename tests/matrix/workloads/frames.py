# SPDX-License-Identifier: LGPL-2.1-or-later
"""Running code: generators, frames, coroutines, and what they hold."""
from __future__ import print_function

import sys
import weakref

from .common import PY2
from .user_classes import MyError


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
