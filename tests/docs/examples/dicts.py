# SPDX-License-Identifier: LGPL-2.1-or-later
"""A thousand dictionaries made, deleted, collected: the tutorial's parts 1 to 4."""

import gc

from stop import step

dicts = i = d = None
step()  # the first one warms up what the others need
step()

dicts = []
for i in range(1000):
    d = {"id": i, "name": f"item_{i}", "value": i * 2.5, "active": True}
    dicts.append(d)
step()

dicts.clear()
del dicts, d
step()

gc.collect()
step()
