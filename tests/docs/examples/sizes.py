# SPDX-License-Identifier: LGPL-2.1-or-later
"""Dictionaries of three sizes: the tutorial's second challenge."""

from stop import step

names = [f"key_{i}" for i in range(100)]
small = medium = large = _ = i = name = None
step()
step()

small = [{"a": 1} for _ in range(1000)]
step()
medium = [{name: 1 for name in names[:10]} for _ in range(1000)]
step()
large = [{name: 1 for name in names} for _ in range(1000)]
step()
