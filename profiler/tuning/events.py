"""What a tuner tells while it works. Who wants to show it passes a function that takes these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from profiler.record import EnergyMeasurement, Failure, Measurement
from profiler.tuning.search import StopReason
from profiler.workload import KernelSpec


@dataclass(frozen=True)
class SpecStarted:
    """The search of a kernel begins.

    There are ``space`` valid configs; at most ``trials`` are tried, ``tried`` of which have been already.
    """

    spec: KernelSpec
    space: int
    trials: int
    tried: int


@dataclass(frozen=True)
class BatchBuilt:
    """Configs were compiled; ``failed`` of them could not be."""

    spec: KernelSpec
    built: int
    failed: int
    elapsed_s: float


@dataclass(frozen=True)
class CandidateTried:
    """A candidate was measured or failed, the ``tried``-th of its kernel; ``best_s`` is the best median so far."""

    spec: KernelSpec
    record: Measurement | Failure
    tried: int
    best_s: float | None


@dataclass(frozen=True)
class SpecSearched:
    """The search of a kernel ended. What it found is measured once more, beside the other precisions."""

    spec: KernelSpec
    tried: int
    reason: StopReason
    best_s: float | None


@dataclass(frozen=True)
class FinalsStarted:
    """The best configs of these kernels are about to be measured in turn."""

    specs: tuple[KernelSpec, ...]
    candidates: int


@dataclass(frozen=True)
class SpecFinished:
    """A kernel is done: ``best`` is None if no config of it works, ``reason`` is ``known`` if it was done before."""

    spec: KernelSpec
    best: Measurement | None
    tried: int
    failed: int
    reason: StopReason


@dataclass(frozen=True)
class EnergiesStarted:
    """The energies of so many kernels are about to be measured, which takes ``duration_s``, or longer."""

    kernels: int
    duration_s: float


@dataclass(frozen=True)
class EnergyTaken:
    """The energy of a kernel was measured, or could not be."""

    spec: KernelSpec
    record: EnergyMeasurement | Failure


SearchEvent = SpecStarted | BatchBuilt | CandidateTried | SpecSearched | FinalsStarted | SpecFinished
TuneEvent = SearchEvent | EnergiesStarted | EnergyTaken
Listener = Callable[[TuneEvent], None]


def ignore(event: TuneEvent) -> None:
    """Listens to nothing."""
