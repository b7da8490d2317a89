"""What a model is held out from, to see how it does on workloads that it has not seen.

Whole workloads are held out (`Observation.group`): a kernel's other batch sizes, types and epilogues would tell of it.
Only the extrapolation, which asks about size, holds out a workload of a large batch and keeps that of a small one.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from profiler.lut.demand import demand, implementations, units
from profiler.lut.narrow_tensors import uniform_precisions
from profiler.predictor.latency_model import LEAST_ROWS, LEAST_WORKLOADS
from profiler.predictor.observation import Observation
from profiler.space.traffic import moved_bytes
from profiler.workload import INT4, INT8, PRECISIONS, KernelSpec, Network, Precision, Workload

FOLDS = 5
_LARGEST_PERCENT = 20
_PRESENT_SHARE = 0.5
"""Of a network's workloads with weights: with rows of fewer it is not there to be held out."""


@dataclass(frozen=True)
class HeldNetwork:
    """What of a network matters to a split, and to the sum over its layers.

    groups : the workloads of all kernels that it can need, as `Observation.group` has them; weighted : of those with
    weights. layers : how often it has each workload with weights. uniform : by precision, the kernels of an inference
    in it, done the usual way, and how often each is launched.
    """

    name: str
    groups: frozenset[Workload]
    weighted: frozenset[Workload]
    layers: Mapping[Workload, int] = field(hash=False)
    uniform: Mapping[Precision, Mapping[KernelSpec, int]] = field(hash=False)


@dataclass(frozen=True)
class Fold:
    """Indices of the rows that a model is fitted to, and of those that it is tested on; ``network`` if it is one's."""

    label: str
    train: tuple[int, ...]
    test: tuple[int, ...]
    network: HeldNetwork | None = None


@dataclass(frozen=True)
class Split:
    """Folds that are judged together; ``impossible`` says what could not be held out, and why, a line each."""

    name: str
    folds: tuple[Fold, ...]
    impossible: tuple[str, ...] = ()


def held_network(network: Network, precisions: Sequence[Precision] = (INT8, INT4)) -> HeldNetwork:
    """Its batch is that of the sums, which are told in these ``precisions``; the groups are the same for all."""
    groups = {wanted.spec.workload.with_batch(1) for wanted in demand(network, (INT8, INT4), mixed=True)}
    return HeldNetwork(
        name=network.name,
        groups=frozenset(groups),
        weighted=frozenset(group for group in groups if group.op.has_weights),
        layers={w: count for w, count in network.multiplicities().items() if w.op.has_weights},
        uniform={precision: _uniform(network, precision) for precision in precisions},
    )


def known_precisions(observed: Iterable[Observation]) -> tuple[Precision, ...]:
    """Those that sums are told in: INT8 and INT4, and the narrower ones of which there are rows. Several have one type
    of signed activations, so that unsigned ones tell."""
    seen = {(o.spec.input_dtype, o.spec.weight_dtype) for o in observed}
    below = (precision for precision in PRECISIONS.values() if precision not in (INT8, INT4))
    return (INT8, INT4, *(p for p in below if (p.activation_dtype(signed=False), p.weight_dtype) in seen))


def random_folds(observed: Sequence[Observation], seed: int, folds: int = FOLDS) -> Split:
    """Each row is held out once, with all rows of its workload; folds have as many rows as workloads allow."""
    rows_of = _rows_of([o.group for o in observed])
    order = sorted(rows_of, key=lambda group: group.text)
    random.Random(seed).shuffle(order)
    tests: list[list[int]] = [[] for _ in range(folds)]
    for group in order:
        min(tests, key=len).extend(rows_of[group])
    if len(order) < folds:
        return Split("random", (), (f"{len(order)} workloads do not make {folds} folds",))
    return _possible("random", [_fold(f"fold {i + 1}", test, observed) for i, test in enumerate(tests)], observed)


def leave_one_workload_out(observed: Sequence[Observation]) -> Split:
    """As many folds as there are workloads: for tables of some ten."""
    rows_of = _rows_of([o.group for o in observed])
    folds = [_fold(group.text, rows, observed) for group, rows in rows_of.items()]
    return _possible("leave-one-workload-out", folds, observed)


def leave_one_network_out(observed: Sequence[Observation], networks: Sequence[HeldNetwork]) -> Split:
    """A fold for each network: rows of its workloads are held out, those that it shares with other networks too."""
    folds, absent = [], []
    seen = {o.group for o in observed}
    for network in networks:
        present = len(network.weighted & seen)
        if present < _PRESENT_SHARE * len(network.weighted):
            absent.append(f"{network.name}: there are rows of {present} of its {len(network.weighted)} workloads")
            continue
        test = [index for index, o in enumerate(observed) if o.group in network.groups]
        folds.append(_fold(network.name, test, observed, network))
    return _possible("leave-one-network-out", folds, observed, absent)


def extrapolation(observed: Sequence[Observation]) -> Split:
    """One fold: the largest fifth of workloads is held out, by multiply-accumulates, or by bytes where nothing is
    multiplied."""
    sizes: tuple[dict[Workload, float], dict[Workload, float]] = ({}, {})
    for o in observed:
        workload = o.spec.workload
        size = workload.macs or max(moved_bytes(o.spec), sizes[1].get(workload, 0.0))
        sizes[workload.macs == 0][workload] = size
    held_out: set[Workload] = set()
    for ranked in sizes:
        order = sorted(ranked, key=lambda workload: (ranked[workload], workload.text))
        held_out.update(order[len(order) - len(order) * _LARGEST_PERCENT // 100 :])
    test = [index for index, o in enumerate(observed) if o.spec.workload in held_out]
    return _possible("extrapolation", [_fold("the largest fifth", test, observed)], observed)


def _uniform(network: Network, precision: Precision) -> dict[KernelSpec, int]:
    counts: dict[KernelSpec, int] = {}
    chosen = uniform_precisions(network, precision)
    for unit in units(network):
        usual = implementations(network, unit, chosen)[0]
        for kernel in usual.kernels:
            counts[kernel.spec] = counts.get(kernel.spec, 0) + 1
    return counts


def _rows_of(groups: Sequence[Workload]) -> dict[Workload, list[int]]:
    found: dict[Workload, list[int]] = {}
    for index, group in enumerate(groups):
        found.setdefault(group, []).append(index)
    return found


def _fold(
    label: str, test: Collection[int], observed: Sequence[Observation], network: HeldNetwork | None = None
) -> Fold:
    held_out = set(test)
    train = tuple(index for index in range(len(observed)) if index not in held_out)
    return Fold(label, train, tuple(sorted(held_out)), network)


def _possible(name: str, folds: Sequence[Fold], observed: Sequence[Observation], absent: Sequence[str] = ()) -> Split:
    """The folds that leave enough to learn from and something to test; of the others it is said why not."""
    kept, impossible = [], list(absent)
    for fold in folds:
        workloads = len({observed[index].group for index in fold.train})
        if not fold.test:
            impossible.append(f"{fold.label}: no row to hold out")
        elif len(fold.train) < LEAST_ROWS or workloads < LEAST_WORKLOADS:
            impossible.append(
                f"{fold.label}: {len(fold.train)} rows of {workloads} workloads are left to learn from, "
                f"{LEAST_ROWS} of {LEAST_WORKLOADS} are needed"
            )
        else:
            kept.append(fold)
    return Split(name, tuple(kept), tuple(impossible))
