"""What a fleet tells while it works, beside the tuner's events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from profiler.campaign import Plan
from profiler.fleet.ledger import Job
from profiler.tuning.events import Listener, ignore


@dataclass(frozen=True)
class PlaceOpened:
    """A card takes part from now on; ``place`` names it for people. ``note`` is of its clocks, often empty."""

    place: str
    note: str = ""


@dataclass(frozen=True)
class WorkerRefused:
    """A worker takes no part, and why."""

    worker: str
    reason: str


@dataclass(frozen=True)
class PlaceClosed:
    """A card takes no part any more, and why."""

    place: str
    reason: str


@dataclass(frozen=True)
class JobLost:
    """A workload has come back unfinished. It goes on elsewhere, unless it is given up."""

    job: Job
    place: str
    reason: str
    given_up: bool


@dataclass(frozen=True)
class ExtraLost:
    """Something beside the workloads was not measured on a card; ``what`` names it for people."""

    what: str
    place: str
    reason: str


@dataclass(frozen=True)
class Tally:
    """Where the fleet stands, whenever that changes. All but ``places`` count workloads."""

    places: int
    in_flight: int
    done: int
    waiting: int
    given_up: int


FleetEvent = PlaceOpened | WorkerRefused | PlaceClosed | JobLost | ExtraLost | Tally


def _nothing(event: object) -> None:
    pass


@dataclass(frozen=True)
class FleetProgress:
    """Where a run on a fleet reports to; all of it is called by the thread that runs it."""

    planned: Callable[[Plan], None] = _nothing
    tuning: Listener = ignore
    fleet: Callable[[FleetEvent], None] = _nothing
