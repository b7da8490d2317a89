"""The kernels for a GPU take every value of every knob of ``mma``, and the corners of its space. Needs no GPU."""

from __future__ import annotations

from itertools import product

import pytest

from profiler.hardware import GPUS
from profiler.space.config import MmaConfig, SharedLayout, Unroll, WeightLayout
from profiler.space.gpu import SPLITS
from profiler.space.gpu_limits import BLOCK_K, LOADS, WARP_TILES, WARPS_ALONG, reason_invalid
from profiler.space.mma_plan import MmaPlan
from tests.gpu.network_layers import LONG_SPLITS, is_large, is_uneven, layer_requests


@pytest.fixture(scope="module", params=GPUS)
def plans(request: pytest.FixtureRequest) -> list[MmaPlan]:
    """Of the layers of real size on each GPU."""
    gpu = GPUS[request.param]
    found = list(layer_requests(gpu))
    assert not [reason for spec, config in found if (reason := reason_invalid(spec, config, gpu))]
    return [MmaPlan.of(spec, config, gpu) for spec, config in found if isinstance(config, MmaConfig)]


def test_shared_memory_beyond_the_default_and_long_splits_in_both_precisions(plans: list[MmaPlan]) -> None:
    assert {plan.bits for plan in plans if is_large(plan)} == {4, 8}
    splits = {(plan.bits, plan.config.split_k) for plan in plans}
    assert splits >= set(product((4, 8), LONG_SPLITS))


def test_a_last_split_with_fewer_steps_than_the_others(plans: list[MmaPlan]) -> None:
    uneven = [plan for plan in plans if is_uneven(plan)]
    assert {plan.bits for plan in uneven} == {4, 8}
    for plan in uneven:
        last = plan.steps - (plan.config.split_k - 1) * plan.split_steps
        assert 0 < last < plan.split_steps


def test_every_value_of_every_knob(plans: list[MmaPlan]) -> None:
    mma = plans[0].mma
    configs = [plan.config for plan in plans]
    assert {c.warp_m for c in configs} == {extent for extent in WARP_TILES if extent % mma.m == 0}
    assert {c.warp_n for c in configs} == set(WARP_TILES)
    assert {c.block_m // c.warp_m for c in configs} == {c.block_n // c.warp_n for c in configs} == set(WARPS_ALONG)
    assert {c.block_k for c in configs} == {words for words in BLOCK_K if words % mma.k_words == 0}
    assert {c.stages for c in configs} == {1, 2}
    assert {c.load_bytes for c in configs} == set(LOADS)
    assert {c.split_k for c in configs} == set(SPLITS)
    assert {c.weight_layout for c in configs} == set(WeightLayout)
    assert {c.shared_layout for c in configs} == set(SharedLayout)
    assert {c.unroll for c in configs} == set(Unroll)
