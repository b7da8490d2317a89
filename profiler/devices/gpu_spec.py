"""The `GpuSpec` of a card: that of its model where we have its data sheet, else from what its driver says of it.

What no driver tells is taken from the card's architecture. The performance model orders candidates with it; nothing
that is measured depends on it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from profiler.devices.cuda_driver import GpuProperties
from profiler.errors import DeviceError
from profiler.hardware import GPUS, GpuSpec

LEAST_CAPABILITY = (7, 5)
"""Turing: the first with tensor-core instructions on 8-bit and 4-bit integers."""


@dataclass(frozen=True)
class _Architecture:
    """Of an SM: tensor cores, multiply-accumulates per clock of each, L1 with shared memory, bytes of shared memory per
    clock, 32-bit integer lanes; latencies in clocks; share of the tensor peak that ``mma.sync`` reaches."""

    tensor_cores: int
    int8_macs: int
    int4_macs: int
    binary_macs: int
    l1_bytes: int
    shared_bytes_per_clock: int
    l2_latency_clocks: int
    dram_latency_clocks: int
    mma_fraction: float = 1.0


# Units: NVIDIA's architecture white papers (Turing, GA100, GA102, Orin, AD102, Hopper, Blackwell); the first entry not
# above a card's capability counts. 4-bit instructions: PTX compiles them to native ones up to 8.9, binary ones up to
# 9.0. The rate of the latter: see `hardware.GPUS`; elsewhere four times that of 4 bits is assumed. Latencies: those of
# the model in `hardware.GPUS` that is nearest.
_ARCHITECTURES: Mapping[tuple[int, int], _Architecture] = {
    (7, 5): _Architecture(8, 128, 256, 1024, 96 << 10, 64, 188, 296),
    (8, 0): _Architecture(4, 512, 1024, 4096, 192 << 10, 128, 262, 466),
    (8, 6): _Architecture(4, 256, 512, 2048, 128 << 10, 128, 262, 466),
    (8, 7): _Architecture(4, 512, 1024, 4096, 192 << 10, 128, 262, 466),
    (8, 9): _Architecture(4, 256, 512, 2048, 128 << 10, 128, 262, 466),
    (9, 0): _Architecture(4, 1024, 0, 4096, 256 << 10, 128, 263, 479, 0.629),
    (10, 0): _Architecture(4, 1024, 0, 0, 256 << 10, 128, 263, 479, 0.629),
    (12, 0): _Architecture(4, 256, 0, 0, 128 << 10, 128, 263, 479),
}
_L2_BYTES_PER_SM_CLOCK = 22.0  # 20, 29 and 23 on the cards of `hardware.GPUS`
_BANDWIDTH_FRACTION = 0.85
_USUAL_CLOCK_KHZ, _USUAL_BANDWIDTH = 1_500_000, 300e9  # where the driver does not tell


def gpu_slug(name: str) -> str:
    """A file-name safe model: ``NVIDIA A100-SXM4-40GB`` is ``a100``, ``NVIDIA GeForce RTX 4090`` is ``rtx-4090``."""
    words: list[str] = re.findall(r"[a-z0-9]+", name.lower())
    for word in words:
        if word in GPUS:
            return word
    rest = [word for word in words if word not in ("nvidia", "tesla", "geforce", "quadro", "graphics")]
    return "-".join(rest) or "gpu"


def spec_of(card: GpuProperties) -> GpuSpec:
    """Raises `DeviceError` for a card that is too old."""
    known = GPUS.get(gpu_slug(card.name))
    if known is not None and _is(card, known):
        return known
    if card.capability < LEAST_CAPABILITY:
        raise DeviceError(too_old(card.name, card.capability))
    return _derived(card)


def _is(card: GpuProperties, known: GpuSpec) -> bool:
    """Whether it is that model, and no variant of it with other memory or a part of it (an A100 has 40 or 80 GB)."""
    bandwidth = _bandwidth(card) or known.bandwidth_bytes_per_s
    alike = abs(bandwidth / known.bandwidth_bytes_per_s - 1) < 0.1
    return alike and (known.arch, known.sms) == (card.arch, card.multiprocessor_count)


def _bandwidth(card: GpuProperties) -> float:
    """Bytes per second; 0 where the driver does not tell (virtual GPUs)."""
    return 2 * card.memory_clock_rate_khz * 1e3 * card.global_memory_bus_width_bits / 8  # two transfers a clock


def too_old(name: str, capability: tuple[int, int]) -> str:
    """The one line about a card below `LEAST_CAPABILITY`."""
    has, least = ("{}.{}".format(*version) for version in (capability, LEAST_CAPABILITY))
    return f"{name} has compute capability {has}; INT8 and INT4 tensor cores begin with {least} (Turing, e.g. a T4)"


def _derived(card: GpuProperties) -> GpuSpec:
    architecture = _ARCHITECTURES[max(c for c in _ARCHITECTURES if c <= card.capability)]
    clock_hz = 1e3 * (card.clock_rate_khz or _USUAL_CLOCK_KHZ)
    ops = 2 * architecture.tensor_cores * card.multiprocessor_count * clock_hz
    bandwidth = _bandwidth(card) or _USUAL_BANDWIDTH
    per_sm = card.max_shared_memory_per_multiprocessor_bytes
    per_block = card.max_shared_memory_per_block_optin_bytes
    l2_bytes_per_s = _L2_BYTES_PER_SM_CLOCK * card.multiprocessor_count * clock_hz
    return GpuSpec(
        slug=gpu_slug(card.name),
        name=card.name,
        arch=card.arch,
        sms=card.multiprocessor_count,
        tensor_cores_per_sm=architecture.tensor_cores,
        int8_macs_per_tensor_core=architecture.int8_macs,
        int4_macs_per_tensor_core=architecture.int4_macs,
        binary_macs_per_tensor_core=architecture.binary_macs,
        boost_mhz=clock_hz / 1e6,
        int8_peak_ops=ops * architecture.int8_macs,
        int4_peak_ops=ops * architecture.int4_macs,
        mma_fraction=architecture.mma_fraction,
        bandwidth_bytes_per_s=bandwidth,
        bandwidth_fraction=_BANDWIDTH_FRACTION,
        shared_bytes_per_sm=per_sm,
        shared_bytes_per_block=per_block,
        shared_bytes_reserved=per_sm - per_block,
        l1_bytes=max(architecture.l1_bytes, per_sm),
        registers_per_sm=card.max_registers_per_multiprocessor,
        threads_per_sm=card.max_threads_per_multiprocessor,
        blocks_per_sm=card.max_blocks_per_multiprocessor,
        l2_bytes=card.l2_cache_bytes,
        l2_bytes_per_s=max(l2_bytes_per_s, 1.5 * bandwidth),
        l2_latency_clocks=architecture.l2_latency_clocks,
        dram_latency_clocks=architecture.dram_latency_clocks,
        shared_bytes_per_clock=architecture.shared_bytes_per_clock,
        power_w=0.0,
    )
