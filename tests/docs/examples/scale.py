# SPDX-License-Identifier: LGPL-2.1-or-later
"""Ten thousand dictionaries: the tutorial's first challenge."""

from stop import step

dicts = i = d = None
step()
step()

dicts = []
for i in range(10000):
    d = {"id": i, "name": f"item_{i}", "value": i * 2.5, "active": True}
    dicts.append(d)
step()
