"""What progress looks like: drawn over on a terminal, lines elsewhere."""

from __future__ import annotations

import io

from profiler.bundle.box.bar import Bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    @property
    def shown(self) -> str:
        """What stands on the screen's last line: each return begins it anew, from the left."""
        line = ""
        for part in self.getvalue().split("\n")[-1].split("\r"):
            line = part + line[len(part) :]
        return line.rstrip()


def test_a_bar_on_a_terminal() -> None:
    terminal = Terminal()
    bar = Bar(terminal)
    bar.show(5, 10, "a rather long description")
    assert terminal.shown == "[##########----------] 5/10 0:00 a rather long description"
    bar.show(10, 10, "short")
    assert terminal.shown == "[####################] 10/10 0:00 short"
    bar.show(0, 0, "x" * 200)
    assert len(terminal.shown) < 80
    bar.line("a line that stays")
    assert terminal.getvalue().endswith("a line that stays\n")
    assert terminal.getvalue().count("\n") == 1
    bar.show(1, 10, "again")
    bar.clear()
    assert terminal.shown == ""


def test_lines_elsewhere() -> None:
    log = io.StringIO()
    bar = Bar(log)
    bar.show(1, 10, "first")
    bar.show(2, 10, "too soon")
    bar.show(10, 10, "last")
    bar.line("a line")
    bar.clear()
    assert log.getvalue().splitlines() == ["[1/10, 0:00] first", "[10/10, 0:00] last", "a line"]
