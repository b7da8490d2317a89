"""What models need to know of a card: by its data sheet, or from what the driver says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from profiler.devices.cuda_driver import GpuProperties
from profiler.devices.gpu_spec import spec_of
from profiler.errors import DeviceError
from profiler.hardware import GPUS

KIB, MIB = 1 << 10, 1 << 20
T4 = GpuProperties(
    "Tesla T4", "0000:00:04.0", (7, 5), (12, 2), 15 << 30, 40, 1590000, 5001000, 256, 4 * MIB, 64 * KIB, 64 * KIB,
    65536, 1024, 16,
)  # fmt: skip
A100 = replace(
    T4, name="NVIDIA A100-SXM4-40GB", capability=(8, 0), multiprocessor_count=108, clock_rate_khz=1410000,
    memory_clock_rate_khz=1215000, global_memory_bus_width_bits=5120, l2_cache_bytes=40 * MIB,
    max_shared_memory_per_multiprocessor_bytes=164 * KIB, max_shared_memory_per_block_optin_bytes=163 * KIB,
    max_threads_per_multiprocessor=2048, max_blocks_per_multiprocessor=32,
)  # fmt: skip
RTX_4090 = replace(
    A100, name="NVIDIA GeForce RTX 4090", capability=(8, 9), multiprocessor_count=128, clock_rate_khz=2520000,
    memory_clock_rate_khz=10501000, global_memory_bus_width_bits=384, l2_cache_bytes=72 * MIB,
    max_shared_memory_per_multiprocessor_bytes=100 * KIB, max_shared_memory_per_block_optin_bytes=99 * KIB,
    max_threads_per_multiprocessor=1536, max_blocks_per_multiprocessor=24,
)  # fmt: skip


@pytest.mark.parametrize(("card", "slug"), [(T4, "t4"), (A100, "a100")])
def test_a_card_with_a_data_sheet(card: GpuProperties, slug: str) -> None:
    assert spec_of(card) is GPUS[slug]


def test_a_card_without_one() -> None:
    """Against the maker's figures: 660.6 and 1321.2 dense TOPS, 1008 GB/s."""
    spec = spec_of(RTX_4090)
    assert (spec.slug, spec.arch, spec.native_int4) == ("rtx-4090", "sm_89", True)
    assert spec.int8_peak_ops == pytest.approx(660.6e12, rel=0.01)
    assert spec.int4_peak_ops == pytest.approx(1321.2e12, rel=0.01)
    assert spec.bandwidth_bytes_per_s == pytest.approx(1008e9, rel=0.01)


def test_a_variant_is_not_taken_for_the_model() -> None:
    """An A100 of 80 GB has the same SMs and faster memory; a virtual GPU may have fewer SMs."""
    larger = spec_of(replace(A100, name="NVIDIA A100-SXM4-80GB", memory_clock_rate_khz=1593000))
    assert larger.slug == "a100"
    assert larger.bandwidth_bytes_per_s == pytest.approx(2039e9, rel=0.01)
    assert spec_of(replace(A100, multiprocessor_count=54)).int8_peak_ops == pytest.approx(312e12, rel=0.01)


@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0), (12, 1)])
def test_what_the_driver_does_not_tell_is_assumed(capability: tuple[int, int]) -> None:
    """As on virtual GPUs."""
    card = replace(RTX_4090, name="Something", capability=capability)
    spec = spec_of(replace(card, memory_clock_rate_khz=0, clock_rate_khz=0))
    assert spec.bandwidth_bytes_per_s > 0
    assert spec.int8_peak_ops > 0


def test_a_card_that_is_too_old() -> None:
    with pytest.raises(DeviceError, match=r"7\.0; INT8 and INT4 tensor cores begin with 7\.5"):
        spec_of(replace(T4, name="Tesla V100", capability=(7, 0)))
