# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a run of ctest covered, from its JUnit file: usage: summary.py NAME=FILE...

Prints the tests that were skipped, each with its reason; what tests that ran left out (lines "skip: WHY"
of their output); and the interpreters they say they ran on (lines "ran on NAME", "ok  NAME/…").
"""

import collections
import re
import sys
import xml.etree.ElementTree


def report(name, path):
    counts = collections.Counter()
    left_out = set()
    interpreters = collections.defaultdict(set)
    for case in xml.etree.ElementTree.parse(path).getroot().iter("testcase"):
        test, output = case.get("name"), case.findtext("system-out") or ""
        skipped = case.find("skipped") is not None or case.get("status") == "notrun"
        counts["skipped" if skipped else "failed" if case.find("failure") is not None else "ran"] += 1
        if skipped:
            reason = re.search(r"^skip(?:ped)?: (.*)$", output, re.MULTILINE)
            print("%s: skipped %s: %s" % (name, test, reason.group(1) if reason else "no reason given"))
        else:
            left_out.update(re.findall(r"^skip: (.*)$", output, re.MULTILINE))
        for line in re.findall(r"^(?:ran on|ok ) ([^/\s]+)", output, re.MULTILINE):
            interpreters[line].add(test)
    for line in sorted(left_out):
        print("%s: left out: %s" % (name, line))
    for line, tests in sorted(interpreters.items()):
        print("%s: ran on %s: %s" % (name, line, ", ".join(sorted(tests))))
    print("%s: %s" % (name, ", ".join("%d %s" % (counts[word], word)
                                      for word in ("ran", "failed", "skipped"))))


for argument in sys.argv[1:]:
    report(*argument.split("=", 1))
