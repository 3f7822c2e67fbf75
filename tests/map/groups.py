# SPDX-License-Identifier: LGPL-2.1-or-later
"""Objects of classes of known modules, and a thread with a malloc arena of its own."""
import datetime
import decimal
import os
import threading


class Thing(object):
    __slots__ = ()


def work():
    keep.append([bytearray(5000) for _ in range(50)])
    done.set()
    threading.Event().wait()


done = threading.Event()
keep = [[Thing() for i in range(5000)], [datetime.date(2000 + i % 100, 1, 1 + i % 28) for i in range(3000)],
        [decimal.Decimal(i) for i in range(2000)]]
thread = threading.Thread(target=work)
thread.daemon = True
thread.start()
done.wait()
os.write(1, b"ready\n")
os.read(0, 1)
