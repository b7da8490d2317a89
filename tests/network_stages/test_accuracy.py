"""Accuracy of a trained network, against ONNX Runtime's answers, the integer oracle's, and SciPy's intervals."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from scipy.stats import beta, binomtest

from profiler.allocation import bits_file
from profiler.allocation.bits_file import Bits, LatencyParts, LayerBits, TensorBits, TensorConversion
from profiler.allocation.deployment import Deployment
from profiler.errors import InvalidFile, ProfilerError
from profiler.frontend import load_network
from profiler.lut.demand import units
from profiler.network.answers import Answers
from profiler.network.images import load_images
from profiler.network.oracle_run import oracle_run
from profiler.network.quantized import integer_network
from profiler.network.real_numbers import quantized_inputs
from profiler.network_stages import accuracy
from profiler.network_stages.accuracy import AccuracyRequest, AccuracyResult, beside, evaluate_accuracy, even_split
from profiler.network_stages.in_turn import InTurn
from profiler.network_stages.run import RunRequest
from profiler.network_stages.trained import ModelRequest, trained_network
from profiler.verdict import Span
from profiler.workload import INT4, INT8, Network
from tests.network_stages.classifier import Classifier, make, run

pytestmark = pytest.mark.compile
IMAGES, BATCH = 206, 4
"""No multiple of the batch."""


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return make(tmp_path_factory.mktemp("digits"), IMAGES)


def mixed(network: Network) -> Bits:
    """The second convolution in INT4, which reads a copy; the rest in INT8."""
    chosen = {name for unit in units(network) for name in (*unit.tensors, unit.output)} - set(network.outputs)
    reader = next(layer for layer in network.layers if layer.name == "conv2")
    return Bits(
        network=network.name,
        batch=network.batch,
        layers=tuple(LayerBits(x.name, "int4" if x.name == "conv2" else "int8") for x in network.weighted_layers),
        tensors=tuple(TensorBits(x.name, "int8") for x in network.tensors if x.name in chosen),
        conversions=(TensorConversion(reader.inputs[0], "int8", "int4", ("conv2",)),),
        separate=(), limits=(), sensitivity=0.0, sensitivity_source="none", bound=0.0, gap=0.0, status="optimal",
        latency=LatencyParts(1e-6, 1e-6, 0.0, 0.0, 1e-6), size_bytes=1.0, bops=1.0, activation_bytes=1.0, energy_j=None,
        device="cpu", device_name="invented", fingerprint="00000000", lut="none.csv",
    )  # fmt: skip


@pytest.fixture(scope="module")
def bits(digits: Classifier) -> Path:
    path = digits.model.parent / "mixed.json"
    bits_file.save(path, mixed(load_network(str(digits.model), BATCH)))
    return path


def request_of(digits: Classifier, bits: Path | None = None, **changes: object) -> AccuracyRequest:
    where = RunRequest(
        model=str(digits.model), folder=digits.model.parent, calibrate=digits.train, batch=BATCH, allow_default=True
    )
    asked = AccuracyRequest(
        run=where, images=digits.test, bits=() if bits is None else (bits,), uniform=(INT8, INT4), timed=False
    )
    return replace(asked, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def result(digits: Classifier, bits: Path) -> AccuracyResult:
    with pytest.MonkeyPatch.context() as patch:  # a lock between runs of its own
        patch.setattr(tempfile, "tempdir", str(digits.model.parent))
        return evaluate_accuracy(request_of(digits, bits))


@pytest.fixture(scope="module")
def theirs(digits: Classifier) -> Answers:
    return Answers.of(run(onnx.load(str(digits.model)), digits.images), digits.labels)


def test_float_answers_are_those_of_onnx_runtime(result: AccuracyResult, theirs: Answers) -> None:
    reference = result.accuracies.reference
    assert reference.top1.images == IMAGES
    assert reference.top1.value > 0.9
    assert reference.top1.right == theirs.within(1)
    assert reference.top5 is not None
    assert reference.top5.right == theirs.within(5)


def test_int8_loses_at_most_a_point(result: AccuracyResult) -> None:
    int8 = result.accuracies.configurations[0]
    assert int8.name == int8.kind == "INT8"
    assert int8.top1.value >= result.accuracies.reference.top1.value - 0.01


@pytest.mark.parametrize("index", [0, 1, 2], ids=["INT8", "INT4", "mixed"])
def test_integer_answers_are_the_oracles(
    digits: Classifier, bits: Path, result: AccuracyResult, theirs: Answers, index: int
) -> None:
    """Of every image, not of the first batch alone; here each image runs by itself."""
    trained, _ = trained_network(ModelRequest(str(digits.model), digits.train), load_network(str(digits.model), 1))
    deployments = [Deployment.uniform(trained.network, INT8), Deployment.uniform(trained.network, INT4)]
    deployments.append(Deployment.of(bits_file.load(bits)))
    network = integer_network(trained, deployments[index])
    rows = []
    for image in load_images(digits.test, trained.network).batches(1):
        rows.append(oracle_run(network, quantized_inputs(network, image))[network.outputs[0]].reshape(1, -1))
    expected = Answers.of(np.concatenate(rows), digits.labels)
    found = result.accuracies.configurations[index]
    assert (found.top1.right, found.top1.images) == (expected.within(1), IMAGES)
    assert found.top5 is not None
    assert found.top5.right == expected.within(5)
    assert found.beside == beside(expected, theirs)
    assert found.beside.won - found.beside.lost == found.top1.right - result.accuracies.reference.top1.right


def test_what_is_said_of_a_configuration(result: AccuracyResult) -> None:
    int8, int4, some = result.accuracies.configurations
    weights = 16 * 9 + 2 * 16 * 16 * 9 + 10 * 256
    assert [x.weight_bytes for x in (int8, int4, some)] == [weights, weights / 2, weights - 16 * 16 * 9 / 2]
    assert (some.name, some.kind, some.bits) == ("mixed", "MIXED", "3 INT8, 1 INT4")
    assert int4.kind == "INT4"
    assert result.verified_steps >= 4 + 4 + 5  # the copy is a step
    assert all(x.latency is None for x in result.accuracies.configurations)


def test_intervals_are_exact(result: AccuracyResult) -> None:
    """Clopper and Pearson's as quantiles of the beta distribution, the textbook's other form."""
    for share in (result.accuracies.reference.top1, *(x.top1 for x in result.accuracies.configurations)):
        k, n = share.right, share.images
        assert share.low == pytest.approx(beta.ppf(0.025, k, n - k + 1) if k else 0.0)
        assert share.high == pytest.approx(beta.ppf(0.975, k + 1, n - k) if k < n else 1.0)


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (0, 1), (3, 3), (7, 2), (2, 7), (0, 40), (300, 251), (4000, 4100)])
def test_an_uneven_split_is_judged_by_fair_coins(lost: int, won: int) -> None:
    expected = binomtest(lost, lost + won).pvalue if lost + won else 1.0
    assert even_split(lost, won) == pytest.approx(expected)


def test_answers_beside_each_other() -> None:
    """Right in both, lost twice, won, another wrong answer, the same wrong answer."""
    labels = np.zeros(6, np.int64)
    ours = Answers.of(np.eye(3)[[0, 1, 1, 0, 2, 1]], labels)
    reference = Answers.of(np.eye(3)[[0, 0, 0, 1, 1, 1]], labels)
    found = beside(ours, reference)
    assert (found.changed, found.lost, found.won) == (4, 2, 1)


def test_a_folder_counts_as_its_files_together(digits: Classifier, tmp_path: Path, theirs: Answers) -> None:
    """Cut where no batch ends; 30 of them."""
    for name, start, end in (("a", 0, 7), ("b", 7, 90), ("c", 90, IMAGES)):
        np.savez(tmp_path / f"{name}.npz", image=digits.images[start:end], labels=digits.labels[start:end])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(digits.model.parent))
        found = evaluate_accuracy(request_of(digits, images=tmp_path, uniform=(INT8,), most=30))
    assert found.accuracies.reference.top1.images == 30
    assert found.accuracies.reference.top1.right == int((theirs.ranks[:30] == 0).sum())
    assert found.accuracies.configurations[0].top1.images == 30


def test_bits_of_another_network_or_batch_are_refused(digits: Classifier, bits: Path, tmp_path: Path) -> None:
    text = json.loads(bits.read_text())
    layers = [{**layer, "name": f"other.{layer['name']}"} for layer in text["layers"]]
    for change, message in (
        ({"layers": layers}, "are of another network"),
        ({"batch": 8}, "is of batch 8"),
        ({"tensors": [], "conversions": []}, "'image' has no precision"),
    ):
        path = tmp_path / "bits.json"
        path.write_text(json.dumps({**text, **change}))
        with pytest.raises(InvalidFile, match=rf"bits\.json: .*{message}"):
            evaluate_accuracy(request_of(digits, path, uniform=()))


def test_a_busy_machine_is_told_beside_the_latencies(digits: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy, "timed_in_turn", lambda ready, told: InTurn((((1e-6, 2e-6, 3e-6),) * 5,), 3))
    found = evaluate_accuracy(request_of(digits, uniform=(INT8,), most=4, timed=True))
    assert found.accuracies.configurations[0].latency == Span(2e-6, 1e-6, 3e-6)
    assert "during 3 of 5 timings" in found.notes[-1]


def test_what_has_no_weights_has_no_accuracy(digits: Classifier) -> None:
    asked = request_of(digits)
    with pytest.raises(ProfilerError, match="is built in and has no weights"):
        evaluate_accuracy(replace(asked, run=replace(asked.run, model="resnet18")))
    with pytest.raises(ProfilerError, match=r"net\.npz is quantized already"):  # and not: there is no table
        evaluate_accuracy(replace(asked, run=replace(asked.run, model="net.npz", lut=Path("nowhere.csv"))))
    with pytest.raises(ProfilerError, match="--calibrate"):
        evaluate_accuracy(replace(asked, run=replace(asked.run, calibrate=None)))
    with pytest.raises(ProfilerError, match=r"say which bits: .* repeated, or --uniform int8,int4$"):
        evaluate_accuracy(request_of(digits, uniform=()))
