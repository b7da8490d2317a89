"""The bench of whole networks: both sides compute the same network, in integers, and what is made of the samples."""

from __future__ import annotations

import io
import statistics
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from bench.__main__ import main
from bench.network import Comparison, Sample, bench_networks, in_turn
from bench.network_peer import End, executed, float_model, in_float, peer_model, peer_network
from profiler.errors import UnsupportedModel
from profiler.network.float_run import float_run
from profiler.network.random_weights import random_images, random_weights
from profiler.workload import Layer, Network, Op, Tensor, Workload


def network(batch: int = 2, counted: int = 1) -> Network:
    """A stem, both pools, a branch each of two kinds, a grouped convolution, an addition, and a head."""
    one, three = (1, 1, 1, 1, 0, 0, 0, 0), (3, 3, 1, 1, 1, 1, 1, 1)
    shapes = {"x": (16, 3), "stem": (8, 16), "small": (4, 16), "mean": (4, 16), "a": (4, 8), "b": (4, 24)}
    shapes |= {"both": (4, 32), "sums": (4, 32), "sum": (4, 32), "pooled": (1, 32), "y": (1, 10)}
    signed = ("x", "sums", "y")
    tensors = tuple(Tensor(name, size, size, c, name in signed) for name, (size, c) in shapes.items())

    def work(op: Op, source: str, channels: int, window: tuple[int, ...] = (), groups: int = 1) -> Workload:
        size, given = shapes[source]
        work = Workload(op, batch, size, size, given, channels, *window)
        return replace(work, groups=groups)

    layers = (
        Layer("stem", work(Op.CONV2D, "x", 16, (3, 3, 2, 2, 1, 1, 1, 1)), ("x",), "stem", relu=True),
        Layer("small", work(Op.MAX_POOL, "stem", 16, (3, 3, 2, 2, 1, 1, 1, 1)), ("stem",), "small"),
        Layer("mean", work(Op.AVG_POOL, "small", 16, three), ("small",), "mean", counted_pads=(counted,) * 4),
        Layer("a", work(Op.CONV2D, "mean", 8, one), ("mean",), "a", relu=True),
        Layer("b", work(Op.CONV2D, "small", 24, three), ("small",), "b", relu=True),
        Layer("both.a", work(Op.CONCAT, "a", 32), ("a",), "both"),
        Layer("both.b", work(Op.CONCAT, "b", 32), ("b",), "both"),
        Layer("grouped", work(Op.CONV2D, "both", 32, three, groups=4), ("both",), "sums"),
        Layer("sum", work(Op.ADD, "sums", 32), ("sums", "both"), "sum", relu=True),
        Layer("pooled", work(Op.AVG_POOL, "sum", 32, (4, 4)), ("sum",), "pooled"),
        Layer("y", Workload(Op.DENSE, batch, 1, 1, 32, 10), ("pooled",), "y"),
    )
    return Network("tiny", batch, tensors, layers)


@pytest.mark.parametrize("counted", [0, 1])
def test_the_peers_model_is_the_network(counted: int) -> None:
    """In real numbers: ONNX Runtime computes of the model what our own run in floats does of the network."""
    tiny = network(counted=counted)
    weights, images = random_weights(tiny, 0), random_images(tiny, 2, 1)
    expected = dict(float_run(tiny, weights, images.inputs))["y"]
    runtime = pytest.importorskip("onnxruntime")
    model = float_model(tiny, weights).SerializeToString()
    session = runtime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": images.inputs["x"].transpose(0, 3, 1, 2)})
    np.testing.assert_allclose(found, expected.reshape(2, 10), rtol=1e-4, atol=1e-5)
    assert np.abs(expected).max() > 0.5


def test_the_peer_reads_and_computes_integers() -> None:
    tiny = network()
    weights, images = random_weights(tiny, 0), random_images(tiny, 2, 1)
    model = peer_model(tiny, weights, images)
    there = peer_network(model, images.inputs["x"])
    (given,), (handed_out,) = there.session.get_inputs(), there.session.get_outputs()
    assert (given.type, given.shape) == ("tensor(uint8)", [2, 16, 16, 3])
    assert (handed_out.type, handed_out.shape) == ("tensor(uint8)", [2, 10])
    assert len(there.times_s(3)) == 3
    expected = dict(float_run(tiny, weights, images.inputs))["y"].reshape(2, 10)
    assert np.corrcoef(there.logits().reshape(-1), expected.reshape(-1))[0, 1] > 0.98
    assert np.abs(there.logits() - expected).max() < 0.1 * np.abs(expected).max()

    nodes = executed(model, images.inputs["x"])
    assert (nodes["QLinearConv"], nodes["QGemm"], nodes["QLinearAdd"], nodes["QLinearConcat"]) == (4, 1, 1, 1)
    assert in_float(tiny, nodes) == 0
    assert in_float(tiny, nodes - Counter(QLinearConv=1)) == 1
    assert not {"Conv", "Gemm", "Add", "QuantizeLinear", "DequantizeLinear"} & set(nodes)


def test_ends_are_affine() -> None:
    end = End("x", scale=0.5, zero=3)
    assert end.integers(np.array([-1.5, 0.0, 1.0, 1000.0, -1000.0])).tolist() == [0, 3, 5, 255, 0]
    assert end.real(np.array([0, 3, 255], np.uint8)).tolist() == [-1.5, 0.0, 126.0]


def test_what_the_peer_cannot_have_is_refused() -> None:
    tiny = network()
    partly = replace(tiny.layer("mean"), counted_pads=(1, 0, 0, 0))
    layers = tuple(partly if layer.name == "mean" else layer for layer in tiny.layers)
    with pytest.raises(UnsupportedModel, match="layer 'mean': this bench writes no average of which some padding"):
        float_model(replace(tiny, layers=layers), random_weights(tiny, 0))
    with pytest.raises(UnsupportedModel, match="one input and one output"):
        peer_model(replace(tiny, outputs=("y", "sum")), random_weights(tiny, 0), random_images(tiny, 1, 0))


def test_the_sides_take_turns() -> None:
    """Who begins changes, and the first round does not count."""
    seen: list[str] = []
    ours, theirs = iter(range(1, 9)), iter(range(11, 19))

    def here() -> tuple[float, tuple[float, ...]]:
        seen.append("ours")
        return float(next(ours)), (0.25, 0.5)

    def there() -> float:
        seen.append("theirs")
        return float(next(theirs))

    found = in_turn(here, there, 3)
    assert seen == ["ours", "theirs", "theirs", "ours", "ours", "theirs", "theirs", "ours"]
    assert found == tuple(Sample(float(i), float(i + 10), (0.25, 0.5)) for i in (2, 3, 4))


def test_figures_by_hand() -> None:
    rounds = tuple(Sample(o, t, (o / 4, o / 2)) for o, t in [(1.0, 2.0), (2.0, 2.0), (4.0, 12.0)])
    found = Comparison("tiny", 1, rounds, 0.99, Counter(), 0)
    assert (found.ours.median_s, found.theirs.median_s) == (2.0, 2.0)
    assert found.speedup.median_s == 2.0, "the median of the ratios 2, 1 and 3, no ratio of medians"
    assert found.steps_s == 0.5 + 1.0


def test_a_busy_machine_is_told() -> None:
    def busy(ours: list[float], theirs: list[float], step_s: float) -> bool:
        rounds = tuple(Sample(a, b, (step_s,)) for a, b in zip(ours, theirs, strict=True))
        return Comparison("tiny", 1, rounds, 0.99, Counter(), 0).busy

    assert not busy([1.0, 1.05, 1.1], [2.0, 2.1, 2.2], 1.0)
    assert busy([1.0, 1.4, 1.4], [2.0, 2.1, 2.2], 1.3), "ours lie far above the shortest"
    assert busy([1.0, 1.05, 1.1], [2.0, 2.7, 2.7], 1.0), "theirs do"
    assert busy([1.0, 1.05, 1.1], [2.0, 2.1, 2.2], 0.9), "the whole takes far longer than its steps"


@pytest.mark.compile
@pytest.mark.alone
def test_from_end_to_end(tmp_path: Path) -> None:
    """A stem and a head in a file, so that the weights are the file's."""
    onnx = pytest.importorskip("onnx")
    whole = network(1)
    layers = (
        whole.layer("stem"),
        Layer("pooled", Workload(Op.AVG_POOL, 1, 8, 8, 16, 16, 8, 8), ("stem",), "pooled"),
        Layer("y", Workload(Op.DENSE, 1, 1, 1, 16, 10), ("pooled",), "y"),
    )
    tensors = (whole.tensor("x"), whole.tensor("stem"), Tensor("pooled", 1, 1, 16, False), whole.tensor("y"))
    small = Network("small", 1, tensors, layers)
    onnx.save(float_model(small, random_weights(small, 0)), str(tmp_path / "small.onnx"))
    text = io.StringIO()
    (found,) = bench_networks(
        [str(tmp_path / "small.onnx")], [1], 1, 6, None, tmp_path / "out", Console(file=text, width=200)
    )
    assert len(found.rounds) == 6
    assert found.agreement > 0.98
    assert found.in_float == 0
    assert 0 < found.steps_s < 1
    ratios = [sample.theirs_s / sample.ours_s for sample in found.rounds]
    assert found.speedup.median_s == pytest.approx(statistics.median(ratios))
    printed = text.getvalue()
    assert "ours bit-exact" in printed
    assert "1 QLinearConv" in printed
    header, row = printed.splitlines()[-2:]
    assert f"  {found.speedup.median_s:.2f}x  " in row
    assert header.endswith("beyond them")
    assert row.endswith(f"{found.ours.median_s / found.steps_s - 1:+.1%}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lut", "nowhere.csv"], "nowhere.csv"),
        (["--networks", "resnet19"], "resnet19"),
    ],
)
def test_a_users_error_is_one_line(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["network", *options])
    out, err = capsys.readouterr()
    assert (end.value.code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
