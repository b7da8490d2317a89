"""What a run on a fleet shows on standard error while it runs: one bar for all of it on a terminal, lines elsewhere."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

from rich.markup import escape
from rich.progress import Progress

from profiler.campaign import Plan
from profiler.cli.bars import description, print_line, terminal_bars
from profiler.cli.progress import energy_text, failure_text, known_text, outcome_text
from profiler.fleet.events import (
    ExtraLost,
    FleetEvent,
    FleetProgress,
    JobLost,
    PlaceClosed,
    PlaceOpened,
    Tally,
    WorkerRefused,
)
from profiler.record import Failure
from profiler.tuning.events import CandidateTried, EnergyTaken, SpecFinished, TuneEvent
from profiler.tuning.search import StopReason
from profiler.units import format_duration


@contextmanager
def fleet_display(warning: str = "") -> Iterator[FleetProgress]:
    """A report that `fleet.stage.profile` fills, shown for as long as the context lasts; the warning comes first."""
    with terminal_bars(auto_refresh=False) as bars:
        display = _Lines() if bars is None else _Bar(bars)
        if warning:
            display.say(warning)
        yield FleetProgress(display.planned, display.tuning, display.fleet)


class _Display(ABC):
    """What both show alike: what happens to workers. ``total`` counts the network's kernels, ``kernels`` those
    that are done, ``known`` those of them that an earlier run has measured. ``energies`` counts those that this run has
    measured."""

    def __init__(self) -> None:
        self.total = self.kernels = self.known = self.energies = 0
        self.tally = Tally(0, 0, 0, 0, 0)
        self.begin = time.monotonic()

    @abstractmethod
    def say(self, text: str) -> None:
        """A line that stays."""

    @abstractmethod
    def show(self) -> None:
        """Where the run stands now, if that is to be seen."""

    def planned(self, plan: Plan) -> None:
        self.total += plan.kernels
        self.say(plan.headline)
        if plan.note:
            self.say(plan.note)

    def fleet(self, event: FleetEvent) -> None:
        if isinstance(event, Tally):
            self.tally = event
        elif isinstance(event, PlaceOpened):
            self.say(f"takes part: {event.place}")
        elif isinstance(event, PlaceClosed):
            self.say(f"takes no part any more: {event.place}: {event.reason}")
        elif isinstance(event, WorkerRefused):
            self.say(f"worker {event.worker}: {event.reason}")
        elif isinstance(event, JobLost):
            then = "given up" if event.given_up else "goes on elsewhere"
            self.say(f"lost: {event.job.workload.text} on {event.place}: {event.reason}; {then}")
        elif isinstance(event, ExtraLost):
            self.say(f"not measured: {event.what} on {event.place}: {event.reason}")
        self.show()

    def tuning(self, event: TuneEvent) -> None:
        if isinstance(event, SpecFinished):
            self.kernels += 1
            if event.reason is StopReason.KNOWN:
                self.known += 1
            else:
                self.finished(event)
            self.show()
        elif isinstance(event, CandidateTried) and isinstance(event.record, Failure):
            self.failed(event.record)
        elif isinstance(event, EnergyTaken):
            self.energies += 1
            self.metered(event)
            self.show()

    def finished(self, event: SpecFinished) -> None:  # noqa: B027
        """A kernel was measured; nothing, unless a display tells of each."""

    def metered(self, event: EnergyTaken) -> None:  # noqa: B027
        """The energy of a kernel was measured; nothing, unless a display tells of each."""

    def failed(self, failure: Failure) -> None:  # noqa: B027
        """A candidate has failed; nothing, unless a display tells of each."""

    @property
    def state(self) -> str:
        tally = self.tally
        given_up = f", {tally.given_up} given up" if tally.given_up else ""
        energies = f"; {self.energies} energies" if self.energies else ""
        return (
            f"{tally.places} measuring; workloads: {tally.done} done, {tally.in_flight} in flight, "
            f"{tally.waiting} waiting{given_up}{energies}"
        )


class _Bar(_Display):
    def __init__(self, bars: Progress) -> None:
        super().__init__()
        self._bars = bars
        self._task = bars.add_task("looking for workers", total=None)

    def say(self, text: str) -> None:
        self._bars.console.print(escape(text), soft_wrap=True)

    def show(self) -> None:
        self._bars.update(
            self._task,
            total=self.total or None,
            completed=min(self.kernels, self.total),
            description=description(self.state, self._bars),
            refresh=True,
        )


class _Lines(_Display):
    """For logs: a line per kernel that was measured, and whenever the number of cards changes."""

    def __init__(self) -> None:
        super().__init__()
        self._places = 0

    def say(self, text: str) -> None:
        print_line(text)

    def show(self) -> None:
        if self.tally.places != self._places:
            self._places = self.tally.places
            print_line(self.state)
        if self.known and self.kernels == self.total:
            print_line(known_text(self.known, self.total))
            self.known = 0

    def finished(self, event: SpecFinished) -> None:
        elapsed = format_duration(time.monotonic() - self.begin)
        state = f"{self.kernels}/{self.total}, {self.tally.in_flight} in flight, {elapsed}"
        print_line(f"[{state}] {outcome_text(event)}")

    def failed(self, failure: Failure) -> None:
        print_line(failure_text(failure))

    def metered(self, event: EnergyTaken) -> None:
        elapsed = format_duration(time.monotonic() - self.begin)
        print_line(f"[{self.energies} energies, {elapsed}] {energy_text(event)}")
