"""From a model to a file, and the command around it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from profiler.cli import sensitivity_command
from profiler.errors import OutputError, ProfilerError, UnsupportedModel
from profiler.frontend import load_network, network_file
from profiler.frontend.weights import LayerWeights
from profiler.sensitivity import LayerSensitivity, read_sensitivity, stage
from profiler.sensitivity.perturbation import Clipping, squared_perturbation
from profiler.sensitivity.stage import Method, SensitivityRequest, sensitivity
from profiler.workload import INT4, INT8, Network, Precision
from tests.sensitivity.test_hook import GOOD, NETWORK

TRAINED = GOOD.replace(
    "    return model(batch).square().mean()",
    "    return torch.nn.functional.cross_entropy(model(batch + 0.5), torch.tensor([0, 1]))",
).replace("def model():\n", "def model():\n    torch.manual_seed(0)\n")

WEIGHTS = {
    layer.name: np.random.default_rng(7).standard_normal(layer.workload.weight_shape)
    for layer in NETWORK.weighted_layers
}


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A network file, and weights for it as if they had been in the model."""
    path = tmp_path / "small.json"
    network_file.save(NETWORK, path)

    def load_weights(model: str, network: Network) -> dict[str, LayerWeights]:
        assert model == str(path)
        return {n: LayerWeights(weight, np.zeros(len(weight))) for n, weight in WEIGHTS.items()}

    monkeypatch.setattr(stage, "load_weights", load_weights)
    return str(path)


def request(model: str, method: Method, **options: Any) -> SensitivityRequest:
    given: dict[str, Any] = {"out": Path(model).parent / "s.csv", "precisions": (INT8, INT4), **options}
    return SensitivityRequest(model=model, method=method, **given)


@pytest.mark.parametrize(("method", "clipping"), [(Method.MAX_ABS, Clipping.MAX_ABS), (Method.MSE, Clipping.MSE)])
def test_from_the_weights_alone(model: str, method: Method, clipping: Clipping) -> None:
    result = sensitivity(request(model, method))
    assert read_sensitivity(result.out) == result.sensitivity
    assert result.network == "small"
    assert (result.traces, result.notes) == ((), ())
    for name, weight in WEIGHTS.items():
        for precision in (INT8, INT4):
            exact = squared_perturbation(weight, precision.weight_bits, clipping)
            assert result.sensitivity.of(name, precision.name) == exact


def test_the_same_command_writes_the_same_bytes(model: str) -> None:
    first = sensitivity(request(model, Method.MSE)).out.read_bytes()
    assert sensitivity(request(model, Method.MSE)).out.read_bytes() == first  # which it may replace


def test_no_other_file_is_replaced(model: str) -> None:
    for name in ("notes.csv", "small.json"):
        path = Path(model).with_name(name)
        if not path.exists():
            path.write_text("day,rain\n1,2\n")
        before = path.read_bytes()
        with pytest.raises(OutputError, match="is there and is not a sensitivity file"):
            sensitivity(request(model, Method.MAX_ABS, out=path))
        assert path.read_bytes() == before
    with pytest.raises(OutputError, match="is there and is not"):
        sensitivity(request(model, Method.MAX_ABS, out=Path(model).parent))


def test_a_model_without_weights_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel):
        sensitivity(request("resnet18", Method.MAX_ABS, out=tmp_path / "s.csv"))
    assert not (tmp_path / "s.csv").exists()


def test_the_weights_of_an_onnx_model(tmp_path: Path) -> None:
    """Folded batch normalization and all, through the frontend."""
    onnx = pytest.importorskip("onnx")
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((4, 3, 3, 3)).astype(np.float32)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["x", "w"], ["y"], name="conv", pads=[1, 1, 1, 1])],
        "g",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, 8, 8])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 4, 8, 8])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    path = tmp_path / "m.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)
    result = sensitivity(request(str(path), Method.MAX_ABS))
    (layer,) = load_network(str(path), 1).weighted_layers
    exact = squared_perturbation(weight, 4, Clipping.MAX_ABS)
    assert result.sensitivity.of(layer.name, "int4") == pytest.approx(exact, rel=1e-12)


@pytest.fixture
def hook(tmp_path: Path) -> Path:
    pytest.importorskip("torch")
    path = tmp_path / "hook.py"
    path.write_text(TRAINED)
    return path


def test_from_the_hessian(model: str, hook: Path) -> None:
    ask = request(model, Method.HESSIAN, hook=hook, tolerance=0.3, max_probes=40, negative_as_zero=True)
    result = sensitivity(ask)
    assert read_sensitivity(result.out) == result.sensitivity
    assert [layer.name for layer in result.sensitivity.layers] == ["conv", "head"]
    for layer, trace in zip(result.sensitivity.layers, result.traces, strict=True):
        assert layer.trace == trace.trace
        assert layer.parameters == trace.parameters
        assert layer.cost == {p: max(trace.trace, 0) * layer.perturbation[p] for p in ("int8", "int4")}
    assert sensitivity(ask).sensitivity == result.sensitivity
    assert result.traces[1].trace > 0  # the last layer's block is a Gauss-Newton matrix


def test_layers_that_have_not_settled_are_named(model: str, hook: Path) -> None:
    ask = request(model, Method.HESSIAN, hook=hook, tolerance=1e-6, max_probes=3, negative_as_zero=True)
    result = sensitivity(ask)
    assert any("of 2 layers are not within 1e-06 after 3 probes; the widest is" in note for note in result.notes)


def test_the_hooks_model_has_weights_too(model: str, hook: Path) -> None:
    hook.write_text(TRAINED[: TRAINED.index("def batches")])
    table = sensitivity(request(model, Method.MAX_ABS, hook=hook)).sensitivity
    assert table.of("conv", "int4") > 0
    assert table.of("conv", "int4") != squared_perturbation(WEIGHTS["conv"], 4, Clipping.MAX_ABS)


def test_the_hessian_needs_a_hook(model: str) -> None:
    with pytest.raises(ProfilerError, match="needs --hook"):
        sensitivity(request(model, Method.HESSIAN))
    assert not Path(model).with_name("s.csv").exists()


def command(*arguments: str) -> Any:
    app = typer.Typer()
    sensitivity_command.register(app)
    return CliRunner().invoke(app, list(arguments))


def test_the_command_prints_a_table(model: str) -> None:
    out = str(Path(model).with_name("s.csv"))
    done = command(model, "-o", out, "--method", "mse", "--precisions", "int4")
    assert done.exit_code == 0, done.output
    assert "small: squared weight perturbation, MSE-optimal clipping" in done.output
    assert "INT4" in done.output
    assert "INT8" not in done.output
    lines = done.output.splitlines()
    assert [line.split()[:2] for line in lines if line.startswith(("conv", "head"))] == [
        ["conv", "54"],
        ["head", "192"],
    ]
    assert lines[-1].endswith("s.csv: 2 layers")
    assert read_sensitivity(Path(out)).precisions == ("int4",)


def test_the_command_prints_json(model: str, hook: Path) -> None:
    out = str(Path(model).with_name("s.json"))
    options = ("--hook", str(hook), "--max-probes", "4", "--seed", "3", "--negative-trace", "zero", "--json")
    done = command(model, "-o", out, "--method", "hessian", *options)
    assert done.exit_code == 0, done.output
    body = json.loads(done.output)
    table = read_sensitivity(Path(out))
    assert body["precisions"] == ["int8", "int4"]
    assert [LayerSensitivity(entry.pop("layer"), **_without(entry, "converged")) for entry in body["layers"]] == list(
        table.layers
    )
    assert body["notes"]


def _without(entry: dict[str, Any], name: str) -> dict[str, Any]:
    assert entry.pop(name) in (True, False)
    return entry


def test_the_command_shows_traces(model: str, hook: Path) -> None:
    out = str(Path(model).with_name("s.csv"))
    options = ("--hook", str(hook), "--max-probes", "4", "--negative-trace", "zero")
    done = command(model, "-o", out, "--method", "hessian", *options)
    assert done.exit_code == 0, done.output
    assert "std. error" in done.output
    assert "layers are not within 0.05 after 4 probes" in done.output


def test_precisions_are_checked(model: str) -> None:
    done = command(model, "-o", "s.csv", "--precisions", "int5")
    assert isinstance(done.exception, ProfilerError)
    assert Precision.parse("int4") is INT4
