# SPDX-License-Identifier: LGPL-2.1-or-later
"""gdb on a terminal: Ctrl-C, the pager, TAB, and that all works as before after each of them."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios

from support import c_target, check, environment, gdb_arguments, main, skip

PROMPT = r"\(gdb\) $"
SECONDS = 60

# When the walk has begun, say so and wait for the signal, inside the library's call: the real way of
# Ctrl-C, without a race. Undone by the second command.
WAIT = ("python import signal, heapwalk_gdb.runner as r; s = r.runner().sessions; p = s._progress;"
        " s._progress = lambda *_: (gdb.write('WALK' + 'ING\\n'), gdb.flush(), signal.pause())")
UNDO = "python s._progress = p"


class Terminal:
    """gdb in a terminal of 12 lines."""

    def __init__(self, *arguments, **more):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            command = gdb_arguments() + [str(word) for word in arguments]
            os.execvpe(command[0], command, dict(environment(), LINES="12", COLUMNS="100", **more))
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 100, 0, 0))
        self.text = self.raw = ""
        self.expect(PROMPT)
        self.command("set height 12")

    def expect(self, pattern):
        """What is printed until `pattern`."""
        seen = self.raw = ""
        while not re.search(pattern, seen):
            if not select.select([self.fd], [], [], SECONDS)[0]:
                check(False, "no %r in %r" % (pattern, seen))
            try:
                piece = os.read(self.fd, 65536).decode("utf-8", "backslashreplace")
                self.raw += piece
                seen += piece
            except OSError:
                check(False, "gdb ended; no %r in %r" % (pattern, seen))
            seen = re.sub("\x1b\\[[?0-9;]*[a-zA-Z]", "", seen).replace("\r", "")
        self.text += seen
        return seen

    def send(self, text):
        os.write(self.fd, text.encode())

    def command(self, line, until=PROMPT):
        self.send(line + "\n")
        return self.expect(until)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.close()
        else:  # or its target could not be waited for
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def close(self):
        self.send("quit\n")
        os.waitpid(self.pid, 0)
        os.close(self.fd)
        check("Traceback" not in self.text and "Exception ignored" not in self.text, self.text)


    def colours(self, line):
        """The escapes for colours in what a command prints."""
        self.command(line)
        # gdb 18 writes escapes anew, with what they leave as it is.
        usual = {"22", "23", "24", "27", "39", "49"}
        raw = re.sub("\x1b\\[([0-9;]+)m", lambda each: "\x1b[%sm" % ";".join(
            sorted(set(each.group(1).split(";")) - usual, key=int)), self.raw.replace("\r", ""))
        return re.findall("\x1b\\[[0-9;]*m[^\x1b]*", raw)


def rows(text):
    return re.findall(r"^.*\b(?:glibc|uncategorized|TOTAL)\b.*$", text, re.MULTILINE)


def test_colours(process):
    """gdb's own styles, wherever gdb itself would use them."""
    def coloured(terminal, line):
        return [each for each in terminal.colours(line) if "Domain" in each or "TOTAL" in each]

    with Terminal("-p", process.pid, TERM="xterm") as terminal:
        terminal.command("set height 0")
        terminal.command("set style title foreground green")
        terminal.command("set style address foreground magenta")
        found = terminal.colours("heap -top 1")
        check("\x1b[1;32mDomain" in found and "\x1b[1;32mTOTAL" in found, "titles:", found)
        check(any(each.startswith("\x1b[2mcoverage: ") for each in found), "metadata:", found)
        found = terminal.colours("heap all -top 1")
        check(any(re.match("\x1b\\[35m0x[0-9a-f]{16}", each) for each in found), "addresses:", found)
        for line in ("heap -top 1 -format csv", "pipe heap -top 1 | cat",
                     "heap -top 1 -output /dev/tty", "with style enabled off -- heap -top 1",
                     "python print(gdb.execute('heap -top 1', to_string=True))"):
            check(not coloured(terminal, line), line, "has colours:", terminal.raw)
        check("\x1b[1;32mTOTAL" in terminal.colours("heap -top 1"), "no colours afterwards:", terminal.raw)
    for variable in ({"NO_COLOR": "1", "TERM": "xterm"}, {"TERM": "dumb"}):
        with Terminal("-p", process.pid, **variable) as terminal:
            terminal.command("set height 0")
            terminal.command("set style enabled on")
            check(not coloured(terminal, "heap -top 1"), variable, terminal.raw)


def test_keys(process):
    with Terminal("-p", process.pid) as terminal:
        terminal.command("set height 0")
        whole = rows(terminal.command("heap"))
        check(any("TOTAL" in row for row in whole), "no report:", terminal.text)

        # Ctrl-C while it walks: the session is dropped, the report says that it is partial.
        terminal.command(WAIT)
        terminal.command("python s.forget()")
        terminal.command("heap", until="WALKING\n")
        terminal.send("\x03")
        after = terminal.expect(PROMPT)
        check(re.search("partial|interrupted|Quit", after, re.IGNORECASE), "not said to be cut:", after)
        terminal.command(UNDO)
        again = rows(terminal.command("heap"))
        check(again == whole, "after Ctrl-C:", again, "expected", whole)

        # q at the pager, and Ctrl-C there.
        terminal.command("set height 12")
        for answer in ("q\n", "\x03"):
            terminal.command("heap select size > 0", until="--Type <RET> for more.*--")
            terminal.send(answer)
            after = terminal.expect(PROMPT)
            check(len(after.splitlines()) < 6 and "rror" not in after, "after the pager:", after)
        terminal.command("set height 0")
        again = rows(terminal.command("heap"))
        check(again == whole, "after the pager:", again)

        # TAB
        terminal.send("heap sel\t")
        terminal.expect("heap select $")
        terminal.send("-form\t")
        terminal.expect("-format $")
        terminal.send("js\t")
        terminal.expect("json $")
        terminal.send("size > 100000000\n")
        check('"rows"' in terminal.expect(PROMPT), "the completed command:", terminal.text[-500:])
        terminal.send('heap select -top 1 kind = "string d\t')
        terminal.expect('kind = "string data" ?$')
        terminal.send("\n")
        check("1 block" in terminal.expect(PROMPT), "the completed query:", terminal.text[-500:])


def test():
    try:
        for end in pty.openpty():
            os.close(end)
    except OSError as error:
        skip("no pseudo-terminal can be had: %s" % error)
    with c_target() as process:
        test_keys(process)
        test_colours(process)


main(test)
