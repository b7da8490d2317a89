"""What a run on a fleet hands back: values for the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from profiler.fleet.ledger import Loss
from profiler.fleet.spread import Spread
from profiler.pipeline_result import ProfileResult


@dataclass(frozen=True)
class CardResult:
    """An instrument of the fleet. ``places`` name its workers, ``kernels`` counts the network's kernels that its LUT
    has, ``used`` those of them that the table takes its latencies from."""

    fingerprint: str
    device_name: str
    places: tuple[str, ...]
    kernels: int
    used: int
    lut_path: Path | None


@dataclass(frozen=True)
class GivenUp:
    """A workload without an outcome: each time its worker was lost, or hung."""

    workload: str
    kernels: int
    losses: tuple[Loss, ...]

    @property
    def text(self) -> str:
        last = self.losses[-1]
        return (
            f"{self.workload}: given up after {len(self.losses)} attempts, the last on {last.place}: {last.reason}; "
            "the same command tries again"
        )


@dataclass(frozen=True)
class FleetResult:
    """``profile`` is the network as a run on one card would show it; where several cards have measured it, its
    fingerprint and LUT are those of the first of ``cards``. ``lost`` counts workloads that came back unfinished,
    ``refused`` are workers that took no part, with the reason."""

    profile: ProfileResult
    scheduler: str
    cards: tuple[CardResult, ...]
    spreads: tuple[Spread, ...]
    lost: int
    given_up: tuple[GivenUp, ...]
    refused: tuple[str, ...]
