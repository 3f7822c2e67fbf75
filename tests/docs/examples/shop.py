# SPDX-License-Identifier: LGPL-2.1-or-later
"""The sample service, request by request: the guide's first questions, and what grows."""

from service import Service
from stop import step

service = Service()
number = 0
for number in range(4000):
    service.serve(number)
step()
while True:
    for number in range(number + 1, number + 1001):
        service.serve(number)
    step()
