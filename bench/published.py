"""The analytic model of a T4 beside kernels that others measured on one: HAWQ-V3's convolutions at batch 8.

Their kernels are not ours (AutoTVM's template for HWNCnc layouts), so latencies differ; but the machine is the same,
and what is slow for them should be slow for the model. What is compared is the order: Spearman's rank correlation per
precision, of the best config by the model.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

from profiler.hardware import GPUS
from profiler.space.gpu import default_config
from profiler.space.gpu_model import analytic_latency_s, limit_s
from profiler.workload import INT4, INT8, DType, KernelSpec, Op, Precision, Workload

TUNING_LOGS = Path(__file__).parents[1] / "tests" / "data" / "t4_hawqv3_tuning.csv"
"""See the README beside it."""
_TEMPLATE = "conv2d_HWNCnc_tensorcore.cuda"  # the stem and the classifier have other templates


@dataclass(frozen=True)
class Comparison:
    """A convolution as published, and as modelled."""

    network: str
    spec: KernelSpec
    published_s: float
    modelled_s: float
    limit_s: float


def compare(path: Path = TUNING_LOGS) -> tuple[Comparison, ...]:
    """Every published tensor-core convolution: accumulators out, no epilogue, as the tuning logs have them."""
    gpu = GPUS["t4"]
    modelled: dict[KernelSpec, float] = {}
    found = []
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["template"] != _TEMPLATE:
                continue
            spec = _spec(row)
            if spec not in modelled:
                modelled[spec] = analytic_latency_s(spec, default_config(spec, gpu), gpu)
            published_s = float(row["latency_mean_s"])
            found.append(Comparison(row["network"], spec, published_s, modelled[spec], limit_s(spec, gpu)))
    return tuple(found)


def rank_correlation(comparisons: Iterable[Comparison], precision: Precision) -> float:
    """Spearman's, between published and modelled latencies of a precision."""
    rows = [c for c in comparisons if c.spec.weight_dtype is precision.weight_dtype]
    return float(spearmanr([c.published_s for c in rows], [c.modelled_s for c in rows]).statistic)


def bench_published() -> None:
    """Print the comparison."""
    comparisons = compare()
    table = Table(title="HAWQ-V3's T4 convolutions, batch 8, us", title_justify="left", box=None, pad_edge=False)
    for column in ("network", "convolution", "precision", "published", "modelled", "limit"):
        table.add_column(column, justify="right" if column in ("published", "modelled", "limit") else "left")
    for c in comparisons:
        times = (f"{s * 1e6:.1f}" for s in (c.published_s, c.modelled_s, c.limit_s))
        assert c.spec.weight_dtype is not None
        table.add_row(c.network, c.spec.workload.text, c.spec.weight_dtype.value, *times)
    console = Console(width=120, highlight=False)
    console.print(table)
    for precision in (INT8, INT4):
        console.print(f"{precision.name}: rank correlation {rank_correlation(comparisons, precision):.2f}")


def _spec(row: dict[str, str]) -> KernelSpec:
    extent, kernel, stride = int(row["height"]), int(row["kernel"]), int(row["stride"])
    pads = (kernel // 2,) * 4
    channels = (int(row["in_channels"]), int(row["out_channels"]))
    workload = Workload(Op.CONV2D, int(row["batch"]), extent, extent, *channels, kernel, kernel, stride, stride, *pads)
    return KernelSpec(workload, DType(row["activation_dtype"]), DType.INT32, DType(row["weight_dtype"]))
