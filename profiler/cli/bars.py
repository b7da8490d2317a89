"""What all progress on standard error looks like: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

_BAR_WIDTH = 20
_OTHERS_WIDTH = 28  # spinner, count and time, with the spaces between
_LEAST_DESCRIPTION = 20


@contextmanager
def terminal_bars(*, auto_refresh: bool = True) -> Iterator[Progress | None]:
    """Bars that vanish with the context; None where standard error is no terminal.

    Without ``auto_refresh`` no thread draws them: they change when they are told to.
    """
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield None
        return
    columns = (
        SpinnerColumn(),
        BarColumn(_BAR_WIDTH),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True, auto_refresh=auto_refresh) as bars:
        yield bars


@contextmanager
def status(text: str) -> Iterator[Callable[[str], None]]:
    """What goes on, in a word; it begins with ``text`` and changes when it is told to. Nothing where standard error is
    no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda text: None
        return
    with console.status(escape(text)) as shown:
        yield lambda text: shown.update(escape(text))


def description(text: str, bars: Progress) -> str:
    """As much of the text as has room beside the bar, with its brackets taken literally."""
    room = max(_LEAST_DESCRIPTION, bars.console.width - _BAR_WIDTH - _OTHERS_WIDTH)
    return escape(text if len(text) <= room else text[: room - 1] + "…")


def print_line(text: str) -> None:
    """For logs: no control characters, flushed as it comes."""
    sys.stderr.write(text + "\n")  # in one piece: Ctrl-C must not fall between a line and its end
    sys.stderr.flush()
