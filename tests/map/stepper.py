# SPDX-License-Identifier: LGPL-2.1-or-later
"""A program that says "ready" and waits in read(2) for a byte before it goes on."""

import os
import subprocess


class Stepper:
    def __init__(self, *command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid = self.process.pid
        self.lines = []  # what it said before "ready"

    def __enter__(self):
        self.wait()
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def wait(self):
        for line in self.process.stdout:
            if line == b"ready\n":
                break
            self.lines.append(line.decode().strip())
        else:
            raise AssertionError("the target ended")
        while True:
            with open("/proc/%d/syscall" % self.pid, encoding="utf-8") as file:
                if file.read().startswith("0 0x0 "):
                    return
            os.sched_yield()

    def go_on(self, byte=b"\n"):
        self.process.stdin.write(byte)
        self.process.stdin.flush()
        self.wait()
