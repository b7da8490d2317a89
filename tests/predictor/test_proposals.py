"""Proposals against brute force, and what a measuring run relies on: nothing twice, wide intervals first, bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.hardware import GPUS
from profiler.predictor.estimate import Basis, Estimate
from profiler.predictor.population import Draw, draws
from profiler.predictor.proposals import (
    LONGEST_S,
    SHORTEST_S,
    descriptors,
    farthest,
    least_certain,
    space_filling,
    untried,
    worth_measuring,
)
from profiler.workload import INT4, INT8, KernelSpec, Op, Workload
from tests.tuning.simulation import CPU, conv

DRAWN = draws(200, (INT8, INT4))
Point = tuple[int, int]
points = st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=1, max_size=12)


def squared(a: Point, b: Point) -> int:
    return (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2


def as_array(found: list[Point]) -> np.ndarray:
    return np.array(found, dtype=np.float64).reshape(len(found), 2)


@given(points, points, st.integers(0, 12))
def test_each_is_the_farthest(candidates: list[Point], seeds: list[Point], count: int) -> None:
    """In integers: of those that are left no one is farther from the seeds and those before it."""
    chosen = farthest(as_array(candidates), as_array(seeds), count)
    assert len(chosen) == len(set(chosen)) == min(count, len(candidates))
    there = list(seeds)
    for number, index in enumerate(chosen):
        gaps = {i: min(squared(p, q) for q in there) for i, p in enumerate(candidates) if i not in chosen[:number]}
        assert index == min(gaps, key=lambda i: (-gaps[i], i))
        there.append(candidates[index])


@given(points)
def test_without_seeds_the_middle_is_first(candidates: list[Point]) -> None:
    (first,) = farthest(as_array(candidates), np.empty((0, 2)), 1)
    n = len(candidates)
    total = (sum(p[0] for p in candidates), sum(p[1] for p in candidates))
    gaps = [squared((n * p[0], n * p[1]), total) for p in candidates]  # n * n times the squared distance from the mean
    assert gaps[first] == min(gaps)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=3, max_size=8), st.integers(1, 3))
def test_gaps_are_at_most_twice_the_least_possible(candidates: list[Point], count: int) -> None:
    """Gonzalez's theorem, against all subsets."""

    def largest_gap(chosen: tuple[int, ...]) -> float:
        return math.sqrt(max(min(squared(p, candidates[i]) for i in chosen) for p in candidates))

    chosen = tuple(farthest(as_array(candidates), np.empty((0, 2)), count))
    least = min(largest_gap(subset) for subset in combinations(range(len(candidates)), count))
    assert largest_gap(chosen) <= 2 * least + 1e-9


def test_descriptors_are_comparable() -> None:
    workloads = [draw.workload for draw in DRAWN]
    found = descriptors(workloads)
    assert found.shape == (len(workloads), found.shape[1])
    assert np.isfinite(found).all()
    extents = found[:, : -(len(Op) + 1)]
    assert extents.mean(axis=0) == pytest.approx(0, abs=1e-9)
    assert extents.std(axis=0) == pytest.approx(1)
    dense = Workload(Op.DENSE, 1, 1, 1, 64, 64)
    plain = Workload(Op.CONV2D, 1, 1, 1, 64, 64)
    a, b = descriptors([dense, plain])
    assert np.linalg.norm(a - b) == pytest.approx(math.sqrt(2)), "they differ in the operator alone"
    assert len(descriptors([])) == 0


@pytest.mark.parametrize(
    "other",
    [
        {"batch": 2}, {"in_height": 28}, {"in_channels": 128}, {"out_channels": 128}, {"out_channels": 65},
        {"kernel_h": 1, "pad_top": 0, "pad_bottom": 0}, {"stride_h": 2}, {"groups": 4}, {"groups": 64},
    ],
    ids=str,
)  # fmt: skip
def test_descriptors_tell_workloads_apart(other: dict[str, int]) -> None:
    workload = Workload(Op.CONV2D, 1, 14, 14, 64, 64, 3, 3, 1, 1, 1, 1, 1, 1)
    a, b = descriptors([workload, replace(workload, **other)])
    assert np.linalg.norm(a - b) > 0.5


def test_what_is_known_is_not_proposed_again() -> None:
    known = {spec for draw in DRAWN[:50] for spec in draw.specs}
    assert untried(DRAWN, known) == DRAWN[50:]
    half = {draw.specs[0] for draw in DRAWN}
    assert untried(DRAWN, half) == DRAWN, "one of the two precisions is missing"
    assert untried(DRAWN, set()) == DRAWN


def test_space_filling_keeps_away_from_what_is_measured() -> None:
    """A proposal leaves smaller gaps than as many of the first draws."""
    measured, left = DRAWN[:40], DRAWN[40:]
    proposal = space_filling(left, [draw.workload for draw in measured], 20)
    assert len(set(proposal)) == 20
    assert set(proposal) <= set(left[:80]), "of the next ones, which are distributed as networks are"
    everything = descriptors([draw.workload for draw in DRAWN[:120]])
    place = dict(zip(DRAWN[:120], everything, strict=True))

    def gaps(chosen: Sequence[Draw]) -> list[float]:
        there = [place[draw] for draw in (*measured, *chosen)]
        return [min(float(np.linalg.norm(row - other)) for other in there) for row in everything]

    assert max(gaps(proposal)) < max(gaps(left[:20]))
    assert sum(gaps(proposal)) < sum(gaps(left[:20]))


def test_space_filling_never_takes_what_lies_on_a_measured_one() -> None:
    measured = [draw.workload for draw in DRAWN[:8]]
    proposal = space_filling(DRAWN[:40], measured, 10)
    assert not {draw.workload for draw in proposal} & set(measured)
    assert space_filling(DRAWN[:40], reversed(measured), 10) == proposal


def test_space_filling_with_little_to_choose_from() -> None:
    assert space_filling((), [], 3) == ()
    assert set(space_filling(DRAWN[:2], [], 3)) == set(DRAWN[:2])
    assert space_filling(DRAWN, [], 0) == ()
    first = space_filling(DRAWN, [], 20)
    assert {draw.workload.op for draw in first} >= {Op.CONV2D, Op.DENSE, Op.ADD, Op.MAX_POOL}


def estimates(half_widths: dict[KernelSpec, float]) -> dict[KernelSpec, Estimate]:
    return {
        spec: Estimate(spec, 1e-4, 1e-4 * math.exp(-half), 1e-4 * math.exp(half), Basis.PREDICTED)
        for spec, half in half_widths.items()
    }


@given(st.lists(st.floats(0.01, 3), min_size=60, max_size=60), st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_wide_intervals_are_preferred(widths: list[float], count: int) -> None:
    candidates = DRAWN[:60]
    half = {spec: width for draw, width in zip(candidates, widths, strict=True) for spec in draw.specs}
    chosen = least_certain(candidates, estimates(half), count)
    assert len(chosen) == len(set(chosen)) == count
    width_of = dict(zip(candidates, widths, strict=True))
    assert width_of[chosen[0]] == pytest.approx(max(widths))
    enough = sorted(widths, reverse=True)[4 * count - 1]
    assert all(width_of[draw] >= enough * (1 - 1e-9) for draw in chosen)
    assert chosen == least_certain(candidates, estimates(half), count)


def test_one_wide_interval_of_a_workload_suffices() -> None:
    half = {spec: 0.1 for draw in DRAWN for spec in draw.specs}
    half[DRAWN[77].specs[1]] = 0.3
    assert least_certain(DRAWN, estimates(half), 1) == (DRAWN[77],)


def test_neighbours_are_not_measured_together() -> None:
    """Three that are nearly the same are the widest, one elsewhere is nearly as wide: it is the second choice."""
    base = Workload(Op.CONV2D, 1, 56, 56, 64, 64, 3, 3, 1, 1, 1, 1, 1, 1)
    near = [replace(base, in_height=56 + n) for n in range(3)]
    far = Workload(Op.CONV2D, 1, 7, 7, 512, 2048)
    candidates = [Draw(w, (conv(8, workload=w),)) for w in (*near, far)]
    half = dict(zip((draw.specs[0] for draw in candidates), (0.5, 0.6, 0.5, 0.4), strict=True))
    assert least_certain(candidates, estimates(half), 2) == (candidates[1], candidates[3])


def test_nothing_from_nothing() -> None:
    assert least_certain((), {}, 3) == ()
    assert least_certain(DRAWN[:1], estimates(dict.fromkeys(DRAWN[0].specs, 0.1)), 0) == ()


@pytest.mark.parametrize("device", [CPU, GPUS["t4"], GPUS["h200"]], ids=lambda d: d.slug)
def test_too_short_and_too_long_ones_are_passed_over(device: object) -> None:
    tiny = Workload(Op.CONV2D, 1, 4, 4, 8, 8)
    huge = Workload(Op.CONV2D, 4096, 224, 224, 512, 512, 3, 3, 1, 1, 1, 1, 1, 1)
    fair = Workload(Op.CONV2D, 8, 56, 56, 64, 64, 3, 3, 1, 1, 1, 1, 1, 1)
    kept = [worth_measuring(Draw(w, (conv(8, workload=w), conv(4, workload=w))), device) for w in (tiny, huge, fair)]  # type: ignore[arg-type]
    assert kept == [False, False, True]


def test_the_bounds_of_a_cpu() -> None:
    """A core of AVX512-VNNI starts two instructions of 64 products a cycle, at 3.5 GHz: counted by hand."""

    def of(macs: float) -> Draw:
        workload = Workload(Op.DENSE, round(macs / 4096), 1, 1, 64, 64)
        return Draw(workload, (conv(8, workload=workload),))

    rate = 128 * 3.5e9
    for bound_s, inside, outside in ((SHORTEST_S, 1.05, 0.95), (LONGEST_S, 0.95, 1.05)):
        assert worth_measuring(of(inside * bound_s * rate), CPU)
        assert not worth_measuring(of(outside * bound_s * rate), CPU)
    assert worth_measuring(of(1.5 * LONGEST_S * rate), CPU, threads=2)
