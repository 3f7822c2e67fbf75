# SPDX-License-Identifier: LGPL-2.1-or-later
"""A list that only grows: the tutorial's fourth challenge."""

import gc

from stop import step

requests = []
i = None


def serve(number):
    requests.append({"path": "/%d" % number, "status": 200})


step()
step()
while True:
    for i in range(1000):
        serve(len(requests))
    gc.collect()
    step()
