# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makes schema-N.gz, to be committed when schema N is first released: make_old.py FILE. Debian's own Python."""

import gzip
import os
import shutil
import sys
import tempfile

from support import Target, run

target = Target("/usr/bin/python3")
target.do("things = [Thing() for i in range(4321)]")
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "snapshot")
    done = run("-p", target.pid, "save", path)
    assert done.returncode == 0, done
    with open(path, "rb") as file, open(sys.argv[1], "wb") as packed:
        with gzip.GzipFile(filename="", fileobj=packed, mode="wb", mtime=0) as writer:
            shutil.copyfileobj(file, writer)
target.close()
