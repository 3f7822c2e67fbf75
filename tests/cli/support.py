# SPDX-License-Identifier: LGPL-2.1-or-later
"""Running the command that was built."""

import os
import pathlib
import subprocess

TOP = pathlib.Path(__file__).resolve().parents[2]
HEAPWALK = os.path.join(os.environ["HEAPWALK_BUILD"], "bin", "heapwalk")


def run(*words):
    return subprocess.run([HEAPWALK] + [str(word) for word in words], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False)


def complete(*words):
    """What may stand in the place of the last word."""
    done = run("--complete", *words)
    assert done.returncode == 0 and not done.stderr, done
    return done.stdout.splitlines()


def commands():
    return complete("")


def options(command):
    """The options of a command, with their dashes."""
    return complete(command, "-")
