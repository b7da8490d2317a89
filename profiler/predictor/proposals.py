"""Which draws of the population to measure next. Pure functions: the same arguments, the same proposal.

First those that fill the space of workloads: of the next draws each one is taken that is the farthest from all that are
there already (Kennard and Stone, Technometrics 11, 1969). Only a few times as many draws as are wanted are looked at
(as in Mitchell's best-candidate sampling, SIGGRAPH 1991): the farthest of all would be the corners of the space, while
so the sample is still distributed as networks are. Later those of which a latency model is least certain, spread out
likewise, since neighbours are uncertain for the same reason and one of them tells of all.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from math import gcd, log, log2

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import cdist

from profiler.hardware import CpuSpec, GpuSpec
from profiler.predictor.estimate import Estimate
from profiler.predictor.population import Draw
from profiler.space import gpu_model, model
from profiler.workload import KernelSpec, Op, Workload

Array = npt.NDArray[np.float64]

SHORTEST_S, LONGEST_S = 0.5e-6, 5e-3
"""By the analytic limit: shorter kernels tell of launches alone, and one longer costs the time of many others."""

_ALIGNMENT = 16
"""Channels beyond which being a multiple of more makes no difference."""
_OPS = tuple(Op)
_AMONG = 4
"""Times as many as are wanted: among these the choice is by distance. With 40 instead, 12 of the first 16 workloads of
a CPU had channels that are no multiples of 8, with 4 it is 9, and in the population it is one of three."""


def untried(drawn: Iterable[Draw], known: Container[KernelSpec]) -> tuple[Draw, ...]:
    """The draws, in their order, without those of which every kernel is known."""
    return tuple(draw for draw in drawn if not all(spec in known for spec in draw.specs))


def worth_measuring(draw: Draw, device: CpuSpec | GpuSpec, threads: int = 1) -> bool:
    """Whether each of its kernels takes neither too long nor too short a time at best; ``threads`` are of a CPU."""
    return all(SHORTEST_S <= _limit_s(spec, device, threads) <= LONGEST_S for spec in draw.specs)


def space_filling(candidates: Sequence[Draw], measured: Iterable[Workload], count: int) -> tuple[Draw, ...]:
    """Up to ``count`` of the first ``4 * count`` candidates, each the farthest from what is measured and from those
    before it."""
    first = candidates[: _AMONG * count]
    there = sorted(set(measured), key=lambda workload: workload.text)  # in whatever order they come
    points = descriptors([*(draw.workload for draw in first), *there])
    chosen = farthest(points[: len(first)], points[len(first) :], count)
    return tuple(first[i] for i in chosen)


def least_certain(candidates: Sequence[Draw], estimates: Mapping[KernelSpec, Estimate], count: int) -> tuple[Draw, ...]:
    """Up to ``count`` candidates with wide intervals, the widest one first.

    estimates : of every kernel of the candidates. The width of a draw is that of its widest interval, relative to the
    answer. Behind the first each one is the farthest from those before it, among ``4 * count`` of the widest.
    """
    if not candidates or count < 1:
        return ()
    widths = [max(_width(estimates[spec]) for spec in draw.specs) for draw in candidates]
    order = sorted(range(len(candidates)), key=lambda i: -widths[i])  # stable: earlier draws first
    widest = [candidates[i] for i in order[: _AMONG * count]]
    points = descriptors([draw.workload for draw in widest])
    others = farthest(points[1:], points[:1], count - 1)
    return (widest[0], *(widest[1 + i] for i in others))


def descriptors(workloads: Sequence[Workload]) -> Array:
    """Where workloads lie: ndarray of shape (n_workloads, n_descriptors), comparable along all of its columns.

    Logarithms of extents in units of their standard deviation over these workloads, and the operator's kind, of which
    two differ by a distance of sqrt(2).
    """
    if not workloads:
        return np.empty((0, 0))
    kinds = np.array([_kind(w) for w in workloads], dtype=np.float64)
    extents = np.array([_extents(w) for w in workloads], dtype=np.float64)
    deviation = extents.std(axis=0)
    deviation[deviation == 0] = 1.0
    return np.hstack([(extents - extents.mean(axis=0)) / deviation, kinds])


def farthest(points: Array, seeds: Array, count: int) -> list[int]:
    """Indices of up to ``count`` points, each the farthest from the seeds and from those before it.

    points : ndarray of shape (n_points, n). seeds : ndarray of shape (n_seeds, n); if there is none the first choice
    is the point nearest to the mean. Of points equally far the first one is taken.
    """
    count = min(count, len(points))
    chosen: list[int] = []
    if count and not len(seeds):
        chosen.append(int(np.argmin(np.square(points - points.mean(axis=0)).sum(axis=1))))
        seeds = points[chosen]
    gaps = cdist(points, seeds).min(axis=1) if count else np.empty(0)
    gaps[chosen] = -1.0
    while len(chosen) < count:
        index = int(np.argmax(gaps))
        gaps = np.minimum(gaps, cdist(points, points[index : index + 1])[:, 0])
        chosen.append(index)
        gaps[chosen] = -1.0  # though another one may be at the same place
    return chosen


def _kind(workload: Workload) -> list[float]:
    return [*(float(workload.op is op) for op in _OPS), float(workload.is_depthwise)]


def _extents(w: Workload) -> tuple[float, ...]:
    """Channels count twice: how many there are, and by which power of two they can be divided."""
    return (
        log2(w.batch),
        log2(w.out_height * w.out_width),
        log2(w.in_channels),
        log2(w.out_channels),
        log2(gcd(w.in_channels, _ALIGNMENT)),
        log2(gcd(w.out_channels, _ALIGNMENT)),
        log2(w.groups),
        log2(w.kernel_h),
        log2(w.kernel_w),
        log2(w.stride_h * w.stride_w),
    )


def _width(estimate: Estimate) -> float:
    return log(estimate.high_s / estimate.low_s)


def _limit_s(spec: KernelSpec, device: CpuSpec | GpuSpec, threads: int) -> float:
    """A time in seconds that no config can beat, by the analytic model of the device."""
    if isinstance(device, CpuSpec):
        return model.limit_s(spec, device, threads)
    return gpu_model.limit_s(spec, device)
