"""Layers of a network that are a matrix product, and what our LUT knows of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from profiler.errors import InvalidConfig
from profiler.lut.schema import LutRow, Source
from profiler.record import CacheMode, Conditions
from profiler.space.config import ScheduleConfig, parse_config
from profiler.workload import DType, Epilogue, KernelSpec, Network, Op, Workload

HOT = Conditions(1, CacheMode.HOT)
"""Under which both sides are compared."""


@dataclass(frozen=True)
class Gemm:
    """A product of (m, k) and (k, n)."""

    m: int
    k: int
    n: int

    @property
    def text(self) -> str:
        return f"{self.m}x{self.k}x{self.n}"


def gemm_of(workload: Workload) -> Gemm | None:
    """The matrix product that a layer is, batch and pixels together as rows; None if it is none."""
    w = workload
    plain = (w.kernel_h, w.kernel_w, w.stride_h, w.stride_w, w.groups) == (1, 1, 1, 1, 1) and not w.has_padding
    if w.op not in (Op.CONV2D, Op.DENSE) or not plain:
        return None
    return Gemm(w.batch * w.in_height * w.in_width, w.in_channels, w.out_channels)


def gemm_specs(network: Network) -> tuple[KernelSpec, ...]:
    """A kernel per distinct layer of the network that is a matrix product: int8 in, int32 out, as torch has it."""
    workloads = dict.fromkeys(layer.workload for layer in network.layers if gemm_of(layer.workload) is not None)
    return tuple(KernelSpec(w, DType.INT8, DType.INT32, DType.INT8, epilogue=Epilogue.NONE) for w in workloads)


def known_configs(rows: Iterable[LutRow], specs: Sequence[KernelSpec]) -> dict[KernelSpec, ScheduleConfig]:
    """The configs of measured rows that do the same work: workload, 8 bits in, int32 out. Rows with hot caches are
    preferred, then faster ones."""
    by_workload: dict[Workload, list[LutRow]] = {}
    for row in rows:
        spec = row.spec
        same_work = (spec.input_dtype.bits, spec.weight_dtype, spec.output_dtype) == (8, DType.INT8, DType.INT32)
        if row.source is Source.MEASURED and same_work:
            by_workload.setdefault(spec.workload, []).append(row)
    found = {}
    for spec in specs:
        candidates = by_workload.get(spec.workload, [])
        if candidates:
            best = min(candidates, key=lambda row: (row.conditions != HOT, row.latency_median_s))
            try:
                found[spec] = parse_config(best.config)
            except InvalidConfig:
                continue  # it is tuned, as any kernel that the LUT does not have
    return found
