"""What a run shows on standard error while it runs: a bar on a terminal, a line per kernel elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.markup import escape
from rich.progress import Progress

from profiler.campaign import Plan
from profiler.campaign import Progress as Report
from profiler.cli.bars import description, print_line, terminal_bars
from profiler.record import Failure
from profiler.tuning.events import (
    CandidateTried,
    EnergiesStarted,
    EnergyTaken,
    FinalsStarted,
    SpecFinished,
    SpecStarted,
    TuneEvent,
)
from profiler.tuning.search import StopReason
from profiler.units import format_duration, format_energy


@contextmanager
def progress_display() -> Iterator[Report]:
    """A report that `pipeline.profile` or `sampling.stage.sample` fills, shown for as long as the context lasts."""
    # Drawn when something happens, not by a thread of its own: nothing of ours may run while a kernel is timed.
    with terminal_bars(auto_refresh=False) as bars:
        display = _Lines() if bars is None else _Bar(bars)
        yield Report(display.planned, display.tuning)


class _Bar:
    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._task = bars.add_task("looking around", total=None)
        self._total = 0

    def planned(self, plan: Plan) -> None:
        self._bars.console.print(escape(plan.headline))
        if plan.note:
            self._bars.console.print(f"[yellow]{escape(plan.note)}[/yellow]")
        self._total += plan.kernels
        self._bars.update(self._task, total=self._total, description="starting the compiler", refresh=True)

    def tuning(self, event: TuneEvent) -> None:
        if isinstance(event, SpecFinished):
            self._bars.advance(self._task)
            self._bars.refresh()
        elif isinstance(event, SpecStarted):
            self._show(event.spec.key)
        elif isinstance(event, CandidateTried):
            best = format_duration(event.best_s) if event.best_s else "-"
            self._show(f"trial {event.tried}, best {best}  {event.spec.key}")
        elif isinstance(event, FinalsStarted):
            self._show(f"final measurement of {len(event.specs)} kernels in turn")
        elif isinstance(event, EnergiesStarted):
            self._total += event.kernels
            self._bars.update(self._task, total=self._total)
            self._show(energies_text(event))
        elif isinstance(event, EnergyTaken):
            self._bars.advance(self._task)
            self._show(energy_text(event))

    def _show(self, text: str) -> None:
        self._bars.update(self._task, description=description(text, self._bars), refresh=True)


class _Lines:
    """For logs: a line per kernel that was measured."""

    def __init__(self) -> None:
        self._total = self._done = self._known = 0
        self._to_meter = self._metered = 0
        self._begin = time.monotonic()

    def planned(self, plan: Plan) -> None:
        self._total += plan.kernels
        print_line(plan.headline)
        if plan.note:
            print_line(plan.note)

    def tuning(self, event: TuneEvent) -> None:
        if isinstance(event, SpecFinished):
            self._done += 1
            if event.reason is StopReason.KNOWN:
                self._known += 1
            else:
                self._finished(event)
            if self._known and self._done == self._total:
                print_line(known_text(self._known, self._total))
                self._known = 0
        elif isinstance(event, CandidateTried) and isinstance(event.record, Failure):
            print_line(failure_text(event.record))
        elif isinstance(event, EnergiesStarted):
            self._metered, self._to_meter = 0, event.kernels
            print_line(energies_text(event))
        elif isinstance(event, EnergyTaken):
            self._metered += 1
            elapsed = format_duration(time.monotonic() - self._begin)
            print_line(f"[{self._metered}/{self._to_meter}, {elapsed}] {energy_text(event)}")

    def _finished(self, event: SpecFinished) -> None:
        elapsed = format_duration(time.monotonic() - self._begin)
        print_line(f"[{self._done}/{self._total}, {elapsed}] {outcome_text(event)}")


def outcome_text(event: SpecFinished) -> str:
    """What came of a kernel that was measured."""
    best = format_duration(event.best.summary.median_s) if event.best else "no latency"
    failed = f", {event.failed} failed" if event.failed else ""
    return f"{event.spec.key}: {best}, {event.tried} tried{failed}"


def failure_text(failure: Failure) -> str:
    """Of one candidate."""
    return f"  failed ({failure.kind.value}): {failure.config}: {failure.message}"


def energies_text(event: EnergiesStarted) -> str:
    """What is about to be measured, and how long that takes."""
    minutes = event.duration_s / 60
    some = f"{minutes:.0f} min" if minutes >= 2 else f"{event.duration_s:.0f} s"
    return f"energies of {event.kernels} kernels, which take some {some}"


def energy_text(event: EnergyTaken) -> str:
    """What came of a kernel whose energy was measured."""
    if isinstance(event.record, Failure):
        return f"{event.spec.key}: no energy ({event.record.kind.value}): {event.record.message}"
    return f"{event.spec.key}: {format_energy(event.record.energy.j_per_run)}"


def known_text(known: int, total: int) -> str:
    """Of the kernels that an earlier run has measured."""
    return f"{known} of {total} kernels were measured before"
