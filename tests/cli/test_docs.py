# SPDX-License-Identifier: LGPL-2.1-or-later
"""The man page and the pages in docs/ name every command and every option that there is, and no other."""

import re
import unittest

from support import TOP, commands, options, run

MAN = (TOP / "docs" / "heapwalk.1").read_text(encoding="utf-8")
COMMANDS = commands()


class Docs(unittest.TestCase):
    def test_the_table_is_there(self):
        self.assertIn("census", COMMANDS)
        self.assertGreater(len(COMMANDS), 5)

    def test_man_page_has_all_commands(self):
        text = MAN[MAN.index(".SH COMMANDS"):MAN.index(".SS Options of commands")]
        named = re.findall(r'^\.TP\n\.(?:B|BR) ([a-z\\-]+)', text, re.MULTILINE)
        self.assertEqual([name.replace("\\", "") for name in named], COMMANDS)

    def test_man_page_has_all_options(self):
        text = MAN[MAN.index(".SS Options of commands"):MAN.index(".SH QUERIES")]
        named = {name.replace("\\", "") for name in re.findall(r"^\.(?:B|BR) ((?:\\-)+[a-z]+)", text, re.MULTILINE)}
        self.assertEqual(named, {option for command in COMMANDS for option in options(command)})

    def test_man_page_has_the_global_options(self):
        text = MAN[MAN.index(".SH OPTIONS"):MAN.index(".SH COMMANDS")].replace("\\-", "-")
        for option in re.findall(r"(--[a-z-]+)", run("--help").stdout):
            self.assertRegex(text, r"%s\b" % option)

    def test_man_page_has_the_summaries(self):
        text = re.sub(r"\\(.)", r"\1", MAN)
        for command in COMMANDS:
            summary = run(command, "--help").stdout.splitlines()[1]
            self.assertIn(summary, text, command)

    def test_a_page_for_each_command(self):
        pages = {page.stem for page in (TOP / "docs" / "commands").glob("*.md")}
        self.assertEqual(pages, set(COMMANDS))
        formats = (TOP / "docs" / "formats.md").read_text(encoding="utf-8")
        for command in COMMANDS:
            text = (TOP / "docs" / "commands" / (command + ".md")).read_text(encoding="utf-8")
            self.assertIn("heapwalk.%s/1" % command, text)
            self.assertIn("commands/%s.md" % command, formats)
            table = text[text.index("## Options"):text.index("## Example")]
            named = re.findall(r"^\| `([a-z]+)", table, re.MULTILINE)
            self.assertEqual(sorted(named), sorted(o.lstrip("-") for o in options(command)), command)

    def test_help_of_each_command(self):
        for command in COMMANDS:
            done = run(command, "--help")
            self.assertEqual((done.returncode, done.stderr), (0, ""), command)
            for option in options(command):
                self.assertRegex(done.stdout, r"(?m)^  %s\b" % option)
            self.assertTrue(all(len(line) < 100 for line in done.stdout.splitlines()), done.stdout)


if __name__ == "__main__":
    unittest.main()
