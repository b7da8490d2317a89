"""Fitting, asking and testing models as functions of files, on a device that does not exist (`invented`)."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.errors import FingerprintMismatch, InvalidFile, OutputError, ProfilerError
from profiler.frontend import load_network
from profiler.lut import store
from profiler.lut.demand import demand
from profiler.lut.kernel_list import KERNEL_COLUMNS, read_kernels
from profiler.lut.schema import LutRow, Source
from profiler.prediction_stages import fit as fitting
from profiler.prediction_stages.configs import best_configs
from profiler.prediction_stages.evaluate import evaluate
from profiler.prediction_stages.fit import FitRequest, fit
from profiler.prediction_stages.logs import CONFIGS, config_latencies, records_of, replicates, spread_out
from profiler.prediction_stages.predict import PredictRequest, predict
from profiler.predictor import latency_model, model_file
from profiler.predictor.device_facts import DeviceFacts, observed_peaks
from profiler.predictor.estimate import Basis
from profiler.predictor.latency_model import LatencyModel
from profiler.predictor.model_state import ConfigLatency, Origin
from profiler.predictor.observation import Observation
from profiler.predictor.validation import validate as validation
from profiler.predictor.validation.metrics import NoiseOrigin
from profiler.predictor.validation.report_json import from_json
from profiler.predictor.validation.splits import HeldNetwork, Split, random_folds
from profiler.record import CacheMode, Conditions, Failure, FailureKind, Journal, Measurement
from profiler.space.config import to_text
from profiler.space.cpu import config_space
from profiler.space.model import analytic_latency_s
from profiler.workload import INT4, INT8, DType, Epilogue, KernelSpec, Op, distinct
from tests.predictor.invented import CPU, ORIGIN, latency_s, observed
from tests.predictor.invented_lut import INSTRUMENT, lut_row, lut_rows, measurement, published

OTHER = Conditions(1, CacheMode.HOT)
ORIGIN_OF_ROWS = Origin(INSTRUMENT.device, INSTRUMENT.device_name, INSTRUMENT.arch, INSTRUMENT.short, ORIGIN.conditions)


def rows_with_resnet18() -> tuple[LutRow, ...]:
    """Some workloads, and the first layers of a network (in INT8)."""
    wanted = distinct(d.spec for d in demand(load_network("resnet18", 1), (INT8,), mixed=False))[:4]
    return lut_rows([*observed(18), *(Observation(spec, latency_s(spec), 0.02) for spec in wanted)])


def one_fold(observed: Sequence[Observation], networks: Sequence[HeldNetwork], seed: int) -> tuple[Split, ...]:
    """Spares fits."""
    return (Split("random", random_folds(observed, seed).folds[:1]),)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds lut.csv, with rows of two conditions, and the model and report that were made of it."""
    place = tmp_path_factory.mktemp("stages")
    rows = rows_with_resnet18()
    others = [dataclasses.replace(row, conditions=OTHER) for row in rows[:5]]
    predicted = dataclasses.replace(published(rows[0]), source=Source.PREDICTED, samples=0, latency_median_s=1.0)
    store.write(place / "lut.csv", [*rows, *others, predicted])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "usual_splits", one_fold)
        result = fit(FitRequest(place / "lut.csv", place / "model", networks=(), report=place / "report.md"))
    assert (result.other_conditions, result.configs, result.notes) == (5, 0, ())
    assert result.report.rows == len(rows)
    return place


@pytest.fixture
def model(folder: Path) -> Path:
    return folder / "model"


def test_what_a_fit_leaves_behind(folder: Path, model: Path) -> None:
    fitted, file = model_file.load(model)
    assert fitted.state.origin == ORIGIN_OF_ROWS
    assert {o.spec: o.latency_s for o in fitted.state.observations} == {
        row.spec: row.latency_median_s for row in rows_with_resnet18()
    }
    report = from_json(file.report)
    assert report.noise.origin is NoiseOrigin.INTERVALS
    assert (folder / "report.md").read_text().startswith("# Latency predictor on invented (cpu, avx512_vnni)")
    assert "with only 40 rows" in report.trust
    assert "too few rows to judge" in report.trust


def test_the_conditions_can_be_chosen(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ProfilerError, match=r"5 latencies of .* too few"):
        fit(FitRequest(folder / "lut.csv", tmp_path / "model", cache_mode=CacheMode.HOT))
    with pytest.raises(InvalidFile, match=r"lut\.csv: no row is of the threads and cache mode"):
        fit(FitRequest(folder / "lut.csv", tmp_path / "model", threads=7))
    assert not (tmp_path / "model").exists()


def test_a_model_that_cannot_be_written_is_refused_ahead_of_the_work(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(fitting.latency_model, "fit", lambda *a, **k: pytest.fail("it was fitted"))
    with pytest.raises(OutputError, match="file: cannot be written"):
        fit(FitRequest(folder / "lut.csv", tmp_path / "file" / "model"))


def floats(count: int) -> list[LutRow]:
    """Published float32 rows of a GPU that has no data sheet here."""
    convolutions = [o for o in observed(count) if o.spec.weight_dtype is DType.INT8]
    types = {"input_dtype": DType.FLOAT32, "weight_dtype": DType.FLOAT32, "output_dtype": DType.FLOAT32}
    plain = {**types, "input2_dtype": None, "epilogue": Epilogue.NONE}
    device = {"device": "gtx1080ti", "device_name": "GeForce GTX 1080 Ti", "arch": "sm_61"}
    return [
        dataclasses.replace(published(lut_row(o)), spec=dataclasses.replace(o.spec, **plain), **device)
        for o in convolutions
    ]


def test_rows_of_others_in_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = floats(60)
    store.write(tmp_path / "fitted.csv", rows[:30])
    store.write(tmp_path / "others.csv", rows[30:])
    fitted_to = []
    product = fitting.latency_model.fit

    def spy(
        part: Sequence[Observation], origin: Origin, facts: DeviceFacts, *rest: Any, **options: Any
    ) -> LatencyModel:
        fitted_to.append((part, facts))
        return product(part, origin, facts, *rest, **options)

    monkeypatch.setattr(fitting.latency_model, "fit", spy)
    monkeypatch.setattr(validation, "usual_splits", one_fold)
    fit(FitRequest(tmp_path / "fitted.csv", tmp_path / "model", networks=()))
    for part, facts in fitted_to:
        assert facts == observed_peaks([(o.spec, o.latency_s) for o in part]), "no peak of a row that is held out"
    assert [len(part) for part, _ in fitted_to] == [30, 24]
    found = evaluate(tmp_path / "model", tmp_path / "others.csv")
    assert found.accuracy.rows == len(rows) - 30
    assert found.accuracy.mape_percent < 100
    (estimate,) = predict(PredictRequest(tmp_path / "model", kernels=tmp_path / "others.csv")).estimates[:1]
    assert estimate.basis in (Basis.PREDICTED, Basis.EXTRAPOLATED)
    network = predict(PredictRequest(tmp_path / "model", network="resnet18")).network
    assert network is not None
    assert network.batch == 8
    assert {a.basis for line in network.lines for a in line.answers} == {Basis.EXTRAPOLATED}, "nothing in INT8 was seen"


def test_prediction_of_a_network(model: Path) -> None:
    known = {row.spec for row in rows_with_resnet18()}
    answer = predict(PredictRequest(model, network="resnet18"))
    network = answer.network
    assert network is not None
    assert [p.name for p in network.precisions] == ["int8", "int4"]
    bases = [a.basis for line in network.lines for a in line.answers]
    assert bases.count(Basis.MEASURED) >= 3
    for line in network.lines:
        for a in line.answers:
            assert a.low_s <= a.latency_s <= a.high_s
            assert (a.basis is Basis.MEASURED) == all(kernel.spec in known for kernel in a.kernels)
    for index, total in enumerate(network.totals):
        sums = [line.answers[index].latency_s for line in network.lines]
        assert total.latency_s == pytest.approx(sum(sums))
        assert total.known_s + total.predicted_s == pytest.approx(total.latency_s)
    assert network.totals[0].known_s > network.totals[1].known_s == 0
    counted = sum(answer.warnings.values())
    shown = {kernel for line in network.lines for a in line.answers for kernel in a.kernels}
    assert counted == sum(len(kernel.warnings) for kernel in shown)
    assert "with only 40 rows" in answer.notes[0]


def test_the_confidence_widens_intervals(model: Path) -> None:
    narrow, wide = (predict(PredictRequest(model, network="resnet18", confidence=c)).network for c in (0.5, 0.9))
    assert narrow is not None
    assert wide is not None
    for a, b in zip(narrow.totals, wide.totals, strict=True):
        assert a.latency_s == b.latency_s
        assert a.high_s <= b.high_s
        assert a.factor <= b.factor


@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_predicted_rows(model: Path, tmp_path: Path, confidence: float) -> None:
    out = tmp_path / "lut" / "predicted.csv"
    answer = predict(PredictRequest(model, network="resnet18", batch=2, confidence=confidence, out=out))
    rows = store.read(out)
    wanted = {d.spec for d in demand(load_network("resnet18", 2), (INT8, INT4), mixed=True)}
    assert {row.spec for row in rows} == wanted
    assert answer.written == len(rows)
    said = {e.spec: e for e in answer.estimates}
    for row in rows:
        assert (row.source, row.samples, row.config) == (Source.PREDICTED, 0, "")
        assert (row.fingerprint, row.device, row.conditions) == (INSTRUMENT.short, "cpu", ORIGIN.conditions)
        assert row.latency_median_s == said[row.spec].latency_s
        ends = (row.latency_ci95_low_s, row.latency_ci95_high_s)
        assert ends == ((said[row.spec].low_s, said[row.spec].high_s) if confidence == 0.95 else (None, None))
        assert row.native == (row.spec.weight_dtype is not DType.INT4)


def test_measured_rows_are_neither_written_as_predicted_nor_replaced(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "lut.csv"
    measured = rows_with_resnet18()
    store.write(out, measured)
    answer = predict(PredictRequest(model, network="resnet18", out=out))
    rows = store.read(out)
    assert {row for row in rows if row.source is Source.MEASURED} == set(measured)
    predicted = {row.spec for row in rows if row.source is Source.PREDICTED}
    assert not predicted & {row.spec for row in measured}
    assert answer.written == len(predicted) > 0


def test_prediction_of_listed_kernels(folder: Path, model: Path, tmp_path: Path) -> None:
    answer = predict(PredictRequest(model, kernels=folder / "lut.csv"))
    assert answer.network is None
    assert {e.spec for e in answer.estimates} == {row.spec for row in rows_with_resnet18()}
    assert all(e.basis is Basis.MEASURED for e in answer.estimates)
    spec = observed(40)[-1].spec
    bare = tmp_path / "kernels.csv"
    write_kernels(bare, [spec, spec])
    (estimate,) = predict(PredictRequest(model, kernels=bare)).estimates
    assert estimate.spec == spec
    assert estimate.basis in (Basis.PREDICTED, Basis.EXTRAPOLATED)


def write_kernels(path: Path, specs: Sequence[KernelSpec], columns: Sequence[str] = KERNEL_COLUMNS) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(
            {name: value if value is not None else "" for name, value in s.to_dict().items()} for s in specs
        )


def test_kernels_read_back(tmp_path: Path) -> None:
    specs = [o.spec for o in observed(20)]
    write_kernels(tmp_path / "kernels.csv", [*specs, specs[0]], tuple(reversed(KERNEL_COLUMNS)))
    assert read_kernels(tmp_path / "kernels.csv") == distinct(specs)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("op,", "operator,", "line 1: missing column: op; a kernel is described by op, batch"),
        (
            "op,batch,in_height,in_width,in_channels,",
            "",
            "line 1: missing columns: op, batch, in_height, in_width and 1",
        ),
        ("conv2d", "conv3d", "line 2: not a kernel spec: 'conv3d' is not a valid Op"),
        (",uint8,", ",uint9,", "line 2: not a kernel spec: 'uint9' is not a valid DType"),
        ("conv2d,1,", "conv2d,-1,", "line 2, batch: '-1' is not a natural number"),
        ("conv2d,1,", "conv2d,0,", "line 2: conv2d: batch must be an integer of at least 1"),
        (",nhwc,nhwc", ",nhwc", "line 2: has fewer cells"),
        ("conv2d,1,", "conv2d,1,1,", "line 2: has more cells"),
        ("conv2d", '"conv2d', "line 2: is not CSV"),
    ],
)
def test_damaged_lists_of_kernels(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = tmp_path / "kernels.csv"
    specs = [d.spec for d in demand(load_network("resnet18", 1), (INT8,), mixed=False)]
    write_kernels(path, [spec for spec in specs if spec.input_dtype is DType.UINT8 and spec.weight_dtype][:1])
    text = path.read_text().replace("\r\n", "\n")
    header, line = text.split("\n", 1)
    changed = text.replace(old, new, 1) if old in header else f"{header}\n{line.replace(old, new, 1)}"
    assert changed != text
    path.write_text(changed)
    with pytest.raises(InvalidFile) as error:
        read_kernels(path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_no_kernels(tmp_path: Path) -> None:
    write_kernels(tmp_path / "none.csv", [])
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    for name, said in (("none", "lists no kernel"), ("bytes", "not UTF-8"), ("nowhere", "cannot be read")):
        with pytest.raises(InvalidFile, match=said):
            read_kernels(tmp_path / f"{name}.csv")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "either --network or --kernels"),
        ({"network": "resnet18", "kernels": Path("x.csv")}, "either --network or --kernels"),
        ({"network": "resnet18", "confidence": 1.0}, "between 0 and 1"),
        ({"network": "resnet99"}, "unknown model 'resnet99'"),
        ({"kernels": Path("nowhere.csv")}, "nowhere.csv: cannot be read"),
    ],
)
def test_what_cannot_be_predicted(model: Path, options: dict[str, object], said: str) -> None:
    with pytest.raises(ProfilerError, match=said):
        predict(dataclasses.replace(PredictRequest(model), **options))  # type: ignore[arg-type]


def test_evaluation_leaves_out_what_the_model_has_seen(model: Path, tmp_path: Path) -> None:
    fresh = observed(60)[60:]
    seen = rows_with_resnet18()[:7]
    store.write(tmp_path / "other.csv", [*map(lut_row, fresh), *seen])
    found = evaluate(model, tmp_path / "other.csv")
    assert (found.accuracy.rows, found.seen_rows, found.only_seen) == (len(fresh), 7, False)
    fitted, _ = model_file.load(model)
    estimates = fitted.estimate([o.spec for o in fresh], 0.9, look_up=False)
    errors = [abs(e.latency_s / o.latency_s - 1) for e, o in zip(estimates, fresh, strict=True)]
    assert found.accuracy.mape_percent == pytest.approx(100 * sum(errors) / len(errors))
    covered = sum(e.low_s <= o.latency_s <= e.high_s for e, o in zip(estimates, fresh, strict=True))
    assert found.coverage.covered == covered
    assert found.notes == ("7 rows of kernels that the model was fitted to are left out",)


def test_evaluation_on_nothing_else_says_that_the_model_has_seen_it(folder: Path, model: Path) -> None:
    found = evaluate(model, folder / "lut.csv")
    assert (found.accuracy.rows, found.seen_rows, found.only_seen) == (40, 40, True)
    assert "says nothing of unseen ones" in found.notes[-1]
    assert found.accuracy.mape_percent > 0, "the regression is asked, not the table"


def test_evaluation_on_another_instrument_of_the_device(model: Path, tmp_path: Path) -> None:
    rows = [dataclasses.replace(lut_row(o), fingerprint="deadbeef") for o in observed(60)[60:]]
    store.write(tmp_path / "other.csv", rows)
    found = evaluate(model, tmp_path / "other.csv")
    assert found.fingerprint == "deadbeef"
    assert "deadbeef" in found.notes[0]
    assert INSTRUMENT.short in found.notes[0]


def test_evaluation_on_published_rows(model: Path, tmp_path: Path) -> None:
    store.write(tmp_path / "other.csv", [published(lut_row(o)) for o in observed(60)[60:]])
    found = evaluate(model, tmp_path / "other.csv")
    assert found.noise.origin is NoiseOrigin.UNKNOWN
    assert found.accuracy.rows == len(observed(60)[60:])


def test_what_cannot_be_evaluated(model: Path, tmp_path: Path) -> None:
    fresh = [lut_row(o) for o in observed(60)[60:]]
    store.write(tmp_path / "t4.csv", [dataclasses.replace(row, device="t4") for row in fresh])
    with pytest.raises(FingerprintMismatch, match=r"rows of t4 \(avx512_vnni\), but .*model is a model of cpu"):
        evaluate(model, tmp_path / "t4.csv")
    store.write(tmp_path / "hot.csv", [dataclasses.replace(row, conditions=OTHER) for row in fresh])
    with pytest.raises(InvalidFile, match="no measured or published row with 1 thread, cache mode network"):
        evaluate(model, tmp_path / "hot.csv")
    store.write(tmp_path / "empty.csv", [])
    with pytest.raises(InvalidFile, match="no measured or published row"):
        evaluate(model, tmp_path / "empty.csv")
    with pytest.raises(InvalidFile, match="no such file"):
        evaluate(tmp_path / "no model", tmp_path / "t4.csv")


# What logs add.

SPEC, OTHER_SPEC = (o.spec for o in observed(3)[:2])


@given(st.integers(0, 200))
def test_configs_are_the_fastest_and_some_of_all_others(count: int) -> None:
    ranked = [f"c{i:03}" for i in range(count)]
    kept = spread_out(ranked)
    assert len(kept) == min(count, CONFIGS)
    assert list(kept) == sorted(set(kept))
    assert kept[:12] == tuple(ranked[:12])
    assert kept[-1:] == tuple(ranked[-1:])
    places = [ranked.index(config) for config in kept[12:]]
    gaps = [b - a for a, b in pairwise(places)]
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_configs_from_records() -> None:
    records = [
        measurement(SPEC, "a", 3.0, "screen"),
        measurement(SPEC, "b", 2.0, "screen"),
        measurement(SPEC, "b", 2.5),
        measurement(SPEC, "c", 4.0),
        measurement(SPEC, "d", 1.0, "screen"),
        failure("d", FailureKind.WRONG_OUTPUT),
        failure("a", FailureKind.UNSTABLE),
        measurement(OTHER_SPEC, "a", 9.0, "screen"),
    ]
    found = [(c.spec, c.config, c.latency_s) for c in config_latencies(records)]
    assert found == [(SPEC, "b", 2.0), (SPEC, "a", 3.0), (SPEC, "c", 4.0), (OTHER_SPEC, "a", 9.0)]


def failure(config: str, kind: FailureKind) -> Failure:
    return Failure(SPEC, config, ORIGIN.conditions, INSTRUMENT.digest, kind, "", "run", 1.0, "0")


def test_replicates_are_the_best_of_two_runs() -> None:
    disturbed = dataclasses.replace(measurement(SPEC, "a", 9.0, run_id="0", at=0), samples_s=(1.0, 9.0, 9.0))
    records: list[Measurement | Failure] = [
        measurement(SPEC, "a", 5.0, run_id="2", at=20),
        measurement(SPEC, "b", 4.0, run_id="2", at=21),
        measurement(SPEC, "a", 3.0, run_id="1", at=10),
        measurement(SPEC, "c", 1.0, "screen", run_id="2", at=20),
        measurement(SPEC, "a", 6.0, run_id="3", at=30),
        measurement(OTHER_SPEC, "a", 7.0, run_id="3", at=30),
        disturbed,
    ]
    assert replicates(records) == ((3.0, 4.0), (4.0, 6.0))


def test_records_of_this_instrument_and_these_conditions_count(tmp_path: Path) -> None:
    other = dataclasses.replace(INSTRUMENT, compiler="another")
    mine = measurement(SPEC, "a", 1.0)
    strange = dataclasses.replace(measurement(SPEC, "b", 1.0), fingerprint=other.digest)
    hot = dataclasses.replace(mine, conditions=OTHER)
    Journal(tmp_path / "cpu" / "a.jsonl").append([INSTRUMENT, mine, hot, other, strange])
    Journal(tmp_path / "t4" / "b.jsonl").append([other, strange])
    assert records_of(tmp_path, ORIGIN_OF_ROWS) == (mine,)
    with pytest.raises(InvalidFile, match="there is no such folder"):
        records_of(tmp_path / "nowhere", ORIGIN_OF_ROWS)
    (tmp_path / "cpu" / "z.jsonl").write_text("{}\n")
    with pytest.raises(InvalidFile, match=r"z\.jsonl, line 1"):
        records_of(tmp_path, ORIGIN_OF_ROWS)


def test_logs_reach_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_with_resnet18()
    store.write(tmp_path / "lut.csv", rows)
    configs = {row.spec: [f"vector(vectors={n},parallel=none)" for n in (1, 2)] for row in rows[:10]}
    records = [
        measurement(spec, config, 1e-5 * (1 + i), run_id=str(i), at=i)
        for spec, texts in configs.items()
        for i, config in enumerate(texts)
    ]
    Journal(tmp_path / "logs" / "cpu" / "all.jsonl").append([INSTRUMENT, *records])
    monkeypatch.setattr(validation, "usual_splits", lambda *_: ())
    result = fit(FitRequest(tmp_path / "lut.csv", tmp_path / "model", logs=tmp_path / "logs", networks=()))
    assert result.configs == 20
    assert (result.report.noise.origin, result.report.noise.samples) == (NoiseOrigin.REPLICATES, 10)
    fitted, _ = model_file.load(tmp_path / "model")
    assert {(c.spec, c.config) for c in fitted.state.configs} == {(r.spec, r.config) for r in records}


def test_the_best_configs_of_a_kernel() -> None:
    """A config that was measured has its latency; the others are ordered by prediction, inside of their intervals."""
    seen = [o.spec for o in observed(6) if o.spec.workload.op is Op.CONV2D and not o.spec.workload.is_depthwise]
    space = config_space(seen[0], CPU.isa, 1)
    known = [ConfigLatency(seen[0], to_text(c), 2 * analytic_latency_s(seen[0], c, CPU)) for c in space[::9]]
    state = dataclasses.replace(fitted().state, configs=tuple(known))
    mine, other = best_configs(state, seen[:2], 400, 0.9)
    assert (mine.space, len(mine.best)) == (len(space), min(400, len(space)))
    measured = {e.config: e for e in mine.best if e.basis is Basis.MEASURED}
    assert {c.config: c.latency_s for c in known if c.config in measured} == {
        config: e.latency_s for config, e in measured.items()
    }
    for kernel in (mine, other):
        assert [e.latency_s for e in kernel.best] == sorted(e.latency_s for e in kernel.best)
        assert all(0 < e.low_s <= e.latency_s <= e.high_s for e in kernel.best)
    assert {e.basis for e in other.best} == {Basis.PREDICTED}


def test_configs_that_cannot_be_told() -> None:
    with pytest.raises(ProfilerError, match="fit it with --logs"):
        best_configs(fitted().state, [observed(1)[0].spec], 8, 0.9)
    peaks = dataclasses.replace(fitted().state, facts=observed_peaks([(o.spec, o.latency_s) for o in observed(2)]))
    with pytest.raises(ProfilerError, match="are not known here"):
        best_configs(peaks, [observed(1)[0].spec], 8, 0.9)


def fitted() -> LatencyModel:
    return latency_model.fit(observed(18), ORIGIN, CPU)


def test_fit_replaces_nothing_but_models_and_reports(tmp_path: Path) -> None:
    """The LUT above all, whether named directly or through a link."""
    lut, link, other = tmp_path / "lut.csv", tmp_path / "link.csv", tmp_path / "notes.md"
    store.write(lut, lut_rows(observed(18)))
    link.symlink_to(lut)
    other.write_text("mine")
    model, before = tmp_path / "m.json", lut.read_bytes()
    for request in (
        FitRequest(lut, lut),
        FitRequest(lut, link),
        FitRequest(lut, model, report=lut),
        FitRequest(lut, model, report=model),
        FitRequest(lut, other),
        FitRequest(lut, model, report=other),
        FitRequest(lut, tmp_path),
    ):
        with pytest.raises(OutputError, match=r"name (another|a) file"):
            fit(request)
    assert (lut.read_bytes(), other.read_text(), model.exists()) == (before, "mine", False)


def test_rows_of_another_clock_are_told(model: Path, tmp_path: Path) -> None:
    slower = [lut_row(dataclasses.replace(o, latency_s=1.3 * o.latency_s)) for o in observed(60)[60:]]
    store.write(tmp_path / "slower.csv", slower)
    found = evaluate(model, tmp_path / "slower.csv")
    assert found.level == pytest.approx(1.3, abs=0.15)
    assert any("another one" in note for note in found.notes)
