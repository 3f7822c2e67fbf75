# SPDX-License-Identifier: LGPL-2.1-or-later
"""A small service that has been eating memory: what `./setup demo` shows.

It keeps sessions and their baskets, caches pages it rendered, logs every request, and throws most of
what it made away again in an order that leaves survivors all over the heap. Prints "ready PID" when
it has served its requests, then waits until its standard input is closed.

Usage: service.py [REQUESTS]
"""

import os
import random
import sys


class Session:
    def __init__(self, number):
        self.key = "session-%08d" % number
        self.basket = []
        self.preferences = {"language": "en", "page_size": number % 50}


class Item:
    __slots__ = ("name", "price_cents", "amount")

    def __init__(self, name, price_cents, amount):
        self.name = name
        self.price_cents = price_cents
        self.amount = amount


class PageCache:
    """The leak: an upper bound that counts pages, and pages that grow."""

    def __init__(self, page_count):
        self.page_count = page_count
        self.pages = {}

    def put(self, path, html):
        if len(self.pages) >= self.page_count:
            self.pages.pop(next(iter(self.pages)))
        self.pages[path] = html


class Service:
    def __init__(self):
        self.chance = random.Random(20)  # every run makes the same heap
        self.sessions = {}
        self.cache = PageCache(3000)
        self.requests = []

    def serve(self, number):
        session = Session(number)
        for index in range(self.chance.randrange(6)):
            session.basket.append(Item("article %d" % (number * 7 + index), number % 9973, index + 1))
        self.sessions[session.key] = session
        path = "/shop/%d" % self.chance.randrange(20000)
        self.cache.put(path, "<p>%s</p>\n" % session.key * self.chance.randrange(10, 120))
        self.requests.append(("GET", path, {"session": session.key, "status": 200}, b"x" * 64))

    def expire(self):
        """Most sessions end, every tenth stays: the heap is full of holes."""
        for key in list(self.sessions):
            if self.chance.random() < 0.9:
                del self.sessions[key]
        self.requests = self.requests[::10]


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 60000
    service = Service()
    for number in range(count):
        service.serve(number)
    service.expire()
    for number in range(count, count + count // 4):
        service.serve(number)
    print("ready %d" % os.getpid(), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
