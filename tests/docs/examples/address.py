# SPDX-License-Identifier: LGPL-2.1-or-later
"""10 000 addresses of six fields, in each representation that Python offers."""

import collections
import dataclasses

from stop import step

FIELDS = ("line1", "line2", "apartmentnum", "city", "state", "zipcode")


class Plain:
    def __init__(self, line1, line2, apartmentnum, city, state, zipcode):
        self.line1 = line1
        self.line2 = line2
        self.apartmentnum = apartmentnum
        self.city = city
        self.state = state
        self.zipcode = zipcode




class Slots:
    __slots__ = FIELDS

    __init__ = Plain.__init__


Named = collections.namedtuple("Named", FIELDS)


@dataclasses.dataclass(slots=True)
class Data:
    line1: str
    line2: str
    apartmentnum: int
    city: str
    state: str
    zipcode: str


VALUES = ("line 1", "line 2", 7, "city", "state", "zipcode")
kept = []
i = make = None


def fill(function):
    rows = [None] * 10000
    kept.append(rows)
    step()
    for at in range(10000):
        rows[at] = function(*VALUES)
    step()


def make_dict(*values):
    return dict(zip(FIELDS, values))


def make_tuple(*values):
    return tuple(list(values))


step()
for make in (make_dict, Plain, Slots, Data, Named, make_tuple):
    fill(make)
