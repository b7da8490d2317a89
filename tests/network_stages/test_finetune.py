"""Fine-tuning: the torch module against the integer oracle, gradients through roundings, and the file written."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from profiler.allocation import bits_file
from profiler.allocation.bits_file import LayerBits, TensorBits
from profiler.allocation.deployment import Deployment
from profiler.errors import InvalidFile, OutputError, ProfilerError
from profiler.frontend import load_network
from profiler.frontend.weights import load_weights
from profiler.lut.demand import stored_tensors
from profiler.network.calibrate import calibrate
from profiler.network.images import Images, load_images
from profiler.network.oracle_run import oracle_run
from profiler.network.quantized import TrainedNetwork, integer_network
from profiler.network.real_numbers import quantized_inputs, real_values
from profiler.network_stages.finetune import FinetuneRequest, finetune
from profiler.workload import INT4, INT8, Precision
from tests.allocation.test_bits_file import BITS
from tests.network_stages.classifier import Classifier, make

torch = pytest.importorskip("torch")
IMAGES = 24


class Net(torch.nn.Module):  # type: ignore[misc,name-defined]
    """A convolution with a bias, one with batch normalization, a shortcut, both pools, and a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(1, 8, 3, 1, 1)
        self.second = torch.nn.Conv2d(8, 8, 3, 1, 1, bias=False)
        self.norm = torch.nn.BatchNorm2d(8)
        self.fc = torch.nn.Linear(8 * 4, 3)
        self.max = torch.nn.MaxPool2d(2)
        self.mean = torch.nn.AvgPool2d(3, 2, 1)

    def forward(self, image: Any) -> Any:
        x = torch.relu(self.first(image))
        x = torch.relu(self.norm(self.second(x)) + x)
        return self.fc(torch.flatten(self.mean(self.max(x)), 1))


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Several are slow where other tests run beside this one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    net = Net().eval()
    with torch.no_grad():
        for buffer in (net.norm.running_mean, net.norm.bias):
            buffer.uniform_(-0.5, 0.5)
        for buffer in (net.norm.running_var, net.norm.weight):
            buffer.uniform_(0.5, 2.0)
    path = tmp_path_factory.mktemp("model") / "net.pt2"
    torch.export.save(torch.export.export(net, (torch.zeros(1, 1, 8, 8),)), str(path))
    return path


def pictures(count: int, seed: int = 0) -> Images:
    """Of three kinds, which can be told apart: bright on the left, on the right, or nowhere."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 0.3, (count, 8, 8, 1)).astype(np.float32)
    labels = rng.integers(0, 3, count)
    values[labels == 0, :, :4] += 1
    values[labels == 1, :, 4:] += 1
    return Images({"image": values}, labels)


def saved(folder: Path, images: Images, **changes: Any) -> Path:
    arrays = {"image": images.inputs["image"].transpose(0, 3, 1, 2), "labels": images.labels, **changes}
    path = folder / "images.npz"
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def trained_of(model: Path, images: Images, batch: int = 1) -> TrainedNetwork:
    network = load_network(str(model), batch)
    weights = load_weights(str(model), network)
    return TrainedNetwork(network, weights, calibrate(network, weights, images))


def integer_logits(trained: TrainedNetwork, deployment: Deployment, images: Images) -> Any:
    network = integer_network(trained, deployment)
    found = oracle_run(network, quantized_inputs(network, images.inputs))[network.outputs[0]]
    return real_values(network, network.outputs[0], found).reshape(images.count, -1)


def torch_logits(trained: TrainedNetwork, deployment: Deployment, images: Images) -> Any:
    from profiler.finetune.fake_quantized import FakeQuantized

    inputs = {name: torch.from_numpy(values).permute(0, 3, 1, 2) for name, values in images.inputs.items()}
    with torch.no_grad():
        return FakeQuantized(trained, deployment)(inputs).numpy()


@pytest.mark.parametrize("precision", [INT8, INT4, Precision.parse("a4w1")])
@pytest.mark.parametrize("separate", [False, True])
def test_the_module_computes_what_the_integers_do(model: Path, precision: Precision, separate: bool) -> None:
    """But for values that lie on the border between two integers, which float32 may round to the other side."""
    images = pictures(IMAGES)
    trained = trained_of(model, images, IMAGES)
    additions = trained.network.fusions() if separate else ()
    deployment = Deployment.uniform(trained.network, precision, additions)
    exact, found = integer_logits(trained, deployment, images), torch_logits(trained, deployment, images)
    same = np.isclose(found, exact, rtol=0, atol=1e-4 * np.abs(exact).max()).all(axis=1)
    assert same.mean() >= 0.8
    assert np.abs(found - exact).max() < 0.15 * np.abs(exact).max()


def test_flattened_images_keep_the_models_order(tmp_path: Path) -> None:
    """A dense layer behind 4 x 4 x 16 features, of an ONNX model."""
    digits: Classifier = make(tmp_path, IMAGES)
    images = load_images(digits.test, load_network(str(digits.model), IMAGES))
    trained = trained_of(digits.model, images, IMAGES)
    deployment = Deployment.uniform(trained.network, INT8)
    exact, found = integer_logits(trained, deployment, images), torch_logits(trained, deployment, images)
    assert np.abs(found - exact).max() < 0.05 * np.abs(exact).max()


def test_gradients_pass_roundings_and_stop_at_clamps() -> None:
    from profiler.finetune.fake_quantized import _stored
    from profiler.network.integer_network import Value
    from profiler.workload import DType

    x = torch.tensor([[[[-3.0, 0.26, 0.25, 7.4, 100.0]]]], requires_grad=True)
    y = _stored(x, Value("y", (1, 1, 5, 1), DType.UINT4, (0.5,)))
    assert y.flatten().tolist() == [0.0, 0.5, 0.5, 7.5, 7.5]  # a half is rounded away from zero
    y.sum().backward()
    assert x.grad.flatten().tolist() == [0.0, 1.0, 1.0, 1.0, 0.0]


def test_one_bit_weights_keep_their_gradients_whatever_their_magnitude(model: Path) -> None:
    """Against the gradient of what the layer computes with: -s and +s, by autograd."""
    from profiler.finetune.fake_quantized import FakeQuantized, _two_levels

    weight = torch.tensor([[[[0.1, -3.0]]], [[[-0.5, 0.0]]]], requires_grad=True)
    scale = weight.detach().abs().mean((1, 2, 3), keepdim=True)
    levels = _two_levels(weight, scale)
    assert levels.flatten().tolist() == pytest.approx([1.55, -1.55, -0.25, 0.25])
    (levels**3).sum().backward()
    assert weight.grad.flatten().tolist() == pytest.approx([3 * 1.55**2] * 2 + [3 * 0.25**2] * 2)

    images = pictures(IMAGES)
    trained = trained_of(model, images, IMAGES)
    module = FakeQuantized(trained, Deployment.uniform(trained.network, Precision.parse("a4w1")))
    module({"image": torch.from_numpy(images.inputs["image"]).permute(0, 3, 1, 2)}).square().sum().backward()
    *inner, _ = (real for name, real in module.named_parameters() if name.startswith("_weights"))
    for real in inner:
        above = real.detach().abs() > real.detach().abs().mean((1, 2, 3), keepdim=True)
        assert above.any()
        assert (real.grad[above] != 0).float().mean() > 0.9


@pytest.mark.parametrize("precision", [INT4, Precision.parse("a4w1")])
def test_training_lowers_the_loss_of_the_integers(model: Path, tmp_path: Path, precision: Precision) -> None:
    train, test = pictures(96), pictures(64, seed=1)
    out = tmp_path / "tuned.pt2"
    request = FinetuneRequest(model, saved(tmp_path, train), out, uniform=precision, epochs=6, batch=16, rate=0.05)
    done = finetune(request)
    assert len(done.losses) == 6
    deployment = Deployment.uniform(load_network(str(model), 64), precision)

    def right(path: Path) -> int:
        logits = integer_logits(trained_of(path, train, 64), deployment, test)
        return int((logits.argmax(axis=1) == test.labels).sum())

    assert right(model) < 45  # it was never trained
    assert right(out) > 55
    again = finetune(replace(request, out=tmp_path / "again.pt2"))
    assert again.losses == done.losses


def test_the_file_holds_the_weights_and_the_graph_stays(model: Path, tmp_path: Path) -> None:
    from profiler.finetune.weights_file import with_weights

    network = load_network(str(model), 1)
    rng = np.random.default_rng(0)
    weights = {
        name: replace(old, weight=rng.standard_normal(old.weight.shape), bias=rng.standard_normal(old.bias.shape))
        for name, old in load_weights(str(model), network).items()
    }
    out = tmp_path / "net.pt2"
    with_weights(model, weights, out)
    assert load_network(str(out), 1) == network
    for name, found in load_weights(str(out), network).items():
        assert np.allclose(found.weight, weights[name].weight, rtol=1e-6, atol=1e-6)
        assert np.allclose(found.bias, weights[name].bias, rtol=1e-6, atol=1e-6)


def test_the_command(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from profiler.cli import main

    out, images = tmp_path / "tuned.pt2", str(saved(tmp_path, pictures(16)))
    options = ["--images", images, "--uniform", "int4", "--epochs", "2", "--batch", "8", "-o", str(out)]

    def run(*more: str) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["profiler", "finetune", str(model), *options, *more])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code in (0, None)
        return capsys.readouterr()

    answer, progress = run()
    assert answer == f"{out}: net, fine-tuned with 16 images\n"
    assert [line.split(":")[0] for line in progress.splitlines()] == ["epoch 1 of 2", "epoch 2 of 2"]
    told = json.loads(run("--json")[0])
    losses = told.pop("losses")
    assert told == {"file": str(out), "network": "net", "layers": {"int4": 3}, "images": 16, "epochs": 2}
    assert [line.split()[-1] for line in progress.splitlines()] == [f"{loss:.4f}" for loss in losses]
    assert load_network(str(out), 1).layers == load_network(str(model), 1).layers


def test_what_cannot_be_is_refused(model: Path, tmp_path: Path) -> None:
    images = pictures(8)
    good = FinetuneRequest(model, saved(tmp_path, images), tmp_path / "tuned.pt2", uniform=INT4)
    for change, kind, message in (
        ({"uniform": None}, ProfilerError, "say which bits"),
        ({"model": Path("resnet18")}, ProfilerError, r"\.pt2"),
        ({"out": tmp_path / "tuned.onnx"}, ProfilerError, r"\.pt2"),
        ({"out": model}, OutputError, "is the model itself"),
        ({"images": tmp_path}, InvalidFile, "is a folder"),
        *(
            ({"rate": rate}, ProfilerError, "above 0 and below 100")
            for rate in (float("nan"), 0.0, -1.0, float("inf"), 1e30)
        ),
        ({"epochs": 0}, ProfilerError, "both are at least 1"),
        ({"rate": 99.0}, ProfilerError, "loss is no number|not finite|too large"),
    ):
        with pytest.raises(kind, match=message) as caught:
            finetune(replace(replace(good, out=tmp_path / "new" / "folder" / "tuned.pt2"), **change))  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "new").exists()
    (tmp_path / "other").mkdir()
    with pytest.raises(InvalidFile, match="holds no 'labels'"):
        finetune(replace(good, images=saved(tmp_path / "other", images, labels=None)))
    assert not (tmp_path / "tuned.pt2").exists()


def test_bits_that_do_not_fit_are_refused_by_name(model: Path, tmp_path: Path) -> None:
    network, path = load_network(str(model), 8), tmp_path / "odd bits.json"
    sound = replace(
        BITS,
        network=network.name,
        batch=network.batch,
        layers=tuple(LayerBits(layer.name, "int8") for layer in network.weighted_layers),
        tensors=tuple(TensorBits(name, "int8") for name in stored_tensors(network)),
        conversions=(),
        separate=(),
        latency=replace(BITS.latency, unpriced=()),
    )
    out = tmp_path / "new" / "tuned.pt2"
    request = FinetuneRequest(model, saved(tmp_path, pictures(8)), out, bits=path, epochs=1)
    for bits, message in (
        (replace(sound, layers=sound.layers[1:]), "is in one of them only"),
        (replace(sound, tensors=()), "tensor 'image' has no precision"),
        (replace(sound, tensors=sound.tensors[:1]), "has no precision"),
    ):
        bits_file.save(path, bits)
        with pytest.raises(InvalidFile, match=message) as caught:
            finetune(request)
        assert str(caught.value).startswith(f"{path}: ")
        assert not out.parent.exists()
    bits_file.save(path, sound)  # of another batch than the steps of training
    assert finetune(request).layers == ((INT8, 3),)
