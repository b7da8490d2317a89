"""Which device a bundle takes, and what it says of the others."""

from __future__ import annotations

import platform
from dataclasses import replace

import pytest

from profiler.bundle.box import machine
from profiler.devices.discover import FoundDevice, Inventory, Vendor
from profiler.errors import DeviceError
from profiler.hardware import ARM_CPUS, host_cpu
from profiler.measure.turns import MachineTurns, NoTurn
from profiler.record import Conditions
from tests.bundle.examples import kernel, manifest, spec

CPU = FoundDevice("cpu", "A CPU")
T4 = FoundDevice("t4", "Tesla T4", 0, "GPU-1111")
T4_TOO = FoundDevice("t4", "Tesla T4", 2, "GPU-2222")
H200 = FoundDevice("h200", "NVIDIA H200", 1, "GPU-3333")
MANIFEST = manifest((kernel(spec()),), machine="")
OF_CPU = manifest((kernel(spec()),), machine=platform.machine())


def test_the_first_card_that_fits() -> None:
    assert machine.find(MANIFEST, None, Inventory(CPU, (H200, T4, T4_TOO))) == T4
    blocked = replace(T4, obstacle="it is broken")
    assert machine.find(MANIFEST, None, Inventory(CPU, (H200, blocked, T4_TOO))) == T4_TOO


@pytest.mark.parametrize("selector", ["2", "GPU-2222", "gpu-22"])
def test_a_chosen_card(selector: str) -> None:
    assert machine.find(MANIFEST, selector, Inventory(CPU, (T4, H200, T4_TOO))) == T4_TOO


@pytest.mark.parametrize(
    ("selector", "gpus", "parts"),
    [
        (None, (), ("for Tesla T4 (t4)", "not here", "no NVIDIA GPU: no driver")),
        (None, (H200,), ("for Tesla T4 (t4)", "not here", "NVIDIA H200 (h200, index 1)")),
        ("1", (T4, H200), ("for Tesla T4 (t4)", "not for NVIDIA H200")),
        ("7", (T4,), ("there is no GPU '7'", "by index or UUID", "Tesla T4 (t4, index 0)")),
        ("t\x1b4\n", (T4,), ("there is no GPU 't\\x1b4\\n'",)),
        ("", (T4,), ("there is no GPU ''",)),
        ("gpu-", (T4, T4_TOO), ("2 GPUs begin with 'gpu-'",)),
    ],
)
def test_another_card_is_refused(selector: str | None, gpus: tuple[FoundDevice, ...], parts: tuple[str, ...]) -> None:
    with pytest.raises(DeviceError) as caught:
        machine.find(MANIFEST, selector, Inventory(CPU, gpus, "no driver"))
    assert all(part in str(caught.value) for part in parts), caught.value
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("package", "reason"),
    [("a_package_that_is_missing", "make its wheel on a machine of this kind"), ("json", "it is old")],
)
def test_why_a_card_cannot_be_measured_is_said_for_the_box(package: str, reason: str) -> None:
    """Where neither make nor our package is."""
    with pytest.raises(DeviceError, match=rf"Tesla T4 \(t4, index 0\) cannot be measured: .*{reason}") as caught:
        machine.open_found(MANIFEST, replace(T4, obstacle="it is old"), Vendor(package=package), sustained=False)
    assert "GPU=" not in str(caught.value)


def test_turns_are_those_of_every_other_run() -> None:
    with MachineTurns.of_gpu(T4.uuid).measuring():
        with pytest.raises(NoTurn), MachineTurns.of_device(T4).measuring(0.0):
            pass
        with MachineTurns.of_device(T4_TOO).measuring(0.0):
            pass
    assert MachineTurns.of_device(CPU).path == MachineTurns.of_cpu().path


def test_a_cpu_of_the_same_kind_alone() -> None:
    assert machine.find(OF_CPU, None, Inventory(CPU)) == CPU
    other = "aarch64" if platform.machine() == "x86_64" else "x86_64"
    with pytest.raises(DeviceError, match=f"for a CPU of {other}, this is {platform.machine()}"):
        machine.find(replace(OF_CPU, machine=other), None, Inventory(CPU))


def test_more_threads_than_cpus() -> None:
    many = replace(OF_CPU, conditions=Conditions(10_000))
    with pytest.raises(DeviceError, match="10000 threads, but only"):
        machine.find(many, None, Inventory(CPU))


def test_features() -> None:
    cpu = replace(host_cpu(), features=frozenset({"avx2"}))
    machine.require_features(["avx2"], cpu)
    with pytest.raises(DeviceError, match="lacks avx512_vnni, avx512f, which"):
        machine.require_features(["avx512f", "avx512_vnni", "avx2"], cpu)


def test_a_feature_of_arm() -> None:
    """There is another bundle for a CPU without it."""
    cpu = ARM_CPUS["aarch64-neon"]
    machine.require_features(["asimd"], cpu)
    with pytest.raises(DeviceError, match=r"lacks asimddp, which the kernels use; bundle .* --device aarch64-neon"):
        machine.require_features(["asimd", "asimddp"], cpu)


def test_an_emulated_cpu_is_not_measured() -> None:
    machine.require_real(ARM_CPUS["aarch64"])
    with pytest.raises(DeviceError, match=r"emulated on x86: nothing is timed here; --check verifies") as caught:
        machine.require_real(replace(ARM_CPUS["aarch64"], model="aarch64, emulated on x86", emulated_on="x86"))
    assert "\n" not in str(caught.value)


def test_what_is_measured_is_named_after_what_the_kernels_were_built_for() -> None:
    """An Arm board's records must not come into this machine's table of the same name."""
    other = replace(OF_CPU, device="aarch64")
    with machine.open_found(other, CPU, Vendor(), sustained=False) as device:
        assert device.fingerprint("a compiler").device == "aarch64"
    with machine.open_found(OF_CPU, CPU, Vendor(), sustained=False) as device:
        assert device.fingerprint("a compiler").device == "cpu"


@pytest.mark.parametrize(
    ("driver", "loads"),
    [("525.60.13", True), ("525.60.12", False), ("525.105", True), ("470.256.02", False), ("1000.1", True), ("", True)],
)
def test_the_driver(driver: str, loads: bool) -> None:
    """525.60.13 is the least. What NVML does not tell is no reason to refuse."""
    if loads:
        machine.require_driver(MANIFEST, driver)
    else:
        with pytest.raises(DeviceError, match=r"older than 525\.60\.13"):
            machine.require_driver(MANIFEST, driver)
