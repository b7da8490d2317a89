"""From a model to an integer network in a file: what it holds, what is told of it, and what is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from profiler.allocation import bits_file
from profiler.allocation.deployment import Deployment
from profiler.allocation.launches import launches
from profiler.errors import InvalidFile, InvalidWorkload, OutputError, ProfilerError, UnsupportedModel
from profiler.frontend import load_network, network_file
from profiler.lut import store
from profiler.lut.demand import demand
from profiler.network import integer_file
from profiler.network.calibrate import Method
from profiler.network.noise import OutputNoise
from profiler.network.oracle_run import oracle_run
from profiler.network.quantized import integer_network
from profiler.network.real_numbers import quantized_inputs, real_values
from profiler.network_stages import quantize as stage
from profiler.network_stages.quantize import QuantizeRequest, QuantizeResult, quantize
from profiler.network_stages.trained import ModelRequest, trained_network
from profiler.predictor.observation import Observation
from profiler.record import CacheMode, Conditions
from profiler.sensitivity.perturbation import Clipping
from profiler.workload import INT4, INT8, Network, Op
from tests.allocation.bits_examples import with_a_copy
from tests.network_stages import classifier
from tests.network_stages.classifier import Classifier
from tests.predictor.invented_lut import lut_row, published

ONNX = Path(__file__).parents[1] / "data/tiny_torch.onnx"


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    pytest.importorskip("onnxruntime")
    return classifier.make(tmp_path_factory.mktemp("digits"), 10)


@pytest.fixture
def tiny() -> Network:
    """Two additions that can be fused."""
    pytest.importorskip("onnx")
    return load_network(str(ONNX), 1)


@pytest.fixture
def asked(tmp_path: Path) -> Callable[..., QuantizeRequest]:
    pytest.importorskip("onnx")

    def request(**changes: Any) -> QuantizeRequest:
        return replace(QuantizeRequest(model=str(ONNX), out=tmp_path / "net.npz", uniform=INT8), **changes)

    return request


# -- what it holds ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["int8", "int4", "mixed"])
def test_the_file_computes_what_the_network_does(
    asked: Callable[..., QuantizeRequest], tiny: Network, tmp_path: Path, kind: str
) -> None:
    bits = tmp_path / "bits.json"
    bits_file.save(bits, with_a_copy(tiny))
    given = {"bits": bits, "uniform": None} if kind == "mixed" else {"uniform": {"int8": INT8, "int4": INT4}[kind]}
    deployment = Deployment.of(with_a_copy(tiny)) if kind == "mixed" else Deployment.uniform(tiny, given["uniform"])  # type: ignore[arg-type]
    made = quantize(asked(**given))
    found = integer_file.load(made.path)
    trained, notes = trained_network(ModelRequest(str(ONNX)), load_network(str(ONNX), 1))
    expected = integer_network(trained, deployment)
    assert found == expected
    assert [step.spec for step in found.steps] == [launch.spec for launch in launches(tiny, deployment)]
    rng = np.random.default_rng(3)
    image = {x.name: rng.standard_normal(x.shape, np.float32) for x in (expected.value(n) for n in expected.inputs)}
    values = oracle_run(found, quantized_inputs(found, image))
    for name, wanted in oracle_run(expected, quantized_inputs(expected, image)).items():
        np.testing.assert_array_equal(values[name], wanted)
    assert (made.network, made.batch, made.notes) == (tiny.name, 1, notes)
    assert made.file_bytes == len(made.path.read_bytes())
    widths = [layer.weight_bits for layer in deployment.layers.values()]
    assert [(p.weight_bits, count) for p, count in made.layers] == [
        (width, widths.count(width)) for width in sorted(set(widths), reverse=True)
    ]
    counted = [step.parameters["weight"].size * step.spec.weight_dtype.bits for step in found.steps if
               step.spec.weight_dtype is not None]  # fmt: skip
    assert made.weight_bytes == sum(counted) / 8
    assert made.notes[-1].startswith("no images are given")


def test_the_error_is_that_beside_another_runtime(digits: Classifier, tmp_path: Path) -> None:
    """The file's logits on the first two images of the calibration, beside those of ONNX Runtime."""
    import onnx

    errors = {}
    for precision in (INT8, INT4):
        out = tmp_path / f"{precision.name}.npz"
        made = quantize(
            QuantizeRequest(model=str(digits.model), out=out, uniform=precision, calibrate=digits.train, batch=2)
        )
        with np.load(digits.train) as train:
            images = train["image"][:2]
        logits = classifier.run(onnx.load(str(digits.model)), images)
        network = integer_file.load(out)
        integers = oracle_run(network, quantized_inputs(network, {"image": images.transpose(0, 2, 3, 1)}))
        found = real_values(network, "logits", integers["logits"]).reshape(2, 10)
        errors[precision] = float(np.linalg.norm(found - logits) / np.linalg.norm(logits))
        (noise,) = made.noise
        assert (made.images, noise.name) == (2, "logits")
        assert noise.relative_error == pytest.approx(errors[precision], rel=1e-3)
        assert noise.snr_db == pytest.approx(-20 * np.log10(errors[precision]), abs=0.01)
        assert made.notes == ()
    assert errors[INT8] < 0.05 < errors[INT4] < 1


def test_one_image_is_compared_where_there_is_one(digits: Classifier, tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", image=digits.images[:1])
    request = QuantizeRequest(
        model=str(digits.model), out=tmp_path / "net.npz", uniform=INT8, calibrate=tmp_path / "one.npz"
    )
    assert quantize(request).images == 1


def test_the_same_request_gives_the_same_bytes(asked: Callable[..., QuantizeRequest], tmp_path: Path) -> None:
    """In place of an older one of ours, too; and every option is heard."""
    first = quantize(asked()).path.read_bytes()
    assert quantize(asked()).path.read_bytes() == first
    assert quantize(asked(out=tmp_path / "a" / "folder" / "other.npz")).path.read_bytes() == first
    others = [
        quantize(asked(**change)).path.read_bytes()
        for change in (
            {"clipping": Clipping.MSE},
            {"method": Method.MSE},
            {"uniform": INT4},
            {"batch": 2},
        )
    ]
    assert len({first, *others}) == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "net.npz"]


def test_a_batch_is_that_of_the_bits(asked: Callable[..., QuantizeRequest], tiny: Network, tmp_path: Path) -> None:
    bits = tmp_path / "bits.json"
    bits_file.save(bits, replace(with_a_copy(tiny), batch=3))
    made = quantize(asked(bits=bits, uniform=None))
    assert made.batch == integer_file.load(made.path).batch == 3
    assert quantize(asked(batch=3)).noise == quantize(asked()).noise  # of images one by one


def test_a_built_in_network_has_drawn_weights(tmp_path: Path) -> None:
    made = quantize(QuantizeRequest(model="resnet18", out=tmp_path / "net.npz", uniform=INT8))
    assert made.layers == ((INT8, 21),)
    assert made.weight_bytes == 11_678_912  # as HAWQ-V3 counts, 11.679 MB
    assert any("drawn" in note for note in made.notes)
    assert made.weight_bytes * 0.8 < made.file_bytes < made.weight_bytes * 1.1
    (noise,) = made.noise
    assert noise.snr_db is not None
    assert 25 < noise.snr_db < 50


# -- additions --------------------------------------------------------------------------------------------------------


def table(network: Network, path: Path, fused_s: float, apart_s: float, **conditions: Any) -> Path:
    """Of all kernels in INT8: those with an addition in them take ``fused_s``, additions ``apart_s``."""
    rows = []
    for wanted in demand(network, (INT8,), mixed=False):
        spec = wanted.spec
        latency_s = fused_s if spec.epilogue.adds else apart_s if spec.workload.op is Op.ADD else 1e-6
        measured = Conditions(**{"threads": 1, "cache_mode": CacheMode.NETWORK, **conditions})
        rows.append(lut_row(Observation(spec, latency_s, 0.001), measured))
    store.write(path, rows)
    return path


def test_a_table_decides_on_additions(asked: Callable[..., QuantizeRequest], tiny: Network, tmp_path: Path) -> None:
    def additions(lut: Path | None) -> tuple[int, QuantizeResult]:
        made = quantize(asked(lut=lut))
        steps = integer_file.load(made.path).steps
        return sum(step.spec.workload.op is Op.ADD for step in steps), made

    assert additions(None)[0] == 0
    assert additions(table(tiny, tmp_path / "fused.csv", 1e-6, 1e-6))[0] == 0
    count, made = additions(table(tiny, tmp_path / "apart.csv", 5e-6, 1e-6))
    assert count == len(tiny.fusions()) == 2
    assert not any("addition" in note for note in made.notes)


def test_a_table_that_says_nothing_is_told(
    asked: Callable[..., QuantizeRequest], tiny: Network, tmp_path: Path
) -> None:
    hot = table(tiny, tmp_path / "hot.csv", 5e-6, 1e-6, cache_mode=CacheMode.HOT)
    two = table(tiny, tmp_path / "two.csv", 5e-6, 1e-6, threads=2)
    others = tmp_path / "published.csv"
    store.write(others, [published(row) for row in store.read(table(tiny, others, 5e-6, 1e-6))])
    first = quantize(asked()).path.read_bytes()
    for lut in (hot, two, others):
        made = quantize(asked(lut=lut))
        assert made.path.read_bytes() == first
        (note,) = (note for note in made.notes if "addition" in note)
        assert note == f"{lut} has no measured row of an addition (1 thread, cache mode network): all are fused"


# -- doubts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("error", "told"), [(None, False), (0.0, False), (0.99, False), (1.0, True), (30.0, True)])
def test_an_output_that_is_lost_is_told(
    asked: Callable[..., QuantizeRequest], monkeypatch: pytest.MonkeyPatch, error: float | None, told: bool
) -> None:
    monkeypatch.setattr(stage, "output_noise", lambda *arguments: (OutputNoise("y", error),))
    assert any("output 'y' is no nearer" in note for note in quantize(asked()).notes) is told


# -- what is refused, with nothing written ----------------------------------------------------------------------------


@pytest.fixture
def nothing_written(tmp_path: Path) -> Any:
    yield
    assert not list(tmp_path.rglob("*net.npz*"))
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("nothing_written")
def test_what_was_asked_badly_is_refused(asked: Callable[..., QuantizeRequest], tmp_path: Path) -> None:
    bits = tmp_path / "bits.json"
    bits.write_text("{}")
    (tmp_path / "broken.csv").write_text("no,table\n")
    np.savez(tmp_path / "shape.npz", x=np.zeros((1, 3, 5, 5), np.float32))
    np.savez(tmp_path / "wild.npz", x=np.full((2, 3, 32, 32), np.nan, np.float32))
    np.savez(tmp_path / "other.npz", pixels=np.zeros((2, 3, 32, 32), np.float32))
    for changes, kind, message in (
        ({"uniform": None}, ProfilerError, "say which bits: either"),
        ({"bits": bits}, ProfilerError, "say which bits: either"),
        ({"bits": bits, "uniform": None, "lut": bits}, ProfilerError, "--lut decides on the additions of --uniform"),
        ({"bits": bits, "uniform": None}, InvalidFile, "is not a bits.json"),
        ({"bits": tmp_path / "none.json", "uniform": None}, InvalidFile, r"none\.json: cannot be read"),
        ({"lut": tmp_path / "none.csv"}, InvalidFile, r"none\.csv"),
        ({"lut": tmp_path / "broken.csv"}, InvalidFile, r"broken\.csv"),
        ({"calibrate": tmp_path / "none.npz"}, InvalidFile, r"none\.npz: cannot be read"),
        ({"calibrate": tmp_path}, InvalidFile, "is no file"),
        ({"calibrate": bits}, InvalidFile, r"bits\.json: is not an \.npz file"),
        ({"calibrate": tmp_path / "shape.npz"}, InvalidFile, r"has shape \(1, 3, 5, 5\)"),
        ({"calibrate": tmp_path / "wild.npz"}, InvalidFile, "is not finite"),
        ({"calibrate": tmp_path / "other.npz"}, InvalidFile, "holds 'pixels', but the inputs"),
        ({"model": "resnet19"}, UnsupportedModel, "unknown model 'resnet19'"),
        ({"model": str(tmp_path / "none.onnx")}, UnsupportedModel, r"none\.onnx: no such file"),
        ({"batch": 10**9}, (UnsupportedModel, InvalidWorkload), "elements"),
    ):
        with pytest.raises(kind, match=message) as caught:
            quantize(asked(out=tmp_path / "new" / "net.npz", **changes))
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.usefixtures("nothing_written")
def test_a_network_without_weights_is_refused(tmp_path: Path, tiny: Network) -> None:
    network_file.save(tiny, tmp_path / "tiny.json")
    with pytest.raises(UnsupportedModel, match=r"tiny\.json.*has no weights"):
        quantize(QuantizeRequest(model=str(tmp_path / "tiny.json"), out=tmp_path / "new" / "net.npz", uniform=INT8))


@pytest.mark.usefixtures("nothing_written")
def test_bits_that_do_not_fit_are_refused(asked: Callable[..., QuantizeRequest], tiny: Network, tmp_path: Path) -> None:
    sound, path = with_a_copy(tiny), tmp_path / "bits.json"
    first, *others = sound.layers
    for change, message in (
        ({"layers": (replace(first, name="conv9"), *others)}, "'conv1' is in one of them only"),
        ({"network": "another", "layers": tuple(others)}, "are of network 'another', not of"),
        ({"batch": 4}, "is of batch 4, and the network of 1"),
        ({"tensors": sound.tensors[1:]}, f"'{sound.tensors[0].name}'"),
        ({"tensors": ()}, "no precision"),
        ({"separate": ("conv1",)}, "'conv1' is no addition"),
        ({"conversions": ()}, "is int4, but reads"),
    ):
        bits_file.save(path, replace(sound, **change))
        with pytest.raises(ProfilerError, match=message) as caught:
            quantize(asked(bits=path, uniform=None, batch=1, out=tmp_path / "new" / "net.npz"))
        assert str(path) in str(caught.value) or message in ("no precision", f"'{sound.tensors[0].name}'")


def test_another_file_is_not_replaced(digits: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And it is said before anything is read."""
    monkeypatch.setattr(stage, "network_of", None)
    foreign = tmp_path / "foreign.npz"
    folder = tmp_path / "folder.npz"
    folder.mkdir()
    for content in (digits.train.read_bytes(), b"", b"my own notes", b"PK\x05\x06" + bytes(18)):
        foreign.write_bytes(content)
        with pytest.raises(OutputError, match=r"foreign\.npz: is there and is no integer network"):
            quantize(QuantizeRequest(model=str(digits.model), out=foreign, uniform=INT8))
        assert foreign.read_bytes() == content
    for out, message in (
        (folder, "is a folder"),
        (tmp_path, "is a folder"),
        (tmp_path / "net.onnx", r"ends in \.npz"),
        (tmp_path / "net", r"ends in \.npz"),
        (foreign / "net.npz", r"cannot be written: (Not a directory|File exists).*FILE="),
    ):
        with pytest.raises(OutputError, match=message):
            quantize(QuantizeRequest(model=str(digits.model), out=out, uniform=INT8))
    assert {path.name for path in tmp_path.iterdir()} == {"foreign.npz", "folder.npz"}


def test_a_file_that_another_user_forbids_is_not_replaced(
    asked: Callable[..., QuantizeRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system says no: to the folder ahead of the work, to the file in the end."""

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    quantize(asked())
    before = (tmp_path / "net.npz").read_bytes()
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OutputError, match=r"net\.npz: cannot be written: No space left on device"):
        quantize(asked(uniform=INT4))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"net.npz": before}


KILLED = """
import os, signal, sys
from pathlib import Path
from profiler.network_stages.quantize import QuantizeRequest, quantize
from profiler.workload import INT4
setattr(os, sys.argv[1], lambda *_: os.kill(os.getpid(), signal.SIGKILL))
quantize(QuantizeRequest(model=sys.argv[2], out=Path(sys.argv[3]), uniform=INT4))
"""


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_kill_in_the_middle_leaves_no_half_file(
    asked: Callable[..., QuantizeRequest], tmp_path: Path, step: str
) -> None:
    """kill -9 when all is written but for the name; the next run goes on as if nothing had been."""
    out = tmp_path / "kept" / "net.npz"
    for old in (None, quantize(asked()).path.read_bytes()):
        if old is not None:
            out.write_bytes(old)
        arguments = [sys.executable, "-c", KILLED, step, str(ONNX), str(out)]
        done = subprocess.run(arguments, cwd=ONNX.parents[2], capture_output=True, text=True)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert (out.read_bytes() if out.exists() else None) == old
        assert len(list(out.parent.iterdir())) == (1 if old is None else 2)  # what was written has another name
    made = quantize(asked(out=out, uniform=INT4))
    assert integer_file.load(made.path).steps
    assert [path.name for path in out.parent.iterdir()] == ["net.npz"]
