"""What is found, and which device a selector means, without and with (pretended) GPUs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from profiler.devices.discover import Choice, Inventory, discover, find_device, gpu_slug, open_device
from profiler.devices.nvml import ListedGpu, Nvml
from profiler.errors import DeviceError
from profiler.hardware import CpuSpec, DotIsa

CPU = CpuSpec("Some CPU (1/2/3)", DotIsa.AVX2, frozenset({"avx2"}), "0x1", 2, None, None, None)
T4 = ListedGpu(0, "Tesla T4", "GPU-1a2b3c4d-0000-0000-0000-000000000000")
T4_TOO = ListedGpu(1, "Tesla T4", "GPU-1a2b9999-0000-0000-0000-000000000000")
A100 = ListedGpu(2, "NVIDIA A100-SXM4-40GB", "GPU-ffff0000-0000-0000-0000-000000000000")


class FakeGpus:
    def __init__(self, *gpus: ListedGpu) -> None:
        self._gpus = gpus

    def gpus(self) -> tuple[ListedGpu, ...]:
        return self._gpus


class NoGpus:
    def gpus(self) -> tuple[ListedGpu, ...]:
        raise DeviceError("the NVIDIA driver does not answer: NVML Shared Library Not Found")


def here(*gpus: ListedGpu) -> Inventory:
    return discover(FakeGpus(*gpus) if gpus else NoGpus(), CPU)


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
    assert "NVIDIA A100-SXM4-40GB (a100, index 2)" in text


@pytest.mark.parametrize("selector", ["", "gpu", "tesla", "-1", "t44"])
def test_unknown_selectors(selector: str) -> None:
    text = refusal(selector, here(T4))
    assert "unknown device" in text
    assert "t4, a100, h200" in text


def test_auto_says_that_gpus_cannot_be_measured_yet() -> None:
    choice = find_device("auto", here(T4))
    assert choice.device.slug == "cpu"
    assert "Tesla T4 (t4, index 0)" in choice.note
    assert "host CPU only" in choice.note


@pytest.mark.parametrize("selector", ["t4", "1", "gpu-1a2b9", T4_TOO.uuid, "a100"])
def test_a_gpu_that_is_here_is_refused_honestly(selector: str) -> None:
    text = refusal(selector, here(T4, T4_TOO, A100))
    assert "is here, but" in text
    assert "GPU=cpu" in text
    assert ("index 0" if selector == "t4" else "index 2" if selector == "a100" else "index 1") in text


def test_uuid_that_is_cut_too_short() -> None:
    assert "2 UUIDs" in refusal("GPU-1a2b", here(T4, T4_TOO))


def test_opening() -> None:
    inventory = here(T4)
    with open_device(inventory.cpu) as device:
        assert device.slug == "cpu"
    with pytest.raises(DeviceError):
        open_device(inventory.gpus[0])


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


class FakeNvmlError(Exception):
    pass


def fake_pynvml(fails_at: str = "") -> Any:
    """A stand-in for the module pynvml with two GPUs."""
    calls: list[str] = []

    def call(name: str, answer: Any) -> Any:
        def function(*arguments: Any) -> Any:
            calls.append(name)
            if name == fails_at:
                raise FakeNvmlError("Unknown Error")
            return answer(*arguments)

        return function

    return SimpleNamespace(
        NVMLError=FakeNvmlError,
        calls=calls,
        nvmlInit=call("nvmlInit", lambda: None),
        nvmlShutdown=call("nvmlShutdown", lambda: None),
        nvmlDeviceGetCount=call("nvmlDeviceGetCount", lambda: 2),
        nvmlDeviceGetHandleByIndex=call("nvmlDeviceGetHandleByIndex", lambda index: index),
        nvmlDeviceGetName=call("nvmlDeviceGetName", lambda handle: [b"Tesla T4", "NVIDIA H200"][handle]),
        nvmlDeviceGetUUID=call("nvmlDeviceGetUUID", lambda handle: [b"GPU-1", "GPU-2"][handle]),
    )


def test_listing_through_pynvml() -> None:
    module = fake_pynvml()
    assert Nvml(lambda: module).gpus() == (ListedGpu(0, "Tesla T4", "GPU-1"), ListedGpu(1, "NVIDIA H200", "GPU-2"))
    assert module.calls[-1] == "nvmlShutdown"


@pytest.mark.parametrize("fails_at", ["nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetUUID"])
def test_nvml_errors_become_reasons(fails_at: str) -> None:
    module = fake_pynvml(fails_at)
    with pytest.raises(DeviceError, match="Unknown Error"):
        Nvml(lambda: module).gpus()
    assert (module.calls[-1] == "nvmlShutdown") == (fails_at != "nvmlInit")


def test_without_pynvml() -> None:
    def missing() -> Any:
        raise ImportError("No module named 'pynvml'")

    assert "nvidia-ml-py" in discover(Nvml(missing), CPU).no_gpus


def test_this_machine() -> None:
    """Whatever is here, looking around does not fail."""
    assert discover().cpu.name
