"""Occupancy, against values worked out by hand from the tables of NVIDIA's occupancy calculator."""

from __future__ import annotations

import pytest

from profiler.hardware import GPUS, GpuSpec
from profiler.space.occupancy import blocks_per_sm


@pytest.mark.parametrize(
    ("gpu", "threads", "registers", "shared_bytes", "expected"),
    [
        # T4: 1024 threads, 16 blocks, 65536 registers, 64 KiB of shared memory in units of 256 bytes.
        ("t4", 32, 32, 0, 16),  # the limit of blocks
        ("t4", 256, 32, 0, 4),  # 1024 / 256 threads
        ("t4", 1024, 64, 0, 1),  # 64 * 32 = 2048 registers a warp, 32 warps: all of them
        ("t4", 1024, 65, 0, 0),  # 65 * 32 = 2080, in units of 256: 2304 a warp, 32 warps need 73728
        ("t4", 256, 128, 0, 2),  # 4096 a warp: 4 warps a partition, 16 an SM, 8 a block
        ("t4", 256, 129, 0, 1),  # 4128 -> 4352 a warp: 3 a partition, 12 an SM
        ("t4", 96, 168, 0, 4),  # 5376 a warp: 3 a partition, 12 an SM, 3 a block
        ("t4", 64, 255, 0, 4),  # 8160 -> 8192 a warp: 2 a partition, 8 an SM
        ("t4", 288, 200, 0, 0),  # 6400 a warp, 9 warps count as 12 at the launch: 76800
        ("t4", 128, 32, 16384, 4),
        ("t4", 128, 32, 16385, 3),  # in units of 256: 16640
        ("t4", 128, 32, 65536, 1),
        ("t4", 128, 32, 65537, 0),
        ("t4", 128, 256, 0, 0),  # a thread has 255 registers
        ("t4", 1056, 32, 0, 0),
        ("t4", 0, 32, 0, 0),
        # A100: 2048 threads, 32 blocks, 164 KiB in units of 128 bytes, of which each block costs 1 KiB more.
        ("a100", 32, 32, 0, 32),
        ("a100", 256, 32, 0, 8),
        ("a100", 256, 64, 0, 4),
        ("a100", 128, 32, 40960, 4),  # 41984 of 167936
        ("a100", 128, 32, 40961, 3),  # 42112
        ("a100", 128, 32, 166912, 1),
        ("a100", 128, 32, 166913, 0),
        # H200: as A100, with 228 KiB.
        ("h200", 128, 168, 48000, 3),  # 5376 a warp: 12 warps an SM, 4 a block; 49024 -> 49024 bytes: 4 blocks
        ("h200", 128, 32, 57344, 4),  # 58368: exactly 4
        ("h200", 128, 32, 57345, 3),
    ],
)
def test_blocks_per_sm(gpu: str, threads: int, registers: int, shared_bytes: int, expected: int) -> None:
    assert blocks_per_sm(GPUS[gpu], threads, registers, shared_bytes) == expected


@pytest.mark.parametrize("gpu", GPUS.values(), ids=GPUS)
def test_more_of_anything_never_means_more_blocks(gpu: GpuSpec) -> None:
    for threads in range(32, 1025, 96):
        for registers in range(8, 256, 16):
            for shared in range(0, gpu.shared_bytes_per_block, 9000):
                here = blocks_per_sm(gpu, threads, registers, shared)
                assert blocks_per_sm(gpu, threads + 32, registers, shared) <= here
                assert blocks_per_sm(gpu, threads, registers + 1, shared) <= here
                assert blocks_per_sm(gpu, threads, registers, shared + 1) <= here
                assert here * threads <= gpu.threads_per_sm
                assert here * threads * registers <= gpu.registers_per_sm
                assert here * (shared + gpu.shared_bytes_reserved) <= gpu.shared_bytes_per_sm
