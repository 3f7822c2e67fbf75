# SPDX-License-Identifier: LGPL-2.1-or-later
"""Many dictionaries made and dropped, but for a few: why the memory is not given back."""

from stop import step

step()
rows = [{} for _ in range(200000)]
step()
for at, _ in enumerate(rows):
    if at % 4000:
        rows[at] = None
step()
rows = None
step()
