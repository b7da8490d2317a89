"""The user's file: what it must define, whose fault an error is, and which module is which layer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from profiler.errors import ProfilerError
from profiler.sensitivity.hook import Hook, layer_weights, load_hook
from profiler.workload import Layer, Network, Op, Tensor, Workload

NETWORK = Network(
    name="small",
    batch=1,
    tensors=(Tensor("x", 4, 4, 3, True), Tensor("y", 4, 4, 6, False), Tensor("z", 1, 1, 2, True)),
    layers=(
        Layer("conv", Workload(Op.CONV2D, 1, 4, 4, 3, 6, 3, 3, 1, 1, 1, 1, 1, 1, groups=3), ("x",), "y"),
        Layer("head", Workload(Op.DENSE, 1, 1, 1, 96, 2), ("y",), "z"),
    ),
)

GOOD = """\
import torch

def model():
    net = torch.nn.Sequential()
    net.add_module("conv", torch.nn.Conv2d(3, 6, 3, padding=1, groups=3))
    net.add_module("norm", torch.nn.BatchNorm2d(6))
    net.add_module("flat", torch.nn.Flatten())
    net.add_module("head", torch.nn.Linear(96, 2))
    return net

def batches():
    for seed in range(2):
        yield torch.full((2, 3, 4, 4), float(seed))

def loss(model, batch):
    return model(batch).square().mean()
"""


@pytest.fixture(autouse=True)
def torch() -> Any:
    return pytest.importorskip("torch")


def hook(folder: Path, text: str = GOOD, **options: Any) -> Hook:
    path = folder / "hook.py"
    path.write_text(text)
    return load_hook(path, **options)


def refused(folder: Path, text: str, call: str = "") -> str:
    with pytest.raises(ProfilerError) as caught:
        getattr(hook(folder, text), call)()
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{folder / 'hook.py'}")


def test_a_whole_hook(tmp_path: Path) -> None:
    before = list(sys.path)
    mine = hook(tmp_path)
    model, batches = mine.model(), mine.batches()
    assert len(batches) == 2
    assert mine.loss(model, batches[0]).item() >= 0
    assert mine.layer_names() == {}
    weights = layer_weights(mine, model, NETWORK)
    assert {name: tuple(weight.shape) for name, weight in weights.items()} == {"conv": (6, 1, 3, 3), "head": (2, 96)}
    assert weights["head"] is model.head.weight
    assert sys.path == before


def test_its_folder_can_be_imported_from(tmp_path: Path) -> None:
    (tmp_path / "beside_the_hook.py").write_text("ANSWER = [42]\n")
    text = GOOD.replace(
        "    for seed", "    import beside_the_hook\n    yield from beside_the_hook.ANSWER\n    for seed"
    )
    assert hook(tmp_path, text).batches()[0] == 42


def test_dataclasses_find_their_module(tmp_path: Path) -> None:
    text = "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n    x: int\n"
    assert hook(tmp_path, text + GOOD.replace("import torch\n", "import torch\nB = A(3)\n", 1)).module.B.x == 3


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", ": defines no function model(), batches(), loss(model, batch)"),
        (GOOD.replace("def loss", "def lose"), ": defines no function loss(model, batch)"),
        ("model = batches = loss = 3\n", ": defines no function model(), batches(), loss(model, batch)"),
        ("x = 1\ny = x / 0\n", ", line 2: ZeroDivisionError: division by zero"),
        ("def model(:\n", ", line 1: SyntaxError: invalid syntax"),
        ("import nothing_of_that_name\n", ", line 1: ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("raise SystemExit('no data')\n", ", line 1: SystemExit: no data"),
        ("raise ValueError\n", ", line 1: ValueError"),
        ("raise ValueError('one\\ntwo')\n", ", line 1: ValueError: one"),
    ],
)
def test_a_file_that_cannot_be_run_is_told(tmp_path: Path, text: str, reason: str) -> None:
    before = sys.modules.get("profiler_user_hook")
    assert refused(tmp_path, text) == reason
    assert sys.modules.get("profiler_user_hook") is before


def test_files_that_are_no_hook(tmp_path: Path) -> None:
    with pytest.raises(ProfilerError, match="no such file"):
        load_hook(tmp_path / "hook.py")
    with pytest.raises(ProfilerError, match="not a file"):
        load_hook(tmp_path)
    (tmp_path / "hook.txt").write_text(GOOD)
    with pytest.raises(ProfilerError, match=r"its name must end in \.py"):
        load_hook(tmp_path / "hook.txt")


def test_the_users_errors_have_their_line(tmp_path: Path) -> None:
    text = GOOD.replace("    for seed in range(2):", "    for seed in [0, int('two')]:")
    assert refused(tmp_path, text, "batches") == (
        ", line 12 in batches(): ValueError: invalid literal for int() with base 10: 'two'"
    )
    lazily = GOOD.replace("        yield", "        seed / 0\n        yield")  # while the generator runs
    assert refused(tmp_path, lazily, "batches") == ", line 13 in batches(): ZeroDivisionError: division by zero"
    assert refused(tmp_path, GOOD.replace("return net", "pass"), "model") == (
        ": model() must return a torch.nn.Module, not NoneType"
    )
    none = GOOD.replace("range(2)", "range(0)")
    assert refused(tmp_path, none, "batches") == ": batches() gives no batch"
    not_many = GOOD.replace(
        "    for seed in range(2):\n        yield torch.full((2, 3, 4, 4), float(seed))", "    return 3"
    )
    assert "in batches(): TypeError: 'int' object is not iterable" in refused(tmp_path, not_many, "batches")
    mine = hook(tmp_path)
    with pytest.raises(ProfilerError, match=r"hook\.py, line 16 in loss\(\): AttributeError: 'int' object has no"):
        mine.loss(abs, -1)


def test_a_hook_may_lack_what_is_not_needed(tmp_path: Path) -> None:
    only = GOOD[: GOOD.index("def batches")]
    assert hook(tmp_path, only, needed=("model",)).model() is not None
    with pytest.raises(ProfilerError, match=r"defines no function loss\(model, batch\)"):
        hook(tmp_path, only, needed=("model",)).loss(None, None)


def matched(folder: Path, text: str) -> str:
    mine = hook(folder, text)
    with pytest.raises(ProfilerError) as caught:
        layer_weights(mine, mine.model(), NETWORK)
    return str(caught.value).removeprefix(f"{folder / 'hook.py'}: ")


def renamed(names: str) -> str:
    return GOOD.replace('"conv"', '"stem"') + f"\ndef layer_names():\n    return {names}\n"


def test_other_names_are_listed_and_can_be_mapped(tmp_path: Path) -> None:
    assert matched(tmp_path, GOOD.replace('"conv"', '"stem"')) == (
        "the model has no module named as layer 'conv' of network 'small'; modules without a layer: 'stem'; say in "
        "layer_names() which is which"
    )
    mine = hook(tmp_path, renamed('{"stem": "conv"}'))
    model = mine.model()
    assert layer_weights(mine, model, NETWORK)["conv"] is model.stem.weight


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ('{"stm": "conv"}', "layer_names() speaks of module 'stm', which is not there"),
        ('{"stem": "cnv"}', "layer_names() speaks of layer 'cnv', which is not there"),
        ('{"stem": "head"}', "modules 'stem' and 'head' are both layer 'head'; see layer_names()"),
        ('{"stem": 3}', "layer_names() must return a dictionary of texts, module to layer"),
        ("[]", "layer_names() must return a dictionary of texts, module to layer"),
    ],
)
def test_a_wrong_map_is_told(tmp_path: Path, names: str, reason: str) -> None:
    assert matched(tmp_path, renamed(names)) == reason


def test_another_shape_is_told(tmp_path: Path) -> None:
    assert matched(tmp_path, GOOD.replace("3, padding=1", "5, padding=2")) == (
        "the weight of module 'conv' has shape (6, 1, 5, 5), layer 'conv' of the network (6, 1, 3, 3)"
    )
    assert matched(tmp_path, GOOD.replace("Linear(96", "Linear(48")) == (
        "the weight of module 'head' has shape (2, 48), layer 'head' of the network (2, 96)"
    )
