"""A network end to end on this machine: verified, timed, beside the rows of its kernels; and what is refused."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from profiler.allocation import bits_file
from profiler.allocation.bits_file import TensorBits
from profiler.cli.energy_text import energy_json, energy_lines
from profiler.devices.host import HostDevice
from profiler.errors import DeviceError, FingerprintMismatch, InvalidFile, ProfilerError, UnsupportedModel
from profiler.frontend import load_network
from profiler.lut import store
from profiler.lut.schema import LutRow
from profiler.measure.energy import EnergyRule, NoEnergy
from profiler.measure.rule import StoppingRule
from profiler.network import integer_file
from profiler.network.calibrate import Method
from profiler.network.device_network import DeviceNetwork
from profiler.network.execute.process import NetworkFailure
from profiler.network.host_run import HostNetwork
from profiler.network_stages import network_device, prepared
from profiler.network_stages.deployments import uniform_deployment
from profiler.network_stages.quantizer import QuantizerRequest, quantizer
from profiler.network_stages.run import NetworkRun, RunRequest, run
from profiler.predictor.observation import Observation
from profiler.record import CacheMode, Conditions, Energy, FailureKind
from profiler.sensitivity.perturbation import Clipping
from profiler.space.config import to_text
from profiler.space.cpu_default import default_config
from profiler.targets import CpuTarget
from profiler.workload import INT8, Network
from tests.allocation.bits_examples import with_a_copy
from tests.network_stages.compiled import Compiled
from tests.predictor.invented_lut import lut_row

pytestmark = pytest.mark.compile
ONNX = Path(__file__).parents[1] / "data/tiny_torch.onnx"
QUICK = StoppingRule(sample_s=0.001, min_samples=6, max_samples=12, target=1.0, budget_s=1.0)


COMPILED = Compiled()


@pytest.fixture(autouse=True)
def somewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Compiled:
    """A folder without tables, a lock between runs of its own, and no kernel compiled twice."""
    pytest.importorskip("onnx")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(prepared, "kernels_of", COMPILED.kernels_of)
    COMPILED.asked.clear()
    return COMPILED


@pytest.fixture
def network() -> Network:
    return load_network(str(ONNX), 1)


def asked(**changes: Any) -> RunRequest:
    return replace(RunRequest(model=str(ONNX), uniform=INT8, allow_default=True), **changes)


def table(found: NetworkRun, path: Path, without: str = "", fingerprint: str = "") -> dict[str, float]:
    """Rows of what a run used, with invented latencies by key of the kernel; without one of them."""
    device = HostDevice()
    instrument = device.fingerprint(CpuTarget(device.cpu, 1).backend.compiler)
    rows: dict[str, LutRow] = {}
    for index, spec in enumerate(dict.fromkeys(COMPILED.asked)):
        config = to_text(default_config(spec, device.cpu))
        row = lut_row(Observation(spec, (index + 1) * 1e-6, 0.001), Conditions(1, CacheMode.NETWORK))
        rows[spec.key] = replace(row, fingerprint=fingerprint or instrument.short, config=config)
    assert {step.kernel for step in found.steps} == set(rows)
    store.write(path, [row for key, row in rows.items() if key != without])
    return {key: row.latency_median_s for key, row in rows.items()}


# -- what comes of it -------------------------------------------------------------------------------------------------


def test_uniform_int8_is_exact_and_has_a_latency(network: Network) -> None:
    found = run(asked(), QUICK)
    assert (found.bit_exact, found.difference) == (True, "")
    assert (found.network, found.batch, found.configuration) == (network.name, 1, "uniform int8")
    assert found.verified is not None
    assert found.latency is not None
    fused = len(network.fusions())
    assert fused == 2
    assert found.verified.steps == len(found.steps) == len(network.layers) - fused
    stored = [layer for layer in network.layers if layer.name not in network.fusions().values()]
    sizes = [int(np.prod(layer.workload.output_shape)) for layer in stored]
    assert found.verified.nbytes == sum(sizes) + 3 * sizes[-1]  # logits have four bytes
    (logits,) = found.verified.outputs.values()
    assert logits.shape == (1, 1, 1, 10)
    assert len(np.unique(logits)) > 5
    summary = found.latency.times.summary
    assert found.latency_s == summary.median_s
    assert 0 < summary.ci95_low_s <= summary.median_s <= summary.ci95_high_s < 0.1
    assert all(step.latency_s > 0 for step in found.steps)
    assert [step.lut_s for step in found.steps] == [None] * len(found.steps)
    assert (found.lut_sum_s, found.beyond_sum) == (None, None)
    assert found.arena_bytes > max(sizes)
    assert any("ranges are those of noise" in note for note in found.notes)


def test_rows_of_the_table_are_set_beside(tmp_path: Path, network: Network) -> None:
    first = run(asked(), QUICK)
    rows = table(first, tmp_path / "lut.csv")
    found = run(asked(lut=tmp_path / "lut.csv", allow_default=False), QUICK)
    assert found.bit_exact
    assert [step.lut_s for step in found.steps] == [rows[step.kernel] for step in found.steps]
    assert found.lut_sum_s == pytest.approx(sum(rows[step.kernel] for step in found.steps))
    assert found.latency_s is not None
    assert found.lut_sum_s is not None
    assert found.beyond_sum == pytest.approx(found.latency_s / found.lut_sum_s - 1)
    assert not any("measured by the authors" in note for note in found.notes)

    missing = found.steps[4]
    table(first, tmp_path / "lut.csv", without=missing.kernel)
    with pytest.raises(InvalidFile, match="the table has no measured row of kernel") as caught:
        run(asked(lut=tmp_path / "lut.csv", allow_default=False), QUICK)
    assert f"layer '{missing.name}'" in str(caught.value)
    assert missing.kernel in str(caught.value)
    partly = run(asked(lut=tmp_path / "lut.csv"), QUICK)
    assert [step.name for step in partly.steps if step.lut_s is None] == [missing.name]
    assert partly.lut_sum_s is None

    table(first, tmp_path / "lut.csv", fingerprint="01234567")
    with pytest.raises(FingerprintMismatch, match="01234567"):
        run(asked(lut=tmp_path / "lut.csv"), QUICK)
    with pytest.raises(InvalidFile, match="no measured row"):  # under other conditions
        run(asked(lut=tmp_path / "lut.csv", allow_default=False, cache_mode=CacheMode.HOT), QUICK)


def test_bits_with_a_copy_and_an_addition_of_its_own(tmp_path: Path, network: Network) -> None:
    bits = with_a_copy(network)
    bits_file.save(tmp_path / "bits.json", bits)
    found = run(asked(uniform=None, bits=tmp_path / "bits.json"), QUICK)
    assert found.bit_exact
    assert found.configuration == str(tmp_path / "bits.json")
    names = [step.name for step in found.steps]
    assert bits.separate[0] in names
    (reader,) = bits.conversions[0].readers
    at = names.index(reader)
    assert found.steps[at - 1].kernel.startswith("convert")
    assert "int4" in found.steps[at].kernel
    assert len(found.steps) == len(network.layers) - 1 + 1  # one addition is fused, and there is a copy


def test_a_kernel_with_other_weights_is_not_exact_and_not_timed(
    monkeypatch: pytest.MonkeyPatch, network: Network
) -> None:
    class Wrong(HostNetwork):
        """A bit of each of the second convolution's weights is another one."""

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            step = next(i for i, s in enumerate(self._network.steps) if s.layer == network.weighted_layers[1].name)
            place = self.plan.steps[step].args[1]
            other = np.frombuffer(self._process._parameters, np.uint8).copy()
            other[place.slice] ^= 64
            self._process._parameters = other.tobytes()

    monkeypatch.setattr(network_device, "HostNetwork", Wrong)
    monkeypatch.setattr(Wrong, "latency", None)
    found = run(asked(), QUICK)
    assert not found.bit_exact
    assert f"layer '{network.weighted_layers[1].name}'" in found.difference
    assert "instead of" in found.difference
    assert (found.verified, found.latency, found.latency_s, found.steps) == (None, None, None, ())
    assert found.beyond_sum is None


def test_a_network_that_is_wrong_after_its_runs_is_not_exact_either(monkeypatch: pytest.MonkeyPatch) -> None:
    def latency(self: HostNetwork, *arguments: Any) -> None:
        raise NetworkFailure(FailureKind.WRONG_OUTPUT, "not what it was")

    monkeypatch.setattr(HostNetwork, "latency", latency)
    found = run(asked(), QUICK)
    assert (found.bit_exact, found.difference, found.latency) == (False, "not what it was", None)


@pytest.mark.parametrize("kind", [FailureKind.CRASH, FailureKind.TIMEOUT])
def test_a_crash_is_no_answer(monkeypatch: pytest.MonkeyPatch, kind: FailureKind) -> None:
    def verify(self: HostNetwork, *arguments: Any) -> None:
        raise NetworkFailure(kind, "it ended")

    monkeypatch.setattr(HostNetwork, "verify", verify)
    with pytest.raises(NetworkFailure, match="it ended"):
        run(asked(), QUICK)


# -- what is refused, before anything compiles ------------------------------------------------------------------------


@pytest.fixture
def uncompiled(somewhere: Compiled) -> Iterator[None]:
    yield
    assert not somewhere.asked


@pytest.mark.usefixtures("uncompiled")
def test_what_was_asked_badly_is_refused(tmp_path: Path) -> None:
    for bits, uniform in ((None, None), (tmp_path / "bits.json", INT8)):
        with pytest.raises(ProfilerError, match="say which bits: either"):
            run(asked(bits=bits, uniform=uniform))
    for device, said in (("t4", "there is no t4 on this"), ("cuda", "unknown device 'cuda'"), ("../cpu", "unknown")):
        with pytest.raises(DeviceError, match=said):
            run(asked(device=device))
    with pytest.raises(DeviceError, match="--cuda is for GPUs"):
        run(asked(device="cpu", cuda="12"))
    with pytest.raises(InvalidFile, match="measure first"):
        run(asked(allow_default=False))
    with pytest.raises(InvalidFile, match=r"none\.csv"):
        run(asked(lut=tmp_path / "none.csv"))
    with pytest.raises(UnsupportedModel, match="unknown model 'resnet19'"):
        run(asked(model="resnet19"))
    with pytest.raises(InvalidFile, match=r"none\.npz: cannot be read"):
        run(asked(calibrate=tmp_path / "none.npz"))
    with pytest.raises(InvalidFile, match=r"none\.json: cannot be read"):
        run(asked(uniform=None, bits=tmp_path / "none.json"))


@pytest.mark.usefixtures("uncompiled")
def test_bits_that_do_not_fit_are_refused(tmp_path: Path, network: Network) -> None:
    sound = with_a_copy(network)
    path = tmp_path / "bits.json"
    first, *others = sound.layers
    copy = sound.conversions[0]
    for change, message in (
        ({"layers": (replace(first, name="conv9"), *others)}, "'conv1' is in one of them only"),
        ({"layers": tuple(reversed(sound.layers))}, "their order differs"),
        ({"network": "another", "layers": tuple(others)}, "are of network 'another', not of"),
        ({"batch": 4}, "is of batch 4"),
        ({"tensors": (*sound.tensors, TensorBits("nobody", "int8"))}, "no tensor 'nobody'"),
        ({"tensors": sound.tensors[1:]}, f"'{sound.tensors[0].name}'"),
        ({"tensors": ()}, "no precision"),
        ({"separate": ("conv1",)}, "'conv1' is no addition"),
        ({"conversions": (replace(copy, source="int4", target="int8"),)}, "converted from int4"),
        ({"conversions": (replace(copy, readers=("nobody",)),)}, "no layer 'nobody'"),
        ({"conversions": (replace(copy, tensor="nobody"),)}, "no tensor 'nobody'"),
        ({"conversions": ()}, "is int4, but reads"),
    ):
        bits_file.save(path, replace(sound, **change))  # type: ignore[arg-type]
        with pytest.raises(ProfilerError, match=message):
            run(asked(uniform=None, bits=path, batch=1 if change == {"batch": 4} else None))


# -- a network that was quantized before ------------------------------------------------------------------------------


def test_a_quantized_network_from_its_file(tmp_path: Path, network: Network) -> None:
    """It is the same network, with the same integers in it, as one that is quantized on the way."""
    source = quantizer(QuantizerRequest(model=str(ONNX), clipping=Clipping.MSE), load_network(str(ONNX), 2))
    path = tmp_path / "net.npz"
    integer_file.save(path, source.integers(uniform_deployment(source.network, INT8, {})))
    found = run(asked(model=str(path), uniform=None), QUICK)
    other = run(asked(batch=2, clipping=Clipping.MSE), QUICK)
    assert (found.bit_exact, found.network, found.batch) == (True, network.name, 2)
    assert (found.configuration, found.arena_bytes) == ("as quantized", other.arena_bytes)
    assert [step.kernel for step in found.steps] == [step.kernel for step in other.steps]
    assert found.verified is not None
    assert other.verified is not None
    for name, logits in other.verified.outputs.items():
        np.testing.assert_array_equal(found.verified.outputs[name], logits)
    assert not any("noise" in note for note in found.notes)


@pytest.mark.usefixtures("uncompiled")
def test_what_would_decide_on_a_quantized_network_is_refused(tmp_path: Path, network: Network) -> None:
    source = quantizer(QuantizerRequest(model=str(ONNX)), network)
    path = tmp_path / "net.npz"
    integer_file.save(path, source.integers(uniform_deployment(source.network, INT8, {})))
    for change, options in (
        ({"uniform": INT8}, "--uniform"),
        ({"bits": path, "batch": 2}, "--bits, --batch"),
        ({"calibrate": path}, "--calibrate"),
        ({"method": Method.MSE, "clipping": Clipping.MSE}, "--ranges, --clipping"),
    ):
        with pytest.raises(ProfilerError, match=f"is quantized already: leave out {options},"):
            run(asked(model=str(path), **{"uniform": None, **change}))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ProfilerError, match=r"net\.npz"):
        run(asked(model=str(path), uniform=None))


# -- energy -----------------------------------------------------------------------------------------------------------


class Meter:
    """A processor that draws 20 W at all times."""

    name = "RAPL package-0"
    refusals = ()

    def read_j(self) -> float:
        return 20 * time.monotonic()

    def power_w(self) -> None:
        return None


def test_the_energy_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_device, "RaplCounter", Meter)
    rule = EnergyRule(window_s=0.2, windows=2, settle_s=0.0, idle_s=0.05)
    monkeypatch.setattr(DeviceNetwork.energy, "__defaults__", (rule, *DeviceNetwork.energy.__defaults__[1:]))  # type: ignore[index]
    found = run(asked(energy=True), QUICK)
    assert isinstance(found.energy, Energy)
    assert found.latency_s is not None
    assert found.energy_j is not None
    for window in found.energy.windows:
        assert 0.2 <= window.duration_s < 2
        assert window.counted_j == pytest.approx(20 * window.duration_s, rel=0.05)
        assert window.runs > 100
    per_run_j = [20 * window.duration_s / window.runs for window in found.energy.windows]
    assert min(per_run_j) * 0.9 < found.energy_j < max(per_run_j) * 1.1
    (line, note) = energy_lines(found.energy, 4)
    assert line.startswith("energy of a run: ")
    assert f"{4 / found.energy_j:,.1f} images per second and watt" in line
    assert "the counter's alone" in note
    told = energy_json(found.energy, 4)
    assert told is not None
    assert told["images_per_j"] == 4 / found.energy_j


def test_a_machine_that_tells_no_energy() -> None:
    found = run(asked(energy=True), QUICK)
    if found.energy_j is None:
        assert isinstance(found.energy, NoEnergy)
        assert energy_lines(found.energy, 1) == [f"no energy: {found.energy.reason}"]
        assert energy_json(found.energy, 1) == {"reason": found.energy.reason}
    assert run(asked(), QUICK).energy is None
