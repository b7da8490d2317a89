"""What `kernels` and `bundle` show on standard error while they compile: a bar on a terminal, a few lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.markup import escape
from rich.progress import Progress

from profiler.cli.bars import description, print_line, terminal_bars
from profiler.kernel_library.candidates import BuildPlan, Tried
from profiler.kernel_library.candidates import Progress as Report
from profiler.units import format_duration

_LINE_EVERY_S = 10.0


@contextmanager
def build_display() -> Iterator[Report]:
    """A report that `build_candidates` fills, shown for as long as the context lasts."""
    with terminal_bars() as bars:
        display = _Lines() if bars is None else _Bar(bars)
        yield Report(display.planned, display.tried)


def _headline(plan: BuildPlan) -> str:
    network = plan.network
    known = f", {plan.cached} of them known" if plan.cached else ""
    return (
        f"{network.name}, batch {network.batch}: {len(network.layers)} layers, {plan.kernels} distinct kernels, "
        f"{plan.candidates} candidates{known}, for {plan.target_name} with {plan.compiler}"
    )


def _failed(tried: Tried) -> str:
    assert tried.failure is not None
    return f"failed ({tried.failure.kind.value}): {tried.spec.key}: {tried.failure.config}: {tried.failure.message}"


class _Bar:
    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._task = bars.add_task("reading the model", total=None)

    def planned(self, plan: BuildPlan) -> None:
        self._bars.console.print(escape(_headline(plan)))
        self._bars.update(self._task, total=plan.candidates, completed=plan.cached, description="starting the compiler")

    def tried(self, tried: Tried) -> None:
        if tried.failure is not None:
            self._bars.console.print(f"[yellow]{escape(_failed(tried))}[/yellow]")
        self._bars.update(self._task, advance=1, description=description(tried.spec.key, self._bars))


class _Lines:
    """For logs: one line in a while."""

    def __init__(self) -> None:
        self._total = self._done = 0
        self._begin = self._last = time.monotonic()

    def planned(self, plan: BuildPlan) -> None:
        self._total, self._done = plan.candidates, plan.cached
        self._begin = self._last = time.monotonic()
        print_line(_headline(plan))

    def tried(self, tried: Tried) -> None:
        self._done += 1
        if tried.failure is not None:
            print_line(_failed(tried))
        now = time.monotonic()
        if now - self._last >= _LINE_EVERY_S or self._done == self._total:
            self._last = now
            print_line(f"[{self._done}/{self._total}, {format_duration(now - self._begin)}] {tried.spec.key}")
