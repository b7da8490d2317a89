"""The processor's energy counters, in folders as Linux lays them out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from profiler.devices.rapl import RaplCounter
from profiler.measure.energy import EnergyRule, NoEnergy, measured_energy
from profiler.record import Energy


def domain(powercap: Path, folder: str, name: str, energy_uj: int, range_uj: int = 1 << 32) -> Path:
    place = powercap / folder
    place.mkdir(parents=True)
    (place / "name").write_text(f"{name}\n")
    (place / "max_energy_range_uj").write_text(f"{range_uj}\n")
    (place / "energy_uj").write_text(f"{energy_uj}\n")
    return place / "energy_uj"


def test_packages_and_their_memory_count_once(tmp_path: Path) -> None:
    package = domain(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    other = domain(tmp_path, "intel-rapl:1", "package-1", 0)
    memory = domain(tmp_path, "intel-rapl:0:1", "dram", 100)
    core = domain(tmp_path, "intel-rapl:0:0", "core", 77)
    again = domain(tmp_path, "intel-rapl-mmio:0", "package-0", 5)
    system = domain(tmp_path, "intel-rapl:2", "psys", 5)
    counter = RaplCounter(tmp_path)
    assert counter.refusals == ()
    assert counter.domains == ("package-0", "dram", "package-1")
    assert counter.read_j() == 0.0
    for path, now_uj in ((package, 7_500_000), (other, 250_000), (memory, 1_000_100), (core, 9_999), (again, 99)):
        path.write_text(str(now_uj))
    system.write_text("12345678")
    assert counter.read_j() == pytest.approx(2.5 + 0.25 + 1.0)
    assert counter.power_w() is None


def test_a_counter_that_ran_over(tmp_path: Path) -> None:
    package = domain(tmp_path, "intel-rapl:0", "package-0", 900, range_uj=1000)
    counter = RaplCounter(tmp_path)
    for now_uj, expected_uj in ((100, 200), (150, 250), (10, 1110), (10, 1110)):
        package.write_text(str(now_uj))
        assert counter.read_j() == pytest.approx(expected_uj * 1e-6)


def test_a_machine_without_counters(tmp_path: Path) -> None:
    counter = RaplCounter(tmp_path / "none")
    assert counter.read_j() is None
    assert counter.refusals == (
        f"RAPL: no energy counter of the processor in {tmp_path / 'none'} (virtual machines have none)",
    )
    domain(tmp_path, "intel-rapl:0", "psys", 5)
    assert "shows no package" in RaplCounter(tmp_path).refusals[0]


def test_a_counter_for_root_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = domain(tmp_path, "intel-rapl:0", "package-0", 5)
    read = Path.read_text

    def refused(self: Path, *arguments: Any) -> str:
        if self == path:
            raise PermissionError
        return read(self, *arguments)

    monkeypatch.setattr(Path, "read_text", refused)
    assert RaplCounter(tmp_path).refusals == (f"RAPL: {path} is for root alone; run as root, or make it readable",)


def test_a_counter_that_goes_away(tmp_path: Path) -> None:
    package = domain(tmp_path, "intel-rapl:0", "package-0", 5)
    counter = RaplCounter(tmp_path)
    package.unlink()
    assert counter.read_j() is None
    assert counter.refusals[0].startswith("RAPL: ")
    domain(tmp_path, "intel-rapl:1", "package-1", 5).write_text("many")
    package.write_text("5")
    assert "cannot be read" in RaplCounter(tmp_path).refusals[0]


def test_windows_of_work(tmp_path: Path) -> None:
    """Idle at 10 W and at 60 W while it works, in seconds of an invented clock."""
    package = domain(tmp_path, "intel-rapl:0", "package-0", 0)
    now_s, energy_j = 0.0, 0.0

    def passes(duration_s: float, power_w: float) -> None:
        nonlocal now_s, energy_j
        now_s, energy_j = now_s + duration_s, energy_j + duration_s * power_w
        package.write_text(str(round(energy_j * 1e6)))

    def work(duration_s: float) -> int:
        passes(duration_s, 60)
        return round(duration_s * 100)

    def sampled(_: object, during: Callable[[], None], *__: object) -> tuple[()]:
        during()
        return ()

    rule = EnergyRule(window_s=5, windows=3, settle_s=1, idle_s=2)
    counter = RaplCounter(tmp_path)
    found = measured_energy(counter, work, rule, lambda: now_s, lambda s: passes(s, 10), sampled)
    assert isinstance(found, Energy)
    assert found.j_per_run == pytest.approx(0.6)
    assert found.idle_w == pytest.approx(10)
    assert found.above_idle_j_per_run == pytest.approx(0.5)
    assert found.notes == ("the energy is the counter's alone: the device told no power",)
    nothing = measured_energy(RaplCounter(tmp_path / "none"), work, rule)
    assert isinstance(nothing, NoEnergy)
    assert "RAPL" in nothing.reason
