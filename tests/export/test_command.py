"""The command `export`: what it writes, says, and refuses to replace."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from profiler.allocation import bits_file
from profiler.cli import main
from profiler.frontend import load_network
from profiler.workload import Network
from tests.export.examples import bits_of

TINY = Path(__file__).parents[1] / "data" / "tiny_torchscript.onnx"

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Exit code, and all that was printed."""

    def act(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["profiler", "export", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            main()
        captured = capsys.readouterr()
        return int(done.value.code or 0), captured.out + captured.err

    return act


def saved(folder: Path, network: Network) -> Path:
    path = folder / "bits.json"
    bits_file.save(path, bits_of(network, {"layer2.0.conv2"}, tensors={network.layers[0].output: "int8"}))
    return path


@pytest.fixture
def resnet18(tmp_path: Path) -> Path:
    return saved(tmp_path, load_network("resnet18", 8))


def test_hawq(run: Run, resnet18: Path, tmp_path: Path) -> None:
    out = tmp_path / "cheap.py"
    for _ in range(2):  # its own file it replaces
        code, text = run(resnet18, "--to", "hawq", "-o", out, "--model", "resnet18")
        assert code == 0
        assert "--quant-scheme cheap" in text
    scope: dict[str, dict[str, dict[str, int]]] = {}
    exec(out.read_text(), scope)
    config = scope["bit_config_dict"]["bit_config_resnet18_cheap"]
    assert [key for key, bits in config.items() if bits == 4] == [
        "stage2.unit1.quant_act1",
        "stage2.unit1.quant_convbn2",
    ]
    code, text = run(resnet18, "--to", "hawq", "-o", out, "--model", "resnet50")
    assert code == 2
    assert "the bits are of network 'resnet18', not of 'resnet50'" in text


def test_csv(run: Run, resnet18: Path, tmp_path: Path) -> None:
    out = tmp_path / "bits.csv"
    assert run(resnet18, "--to", "csv", "-o", out)[0] == 0
    assert "layer2.0.conv2,int4,4,4,false,\n" in out.read_text()
    assert "conv1,int8,8,8,false,int8\n" in out.read_text(), "a built-in network needs no --model"
    assert run(saved(tmp_path, load_network(str(TINY), 1)), "--to", "csv", "-o", out)[1].startswith("without --model")


def test_onnx(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    bits = saved(tmp_path, load_network(str(TINY), 8))
    out, images = tmp_path / "out.onnx", tmp_path / "images.npz"
    code, text = run(bits, "--to", "onnx", "-o", out, "--model", TINY)
    assert code == 0
    assert "weights of 9 layers: 9 in int8\nactivations: float, since no ranges are known" in text
    np.savez(images, image=np.random.default_rng(0).standard_normal((3, 3, 32, 32)).astype(np.float32))
    code, text = run(bits, "--to", "onnx", "-o", out, "--model", TINY, "--calibrate", images)
    assert code == 0
    assert "quantized, ranges of 3 images by ONNX Runtime\nupgraded from opset 20 to 21\n" in text
    assert load_network(str(out), 1).weighted_layers


@pytest.mark.parametrize("to", ["hawq", "csv", "onnx"])
def test_files_of_others_are_not_replaced(run: Run, tmp_path: Path, to: str) -> None:
    pytest.importorskip("onnx")
    model = tmp_path / "model.onnx"
    model.write_bytes(TINY.read_bytes())
    bits = saved(tmp_path, load_network(str(model), 8))
    other = tmp_path / "other"
    other.write_text("mine\n")
    for path in (bits, model, other):
        before = path.read_bytes()
        code, text = run(bits, "--to", to, "-o", path, "--model", model)
        assert code == 2
        assert text.startswith(f"error: {path}: is there and is not a")
        assert text.count("\n") == 1
        assert path.read_bytes() == before
    assert "is a folder" in run(bits, "--to", to, "-o", tmp_path, "--model", model)[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--to", "onnx"), "say --model FILE.onnx"),
        (("--to", "onnx", "--model", "resnet18"), "say --model FILE.onnx"),
        (("--to", "onnx", "--model", "none.onnx"), "none.onnx: no such file"),
        (("--to", "onnx", "--model", TINY), "not of 'tiny_torchscript'"),
        (("--to", "onnx", "--model", TINY, "--calibrate", "none.npz"), "none.npz: cannot be read"),
        (("--to", "csv", "--calibrate", "none.npz"), "leave --calibrate out"),
        (("--to", "csv", "--model", "resnet50"), "not of 'resnet50'"),
    ],
)
def test_what_is_wrong_is_one_line(
    run: Run, resnet18: Path, tmp_path: Path, arguments: tuple[object, ...], message: str
) -> None:
    pytest.importorskip("onnx")
    code, text = run(resnet18, *arguments, "-o", tmp_path / "out")
    assert code == 2
    assert message in text
    assert text.count("\n") == 1
    assert not (tmp_path / "out").exists()
