"""Who is held out from whom: whole workloads, whole networks, the largest ones."""

from __future__ import annotations

import random
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.frontend import load_network
from profiler.lut.demand import demand
from profiler.predictor.observation import Observation
from profiler.predictor.validation.splits import (
    Split,
    extrapolation,
    held_network,
    leave_one_network_out,
    leave_one_workload_out,
    random_folds,
)
from profiler.space.traffic import moved_bytes
from profiler.workload import INT4, INT8, DType, KernelSpec, Op, Workload, distinct
from tests.predictor.invented import observed


def dense(outputs: int, batch: int = 1, weights: DType = DType.INT8) -> Observation:
    """Of a kernel with 64 multiply-accumulates for each output and image; the latency does not matter here."""
    spec = KernelSpec(Workload(Op.DENSE, batch, 1, 1, 64, outputs), DType.UINT8, DType.INT32, weights)
    return Observation(spec, 1e-5)


def of_network(name: str, batch: int = 1) -> list[Observation]:
    specs = distinct(d.spec for d in demand(load_network(name, batch), (INT8, INT4), mixed=True))
    return [Observation(spec, 1e-5) for spec in specs]


def require_sound(split: Split, rows: list[Observation] | tuple[Observation, ...]) -> None:
    for fold in split.folds:
        assert sorted((*fold.train, *fold.test)) == list(range(len(rows))), "each row is in one part"


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_random_folds_hold_out_whole_workloads_once(seed: int) -> None:
    rows = list(observed(25)) + [dense(100, batch, weights) for batch in (1, 8) for weights in (DType.INT8, DType.INT4)]
    split = random_folds(rows, seed)
    require_sound(split, rows)
    assert sorted(chain.from_iterable(fold.test for fold in split.folds)) == list(range(len(rows)))
    for fold in split.folds:
        assert not {rows[i].group for i in fold.test} & {rows[i].group for i in fold.train}
    sizes = [len(fold.test) for fold in split.folds]
    assert max(sizes) - min(sizes) <= 4, "no workload has more than four rows here"


def test_random_folds_depend_on_the_seed_and_not_on_the_order_of_rows() -> None:
    rows = list(observed(30))
    shuffled = rows.copy()
    random.Random(7).shuffle(shuffled)

    def parts(rows: list[Observation], seed: int) -> set[frozenset[Workload]]:
        return {frozenset(rows[i].group for i in fold.test) for fold in random_folds(rows, seed).folds}

    assert parts(rows, 0) == parts(rows, 0)
    assert parts(rows, 0) != parts(rows, 1)
    assert parts(shuffled, 0) != set()
    # Workloads have two rows each here, so the sizes that decide are the same in every order.
    assert parts(shuffled, 0) == parts(rows, 0)


def test_what_cannot_be_split_says_why() -> None:
    rows = [dense(8 * n, batch) for n in (1, 2, 3) for batch in (1, 2, 4, 8, 16, 32, 64)]
    assert random_folds(rows, 0).impossible == ("3 workloads do not make 5 folds",)
    assert random_folds(rows, 0).folds == ()
    few = [dense(8 * n) for n in range(1, 11)]
    assert random_folds(few, 0).impossible[0] == (
        "fold 1: 8 rows of 8 workloads are left to learn from, 16 of 8 are needed"
    )
    assert extrapolation(few).impossible == (
        "the largest fifth: 8 rows of 8 workloads are left to learn from, 16 of 8 are needed",
    )
    assert extrapolation(few[:4]).impossible == ("the largest fifth: no row to hold out",)


def test_leave_one_workload_out() -> None:
    rows = [dense(8 * n, batch) for n in range(1, 12) for batch in (1, 8)]
    split = leave_one_workload_out(rows)
    require_sound(split, rows)
    assert [fold.test for fold in split.folds] == [(2 * n, 2 * n + 1) for n in range(11)]


def test_a_held_out_network_shares_nothing_with_what_is_left() -> None:
    rows = of_network("resnet18", 2) + of_network("resnet50") + list(observed(10))
    networks = [held_network(load_network(name, 1)) for name in ("resnet18", "resnet50", "inceptionv3")]
    split = leave_one_network_out(rows, networks)
    require_sound(split, rows)
    assert [fold.label for fold in split.folds] == ["resnet18", "resnet50"]
    for fold, name in zip(split.folds, ("resnet18", "resnet50"), strict=True):
        own = {d.spec.workload for d in demand(load_network(name, 1), (INT8, INT4), mixed=True)}
        belongs = [row.spec.workload.with_batch(1) in own for row in rows]
        assert fold.test == tuple(i for i, held in enumerate(belongs) if held)
        assert fold.network is not None
        assert fold.network.name == name
    shared = set(split.folds[0].test) & set(split.folds[1].test)
    assert shared, "both begin with the same layers"
    (absent,) = split.impossible
    assert absent.startswith("inceptionv3: there are rows of ")


def test_a_network_is_there_with_half_of_its_workloads() -> None:
    network = held_network(load_network("resnet18", 1))
    weighted = [o for o in of_network("resnet18") if o.group in network.weighted]
    groups = sorted({o.group for o in weighted}, key=lambda g: g.text)
    others = [dense(8 * n, batch) for n in range(1, 12) for batch in (1, 8)]

    def folds(count: int) -> int:
        kept = [o for o in weighted if o.group in groups[:count]]
        return len(leave_one_network_out(others + kept, [network]).folds)

    half = len(groups) // 2
    assert len(groups) % 2 == 0
    assert (folds(half - 1), folds(half)) == (0, 1)


def test_a_table_of_one_network_leaves_nothing_to_learn_from() -> None:
    split = leave_one_network_out(of_network("resnet18"), [held_network(load_network("resnet18", 1))])
    assert split.folds == ()
    assert split.impossible == ("resnet18: 0 rows of 0 workloads are left to learn from, 16 of 8 are needed",)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "inceptionv3"])
def test_a_held_network_counts_what_an_inference_launches(name: str) -> None:
    network = load_network(name, 2)
    held = held_network(network)
    assert sum(held.layers.values()) == len(network.weighted_layers)
    assert held.weighted == {layer.workload.with_batch(1) for layer in network.weighted_layers}
    for precision, dtype in ((INT8, DType.INT8), (INT4, DType.INT4)):
        kernels = held.uniform[precision]
        assert sum(spec.workload.macs * count for spec, count in kernels.items()) == network.macs
        assert {spec.weight_dtype for spec in kernels} == {dtype, None}
        assert all(spec.workload.with_batch(1) in held.groups for spec in kernels)


def test_the_largest_fifth_is_held_out() -> None:
    rows = [
        dense(8 * n, batch, weights) for n in range(1, 26) for batch in (1, 3) for weights in (DType.INT8, DType.INT4)
    ]
    pools = [
        Observation(KernelSpec(Workload(Op.MAX_POOL, 1, n, n, 8, 8), DType.INT8, DType.INT8), 1e-5)
        for n in range(1, 11)
    ]
    mixed = rows + pools
    random.Random(0).shuffle(mixed)
    split = extrapolation(mixed)
    require_sound(split, mixed)
    (fold,) = split.folds
    test, train = [mixed[i] for i in fold.test], [mixed[i] for i in fold.train]
    held, kept = [o.spec.workload for o in test if o in rows], [o.spec.workload for o in train if o in rows]
    assert len(set(held)) == 10, "of 50 workloads, batches apart"
    assert not set(held) & set(kept), "both precisions of a workload stay together"
    assert min(w.macs for w in held) >= max(w.macs for w in kept)
    assert {w.with_batch(1) for w in held} & {w.with_batch(1) for w in kept}, "a large batch of a known image"
    largest = sorted(pools, key=lambda o: moved_bytes(o.spec))[-2:]
    assert {o.spec for o in test if o in pools} == {o.spec for o in largest}
