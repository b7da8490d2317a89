"""A table of several batches teaches a model what a batch costs: on the device that is a formula, and on real rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import lru_cache
from statistics import median

import pytest

from profiler.allocation.deployment import Deployment
from profiler.allocation.launches import launches
from profiler.frontend import load_network
from profiler.predictor.device_facts import facts_of
from profiler.predictor.estimate import Basis
from profiler.predictor.latency_model import LatencyModel, fit
from profiler.predictor.observation import Observation
from profiler.predictor.population import draws
from profiler.workload import INT4, INT8, KernelSpec, Op
from tests.predictor.invented import CPU, NOISE, ORIGIN, latency_s
from tests.predictor.test_recorded import OBSERVED, ROWS
from tests.predictor.test_recorded import ORIGIN as RECORDED

TAUGHT, BETWEEN = (1, 4, 16, 64), (2, 8, 32)
WORKLOADS = 40


def at(spec: KernelSpec, batch: int) -> KernelSpec:
    return replace(spec, workload=spec.workload.with_batch(batch))


def specs(count: int, seed: int) -> list[KernelSpec]:
    """Of workloads of one image, in both precisions."""
    return [at(spec, 1) for drawn in draws(count, (INT8, INT4), seed, [1]) for spec in drawn.specs]


@lru_cache
def model() -> LatencyModel:
    """Each workload at a batch or two, as tables of several networks at several batches have them."""
    rows = [
        Observation(at(spec, batch), latency_s(at(spec, batch)), NOISE)
        for index, spec in enumerate(specs(WORKLOADS, seed=0))
        for batch in (TAUGHT[index // 2 % 4], TAUGHT[(index // 2 + 1) % 4])
    ]
    return fit(rows, ORIGIN, CPU)


@lru_cache
def unseen() -> tuple[KernelSpec, ...]:
    seen = {spec.workload for spec in specs(WORKLOADS, seed=0)}
    return tuple(spec for spec in specs(60, seed=99) if spec.workload not in seen)


@pytest.mark.parametrize("batch", BETWEEN)
def test_batches_between_those_that_were_measured_are_predicted(batch: int) -> None:
    wanted = [at(spec, batch) for spec in unseen()]
    estimates = model().estimate(wanted)
    known = [
        abs(e.latency_s / latency_s(spec) - 1)
        for e, spec in zip(estimates, wanted, strict=True)
        if e.basis is Basis.PREDICTED
    ]
    assert len(known) > 30
    assert median(known) < 0.1
    convolutions = [e for e in estimates if e.spec.workload.op is Op.CONV2D]  # kinds of which there are enough rows
    assert len(convolutions) > 30
    assert not any("batch" in warning for e in convolutions for warning in e.warnings)


def test_a_batch_beyond_them_is_extrapolated_and_says_so() -> None:
    (found,) = model().estimate([at(unseen()[0], 256)])
    assert found.basis is Basis.EXTRAPOLATED
    assert any("batch 256" in warning for warning in found.warnings)


def test_what_a_batch_costs_is_right_in_kind() -> None:
    """Larger batches take longer, and hardly any longer for each image; how much longer is what the device does."""
    ratios = []
    for spec in unseen()[:40]:
        known = [latency_s(at(spec, batch)) for batch in (1, 8, 64)]
        found = [e.latency_s for e in model().estimate([at(spec, batch) for batch in (1, 8, 64)])]
        assert found[0] < found[1] < found[2]
        assert found[2] / 64 < 1.5 * found[0]
        ratios.append((found[2] / found[0]) / (known[2] / known[0]))
    assert abs(median(ratios) - 1) < 0.1
    assert sum(abs(ratio - 1) < 0.25 for ratio in ratios) > 0.8 * len(ratios)


@pytest.mark.parametrize("batch", [2, 32])
def test_the_throughput_of_a_network_at_a_batch_that_nobody_measured(batch: int) -> None:
    network = load_network("resnet18", batch)
    counts = Counter(launch.spec for launch in launches(network, Deployment.uniform(network, INT8)))
    total = model().total(counts)
    known_s = sum(count * latency_s(spec) for spec, count in counts.items())
    assert total.low_s <= known_s <= total.high_s
    assert batch / total.latency_s == pytest.approx(batch / known_s, rel=0.15)


def test_on_real_rows_a_batch_that_was_held_out() -> None:
    """All rows of batch 8, whose workloads are there in no other batch."""
    taught = [o for o in OBSERVED if o.spec.workload.batch != 8]
    held_out = [o for o in OBSERVED if o.spec.workload.batch == 8 and o.spec.workload.op.has_weights]
    assert len(held_out) > 50
    estimates = fit(taught, RECORDED, facts_of(ROWS)).estimate([o.spec for o in held_out])
    errors = [abs(e.latency_s / o.latency_s - 1) for e, o in zip(estimates, held_out, strict=True)]
    assert median(errors) < 0.04
    assert sum(error < 0.1 for error in errors) > 0.85 * len(errors)
