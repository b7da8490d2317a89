"""What a GPU is known not to run, and the memory between guard zones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from profiler.artifact import ArgSpec, Role
from profiler.devices.arguments import SampleArguments
from profiler.devices.cuda_driver import DriverError
from profiler.devices.cuda_kernel import CudaKernel, check_fits, runs_on
from profiler.devices.cuda_memory import ALIGNMENT, GUARD_BYTES, GpuArena
from profiler.devices.protocol import KernelFailure

from .cuda_kernels import conv
from .fake_cuda import FakeCuda
from .fake_cuda_scenario import Scenario

SIZES = (1000, 0, 256, 1, 4096)


@pytest.mark.parametrize(
    ("arch", "capability", "runs"),
    [
        ("sm_75", (7, 5), True),
        ("sm_75", (8, 0), False),
        ("sm_80", (8, 0), True),
        ("sm_80", (8, 6), True),
        ("sm_86", (8, 0), False),
        ("sm_89", (8, 9), True),
        ("sm_90", (9, 0), True),
        ("sm_90a", (9, 0), True),
        ("sm_100", (10, 3), True),
        ("sm_100a", (10, 3), False),
        ("sm_100f", (10, 3), True),
        ("sm_120", (12, 1), True),
        ("sm_12", (12, 0), False),
        ("avx2", (7, 5), False),
    ],
)
def test_cubins_run_within_their_major_version(arch: str, capability: tuple[int, int], runs: bool) -> None:
    assert runs_on(arch, capability) is runs


@pytest.mark.compile
@pytest.mark.parametrize(
    ("driver", "abi", "advice"),
    [
        ((13, 0), 8, None),
        ((12, 0), 7, None),
        ((12, 9), 8, "compile with CUDA 12"),
        ((11, 8), 8, "update the driver"),
        ((11, 8), 7, "update the driver"),
        ((11, 8), 9, None),  # nothing is known of it: the driver will say
    ],
)
def test_drivers_and_the_cubins_that_they_load(driver: tuple[int, int], abi: int, advice: str | None) -> None:
    base = conv()
    assert base.resources is not None
    kernel = replace(base, resources=replace(base.resources, cubin_abi=abi))
    gpu = Scenario(driver_version=driver).properties
    if advice is None:
        assert check_fits(kernel, gpu) == base.launch
        return
    with pytest.raises(KernelFailure) as caught:
        check_fits(kernel, gpu)
    assert caught.value.message.endswith(advice) or f"{advice} (CUDA=12)" in caught.value.message
    assert "supports CUDA {}.{}".format(*driver) in caught.value.message


@pytest.fixture
def driver() -> FakeCuda:
    return FakeCuda()


@pytest.fixture
def arena(driver: FakeCuda) -> GpuArena:
    arena = GpuArena(driver, SIZES)
    arena.draw_guards()
    return arena


def test_buffers_are_apart_and_aligned(arena: GpuArena) -> None:
    assert all(address % ALIGNMENT == 0 for address in arena.addresses)
    for (address, size), behind in zip(zip(arena.addresses, SIZES, strict=True), arena.addresses[1:], strict=False):
        assert behind - (address + size) >= GUARD_BYTES


def test_buffers_hold_what_is_written(arena: GpuArena) -> None:
    rng = np.random.default_rng(1)
    contents = [rng.integers(0, 256, size, dtype=np.uint8) for size in SIZES]
    for index, data in enumerate(contents):
        arena.write(index, data)
    assert all((arena.read(index) == data).all() for index, data in enumerate(contents))
    arena.fill(0, 7)
    assert set(arena.read(0)) == {7}
    assert (arena.read(2) == contents[2]).all()
    assert arena.overwritten() is None


@pytest.mark.parametrize("index", [0, 2, 3, 4])
@pytest.mark.parametrize("side", ["ahead", "far ahead", "behind", "far behind"])
def test_what_is_written_beside_a_buffer_is_found(driver: FakeCuda, arena: GpuArena, index: int, side: str) -> None:
    offset = {"ahead": -1, "far ahead": -2000, "behind": SIZES[index], "far behind": SIZES[index] + 2000}[side]
    at = arena.addresses[index] + offset
    driver.write(at, driver.read(at, 1) ^ np.uint8(1))
    assert arena.overwritten() == index


def test_memory_is_freed(driver: FakeCuda, arena: GpuArena) -> None:
    assert driver.used_bytes == arena.nbytes
    arena.free()
    assert driver.used_bytes == 0


@pytest.mark.compile
def test_what_fails_to_load_leaves_nothing_behind(driver: FakeCuda) -> None:
    kernel = conv()
    large = replace(kernel, args=(*kernel.args, ArgSpec("workspace", Role.WORKSPACE, 1 << 40)))
    for broken in (large, replace(kernel, entry="another"), replace(kernel, code=b"no code")):
        with pytest.raises(KernelFailure):
            CudaKernel(driver, broken, SampleArguments().of(kernel))
        assert (driver.used_bytes, driver.loaded) == (0, [])
    driver.learn(kernel)
    loaded = CudaKernel(driver, kernel, SampleArguments().of(kernel))
    loaded.verify()
    loaded.close()
    assert (driver.used_bytes, driver.loaded) == (0, [])


def refuses(code: int) -> Any:
    def refuse(*_: object) -> None:
        raise DriverError(code, "cuTest")

    return refuse


@pytest.mark.compile
def test_no_event_leaves_no_memory_behind(driver: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "event", refuses(2))
    with pytest.raises(KernelFailure, match="OUT_OF_MEMORY"):
        CudaKernel(driver, conv(), SampleArguments().of(conv()))
    assert (driver.used_bytes, driver.loaded) == (0, [])


@pytest.mark.compile
@pytest.mark.parametrize("undone", ["unload", "free"])
def test_the_first_failure_is_told(driver: FakeCuda, monkeypatch: pytest.MonkeyPatch, undone: str) -> None:
    """Not what follows from it, when what was there is given back: a context that is lost refuses that too."""
    monkeypatch.setattr(driver, "event", refuses(2))
    monkeypatch.setattr(driver, undone, refuses(700))
    with pytest.raises(KernelFailure, match="OUT_OF_MEMORY"):
        CudaKernel(driver, conv(), SampleArguments().of(conv()))
