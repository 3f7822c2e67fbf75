# SPDX-License-Identifier: LGPL-2.1-or-later
"""Targets of another machine: a chroot by tests/matrix/foreign.sh, its processes and their cores."""

import glob
import json
import os
import re
import struct
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../matrix"))

import checks  # noqa: E402
import oracles  # noqa: E402
from process import Target, TestError, wait_until_paused  # noqa: E402

# Of each architecture: are its processes the kernel's own (else qemu-user's), how wide their words are, and in which
# system call of this machine a thread sits that waits in pause(2).
ARCHITECTURES = {
    "arm64": {"is_native": False, "width": checks.WIDTH_64, "pause": "271"},  # ppoll(2), made by qemu for the guest
    "i386": {"is_native": True, "width": checks.WIDTH_32, "pause": "29"},
}
NT_FILE = 0x46494C45
PT_LOAD, PT_NOTE = 1, 4


def roots():
    """[(architecture, directory)] of the chroots that are there, and sentences about those that are not."""
    named = [p.rstrip("/") for p in os.environ.get("HEAPWALK_TEST_FOREIGN", "").split(":") if p]
    chroots = os.environ.get("HEAPWALK_CHROOTS", "/var/tmp/heapwalk-chroots")
    found, missing = [], []
    for architecture in ARCHITECTURES:
        places = [p for p in named if p.endswith("-" + architecture)] or [os.path.join(chroots, "bookworm-" + architecture)]
        if os.geteuid():
            missing.append("%s: a chroot can only be entered by root" % architecture)
        elif not os.path.exists(places[0] + "/usr/bin/python3"):
            missing.append("%s: no chroot %s (tests/matrix/foreign.sh %s)" % (architecture, places[0], architecture))
        elif subprocess.run(["chroot", places[0], "true"], stderr=subprocess.DEVNULL).returncode:
            missing.append("%s: its programs do not run here (package qemu-user-static, binfmt_misc)" % architecture)
        else:
            found.append((architecture, places[0]))
    return found, missing


def pythons(root):
    """{name: version} of the chroot's own Pythons: python3.11, python3.11d, of other suites python2.7, python3.13."""
    names = [n for n in sorted(os.listdir(root + "/usr/bin")) if re.match(r"python[23]\.\d+d?$", n)]
    said = {n: subprocess.check_output(["chroot", root, n, "-c", "import sys; print(list(sys.version_info[:3]))"]) for n in names}
    return {n: tuple(json.loads(said[n])) for n in names}


class ForeignTarget(Target):
    """A target.py of a chroot of another machine."""

    def __init__(self, architecture, command, environment, root):
        self.architecture = architecture
        self.facts = ARCHITECTURES[architecture]
        environment = dict(environment, HEAPWALK_TEST_PAUSE=self.facts["pause"])
        super().__init__(command, environment, root=root, timeout=900)

    def wait_until_paused(self):
        wait_until_paused(self.pid, self.facts["pause"], 300)

    def core(self):
        """By the kernel, or by qemu; the process is gone."""
        if self.facts["is_native"]:
            return self.abort(0x33)
        with open("/proc/%d/maps" % self.pid) as f:
            maps = f.read()
        self._filter(0)  # the kernel's, of qemu itself, is not wanted
        os.kill(self.pid, 6)
        self.process.wait()
        cores = glob.glob(os.path.join(self.directory, "qemu_*.core"))
        if len(cores) != 1:
            raise TestError("qemu wrote %d cores (status %d)" % (len(cores), self.process.returncode))
        name_files(cores[0], maps)
        return cores[0]


def core_mappings(path, mappings):
    """A 64-bit core's segments, as mappings that have the names of the process's."""
    with open(path, "rb") as f:
        core = f.read(1 << 20)
    offset, = struct.unpack_from("<Q", core, 32)
    size, count = struct.unpack_from("<HH", core, 54)
    found = []
    for i in range(count):
        kind, flags, _, start, _, _, memory, _ = struct.unpack_from("<IIQQQQQQ", core, offset + i * size)
        if kind == PT_LOAD:
            names = [m.path for m in mappings if m.start <= start < m.end]
            perms = "".join(c if flags & bit else "-" for c, bit in zip("rwx", (4, 2, 1))) + "p"
            found.append(oracles.Mapping(start, start + memory, perms, names[0] if names else ""))
    return found


def name_files(path, maps):
    """Adds to a 64-bit core by qemu-user, which has none, the note that Linux writes about mapped files."""
    with open(path, "rb") as f:
        core = bytearray(f.read())
    offset, = struct.unpack_from("<Q", core, 32)
    size, count = struct.unpack_from("<HH", core, 54)
    headers = [list(struct.unpack_from("<IIQQQQQQ", core, offset + i * size)) for i in range(count)]
    loads = [(h[3], h[3] + h[6]) for h in headers if h[0] == PT_LOAD]
    rows, names = b"", b""
    for line in maps.splitlines():
        words = line.split(None, 5)
        start, end = (int(x, 16) for x in words[0].split("-"))
        if len(words) < 6 or not words[5].startswith("/") or not any(a <= start < b for a, b in loads):
            continue
        rows += struct.pack("<QQQ", start, end, int(words[2], 16) // 4096)
        names += os.fsencode(words[5]) + b"\0"
    desc = struct.pack("<QQ", len(rows) // 24, 4096) + rows + names
    note = next(h for h in headers if h[0] == PT_NOTE)
    notes = bytes(core[note[2] : note[2] + note[5]])
    notes += bytes(-len(notes) % 4) + struct.pack("<III", 5, len(desc), NT_FILE) + b"CORE\0\0\0\0" + desc
    index = headers.index(note)
    core += bytes(-len(core) % 4096)
    note[2], note[5], note[7] = len(core), len(notes), 4
    struct.pack_into("<IIQQQQQQ", core, offset + index * size, *note)
    with open(path, "wb") as f:
        f.write(core + notes)
