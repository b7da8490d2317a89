"""`torch._int_mm` beside our kernels, on a pretended GPU and with a pretended torch."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from bench.gemm_layers import Gemm, gemm_of, gemm_specs, known_configs
from bench.int_mm import (
    HOT,
    Beside,
    Comparison,
    IntMmRequest,
    Skipped,
    bench_int_mm,
    in_turn,
    launches,
)
from bench.torch_product import TorchProduct, TorchRefusal, TorchTimer, exact_product, load_torch, torch_index
from profiler.devices.discover import Vendor
from profiler.devices.nvml import Nvml
from profiler.devices.protocol import Throttling
from profiler.errors import DeviceError, InvalidFile, ProfilerError
from profiler.frontend import load_network, network_file
from profiler.hardware import GPUS
from profiler.lut import store
from profiler.lut.schema import LutRow, Source
from profiler.record import CacheMode, Circumstances, Conditions, Journal
from profiler.space.config import to_text
from profiler.space.gpu import config_space, default_config
from profiler.space.gpu_limits import reason_unsupported
from profiler.statistics import summarize
from profiler.workload import DType, Epilogue, KernelSpec, Layer, Network, Op, Tensor, Workload
from tests.bench.fake_torch import CALL_S, FakeTorch
from tests.devices.fake_cuda_scenario import Fault, Scenario
from tests.devices.fake_cuda_worker import worker_command
from tests.devices.fake_nvml import HW_SLOWDOWN, SW_POWER_CAP, FakeGpu, FakeNvml

ROOT = Path(__file__).parents[2]
UUID = FakeGpu().uuid

POINTWISE = Workload(Op.CONV2D, 8, 4, 4, 16, 32)
SMALL = Workload(Op.DENSE, 8, 1, 1, 32, 16)
NETWORK = Network(
    "pointwise",
    8,
    (
        Tensor("x", 4, 4, 16, signed=False),
        Tensor("y", 4, 4, 32, signed=False),
        Tensor("mean", 1, 1, 32, signed=False),
        Tensor("z", 1, 1, 16, signed=True),
    ),
    (
        Layer("conv", POINTWISE, ("x",), "y", relu=True),
        Layer("mean", Workload(Op.AVG_POOL, 8, 4, 4, 32, 32, 4, 4), ("y",), "mean"),
        Layer("fc", SMALL, ("mean",), "z"),
    ),
)
"""A product of 128 rows, and one of 8, which `torch._int_mm` does not do."""


def spec_of(workload: Workload) -> KernelSpec:
    return KernelSpec(workload, DType.INT8, DType.INT32, DType.INT8, epilogue=Epilogue.NONE)


def row(spec: KernelSpec, config: str, **changes: object) -> LutRow:
    usual = LutRow(
        spec=spec, conditions=HOT, source=Source.MEASURED, fingerprint="11111111", device="t4", device_name="Tesla T4",
        arch="sm_75", latency_median_s=1e-5, measured_at=1.7e9, tool_version="0.1", latency_q1_s=1e-5,
        latency_q3_s=1e-5, latency_ci95_low_s=1e-5, latency_ci95_high_s=1e-5, samples=30, config=config,
        artifact_sha256="ab" * 32, run_id="r1",
    )  # fmt: skip
    return replace(usual, **changes)  # type: ignore[arg-type]


# Which layers


@pytest.mark.parametrize(
    ("workload", "gemm"),
    [
        (Workload(Op.CONV2D, 8, 56, 56, 64, 256), Gemm(8 * 56 * 56, 64, 256)),
        (Workload(Op.DENSE, 32, 1, 1, 2048, 1000), Gemm(32, 2048, 1000)),
        (Workload(Op.CONV2D, 8, 56, 56, 64, 256, stride_h=2, stride_w=2), None),
        (Workload(Op.CONV2D, 8, 56, 56, 64, 256, stride_w=2), None),
        (Workload(Op.CONV2D, 8, 56, 56, 64, 64, 3, 3, 1, 1, 1, 1, 1, 1), None),
        (Workload(Op.CONV2D, 8, 56, 56, 64, 64, pad_bottom=1), None),
        (Workload(Op.CONV2D, 8, 56, 56, 64, 64, groups=64), None),
        (Workload(Op.ADD, 8, 56, 56, 64, 64), None),
    ],
)
def test_matrix_products_among_layers(workload: Workload, gemm: Gemm | None) -> None:
    assert gemm_of(workload) == gemm


def test_layers_of_resnet50() -> None:
    # Of the first stage: the first reduction, the others, and the expansion, which its shortcut is like. Of each other
    # stage reduction and expansion, its first reduction and its shortcut having stride 2. The classifier.
    stages = [(64, 56), (128, 28), (256, 14), (512, 7)]
    expected = {Gemm(8 * 56 * 56, 64, 64), Gemm(8, 2048, 1000)}
    for width, extent in stages:
        expected |= {Gemm(8 * extent**2, 4 * width, width), Gemm(8 * extent**2, width, 4 * width)}
    specs = gemm_specs(load_network("resnet50", 8))
    assert {gemm_of(spec.workload) for spec in specs} == expected
    assert len(specs) == len(expected)
    assert all((s.input_dtype, s.weight_dtype, s.output_dtype) == (DType.INT8, DType.INT8, DType.INT32) for s in specs)


@pytest.mark.parametrize("gpu", list(GPUS))
def test_every_product_has_a_kernel_of_ours(gpu: str) -> None:
    for spec in gemm_specs(load_network("resnet50", 8)):
        assert reason_unsupported(spec, GPUS[gpu]) is None
        assert len(config_space(spec, GPUS[gpu])) > 0


def test_configs_come_from_rows_that_do_the_same_work() -> None:
    spec = spec_of(POINTWISE)
    here, there = (to_text(config) for config in config_space(spec, GPUS["t4"])[:2])
    wrong = [
        row(replace(spec, output_dtype=DType.INT8, epilogue=Epilogue.REQUANT), there),
        row(replace(spec, input_dtype=DType.INT4, weight_dtype=DType.INT4), there),
        row(spec_of(SMALL), there),
        row(spec, there, source=Source.PREDICTED, samples=0),
    ]
    assert known_configs(wrong, [spec]) == {}
    biased = replace(spec, input_dtype=DType.UINT8, epilogue=Epilogue.BIAS)
    (found,) = known_configs([*wrong, row(biased, here)], [spec]).values()
    assert to_text(found) == here


def test_rows_with_hot_caches_are_preferred_then_the_faster() -> None:
    spec = spec_of(POINTWISE)
    first, second, third = (to_text(config) for config in config_space(spec, GPUS["t4"])[:3])
    quick = {"latency_median_s": 2e-6, "latency_q1_s": 1e-6, "latency_ci95_low_s": 1e-6}
    rows = [
        row(spec, first),
        row(replace(spec, epilogue=Epilogue.BIAS), second, **quick),
        row(spec, third, conditions=Conditions(1, CacheMode.NETWORK), **{**quick, "latency_median_s": 1e-6}),
    ]
    assert [to_text(config) for config in known_configs(rows, [spec]).values()] == [second]
    assert known_configs([row(spec, "gone(a=1)")], [spec]) == {}, "a config that nobody knows any more is tuned"


# Statistics


def test_the_ratio_is_of_the_samples_of_a_round() -> None:
    ours, theirs = [1.0, 2.0, 4.0, 1.0, 2.0, 4.0, 8.0], [2.0, 4.0, 8.0, 3.0, 6.0, 12.0, 16.0]
    found = Comparison.of(spec_of(POINTWISE), ours, theirs, "row-major")
    assert found.ratio == summarize([2.0, 2.0, 2.0, 3.0, 3.0, 3.0, 2.0])
    assert (found.ours.median_s, found.theirs.median_s, found.ratio.median_s) == (2.0, 6.0, 2.0)


def test_launches_fill_a_sample_and_fit_a_batch() -> None:
    assert launches(1e-3) == 6
    assert launches(1.0) == 2
    assert launches(1e-7) == launches(0.0) == 99


def test_what_was_beside_the_samples() -> None:
    assert Beside().text == "beside our samples: no clock known"
    seen = Beside([1590.0, 1515.0], {}, 30, 3, 1)
    assert seen.text == (
        "beside our samples: SM clock 1515 to 1590 MHz, 3 of 30 rounds under the power cap, 1 of 30 rounds discarded "
        "for a slowdown"
    )


@dataclass
class Turns:
    """Both sides at once, with a log of who was timed; each launch of ours takes 1 us, of the other 3 us, the first one
    a hundred times as much. ``slow``: which of our batches is slowed down."""

    slow: tuple[int, ...] = ()
    log: str = ""
    layout: str = "row-major"

    def side(self, name: str, launch_s: float) -> Any:
        def time(*arguments: Any) -> tuple[float, ...]:
            self.log += name
            count = arguments[-2] if name == "o" else arguments[-1]
            return (100 * launch_s,) + (launch_s,) * (count - 1)

        def throttling() -> Throttling:
            assert self.log.count("o") > 0
            return Throttling("heat" if self.log.count("o") in self.slow else "")

        return SimpleNamespace(time=time, throttling=throttling, circumstances=Circumstances, layout=self.layout)


def test_the_sides_take_turns() -> None:
    turns, beside = Turns(), Beside()
    found = in_turn(turns.side("o", 1e-6), 0, spec_of(POINTWISE), turns.side("t", 3e-6), 6, beside)
    assert turns.log == "ot" + "ot" + "to" + "otto" * 3, "a look at both, two rounds that do not count, six that do"
    assert isinstance(found, Comparison)
    assert (found.ours.median_s, found.theirs.median_s) == pytest.approx((1e-6, 3e-6)), "without the first launch"
    assert found.ratio.samples == 6
    assert (beside.rounds, beside.discarded) == (6, 0)


def test_a_round_that_was_slowed_down_does_not_count() -> None:
    turns, beside = Turns(slow=(5, 7)), Beside()
    found = in_turn(turns.side("o", 1e-6), 0, spec_of(POINTWISE), turns.side("t", 3e-6), 8, beside)
    assert isinstance(found, Comparison)
    assert (found.ours.samples, found.theirs.samples) == (6, 6)
    assert (beside.rounds, beside.discarded) == (8, 2)
    turns = Turns(slow=(5, 6, 7))
    found = in_turn(turns.side("o", 1e-6), 0, spec_of(POINTWISE), turns.side("t", 3e-6), 8, Beside())
    assert found == Skipped(spec_of(POINTWISE), "the card was slowed down in 3 of 8 rounds; see to its cooling")


# torch's side


def operands(m: int = 128, k: int = 16, n: int = 32) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.integers(-128, 128, (m, k), np.int8), rng.integers(-128, 128, (n, k), np.int8)


def test_the_exact_product_holds_the_largest_sums() -> None:
    a, b = np.full((2, 4096), -128, np.int8), np.full((3, 4096), -128, np.int8)
    assert (exact_product(a, b) == 4096 * 128 * 128).all()
    a, b = operands()
    assert (exact_product(a, b) == a.astype(np.int64) @ b.astype(np.int64).T).all()


def test_launch_gaps_stay_out() -> None:
    torch = FakeTorch()
    product = TorchProduct(torch, TorchTimer(torch, 0, torch.clock_hz), *operands())
    assert product.layout == "column-major"
    assert product.time(100) == pytest.approx([5e-6] * 100), "though the host takes 60 us per launch"
    assert CALL_S > 5e-6


def test_a_slow_host_is_held_longer() -> None:
    torch = FakeTorch(slow_host=12)
    product = TorchProduct(torch, TorchTimer(torch, 0, torch.clock_hz), *operands())
    assert product.time(100) == pytest.approx([5e-6] * 100)
    held_s = torch.sleeps_s[-1]
    assert held_s > 300 * 12 * CALL_S
    product.time(100)
    assert torch.sleeps_s[-1] == held_s, "what was enough once is kept"


def test_a_host_that_is_too_slow_is_told() -> None:
    torch = FakeTorch(slow_host=1000)
    with pytest.raises(DeviceError, match="could not be queued within"):
        TorchProduct(torch, TorchTimer(torch, 0, torch.clock_hz), *operands())


def test_the_faster_layout_is_taken() -> None:
    torch = FakeTorch(product_s={"column-major": 9e-6, "row-major": 8e-6})
    product = TorchProduct(torch, TorchTimer(torch, 0, torch.clock_hz), *operands())
    assert product.layout == "row-major"
    assert product.time(3) == pytest.approx([8e-6] * 3)


@pytest.mark.parametrize("bad", [{"refused": {"row-major": "NOT_SUPPORTED"}}, {"wrong": ("row-major",)}])
def test_a_layout_that_is_refused_or_wrong_is_not_timed(bad: dict[str, Any]) -> None:
    torch = FakeTorch(product_s={"column-major": 9e-6, "row-major": 8e-6}, **bad)
    assert TorchProduct(torch, TorchTimer(torch, 0, torch.clock_hz), *operands()).layout == "column-major"
    other = FakeTorch(refused={"column-major": "NOT_SUPPORTED"})
    assert TorchProduct(other, TorchTimer(other, 0, other.clock_hz), *operands()).layout == "row-major"


@pytest.mark.parametrize(
    ("torch", "shape", "reason"),
    [
        (FakeTorch(), (8, 16, 16), r"self.size\(0\) needs to be greater than 16, but got 8$"),
        (FakeTorch(), (32, 12, 16), "multiple of 8"),
        (FakeTorch(wrong=("column-major", "row-major")), (32, 16, 16), "a wrong product"),
        (FakeTorch(refused=dict.fromkeys(("column-major", "row-major"), "no")), (32, 16, 16), "no; row-major .*: no$"),
    ],
)
def test_what_torch_refuses_is_named(torch: FakeTorch, shape: tuple[int, int, int], reason: str) -> None:
    with pytest.raises(TorchRefusal, match=reason):
        TorchProduct(torch, TorchTimer(torch, 0, torch.clock_hz), *operands(*shape))


def test_the_card_is_found_by_its_uuid() -> None:
    two = FakeTorch(cards=(("Tesla T4", "ffff"), ("Tesla T4", UUID.removeprefix("GPU-"))))
    assert torch_index(two, "Tesla T4", UUID) == 1
    assert torch_index(FakeTorch(cards=(("Tesla T4", UUID),)), "Tesla T4", UUID) == 0
    assert torch_index(FakeTorch(cards=(("A100", ""), ("Tesla T4", ""))), "Tesla T4", UUID) == 1
    for cards in ((("Tesla T4", "ffff"),), (("Tesla T4", ""), ("Tesla T4", "")), ()):
        with pytest.raises(DeviceError, match="torch does not find Tesla T4"):
            torch_index(FakeTorch(cards=cards), "Tesla T4", UUID)


def test_a_torch_that_does_not_know_the_card_is_one_line() -> None:
    torch = FakeTorch(broken="CUDA error: no kernel image is available\nCompile with ...")
    with pytest.raises(DeviceError, match=r"does not work on this GPU: CUDA error: no kernel image is available$"):
        TorchTimer(torch, 0, torch.clock_hz)


def missing() -> Any:
    raise ModuleNotFoundError("No module named 'torch'")


@pytest.mark.parametrize(
    ("load", "said"),
    [
        (missing, "No module named 'torch'"),
        (lambda: FakeTorch(cuda_version=None), "is built without CUDA"),
        (lambda: FakeTorch(available=False), "finds no GPU that it can use"),
    ],
)
def test_without_torch_for_cuda_it_says_what_is_needed(load: Any, said: str) -> None:
    with pytest.raises(DeviceError, match=said) as caught:
        load_torch(load)
    assert str(caught.value).startswith("int_mm needs a machine with an NVIDIA GPU and a CUDA build of torch: ")
    assert "\n" not in str(caught.value)


# The whole of it


@dataclass
class Box:
    """A machine with a pretended GPU."""

    folder: Path
    gpu: FakeGpu = field(default_factory=FakeGpu)
    scenario: Scenario = field(default_factory=Scenario)

    def run(self, torch: FakeTorch, **options: Any) -> tuple[tuple[Comparison | Skipped, ...], str]:
        self.folder.mkdir(exist_ok=True)
        network_file.save(NETWORK, self.folder / "model.json")
        command = worker_command(self.scenario, self.folder / "scenario.json")
        vendor = Vendor(Nvml(load=lambda: FakeNvml(gpus=[self.gpu])), command, package="json")
        usual = {"gpu": "t4", "model": str(self.folder / "model.json"), "trials": 2, "rounds": 8, "out": self.folder}
        text = io.StringIO()
        console = Console(file=text, width=160, highlight=False, markup=False)
        return bench_int_mm(IntMmRequest(**{**usual, **options}), vendor, lambda: torch, console), text.getvalue()

    def lut(self) -> Path:
        """A LUT of the pretended card that has both products."""
        rows = [row(s, to_text(default_config(s, GPUS["t4"]))) for s in map(spec_of, (POINTWISE, SMALL))]
        self.folder.mkdir(exist_ok=True)
        store.write(self.folder / "t4.csv", rows)
        return self.folder / "t4.csv"


@pytest.fixture(autouse=True)
def locks_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@pytest.mark.compile
def test_tuned_and_compared(tmp_path: Path) -> None:
    torch = FakeTorch(first_s=1e-3)
    box = Box(tmp_path / "box", scenario=Scenario(kernel_s=2e-6, noise=0.0))
    (compared, skipped), text = box.run(torch)
    assert isinstance(compared, Comparison)
    assert compared.spec == spec_of(POINTWISE)
    assert compared.ours.median_s == pytest.approx(2e-6)
    assert compared.theirs.median_s == pytest.approx(5e-6)
    assert compared.ratio.median_s == pytest.approx(2.5)
    assert compared.ratio.samples == 8
    assert isinstance(skipped, Skipped)
    assert torch.current == 0
    assert "Tesla T4 (t4, index 0), GPU-1a2b3c4d-0000-0000-0000-000000000000, driver 535.129.03" in text
    assert "power limit 70 W; torch 2.6.0+cu124 (CUDA 12.4)" in text
    assert "0 configs from the LUT, tuning 2 kernels, 2 trials each" in text
    (line,) = (line for line in text.splitlines() if line.startswith("conv2d_"))
    assert line.split()[1:4] == ["128x16x32", "2", "us"]
    assert "2.50x" in line
    assert "geometric mean 2.50x over 1 layers" in text
    assert "SM clock 1590 to 1590 MHz" in text
    assert f"not compared: {SMALL.text}: torch: column-major weights: self.size(0) needs to be greater than 16" in text
    assert "power cap" not in text
    journal = box.folder / "tuning_logs" / "t4" / f"{POINTWISE.text}.jsonl"
    before = journal.read_bytes()
    assert len(list(Journal(journal).read())) > 2
    box.run(FakeTorch())
    assert journal.read_bytes() == before, "what was tuned is not tuned again"


@pytest.mark.compile
def test_configs_of_a_lut_are_not_tuned(tmp_path: Path) -> None:
    box = Box(tmp_path / "box")
    results, text = box.run(FakeTorch(), lut=box.lut())
    assert [type(result) for result in results] == [Comparison, Skipped]
    assert "2 configs from the LUT, tuning 0 kernels" in text
    assert not (box.folder / "tuning_logs").exists()


@pytest.mark.compile
def test_a_wrong_kernel_of_ours_is_not_compared(tmp_path: Path) -> None:
    config = to_text(default_config(spec_of(POINTWISE), GPUS["t4"]))
    box = Box(tmp_path / "box", scenario=Scenario(faults={config: Fault(flip=3)}))
    (result, _), text = box.run(FakeTorch(), lut=box.lut())
    assert isinstance(result, Skipped)
    assert "ours: wrong_output" in result.reason
    assert "geometric mean" not in text


@pytest.mark.compile
def test_a_card_that_is_held_back(tmp_path: Path) -> None:
    capped = Box(tmp_path / "capped", FakeGpu(reasons=SW_POWER_CAP))
    results, text = capped.run(FakeTorch(), lut=capped.lut())
    assert isinstance(results[0], Comparison)
    assert "8 of 8 rounds under the power cap" in text
    hot = Box(tmp_path / "hot", FakeGpu(reasons=HW_SLOWDOWN))
    results, _ = hot.run(FakeTorch(), lut=hot.lut())
    assert isinstance(results[0], Skipped)
    assert "slowed down in 8 of 8 rounds" in results[0].reason


def test_a_lut_of_another_card_is_refused(tmp_path: Path) -> None:
    box = Box(tmp_path / "box")
    box.folder.mkdir()
    spec = spec_of(POINTWISE)
    store.write(box.folder / "a.csv", [row(spec, "mma(a=1)", device="h200", device_name="NVIDIA H200", arch="sm_90")])
    with pytest.raises(InvalidFile, match=r"is of NVIDIA H200, not of Tesla T4"):
        box.run(FakeTorch(), lut=box.folder / "a.csv")


def test_a_network_without_products_is_refused(tmp_path: Path) -> None:
    box = Box(tmp_path / "box")
    box.folder.mkdir()
    pool = Workload(Op.MAX_POOL, 8, 4, 4, 16, 16, 2, 2, 2, 2)
    tensors = (Tensor("x", 4, 4, 16, signed=False), Tensor("y", 2, 2, 16, signed=False))
    network_file.save(Network("pools", 8, tensors, (Layer("p", pool, ("x",), "y"),)), box.folder / "pools.json")
    with pytest.raises(ProfilerError, match="pools has no layer that is a matrix product"):
        box.run(FakeTorch(), model=str(box.folder / "pools.json"))


def test_the_cpu_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="int_mm needs an NVIDIA GPU"):
        Box(tmp_path / "box").run(FakeTorch(), gpu="cpu")


def test_a_card_for_one_process_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="compute mode 'exclusive process', and int_mm uses it from two processes"):
        Box(tmp_path / "box", FakeGpu(compute_mode=3)).run(FakeTorch())


def test_without_a_gpu_it_is_one_line(tmp_path: Path) -> None:
    blocker = tmp_path / "pynvml.py"
    blocker.write_text("raise ImportError")
    done = subprocess.run(
        [sys.executable, "-m", "bench", "int_mm", "--gpu", "h200"], capture_output=True, text=True, cwd=ROOT,
        env={"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: int_mm needs a machine with an NVIDIA GPU and a CUDA build of torch")
    assert done.stderr.count("\n") == 1
