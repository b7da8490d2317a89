"""What is found, and which device a selector means, without and with (pretended) GPUs."""

from __future__ import annotations

from typing import Any

import pytest

from profiler.devices.cuda import CudaDevice
from profiler.devices.discover import Choice, Inventory, Vendor, discover, find_device, open_device
from profiler.devices.gpu_spec import gpu_slug
from profiler.devices.host import HostDevice
from profiler.devices.nvml import Nvml
from profiler.errors import DeviceError
from profiler.hardware import CpuSpec, DotIsa
from tests.devices.fake_nvml import LIBRARY_NOT_FOUND, UNKNOWN, FakeGpu, FakeNvml

CPU = CpuSpec("Some CPU (1/2/3)", DotIsa.AVX2, frozenset({"avx2"}), "0x1", 2, None, None, None)
T4 = FakeGpu("Tesla T4", "GPU-1a2b3c4d-0000-0000-0000-000000000000", "00000000:00:04.0")
T4_TOO = FakeGpu("Tesla T4", "GPU-1a2b9999-0000-0000-0000-000000000000", "00000000:00:05.0")
A100 = FakeGpu("NVIDIA A100-SXM4-40GB", "GPU-ffff0000-0000-0000-0000-000000000000", "00000000:00:06.0", (8, 0))
V100 = FakeGpu("Tesla V100-SXM2-16GB", "GPU-77770000-0000-0000-0000-000000000000", "00000000:00:07.0", (7, 0))
PRESENT, ABSENT = "json", "no_such_package"  # in place of PyCUDA


def vendor(*gpus: FakeGpu, package: str = PRESENT) -> Vendor:
    fake = FakeNvml(gpus=list(gpus), refusals={} if gpus else {"nvmlInit": LIBRARY_NOT_FOUND})
    return Vendor(Nvml(load=lambda: fake), worker=("cuda-worker",), package=package)


def here(*gpus: FakeGpu, package: str = PRESENT) -> Inventory:
    return discover(vendor(*gpus, package=package), CPU)


def refusal(selector: str, inventory: Inventory) -> str:
    with pytest.raises(DeviceError) as caught:
        find_device(selector, inventory)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_without_a_gpu() -> None:
    inventory = here()
    assert [d.slug for d in inventory.devices] == ["cpu"]
    assert "Shared Library Not Found" in inventory.text
    for selector in ("auto", "cpu", " CPU "):
        assert find_device(selector, inventory) == Choice(inventory.cpu)


@pytest.mark.parametrize("selector", ["t4", "T4", "a100", "0", "GPU-1a2b3c4d"])
def test_a_gpu_that_is_not_here(selector: str) -> None:
    """What was asked, what was found, what can be done."""
    text = refusal(selector, here())
    assert selector in text
    assert "Some CPU" in text
    assert "Shared Library Not Found" in text
    assert "GPU=cpu" in text


def test_another_gpu_is_here() -> None:
    text = refusal("t4", here(A100))
    assert "there is no t4" in text
    assert "NVIDIA A100-SXM4-40GB (a100, index 0)" in text


@pytest.mark.parametrize("selector", ["", "gpu", "tesla", "-1", "t44"])
def test_unknown_selectors(selector: str) -> None:
    text = refusal(selector, here(T4))
    assert "unknown device" in text
    assert "t4, a100, h200" in text


@pytest.mark.parametrize(
    ("selector", "gpu"),
    [("t4", T4), ("1", T4_TOO), ("gpu-1a2b9", T4_TOO), (T4_TOO.uuid, T4_TOO), ("a100", A100), ("A100", A100)],
)
def test_a_gpu_among_several(selector: str, gpu: FakeGpu) -> None:
    """By model the first of its kind, and a word if there are more."""
    choice = find_device(selector, here(T4, T4_TOO, A100))
    assert (choice.device.uuid, choice.device.name) == (gpu.uuid, gpu.name)
    assert ("took the first of 2" in choice.note) == (selector == "t4")


def test_auto_takes_the_first_gpu_that_can_be_measured() -> None:
    assert find_device("auto", here(T4)) == Choice(here(T4).gpus[0])
    choice = find_device("auto", here(V100, A100, T4))
    assert choice.device.slug == "a100"
    assert "of 3 GPUs" in choice.note


def test_auto_falls_back_to_the_cpu_and_says_why() -> None:
    for inventory, reason in ((here(V100), "compute capability 7.0"), (here(T4, package=ABSENT), "PyCUDA")):
        choice = find_device("auto", inventory)
        assert choice.device.slug == "cpu"
        assert reason in choice.note


@pytest.mark.parametrize(
    ("inventory", "reason"), [(here(V100), "begin with 7.5 (Turing"), (here(T4, package=ABSENT), "make doctor")]
)
def test_a_gpu_that_cannot_be_measured_is_refused_with_the_reason(inventory: Inventory, reason: str) -> None:
    text = refusal("0", inventory)
    assert "is here, but" in text
    assert reason in text
    assert "GPU=cpu" in text
    with pytest.raises(DeviceError):
        open_device(inventory.gpus[0])


def test_uuid_that_is_cut_too_short() -> None:
    assert "2 UUIDs" in refusal("GPU-1a2b", here(T4, T4_TOO))


def test_opening() -> None:
    with open_device(here(T4).cpu) as device:
        assert isinstance(device, HostDevice)
    with open_device(here(T4, A100).gpus[1], vendor(T4, A100)) as device:
        assert isinstance(device, CudaDevice)
        assert device.slug == "a100"


def test_a_card_that_is_split_is_refused() -> None:
    split = FakeGpu("NVIDIA H200", mig=True)
    with pytest.raises(DeviceError, match="MIG mode"):
        open_device(here(split).gpus[0], vendor(split))


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Tesla T4", "t4"),
        ("NVIDIA A100-SXM4-40GB", "a100"),
        ("NVIDIA H200 NVL", "h200"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("NVIDIA Graphics", "gpu"),
    ],
)
def test_slugs(name: str, slug: str) -> None:
    assert gpu_slug(name) == slug


@pytest.mark.parametrize("fails_at", ["nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetUUID"])
def test_nvml_errors_become_reasons(fails_at: str) -> None:
    fake = FakeNvml(refusals={fails_at: UNKNOWN})
    assert "Unknown Error" in discover(Vendor(Nvml(load=lambda: fake)), CPU).no_gpus
    assert fake.sessions == 0


def test_without_pynvml() -> None:
    def missing() -> Any:
        raise ImportError("No module named 'pynvml'")

    assert "nvidia-ml-py" in discover(Vendor(Nvml(missing)), CPU).no_gpus


def test_this_machine() -> None:
    """Whatever is here, looking around does not fail."""
    assert discover().cpu.name
