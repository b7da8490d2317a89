"""Exported programs: the same small model as in the ONNX files of tests/data, and what torch does in its own way."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from profiler.errors import UnsupportedModel
from profiler.frontend import load_network
from profiler.workload import Network, Op
from tests.frontend.average_pools import averages_of_ones
from tests.frontend.torch_models import from_function, tiny_model

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch")


def load(torch: Any, folder: Path, model: Any, *shape: int, decomposed: bool = False, **options: Any) -> Network:
    program = torch.export.export(model, (torch.zeros(*shape),))
    if decomposed:
        program = program.run_decompositions()
    path = folder / "model.pt2"
    torch.export.save(program, str(path))
    return load_network(str(path), 4, **options)


@pytest.mark.parametrize("decomposed", [False, True])
def test_the_tiny_model_is_that_of_the_onnx_file(torch: Any, tmp_path: Path, decomposed: bool) -> None:
    pytest.importorskip("onnx")
    model = tiny_model()
    ours = load(torch, tmp_path, model, 1, 3, 32, 32, decomposed=decomposed)
    theirs = load_network(str(DATA / "tiny_torch.onnx"), 4)
    assert [(x.workload, x.relu) for x in ours.layers] == [(x.workload, x.relu) for x in theirs.layers]
    assert [x.name for x in ours.weighted_layers] == [x.name for x in theirs.weighted_layers]
    assert ours.ties() == theirs.ties() == (("layer2.conv1", "layer2.downsample.0"),)
    assert [t.signed for t in ours.tensors] == [t.signed for t in theirs.tensors]
    assert list(ours.fusions().values()) == ["layer1.conv2", "layer2.conv2"]
    assert ours.outputs == (ours.layer("fc").output,)
    assert ours.parameters == sum(p.numel() for p in model.parameters())


def test_open_batch_and_another_batch(torch: Any, tmp_path: Path) -> None:
    program = torch.export.export(
        tiny_model(), (torch.zeros(2, 3, 32, 32),), dynamic_shapes=({0: torch.export.Dim("n")},)
    )
    torch.export.save(program, str(tmp_path / "open.pt2"))
    assert load_network(str(tmp_path / "open.pt2"), 3).layers[0].workload.batch == 3


def test_shapes_are_those_that_torch_computes(torch: Any, tmp_path: Path) -> None:
    nn = torch.nn
    cases = [
        nn.Conv2d(6, 8, (3, 5), stride=(2, 1), padding=(1, 2), dilation=(2, 1), groups=2),
        nn.Conv2d(6, 8, (2, 3), padding="same"),
        nn.Conv2d(6, 6, 3, padding="valid", groups=6),
        nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        nn.MaxPool2d(2, dilation=2),
        nn.AvgPool2d(3, 2, ceil_mode=True),
        nn.AdaptiveAvgPool2d((4, 2)),
        nn.AdaptiveMaxPool2d(1),
    ]
    for case in cases:
        expected = tuple(case(torch.zeros(1, 6, 12, 10)).shape)
        (layer,) = load(torch, tmp_path, case.eval(), 1, 6, 12, 10).layers
        _, height, width, channels = layer.workload.output_shape
        assert (1, channels, height, width) == expected, case


@pytest.mark.parametrize("decomposed", [False, True])
@pytest.mark.parametrize(
    ("options", "padding", "counted"),
    [
        ({}, (1, 1, 1, 1), (1, 1, 1, 1)),
        ({"count_include_pad": False}, (1, 1, 1, 1), (0, 0, 0, 0)),
        ({"padding": (0, 1)}, (0, 1, 0, 1), (0, 1, 0, 1)),
        # Windows start at -1, 1, ..., 11 over 12 rows: the last one has a row of the image, one of padding, one of
        # neither.
        ({"stride": 2, "ceil_mode": True}, (1, 1, 2, 2), (1, 1, 1, 1)),
        ({"stride": 2, "ceil_mode": True, "count_include_pad": False}, (1, 1, 2, 2), (0, 0, 0, 0)),
        ({"stride": 2, "ceil_mode": True, "divisor_override": 9}, (1, 1, 2, 2), (1, 1, 2, 2)),
        ({"count_include_pad": False, "divisor_override": 9}, (1, 1, 1, 1), (1, 1, 1, 1)),
    ],
)
def test_padding_counts_in_an_average_as_torch_has_it(
    torch: Any, tmp_path: Path, decomposed: bool, options: dict[str, Any], padding: Any, counted: Any
) -> None:
    pool = torch.nn.AvgPool2d(3, **{"stride": 1, "padding": 1, **options})
    (layer,) = load(torch, tmp_path, pool, 1, 6, 12, 10, decomposed=decomposed).layers
    w = layer.workload
    assert (w.pad_top, w.pad_left, w.pad_bottom, w.pad_right) == padding
    assert layer.counted_pads == counted
    assert averages_of_ones(layer) == pytest.approx(pool(torch.ones(1, 1, 12, 10))[0, 0].numpy())


@pytest.mark.parametrize("override", [1, 8, 18])
def test_a_divisor_that_is_no_count_of_elements_is_refused(torch: Any, tmp_path: Path, override: int) -> None:
    pool = torch.nn.AvgPool2d(3, 1, 1, divisor_override=override)
    with pytest.raises(UnsupportedModel, match=rf"divisor_override is {override}; only .* the 9 elements") as caught:
        load(torch, tmp_path, pool, 1, 6, 12, 10)
    assert "\n" not in str(caught.value)


def test_an_operator_in_place_is_what_later_readers_see(torch: Any, tmp_path: Path) -> None:
    def forward(self: Any, x: Any) -> Any:
        y = self.a(x)
        torch.nn.functional.relu_(y)
        return self.b(y) + y

    model = from_function(torch, forward, torch.nn.Conv2d(4, 4, 1), torch.nn.Conv2d(4, 4, 1))
    network = load(torch, tmp_path, model, 1, 4, 8, 8)
    assert network.layer("a").relu
    assert network.layers[2].inputs == (network.layer("b").output, network.layer("a").output)


def test_pools_dense_layers_and_constants(torch: Any, tmp_path: Path) -> None:
    def forward(self: Any, x: Any) -> Any:
        x = self.a(x) * 2.0 + torch.ones(8, 1, 1)
        return self.b(torch.clamp(x, min=0).mean((2, 3)))

    model = from_function(torch, forward, torch.nn.Conv2d(4, 8, 3, bias=False), torch.nn.Linear(8, 5))
    network = load(torch, tmp_path, model, 1, 4, 9, 9)
    assert [layer.workload.op for layer in network.layers] == [Op.CONV2D, Op.AVG_POOL, Op.DENSE]
    assert network.layer("a").relu
    assert network.layer("a").parameters == 8 * 4 * 9 + 8
    assert network.layer("b").workload.in_channels == 8


def test_what_is_not_supported_is_named(torch: Any, tmp_path: Path) -> None:
    def forward(self: Any, x: Any) -> Any:
        return self.b(torch.nn.functional.hardswish(self.a(x)))

    model = from_function(torch, forward, torch.nn.Conv2d(4, 4, 1), torch.nn.Conv2d(4, 4, 1))
    with pytest.raises(UnsupportedModel, match=r"aten\.hardswish\.default \('hardswish'\).*--skip-unsupported"):
        load(torch, tmp_path, model, 1, 4, 8, 8)
    network = load(torch, tmp_path, model, 1, 4, 8, 8, skip_unsupported=True)
    assert [layer.name for layer in network.layers] == ["a", "b"]
    assert network.layer("b").inputs == ("hardswish",)
    assert network.producer("hardswish") is None
    assert network.skipped == ("operator aten.hardswish.default ('hardswish')",)


def test_outputs_of_a_split_go_on_where_it_is_skipped(torch: Any, tmp_path: Path) -> None:
    def forward(self: Any, x: Any) -> Any:
        left, right = torch.split(self.a(x), 3, dim=1)
        return torch.cat([self.b(left), self.c(right)], 1)

    layers = (torch.nn.Conv2d(4, 6, 1), torch.nn.Conv2d(3, 5, 1), torch.nn.Conv2d(3, 7, 1))
    network = load(torch, tmp_path, from_function(torch, forward, *layers), 1, 4, 8, 8, skip_unsupported=True)
    assert [layer.workload.out_channels for layer in network.weighted_layers] == [6, 5, 7]
    assert len(network.skipped) == 1


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (lambda nn: nn.Conv1d(4, 4, 3), (1, 4, 9), "1 spatial dimensions"),
        (lambda nn: nn.Conv3d(4, 4, 3), (1, 4, 9, 9, 9), "3 spatial dimensions"),
        (lambda nn: nn.ConvTranspose2d(4, 4, 3), (1, 4, 9, 9), "conv_transpose2d"),
        (lambda nn: nn.Linear(9, 4), (1, 4, 9, 9), "last dimension"),
        (lambda nn: nn.AdaptiveAvgPool2d(4), (1, 4, 9, 9), "windows of different sizes"),
        (lambda nn: nn.BatchNorm2d(4), (1, 4, 9, 9), "folded only into"),
        (lambda nn: nn.ReLU(), (1, 4, 9, 9), "fused only into"),
    ],
)
def test_layers_that_have_no_kernel(
    torch: Any, tmp_path: Path, layer: Any, shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(UnsupportedModel, match=message) as caught:
        load(torch, tmp_path, layer(torch.nn).eval(), *shape)
    assert "\n" not in str(caught.value)


def test_a_model_in_training_mode_says_so(torch: Any, tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4)).train()
    with pytest.raises(UnsupportedModel, match=r"call eval\(\)"):
        load(torch, tmp_path, model, 2, 3, 8, 8)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not really", b"hello\n" * 100])
def test_files_that_are_something_else(torch: Any, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.pt2"
    path.write_bytes(content)
    with pytest.raises(UnsupportedModel, match=r"broken\.pt2: torch\.export\.load cannot read it") as caught:
        load_network(str(path), 1)
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_told_of_once(torch: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.pt2"
    program = torch.export.export(torch.nn.Conv2d(1, 8, 3).eval(), (torch.zeros(1, 1, 8, 8),))
    torch.export.save(program, str(path))
    content, logger = path.read_bytes(), logging.getLogger("torch.export")
    for count in (100, len(content) // 2, len(content) - 30):
        path.write_bytes(content[:count])
        capfd.readouterr()
        with pytest.raises(UnsupportedModel, match=r"model\.pt2: torch\.export\.load cannot read it") as caught:
            load_network(str(path), 1)
        assert "warnings above" not in str(caught.value)
        assert capfd.readouterr() == ("", "")
        assert logger.isEnabledFor(logging.WARNING)  # of others, later


def test_without_torch_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    (tmp_path / "model.pt2").write_bytes(b"")
    with pytest.raises(UnsupportedModel, match=r"pip install 'lowbit-profiler\[torch\]'"):
        load_network(str(tmp_path / "model.pt2"), 1)
