# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the kernel says of a process's memory, and whether a report of `map` says the same."""

import re

UNKNOWN_LIMIT = 0.01
COLUMNS = ("virtual_bytes", "resident_bytes", "swapped_bytes", "huge_bytes")
SMAPS = {"Size": "virtual_bytes", "Rss": "resident_bytes", "Swap": "swapped_bytes", "AnonHugePages": "huge_bytes"}


class Kernel:
    """/proc/PID/smaps and status, as they are now, or copies of them in a directory."""

    def __init__(self, pid, directory=None):
        directory = directory or "/proc/%d" % pid
        self.private_writable = dict.fromkeys(COLUMNS, 0)
        self.all = dict.fromkeys(COLUMNS, 0)
        with open(directory + "/smaps", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                head = re.match(r"[0-9a-f]+-[0-9a-f]+ (\S{4}) .*?(\[vsyscall\])?$", line)
                if head:
                    sums = [] if head.group(2) else [self.all]
                    if head.group(1)[1] == "w" and head.group(1)[3] == "p":
                        sums.append(self.private_writable)
                    continue
                name, value = line.split(":", 1)
                for each in sums:
                    if name in SMAPS:
                        each[SMAPS[name]] += int(value.split()[0]) * 1024
        self.status = {}
        with open(directory + "/status", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                if line.rstrip().endswith(" kB"):
                    name, value = line.split(":", 1)
                    self.status[name] = int(value.split()[0]) * 1024


def line(report, what):
    return next(row for row in report["rows"] if row["what"] == what)


def adds_up(report):
    """What is wrong with the report's own sums."""
    wrong = []
    for column in COLUMNS + ("missing_bytes",):
        for rows, total in (("rows", "total"), ("elsewhere", None)):
            known = [row[column] for row in report[rows] if row[column] is not None]
            if total and report[total][column] is not None and sum(known) != report[total][column]:
                wrong.append("%s of the rows add up to %d, not to %d" % (column, sum(known), report[total][column]))
    return wrong


def problems(report, kernel, knows_huge=True):
    """Everything in which a live process's report and the kernel differ."""
    wrong = adds_up(report)

    def compare(what, ours, theirs):
        if ours != theirs:
            wrong.append("%s: %s, the kernel has %s" % (what, ours, theirs))

    for column in COLUMNS:
        if column != "huge_bytes" or knows_huge:
            compare("private and writable, %s" % column, report["total"][column], kernel.private_writable[column])
    for column in COLUMNS[:3]:
        compare("the process, %s" % column, report["process"][column], kernel.all[column])
    compare("vm_size", report["kernel"]["vm_size"], kernel.status["VmSize"])
    compare("vm_rss", report["kernel"]["vm_rss"], kernel.status["VmRSS"])
    compare("smaps_rss", report["kernel"]["smaps_rss"], kernel.all["resident_bytes"])
    compare("VmSize, by the rows", report["process"]["virtual_bytes"], kernel.status["VmSize"])
    compare("the difference in resident bytes", report["difference"]["resident_bytes"],
            kernel.all["resident_bytes"] - kernel.status["VmRSS"])
    compare("the difference in virtual bytes", report["difference"]["virtual_bytes"], 0)
    unknown = line(report, "unknown")["resident_bytes"]
    if unknown >= UNKNOWN_LIMIT * report["total"]["resident_bytes"]:
        wrong.append("%d of %d resident bytes are unknown" % (unknown, report["total"]["resident_bytes"]))
    return wrong


def core_problems(report, live):
    """A core of the same stop has the same lines, and does not say what a core can't know."""
    wrong = adds_up(report)
    for row in report["rows"]:
        ours, theirs = row["virtual_bytes"], line(live, row["what"])["virtual_bytes"]
        if ours != theirs:
            wrong.append("%s: %d bytes, live %d" % (row["what"], ours, theirs))
        resident = line(live, row["what"])["resident_bytes"]
        if row["what"] == "files' private pages":
            resident = ours  # whoever makes the core reads pages in that were not there
        if row["resident_bytes"] is not None and row["resident_bytes"] > resident:
            wrong.append("%s: %d resident bytes, live %d" % (row["what"], row["resident_bytes"], resident))
        if row["swapped_bytes"] is not None or row["huge_bytes"] is not None:
            wrong.append("%s: a core does not tell what is swapped or huge" % row["what"])
    if any(value is not None for value in report["kernel"].values()) or report["resident_from"] != "core":
        wrong.append("a core has no counters of the kernel's: %s" % report["kernel"])
    return wrong
