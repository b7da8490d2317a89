"""A bundle for a T4 on machines that pretend to have GPUs: real cubins, NVIDIA's two libraries faked."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from profiler.bundle.box import plan, session, wheels
from profiler.bundle.box.results import Reason, Results, parse
from profiler.bundle.box.start import main
from profiler.bundle.ingest import ingest
from profiler.bundle.pack import BundleRequest, BundleResult, bundle
from profiler.devices.discover import Vendor
from profiler.devices.nvml import Nvml
from profiler.frontend import network_file
from profiler.lut.store import read
from profiler.measure.kernel_energy import measure_energy
from profiler.record import EnergyMeasurement
from tests.bundle.examples import KERNELS, NETWORK
from tests.devices.fake_cuda_scenario import Fault, Scenario
from tests.devices.fake_cuda_worker import worker_command
from tests.devices.fake_nvml import FakeGpu, FakeNvml
from tests.rehearsal.machine import PRESENT, QUICK_ENERGY, count_energy

pytestmark = pytest.mark.compile

T4 = FakeGpu()
SECOND_T4 = FakeGpu(uuid="GPU-2222", pci_bus_id="00000000:00:1F.0")
A100 = FakeGpu("NVIDIA A100-SXM4-40GB", "GPU-3333", "00000000:00:1D.0", (8, 0))


@pytest.fixture(autouse=True)
def _packages_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "_missing", lambda modules: [])


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> BundleResult:
    folder = tmp_path_factory.mktemp("packed")
    network_file.save(NETWORK, folder / "network.json")
    return bundle(
        BundleRequest(
            str(folder / "network.json"), "t4", folder / "run.zip", configs=2, batch=1, mixed=False, kernels=folder
        )
    )


class Box:
    def __init__(self, folder: Path, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.results = folder / "results.jsonl"
        self._folder, self._bundle, self._capsys = folder, bundle, capsys

    def run(self, *arguments: str, nvml: FakeNvml, scenario: Scenario | None = None) -> tuple[int, str, str]:
        """Exit code and what was said, on a machine with these GPUs, whose driver plays that scenario."""
        worker = worker_command(scenario or Scenario(), self._folder / "scenario.json")
        vendor = Vendor(Nvml(load=lambda: nvml), worker, package=PRESENT)
        code = main(arguments, self._bundle, vendor)
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def measure(self, *arguments: str, nvml: FakeNvml, scenario: Scenario | None = None) -> Results:
        code, _, err = self.run("-o", str(self.results), *arguments, nvml=nvml, scenario=scenario)
        assert code == 0, err
        return parse(self.results.read_bytes(), self.results)

    def refused(self, *arguments: str, nvml: FakeNvml) -> str:
        """The last line that was said; nothing was measured."""
        code, out, err = self.run("-o", str(self.results), *arguments, nvml=nvml)
        line = err.splitlines()[-1]
        assert (code, out, line[:7]) == (2, "", "error: ")
        assert not self.results.exists()
        return line


@pytest.fixture
def metered(packed: BundleResult, tmp_path: Path) -> BundleResult:
    """The same bundle, for joules, too."""
    folder = packed.path.parent
    return bundle(
        BundleRequest(
            str(folder / "network.json"),
            "t4",
            tmp_path / "metered.zip",
            configs=1,
            batch=1,
            mixed=False,
            kernels=folder,
            energy=True,
        )
    )


@pytest.fixture
def box(packed: BundleResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Box:
    return Box(tmp_path, packed.path, capsys)


def test_check(box: Box) -> None:
    code, out, _ = box.run("--check", nvml=FakeNvml([T4]))
    assert code == 0, out
    assert [line.split()[:2] for line in out.splitlines()] == [
        ["ok", name] for name in ("python", "numpy", "generator", "artifacts", "device", "driver", "worker", "kernel")
    ]
    assert "535.129.03, at least 525.60.13" in out


def test_measure_and_ingest(box: Box, packed: BundleResult, tmp_path: Path) -> None:
    results = box.measure(nvml=FakeNvml([A100, T4]))
    assert results.end is not None
    assert (results.end.reason, results.end.failures) == (Reason.COMPLETE, 0)
    assert results.header is not None
    assert results.header.fingerprint.uuid == T4.uuid
    (taken,) = ingest([box.results], tmp_path / "home")
    assert taken.lut is not None
    assert taken.lut.name == "t4.csv"
    rows = read(taken.lut)
    assert {row.spec for row in rows} == {kernel.spec for kernel in packed.manifest.kernels}
    assert len(rows) == KERNELS


def test_energies_by_nvml(
    metered: BundleResult, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "ENERGY_RULE", QUICK_ENERGY)
    monkeypatch.setattr(session, "measure_energy", partial(measure_energy, rule=QUICK_ENERGY))
    card = FakeGpu()
    count_energy(card)
    results = Box(tmp_path, metered.path, capsys).measure(nvml=FakeNvml([card]))
    assert results.end is not None
    assert (results.end.reason, results.end.failures) == (Reason.COMPLETE, 0)
    energies = [record for record in results.records if isinstance(record, EnergyMeasurement)]
    assert len(energies) == KERNELS
    for record in energies:
        assert record.energy.counter == "NVML"
        for window in record.energy.windows:
            assert window.counted_j == pytest.approx(card.power_w * window.duration_s, rel=0.3)
    (taken,) = ingest([tmp_path / "results.jsonl"], tmp_path / "home")
    assert taken.energies == KERNELS
    assert taken.lut is not None
    assert {row.energy_j for row in read(taken.lut)} == {record.energy.j_per_run for record in energies}


def test_the_chosen_card_and_no_other_afterwards(box: Box) -> None:
    both = FakeNvml([T4, SECOND_T4])
    results = box.measure("--gpu", "1", "--budget", "1s", nvml=both)
    assert results.header is not None
    assert results.header.fingerprint.uuid == SECOND_T4.uuid
    code, _, err = box.run("-o", str(box.results), nvml=both)
    assert code == 2
    assert "another instrument: uuid was 'GPU-2222'" in err


def test_sustained_is_another_instrument(box: Box) -> None:
    results = box.measure("--sustained", "--budget", "1s", nvml=FakeNvml([T4]))
    assert results.header is not None
    assert results.header.fingerprint.sustained


def test_a_kernel_that_crashes_is_a_failure_and_no_more(box: Box, packed: BundleResult) -> None:
    first = packed.manifest.kernels[0]
    bad = first.candidates[0]
    results = box.measure(nvml=FakeNvml([T4]), scenario=Scenario(faults={bad.sha256: Fault(code=700)}))
    assert results.end is not None
    assert (results.end.reason, results.end.failures) == (Reason.COMPLETE, 1)
    assert {record.spec for record in results.records} == {kernel.spec for kernel in packed.manifest.kernels}


def test_another_card_is_refused(box: Box) -> None:
    assert "for Tesla T4 (t4), which is not here; found: NVIDIA A100" in box.refused(nvml=FakeNvml([A100]))
    assert "not for NVIDIA A100" in box.refused("--gpu", "0", nvml=FakeNvml([A100, T4]))
    assert "no GPU '5'" in box.refused("--gpu", "5", nvml=FakeNvml([T4]))


def test_no_driver_is_one_line(box: Box) -> None:
    assert "driver" in box.refused(nvml=FakeNvml([T4], refusals={"nvmlInit": 9}))


def test_a_driver_that_is_too_old_is_found_ahead_of_any_launch(box: Box) -> None:
    old = FakeNvml([T4], driver="470.256.02", cuda_version=11040)
    assert "driver 470.256.02 is older than 525.60.13" in box.refused(nvml=old)
    code, out, _ = box.run("--check", nvml=old)
    points = {line.split()[1]: line.split()[0] for line in out.splitlines()}
    assert code == 2
    assert (points["driver"], points["worker"], points["kernel"]) == ("NO", "--", "--")


def test_kernels_for_another_architecture_are_refused(box: Box) -> None:
    """A card by the name of a T4 that is none."""
    code, out, _ = box.run("--check", nvml=FakeNvml([replace(T4, capability=(8, 0))]), scenario=Scenario(gpu="a100"))
    assert code == 2
    assert "the kernels are for sm_75" in out
