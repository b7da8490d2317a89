"""How many blocks of a kernel an SM holds at once: the rules of NVIDIA's occupancy calculator (cuda_occupancy.h).

Registers are given to whole warps, in units, from the file of one of the SM's four partitions; shared memory to
blocks, in units, with what the driver reserves for each.
"""

from __future__ import annotations

from math import ceil

from profiler.hardware import WARP_SIZE, GpuSpec

_REGISTER_UNIT = 256  # registers of a warp are a multiple of this
_PARTITIONS = 4  # of an SM, each with its warp scheduler and a quarter of the registers


def blocks_per_sm(gpu: GpuSpec, threads: int, registers: int, shared_bytes: int) -> int:
    """Resident blocks on an SM; 0 if the kernel cannot be launched.

    threads : of a block. registers : of a thread. shared_bytes : of a block, static and dynamic.
    """
    if not 1 <= threads <= gpu.threads_per_block or registers > gpu.registers_per_thread:
        return 0
    if shared_bytes > gpu.shared_bytes_per_block:
        return 0
    warps = ceil(threads / WARP_SIZE)
    warp_registers = _round_up(max(registers, 1) * WARP_SIZE, _REGISTER_UNIT)
    if warp_registers * _round_up(warps, _PARTITIONS) > gpu.registers_per_sm:
        return 0
    resident_warps = gpu.registers_per_sm // _PARTITIONS // warp_registers * _PARTITIONS
    limits = [gpu.blocks_per_sm, gpu.threads_per_sm // WARP_SIZE // warps, resident_warps // warps]
    block_bytes = _round_up(shared_bytes + gpu.shared_bytes_reserved, 256 if gpu.capability < (8, 0) else 128)
    if block_bytes:
        limits.append(gpu.shared_bytes_per_sm // block_bytes)
    return min(limits)


def _round_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple
