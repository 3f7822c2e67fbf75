# SPDX-License-Identifier: LGPL-2.1-or-later
"""A thousand objects of each of four types: the tutorial's third challenge."""

from stop import step


class Custom:
    def __init__(self, value):
        self.value = value


lists = tuples = sets = customs = i = None
step()
step()

lists = [[i] for i in range(1000)]
step()
tuples = [(i,) for i in range(1000)]
step()
sets = [{i} for i in range(1000)]
step()
customs = [Custom(i) for i in range(1000)]
step()
