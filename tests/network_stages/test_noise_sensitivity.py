"""Sensitivities by the noise of the outputs, from a model and images to a file: against NumPy, against `quantize`, and
what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import typer
from typer.testing import CliRunner

from profiler.allocation import bits_file
from profiler.allocation.one_narrow import one_narrow
from profiler.cli import sensitivity_command
from profiler.errors import InvalidFile, InvalidWorkload, OutputError, ProfilerError, UnsupportedModel
from profiler.frontend import is_builtin, load_network, network_file
from profiler.network.calibrate import Method
from profiler.network_stages.noise_sensitivity import NoiseRequest, noise_sensitivity
from profiler.network_stages.quantize import QuantizeRequest, quantize
from profiler.sensitivity import read_sensitivity
from profiler.sensitivity.perturbation import Clipping
from profiler.workload import INT8, Precision
from tests.allocation.bits_examples import as_bits
from tests.allocation.networks import residual
from tests.network_stages import classifier
from tests.network_stages.classifier import Classifier

Array = npt.NDArray[Any]
ONNX = Path(__file__).parents[1] / "data/tiny_torch.onnx"
NAMES = "int8,int4,a2w2,a2w1,a1w1"
ALL = tuple(map(Precision.parse, NAMES.split(",")))


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    pytest.importorskip("onnxruntime")
    return classifier.make(tmp_path_factory.mktemp("digits"), 10)


@pytest.fixture
def asked(tmp_path: Path) -> Callable[..., NoiseRequest]:
    pytest.importorskip("onnx")

    def request(**changes: Any) -> NoiseRequest:
        return replace(NoiseRequest(model=str(ONNX), out=tmp_path / "s.csv", precisions=ALL), **changes)

    return request


# -- what a cost is ---------------------------------------------------------------------------------------------------


def _dense_model(path: Path, w: Array, b: Array, v: Array, c: Array) -> None:
    """relu(W x + b), then V y + c."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"], "first", transB=1),
        helper.make_node("Relu", ["h"], ["y"]),
        helper.make_node("Gemm", ["y", "v", "c"], ["z"], "second", transB=1),
    ]
    values = {"w": w, "b": b, "v": v, "c": c}
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, k]) for n, k in (("x", 6), ("z", 4))]
    constants = [numpy_helper.from_array(array, name) for name, array in values.items()]
    graph = helper.make_graph(nodes, "two", ends[:1], ends[1:], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


def _rounded(w: Array, bits: int) -> tuple[Array, Array]:
    """Integers and the scale of each row, by the largest magnitude."""
    scales = np.abs(w).max(axis=1) / (2 ** (bits - 1) - 1)
    return np.rint(w / scales[:, None]), scales


def test_a_network_of_two_layers_in_numpy(tmp_path: Path, asked: Callable[..., NoiseRequest]) -> None:
    """In INT8 and INT4, min-max and max-abs, from a file of images: nothing of the house is used on the other side."""
    rng = np.random.default_rng(5)
    w, b, v, c, x = (rng.standard_normal(s).astype(np.float32) for s in ((5, 6), 5, (4, 5), 4, (9, 6)))
    _dense_model(tmp_path / "two.onnx", w, b, v, c)
    np.savez(tmp_path / "images.npz", x=x)
    request = asked(model=str(tmp_path / "two.onnx"), calibrate=tmp_path / "images.npz", precisions=ALL[:2])
    table = noise_sensitivity(request).sensitivity

    w, b, v, c, x = (values.astype(float) for values in (w, b, v, c, x))
    y = np.maximum(x @ w.T + b, 0)
    real = y @ v.T + c

    def cost(first: int, second: int) -> float:
        scale = np.abs(x).max() / (2 ** (first - 1) - 1)
        weights, scales = _rounded(w, first)
        sums = scales * scale
        hidden = np.maximum((np.rint(x / scale) @ weights.T + np.rint(b / sums)) * sums, 0)
        scale = y.max() / (2**second - 1)
        hidden = np.minimum(np.floor(hidden / scale + 0.5), 2**second - 1)
        _, scales = _rounded(v, second)
        weights, sums = np.rint(v / scales.max()), scales.max() * scale  # logits share a scale
        found = (hidden @ weights.T + np.rint(c / sums)) * sums
        return float(np.square(found - real).sum() / np.square(real).sum())

    assert [layer.name for layer in table.layers] == ["first", "second"]
    for name, eight, four in (("first", (8, 8), (4, 8)), ("second", (8, 8), (8, 4))):
        assert table.of(name, "int8") == pytest.approx(cost(*eight), rel=1e-5)
        assert table.of(name, "int4") == pytest.approx(cost(*four), rel=1e-5)


def test_a_cost_is_the_square_of_what_quantize_says(asked: Callable[..., NoiseRequest], tmp_path: Path) -> None:
    """Of a bits.json with that one layer in few bits; ranges, clipping and images are the same."""
    network = load_network(str(ONNX), 1)
    options: dict[str, Any] = {"method": Method.PERCENTILE, "clipping": Clipping.MSE}
    table = noise_sensitivity(asked(**options)).sensitivity
    bits, out = tmp_path / "bits.json", tmp_path / "net.npz"
    for name, precision in zip(("conv1", "layer2.conv1", "layer2.downsample.0", "fc"), ALL[4:0:-1], strict=True):
        bits_file.save(bits, as_bits(network, one_narrow(network, name, precision)))
        (noise,) = quantize(QuantizeRequest(model=str(ONNX), out=out, bits=bits, **options)).noise
        assert noise.relative_error is not None
        assert table.of(name, precision.name) == pytest.approx(noise.relative_error**2, rel=1e-9)
    (noise,) = quantize(QuantizeRequest(model=str(ONNX), out=out, uniform=INT8, **options)).noise
    assert noise.relative_error is not None
    for layer in table.layers:
        assert layer.cost["int8"] == pytest.approx(noise.relative_error**2, rel=1e-9)


def test_fewer_bits_are_never_much_better(digits: Classifier, asked: Callable[..., NoiseRequest]) -> None:
    """Of a trained network, on its own images; and what is told apart is told apart: a2w1 and a1w1 where what is read
    has no sign."""
    request = asked(model=str(digits.model), calibrate=digits.train, most=60, clipping=Clipping.MSE, method=Method.MSE)
    table = noise_sensitivity(request).sensitivity
    for layer in table.layers:
        costs = [layer.cost[precision.name] for precision in (ALL[:2] if layer.name == "fc" else ALL)]
        assert all(fewer >= 0 and np.isfinite(fewer) for fewer in costs)
        assert all(fewer > 0.75 * more for more, fewer in pairwise(costs)), (layer.name, costs)
        same = layer.cost["a2w1"] == layer.cost["a1w1"]
        assert same == (layer.name in ("conv1", "fc")), layer  # the image has a sign; the dense layer stays in int8
    assert "60 images" in table.method


def test_a_layer_that_stays_wide_costs_what_int8_does(asked: Callable[..., NoiseRequest], tmp_path: Path) -> None:
    """The dense layer reads a flattened image of 16 channels, whose bit planes do not follow each other: below four
    bits it stays as it is. All of it is told."""
    pytest.importorskip("onnxruntime")
    made = classifier.make(tmp_path, 1)
    result = noise_sensitivity(asked(model=str(made.model), calibrate=made.train, most=3))
    of_fc = result.sensitivity.layer("fc").cost
    assert of_fc["a2w2"] == of_fc["a2w1"] == of_fc["a1w1"] == of_fc["int8"]
    assert of_fc["int4"] > of_fc["int8"]
    assert any(note.startswith("'fc' stays in int8 where a2w2, a2w1 is asked for") for note in result.notes)


# -- the file ---------------------------------------------------------------------------------------------------------


def test_the_same_request_writes_the_same_bytes(asked: Callable[..., NoiseRequest], tmp_path: Path) -> None:
    first = noise_sensitivity(asked()).out.read_bytes()
    assert noise_sensitivity(asked()).out.read_bytes() == first  # which it may replace
    table = read_sensitivity(tmp_path / "s.csv")
    network = load_network(str(ONNX), 1)
    table.check(network)
    assert table.precisions == tuple(NAMES.split(","))
    assert [layer.name for layer in table.layers] == [layer.name for layer in network.weighted_layers]
    assert table.method == (
        "squared relative error of the outputs, one layer narrow and the rest int8; max-abs, ranges min-max, "
        "2 drawn images"
    )


def test_only_what_is_asked_for_is_listed(asked: Callable[..., NoiseRequest]) -> None:
    every = noise_sensitivity(asked()).sensitivity
    some = noise_sensitivity(asked(precisions=ALL[2:3])).sensitivity
    assert some.precisions == ("a2w2",)
    assert [layer.cost["a2w2"] for layer in some.layers] == [layer.cost["a2w2"] for layer in every.layers]


def test_weights_of_a_built_in_network_are_drawn_and_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a look at a large network."""
    from profiler.network_stages import quantizer

    monkeypatch.setattr(quantizer, "load_network", lambda model, batch: residual(batch))
    assert is_builtin("resnet18")
    result = noise_sensitivity(NoiseRequest(model="resnet18", out=tmp_path / "s.csv", precisions=ALL[:2]))
    assert "drawn weights, max-abs, ranges min-max, 2 drawn images" in result.sensitivity.method
    assert "they are drawn, so that these costs say nothing of a trained network" in result.notes[0]
    assert "no images are given (--images)" in result.notes[1]


# -- what is refused --------------------------------------------------------------------------------------------------


def test_images_that_are_no_images_of_the_network(asked: Callable[..., NoiseRequest], tmp_path: Path) -> None:
    name = load_network(str(ONNX), 1).layers[0].inputs[0]
    path = tmp_path / "new" / "s.csv"
    images = tmp_path / "images.npz"
    for arrays, message in (
        ({name: np.zeros((2, 3, 5, 5), np.float32)}, "but the network takes"),
        ({"other": np.zeros((2, 3, 32, 32), np.float32)}, "save the arrays by these names"),
        ({name: np.zeros((0, 3, 32, 32), np.float32)}, "holds no image"),
    ):
        np.savez(images, **arrays)
        with pytest.raises(InvalidFile, match=message) as caught:
            noise_sensitivity(asked(calibrate=images, out=path))
        assert str(images) in str(caught.value)
        assert not path.parent.exists()
    with pytest.raises(InvalidFile, match="No such file"):
        noise_sensitivity(asked(calibrate=tmp_path / "absent.npz", out=path))
    assert not path.parent.exists()


def test_another_file_is_not_replaced(asked: Callable[..., NoiseRequest], tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    path.write_text("day,rain\n1,2\n")
    with pytest.raises(OutputError, match="is there and is not a sensitivity file"):
        noise_sensitivity(asked(out=path))
    assert path.read_text() == "day,rain\n1,2\n"


def test_models_without_weights_or_anything_to_quantize(asked: Callable[..., NoiseRequest], tmp_path: Path) -> None:
    network_file.save(residual(), tmp_path / "network.json")
    with pytest.raises(UnsupportedModel):
        noise_sensitivity(asked(model=str(tmp_path / "network.json")))
    with pytest.raises(ProfilerError, match="is quantized already"):
        noise_sensitivity(asked(model="net.npz"))
    assert not (tmp_path / "s.csv").exists()


# -- the command ------------------------------------------------------------------------------------------------------


def command(*arguments: str) -> Any:
    app = typer.Typer()
    sensitivity_command.register(app)
    return CliRunner().invoke(app, list(arguments))


def test_the_command_prints_a_table(digits: Classifier, tmp_path: Path) -> None:
    out = tmp_path / "s.csv"
    options = ("--method", "noise", "--images", str(digits.train), "--limit", "5", "--precisions", "int8,a2w1")
    done = command(str(digits.model), "-o", str(out), *options, "--clipping", "mse", "--ranges", "mse")
    assert done.exit_code == 0, done.output
    assert "one layer narrow and the rest int8; MSE-optimal clipping, ranges mse, 5 images" in done.output
    lines = done.output.splitlines()
    assert sum(line.startswith(("conv1", "conv2", "conv3", "fc ")) for line in lines) == 4
    assert "INT8" in done.output
    assert "A2W1" in done.output
    assert lines[-1].endswith("s.csv: 4 layers")
    assert read_sensitivity(out).precisions == ("int8", "a2w1")


def test_the_command_prints_json(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    out = tmp_path / "s.json"
    done = command(str(ONNX), "-o", str(out), "--method", "noise", "--precisions", "int4", "--json")
    assert done.exit_code == 0, done.output
    body = json.loads(done.output)
    table = read_sensitivity(out)
    assert body["method"] == table.method
    assert {entry["layer"]: entry["cost"] for entry in body["layers"]} == {x.name: dict(x.cost) for x in table.layers}
    assert any("no images are given" in note for note in body["notes"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--images", "x.npz"), "--images goes with --method noise"),
        (("--clipping", "mse", "--method", "mse"), "--clipping goes with --method noise"),
        (("--ranges", "mse", "--method", "hessian"), "--ranges goes with --method noise"),
        (("--limit", "3"), "--limit goes with --method noise"),
        (("--method", "noise", "--hook", "h.py"), "--hook goes with the other methods"),
        (("--method", "noise", "--skip-unsupported"), "--skip-unsupported goes with the other methods"),
        (("--method", "noise", "--seed", "1"), "--seed goes with --method hessian"),
        (("--method", "mse", "--tolerance", "0.1"), "--tolerance goes with --method hessian"),
        (("--max-probes", "200"), "--max-probes goes with --method hessian"),
        (("--negative-trace", "zero"), "--negative-trace goes with --method hessian"),
        (("--method", "noise", "--clipping", "best"), "--clipping best: known are max-abs, mse"),
        (("--method", "noise", "--ranges", "best"), "--ranges best: known are min-max, percentile, mse"),
    ],
)
def test_options_that_do_not_go_together(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = command(str(ONNX), "-o", str(tmp_path / "s.csv"), *arguments)
    assert isinstance(done.exception, ProfilerError)
    assert str(done.exception) == message
    assert not list(tmp_path.iterdir())


def test_an_error_is_one_line(tmp_path: Path) -> None:
    """As a user runs it."""
    pytest.importorskip("onnx")
    out = tmp_path / "new" / "s.csv"
    asked = ["sensitivity", str(ONNX), "--method", "noise", "-o", str(out), "--images", str(tmp_path / "absent.npz")]
    done = subprocess.run([sys.executable, "-m", "profiler", *asked], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"error: {tmp_path / 'absent.npz'}: cannot be read: No such file or directory\n"
    assert not out.parent.exists()


def test_a_precision_that_there_is_not(tmp_path: Path) -> None:
    done = command(str(ONNX), "-o", str(tmp_path / "s.csv"), "--method", "noise", "--precisions", "int8,a5w1")
    assert isinstance(done.exception, InvalidWorkload)
