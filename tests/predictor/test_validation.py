"""The validation: nothing leaks, the numbers are those of the answers, and the report survives as JSON and text."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from profiler.frontend import load_network
from profiler.lut.demand import demand
from profiler.lut.store import read
from profiler.predictor import latency_model
from profiler.predictor.device_facts import facts_of
from profiler.predictor.estimate import Basis, Estimate
from profiler.predictor.model_state import Origin
from profiler.predictor.observation import Observation, observations, usual_conditions
from profiler.predictor.validation.baselines import Learner, Points, baselines
from profiler.predictor.validation.metrics import Answer, NoiseOrigin
from profiler.predictor.validation.report import ValidationReport
from profiler.predictor.validation.report_json import from_json, to_json
from profiler.predictor.validation.report_text import to_markdown
from profiler.predictor.validation.splits import HeldNetwork, Split, held_network, known_precisions, random_folds
from profiler.predictor.validation.validate import contributors, network_sums, usual_splits, validate
from profiler.workload import INT4, INT8, PRECISIONS, DType, Epilogue, KernelSpec, Op, distinct
from tests.predictor.invented import CPU, ORIGIN, latency_s, observed

ROOT = Path(__file__).parents[2]
OFF = 1.25
"""The learner below says so many times the truth."""


class Knowing(Points):
    """Says the truth times 1.25, with an interval of 20% (too narrow), for what it was fitted to: nothing else."""

    def __init__(self, training: Sequence[Observation]) -> None:
        self.groups = {o.group for o in training}
        super().__init__(lambda specs: OFF * np.array([latency_s(spec) for spec in specs]))

    def estimate(
        self, specs: Sequence[KernelSpec], confidence: float = 0.9, look_up: bool = True
    ) -> tuple[Estimate, ...]:
        assert confidence == 0.9
        return tuple(
            Estimate(e.spec, e.latency_s, e.latency_s / 1.2, e.latency_s * 1.2, Basis.PREDICTED)
            for e in super().estimate(specs)
        )


def rows_of(*names: str) -> list[Observation]:
    """Invented latencies of all kernels of networks, and of other workloads."""
    wanted = [d.spec for name in names for d in demand(load_network(name, 1), (INT8, INT4), mixed=True)]
    return [Observation(spec, latency_s(spec), 0.02) for spec in distinct([*wanted, *(o.spec for o in observed(20))])]


def held(*names: str) -> list[HeldNetwork]:
    return [held_network(load_network(name, 1)) for name in names]


@pytest.fixture(scope="module")
def report() -> ValidationReport:
    return validate(
        rows_of("resnet18", "resnet50"),
        ORIGIN,
        held("resnet18", "resnet50", "inceptionv3"),
        Learner("knowing", Knowing, intervals=True),
        seed=3,
    )


def test_no_learner_sees_what_it_is_tested_on() -> None:
    rows = rows_of("resnet18")
    seen: list[set[object]] = []

    def fit(training: Sequence[Observation]) -> Knowing:
        seen.append({o.group for o in training})
        return Knowing(training)

    validate(rows, ORIGIN, held("resnet18"), Learner("spy", fit, True), splits=[random_folds(rows, 0)])
    every = {o.group for o in rows}
    assert len(seen) == 5
    for training in seen:
        assert training < every
    held_out = [every - training for training in seen]
    assert sum(map(len, held_out)) == len(every), "each workload is held out once"


def test_the_learner_stands_ahead_of_the_baselines_in_each_split(report: ValidationReport) -> None:
    names = ["knowing", *(learner.name for learner in baselines(0))]
    assert [split.name for split in report.splits] == ["random", "leave-one-network-out", "extrapolation"]
    for split in report.splits:
        assert [score.learner for score in split.scores] == names
        own, *others = split.scores
        assert own.accuracy.mape_percent == pytest.approx(25)
        assert own.accuracy.within_20_percent == 0
        assert own.coverage is not None
        assert own.coverage.covered == 0, "the truth lies 25% below and the interval ends at 16.7%"
        assert own.coverage_inside == own.coverage
        assert own.halfwidth_percent == pytest.approx(20)
        assert own.ratios is not None
        assert own.ratios.median_percent == pytest.approx(0, abs=1e-9), "the factor cancels"
        assert own.ratios.right == own.ratios.decided > 0
        for other in others:
            assert (other.coverage, other.coverage_inside, other.halfwidth_percent) == (None, None, None)
            assert other.accuracy.rows == own.accuracy.rows


def test_sums_over_the_held_out_networks(report: ValidationReport) -> None:
    split = report.splits[1]
    sums = split.scores[0].sums
    assert [(s.network, s.weights) for s in sums] == [
        ("resnet18", "int4"), ("resnet18", "int8"), ("resnet50", "int4"), ("resnet50", "int8")
    ]  # fmt: skip
    for found in sums:
        network = held_network(load_network(found.network, 1))
        counts = network.uniform[PRECISIONS[found.weights]]
        assert found.kernels == found.wanted == sum(counts.values())
        truth_s = sum(latency_s(spec) * count for spec, count in counts.items())
        assert found.measured_s == pytest.approx(truth_s)
        assert found.predicted_s == pytest.approx(OFF * truth_s)
        assert found.error_percent == pytest.approx(25)
    assert report.splits[0].scores[0].sums == ()
    assert [part.network for part in split.networks] == ["resnet18", "resnet50"]
    assert split.impossible[0].startswith("inceptionv3: ")


def test_whether_the_interval_of_the_sum_holds() -> None:
    rows = rows_of("resnet18")
    network = held("resnet18")[0]
    model = latency_model.fit(observed(30), ORIGIN, CPU)
    estimates = model.estimate([o.spec for o in rows])
    answers = [Answer(o, e) for o, e in zip(rows, estimates, strict=True)]
    for found in network_sums(network, answers, model, intervals=True):
        total = model.total(network.uniform[PRECISIONS[found.weights]])
        assert (found.low_s, found.high_s) == (total.low_s, total.high_s)
        assert found.inside == (total.low_s <= found.measured_s <= total.high_s)
    for found in network_sums(network, answers, model, intervals=False):
        assert (found.low_s, found.high_s, found.inside) == (None, None, None)


def test_sums_are_told_in_each_precision_of_which_there_are_rows() -> None:
    """Also where two have weights of one type, and one of them only the layer that reads signed values."""
    network = load_network("resnet18", 1)
    measured = [PRECISIONS[name] for name in ("int8", "a2w1", "a1w1")]
    specs = [wanted.spec for wanted in demand(network, measured, mixed=False)]
    rows = [Observation(spec, latency_s(spec)) for spec in specs]
    of_a1w1 = [o for o in rows if (o.spec.weight_dtype, o.spec.input_dtype) != (DType.INT1, DType.UINT2)]
    for seen, names in ((rows, ["a2w1", "a1w1", "int8"]), (of_a1w1, ["a1w1", "int8"])):
        held_out = held_network(network, known_precisions(seen))
        answers = [Answer(o, Knowing([]).estimate([o.spec], look_up=False)[0]) for o in seen]
        sums = network_sums(held_out, answers, Knowing(seen), intervals=False)
        assert [found.weights for found in sums] == names
        for found in sums:
            uniform = {w.spec for w in demand(network, [PRECISIONS[found.weights]], mixed=False)}
            fused = [s for s in uniform if s.epilogue is not Epilogue.BIAS and s.workload.op is not Op.ADD]
            assert found.kernels == found.wanted >= len(fused)
            counts = held_out.uniform[PRECISIONS[found.weights]]
            assert counts.keys() <= uniform
            assert found.measured_s == pytest.approx(sum(latency_s(s) * count for s, count in counts.items()))


def test_rows_of_others_stand_in_for_the_layers_that_they_have() -> None:
    network = held("resnet18")[0]
    bare = [
        KernelSpec(w, DType.INT8, DType.INT32, DType.INT8, input_layout="hwnc", output_layout="hwnc8n32c")
        for w in list(network.layers)[:-1]
    ]
    rows = [Observation(spec, latency_s(spec)) for spec in bare]
    answers = [Answer(o, Knowing([]).estimate([o.spec], look_up=False)[0]) for o in rows]
    (found,) = network_sums(network, answers, Knowing(rows), intervals=False)
    assert found.weights == "int8"
    assert found.wanted == 21
    assert found.kernels == sum(network.layers[spec.workload] for spec in bare)
    assert found.measured_s == pytest.approx(sum(latency_s(s) * network.layers[s.workload] for s in bare))


def test_where_the_errors_come_from() -> None:
    rows = observed(30)
    answers = [
        Answer(o, Estimate(o.spec, o.latency_s * off, o.latency_s, 9.0, Basis.PREDICTED))
        for o, off in zip(rows, [exp(0.01 * i) for i in range(len(rows))], strict=True)
    ]
    total = sum(abs(a.error_percent) for a in answers)
    found = contributors(answers)
    for facet in {c.facet for c in found}:
        kinds = [c for c in found if c.facet == facet]
        assert sum(c.rows for c in kinds) == len(answers)
        assert sum(c.share_percent for c in kinds) == pytest.approx(100)
        assert [c.share_percent for c in kinds] == sorted((c.share_percent for c in kinds), reverse=True)
    (int4,) = [c for c in found if (c.facet, c.kind) == ("weights", "int4")]
    own = [abs(a.error_percent) for a in answers if a.observed.spec.weight_dtype is DType.INT4]
    assert (int4.rows, int4.mape_percent) == (len(own), pytest.approx(sum(own) / len(own)))
    assert int4.share_percent == pytest.approx(100 * sum(own) / total)


def test_the_worst_rows(report: ValidationReport) -> None:
    worst = report.splits[0].worst
    assert len(worst) == 10
    assert all(row.error_percent == pytest.approx(25) and not row.covered and not row.extrapolated for row in worst)


def test_extrapolated_rows_are_covered_apart() -> None:
    rows = list(observed(60))
    limit = sorted(o.latency_s for o in rows)[len(rows) // 2]

    class Careful(Knowing):
        def estimate(
            self, specs: Sequence[KernelSpec], confidence: float = 0.9, look_up: bool = True
        ) -> tuple[Estimate, ...]:
            return tuple(
                replace(e, low_s=e.latency_s / 2, basis=Basis.PREDICTED)
                if latency_s(e.spec) < limit
                else replace(e, basis=Basis.EXTRAPOLATED, warnings=("slow",))
                for e in super().estimate(specs, confidence, look_up)
            )

    found = validate(rows, ORIGIN, [], Learner("careful", Careful, True), splits=[random_folds(rows, 0)])
    own = found.splits[0].scores[0]
    assert own.coverage is not None
    assert own.coverage_inside is not None
    fast = sum(o.latency_s < limit for o in rows)
    assert (own.coverage.rows, own.coverage.covered) == (len(rows), fast)
    assert (own.coverage_inside.rows, own.coverage_inside.covered) == (fast, fast)


def test_what_is_too_little_is_said_and_not_dropped() -> None:
    rows = list(observed(6))
    found = validate(rows, ORIGIN, held("resnet18"), Learner("knowing", Knowing, True))
    assert [split.scores for split in found.splits] == [(), (), ()]
    assert all(split.impossible for split in found.splits)
    assert "nothing is known" in found.trust
    assert "- not held out: resnet18: there are rows of 0 of its" in to_markdown(found)


def test_noise_is_that_of_replicates_if_there_are_some() -> None:
    rows = list(observed(20))
    learner = Learner("knowing", Knowing, True)
    alone = validate(rows, ORIGIN, [], learner, splits=[])
    assert (alone.noise.origin, alone.noise.samples) == (NoiseOrigin.INTERVALS, len(rows))
    twice = validate(rows, ORIGIN, [], learner, [(1.0, 1.1)] * 9, splits=[])
    assert (twice.noise.origin, twice.noise.samples) == (NoiseOrigin.REPLICATES, 9)


def test_the_report_as_json(report: ValidationReport) -> None:
    text = json.dumps(to_json(report), allow_nan=False)
    assert from_json(json.loads(text)) == report
    plain = json.loads(text)
    assert plain["splits"][0]["scores"][0]["coverage"]["percent"] == 0.0
    assert plain["origin"]["conditions"] == {"threads": 1, "cache_mode": "network"}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data.pop("rows"),
        lambda data: data.update(rows="many"),
        lambda data: data.update(rows=True),
        lambda data: data.update(fast=1),
        lambda data: data.update(splits={}),
        lambda data: data["noise"].update(origin="hearsay"),
        lambda data: data["splits"][0].update(scores=[None]),
        lambda data: data["origin"].update(conditions=3),
    ],
)
def test_a_damaged_report_is_refused(report: ValidationReport, spoil: Callable[[dict[str, Any]], object]) -> None:
    data = json.loads(json.dumps(to_json(report)))
    spoil(data)
    with pytest.raises(ValueError):  # noqa: PT011 - of many places
        from_json(data)


@pytest.mark.parametrize("data", [None, [], "x", 3])
def test_what_is_no_report_is_refused(data: object) -> None:
    with pytest.raises(ValueError, match=r"validation report|ValidationReport has no"):
        from_json(data)


def test_the_report_as_text(report: ValidationReport) -> None:
    text = to_markdown(report)
    lines = text.splitlines()
    assert lines[0] == "# Latency predictor on invented (cpu, avx512_vnni)"
    tables = [line for line in lines if line.startswith("|")]
    header = next(line for line in tables if line.startswith("| split "))
    rows = [
        line for line in tables if line.startswith(("| random |", "| leave-one-network-out |", "| extrapolation |"))
    ]
    assert len(rows) == 15
    assert {row.count("|") for row in rows} == {header.count("|")}
    for part in (
        "noise floor: ",
        "## extrapolation",
        "not held out: inceptionv3",
        "Where the errors come from",
        "| 25.0% |",
    ):
        assert part in text
    assert to_markdown(from_json(to_json(report))) == text


def test_the_usual_splits() -> None:
    rows = rows_of("resnet18")
    assert [s.name for s in usual_splits(rows, held("resnet18"), 0)] == [
        "random", "leave-one-network-out", "extrapolation"
    ]  # fmt: skip


@pytest.mark.parametrize("path", ["lut/recorded/cpu-8cfd341f.csv", "lut/published/t4_hawqv3.csv"])
def test_the_product_on_real_rows(path: str) -> None:
    """One fold and a generous bound: what is reached stands in the reports."""
    rows = read(ROOT / path)
    conditions = usual_conditions(rows)
    seen = observations(rows, conditions)
    origin = Origin(rows[0].device, rows[0].device_name, rows[0].arch, rows[0].fingerprint, conditions)
    learner = Learner("model", lambda part: latency_model.fit(part, origin, facts_of(rows)), intervals=True)
    split = Split("random", random_folds(seen, 0).folds[:1])
    own, *others = validate(seen, origin, [], learner, splits=[split]).splits[0].scores
    assert own.accuracy.mape_percent < 40
    assert own.accuracy.mape_percent < next(o for o in others if o.learner == "nearest neighbour").accuracy.mape_percent
    assert own.coverage is not None
    assert own.coverage.percent > 50
