"""What an allocation found, as values that tables, JSON and figures show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from profiler.allocation.bits_file import Bits, LatencyParts
from profiler.allocation.calibration import Calibration
from profiler.allocation.explain import Binding
from profiler.allocation.problem import Quantity


@dataclass(frozen=True)
class Ends:
    """What the uniform networks take of a quantity, kept layers as they are kept; and the least that is possible."""

    quantity: Quantity
    narrow: float
    wide: float
    least: float


@dataclass(frozen=True)
class LayerPrice:
    """A unit in the uniform networks: seconds in the widest and in another precision, and what can be said of the two.

    ``verdict`` is ``faster``, ``slower`` (than in the widest precision) or ``same``, where the intervals overlap.
    """

    layers: tuple[str, ...]
    precision: str
    wide_s: float
    narrow_s: float
    verdict: str

    @property
    def speedup(self) -> float:
        return self.wide_s / self.narrow_s


@dataclass(frozen=True)
class LayerView:
    """A layer with weights: what was chosen, and by precision (from the widest) its sensitivity and its latency in
    seconds in the uniform network, with the addition that belongs to it. None: not listed, or without a price."""

    name: str
    precision: str
    fixed: bool
    sensitivities: tuple[float | None, ...]
    latencies_s: tuple[float | None, ...]


@dataclass(frozen=True)
class Point:
    """An allocation of a Pareto front: what it takes, and the precision of each layer with weights."""

    sensitivity: float
    latency: LatencyParts
    size_bytes: float
    bops: float
    activation_bytes: float
    energy_j: float | None
    precisions: tuple[str, ...]

    @property
    def latency_s(self) -> float:
        """The sum of the kernels."""
        return self.latency.total_s


@dataclass(frozen=True)
class FrontResult:
    """``points`` from the least to the most sensitive one; see `pareto.Front`."""

    quantity: Quantity
    points: tuple[Point, ...]
    exact: bool
    complete: bool


@dataclass(frozen=True)
class Allocation:
    """``bits`` is what was chosen among the ``precisions``, which stand from the widest to the narrowest; ``fractions``
    are the limits that were given as such. ``not_worth`` are layers that a narrower precision does not make faster.
    ``notes`` should be read first."""

    bits: Bits
    precisions: tuple[str, ...]
    layers: tuple[LayerView, ...]
    ends: tuple[Ends, ...]
    bindings: tuple[Binding, ...]
    fractions: Mapping[Quantity, float]
    not_worth: tuple[LayerPrice, ...]
    front: FrontResult | None
    out: Path | None
    seconds: float
    calibration: Calibration | None
    notes: tuple[str, ...]

    @property
    def widest(self) -> str:
        return self.precisions[0]

    @property
    def narrowest(self) -> str:
        return self.precisions[-1]
