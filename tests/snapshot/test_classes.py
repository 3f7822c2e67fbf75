# SPDX-License-Identifier: LGPL-2.1-or-later
"""By size class: what pymemtrace makes of two texts of sys._debugmallocstats(), without asking the process.

The process prints its own statistics at two moments, each as the last thing it does before it waits; a
snapshot is taken while it waits. In between it runs the example of pymemtrace's documentation: a list of
small strings grows.
"""

import os
import pathlib
import re
import signal
import subprocess
import sys

from support import HERE, Case, main, run

sys.path.insert(0, str(HERE.parent / "matrix"))
import interpreters  # noqa: E402  pylint: disable=wrong-import-position

TARGET = """
import gc, os, signal, sys
signal.signal(signal.SIGUSR1, lambda number, frame: None)
stats, pause, write = sys._debugmallocstats, signal.pause, os.write
list_of_strings = []
def nothing():
    pass
def example():
    for i in range(1, 9):
        list_of_strings.append(' ' * (i * 8))
def much():
    for i in range(100, 60000):
        list_of_strings.append(str(i) * (i % 70))
def less():
    del list_of_strings[::2]
    list_of_strings.append([{} for i in range(100)])
    list_of_strings.append([(i,) * 5 for i in range(100)])
    list_of_strings.pop()
    list_of_strings.pop()
    gc.collect()
def main():
    for step in (nothing, example, much, less):
        step()
        step = None
        stats()
        pause()
gc.disable()
main()
"""

CLASS = re.compile(r" *(\d+) +(\d+) +(\d+) +(\d+) +(\d+)")
LINE = re.compile(r"(?:(-?\d+) )?(.*?) *= +([\d,]+)")
TYPE = re.compile(r" *(-?\d+) free (.+?)s \* (\d+) bytes each = +(-?[\d,]+)")
# In the order of obmalloc's text; the first paragraph is of arenas.
NAMES = (("# arenas allocated total", "# arenas reclaimed", "# arenas highwater mark",
          "# arenas allocated current", "arenas * %d bytes/arena"),
         ("# bytes in allocated blocks", "# bytes in available blocks", "unused pools * %d bytes",
          "# bytes lost to pool headers", "# bytes lost to quantization", "# bytes lost to arena alignment", "Total"))


def parse(text):
    """{(class, size): numbers}, {name of a line: (items or None, bytes)}, {(type, size): count}."""
    classes, lines, types = {}, {}, {}
    for line in text.splitlines():
        if TYPE.fullmatch(line):
            count, name, size, _ = TYPE.fullmatch(line).groups()
            types[name, int(size)] = int(count)
        elif CLASS.fullmatch(line):
            index, size, *numbers = map(int, CLASS.fullmatch(line).groups())
            classes[index, size] = numbers
        elif LINE.fullmatch(line):
            items, name, total = LINE.fullmatch(line).groups()
            # "Total" again, of the arena map (3.10), is not meant.
            lines.setdefault(name, (items and int(items), int(total.replace(",", ""))))
    return classes, lines, types


def difference(before, after):
    """The form of pymemtrace's difference: changed lines alone, each number with its sign."""
    (classes_a, lines_a, types_a), (classes_b, lines_b, types_b) = parse(before), parse(after)
    paragraphs = [[]]
    for key in sorted(set(classes_a) | set(classes_b)):
        changes = [b - a for a, b in zip(classes_a.get(key, (0, 0, 0)), classes_b.get(key, (0, 0, 0)))]
        if any(changes):
            paragraphs[0].append("%5d  %5d  %+10d  %+14d  %+12d" % (key + tuple(changes)))
    if paragraphs[0]:
        paragraphs[0][:0] = ["class   size   num pools   blocks in use  avail blocks",
                             "-----   ----   ---------   -------------  ------------"]
    for names in NAMES:
        paragraphs.append([])
        for pattern in names:
            regex = re.compile(re.escape(pattern).replace("%d", r"\d+"))
            for name, (items, total) in lines_b.items():
                if regex.fullmatch(name):
                    was_items, was_total = lines_a[name]
                    words = name if items is None else "%+d %s" % (items - was_items, name)
                    if total != was_total:
                        paragraphs[-1].append("{:<34s} = {:>+20,d}".format(words, total - was_total))
    paragraphs.append([])
    for name, size in sorted(set(types_a) | set(types_b)):
        change = types_b.get((name, size), 0) - types_a.get((name, size), 0)
        if change:
            words = "%+d free %ss * %d bytes each" % (change, name, size)
            paragraphs[-1].append("{:>48s} = {:>+20,d}".format(words, change * size))
    return "\n\n".join("\n".join(each) for each in paragraphs if each) + "\n"


def paused(pid):
    """In pause(2), where nothing of its memory changes any more."""
    try:
        with open("/proc/%d/syscall" % pid, encoding="ascii") as file:
            number = file.read().split()[0]
    except OSError:
        return False
    return number == "34"


class Classes(Case):
    def moments(self, python):
        """For each step: the text that the process printed, and a snapshot."""
        path = self.path("stats")
        with open(path, "wb") as stderr:
            process = subprocess.Popen([python, "-c", TARGET], stdin=subprocess.DEVNULL, stderr=stderr)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        texts, snapshots, read = [], [], 0
        for step in range(4):
            if step:
                process.send_signal(signal.SIGUSR1)
            # It writes before it pauses: what is there then is all.
            while os.path.getsize(path) == read or not paused(process.pid):
                self.assertIsNone(process.poll(), pathlib.Path(path).read_text(encoding="utf-8"))
                os.sched_yield()
            text = pathlib.Path(path).read_bytes()[read:]
            read += len(text)
            texts.append(text.decode())
            snapshots.append(self.path("%s-%d" % (os.path.basename(os.path.dirname(python)), step)))
            self.ok("-p", process.pid, "save", snapshots[-1])
        process.kill()
        return texts, snapshots

    def compare(self, name, python):
        texts, snapshots = self.moments(python)
        for before, after in ((0, 1), (1, 2), (2, 3), (0, 3), (3, 1)):
            done = run("diff", snapshots[before], snapshots[after], "--by", "class")
            self.assertEqual((done.returncode, done.stderr), (0, ""), name)
            self.assertEqual(done.stdout, difference(texts[before], texts[after]), name)
        self.assertIn("+", done.stdout)
        same = run("diff", snapshots[0], snapshots[0], "--by", "class")
        self.assertEqual((same.returncode, same.stdout), (0, "(no difference)\n"))
        report = self.json("diff", snapshots[0], snapshots[1], "--by", "class")
        classes = difference(texts[0], texts[1]).count("\n ")
        self.assertTrue(0 < len(report["rows"]) <= classes)

    def test_equals_the_difference_of_two_texts(self):
        found, _ = interpreters.find()
        ran = []
        for each in found:
            if each.root:
                continue  # its process would live in another root: the matrix has that
            probe = subprocess.run([each.path, "-c", "import sys; sys._debugmallocstats"], capture_output=True,
                                   check=False)
            if probe.returncode:
                print("skip: %s has no sys._debugmallocstats()" % each.name)
                continue
            self.compare(each.name, each.path)
            ran.append(each.name)
        print("ran on %s" % ", ".join(ran))
        self.assertTrue(ran)

    def test_of_no_python(self):
        process = subprocess.Popen(["sleep", "1000"])
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        path = self.path("sleep")
        self.ok("-p", process.pid, "save", path)
        self.refused(3, "has no numbers of pymalloc", "diff", path, path, "--by", "class")


if __name__ == "__main__":
    main()
