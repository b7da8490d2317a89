"""Tables that tests compare: rows of pointwise convolutions that nobody measured."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import exp
from pathlib import Path

from profiler.lut.schema import LutRow
from profiler.predictor.observation import Observation
from profiler.report.content.comparison import Comparison, Noise
from profiler.report_stages.compare import CompareRequest, side_by_side
from profiler.verdict import MARGIN
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload
from tests.predictor.invented_lut import lut_row

_SECONDS = ("latency_median_s", "latency_q1_s", "latency_q3_s", "latency_ci95_low_s", "latency_ci95_high_s")


def spec(channels: int, **changes: object) -> KernelSpec:
    work = Workload(Op.CONV2D, 1, 7, 7, channels, 64)
    usual = KernelSpec(work, DType.UINT8, DType.UINT8, DType.INT8, epilogue=Epilogue.REQUANT)
    return replace(usual, **changes)  # type: ignore[arg-type]


def table(count: int, within: float = 0.0005) -> list[LutRow]:
    """Rows of as many kernels; ``within`` is the deviation of each median, as their intervals tell it."""
    return [lut_row(Observation(spec(8 * i), 1e-5 * i, within)) for i in range(1, count + 1)]


def scaled(row: LutRow, factor: float, **changes: object) -> LutRow:
    """With all its latencies multiplied; of the same run, as someone would edit a file."""
    latencies = {name: getattr(row, name) * factor for name in _SECONDS if getattr(row, name) is not None}
    return replace(row, **latencies, **changes)  # type: ignore[arg-type]


def later(
    rows: Sequence[LutRow], factor: Callable[[int], float] = lambda index: 1.0, **changes: object
) -> list[LutRow]:
    """The rows as another run has them."""
    run = {"run_id": "another", "measured_at": 2e9, **changes}
    return [scaled(row, factor(index), **run) for index, row in enumerate(rows)]


def compared(
    a: Sequence[LutRow], b: Sequence[LutRow], noise: float = 0.019, margin: float = MARGIN, assumed: bool = False
) -> Comparison:
    request = CompareRequest(Path("a.csv"), Path("b.csv"), margin=margin)
    return side_by_side(request, a, b, Noise(noise, "invented", assumed))


def scattered(count: int, spread: float, seed: int = 1) -> Comparison:
    """Two runs whose kernels changed by so much, up and down."""
    rng, rows = random.Random(seed), table(count)
    return compared(rows, later(rows, lambda _: exp(rng.gauss(0, spread))))
