"""The analytic performance model of a config on a GPU: the prior of the search and a limit, never a measurement.

A kernel takes as long as the SM with the most blocks (`block_cost`, from what a block costs: `mma_model`,
`simt_model`), or as memory needs for what is not in L2; then the launch. Clocks are those of
`GpuSpec.boost_mhz`: a card at its power cap is slower.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod

from profiler.hardware import GpuSpec
from profiler.quantize.operands import operands
from profiler.quantize.whole_bytes import activation_nbytes
from profiler.space.block_cost import overlapped
from profiler.space.config import GpuConfig, MmaConfig
from profiler.space.mma_model import SECTOR_BYTES, mma_block
from profiler.space.mma_plan import MmaPlan, mma_bits, mma_planes, mma_types
from profiler.space.simt_model import simt_block
from profiler.workload import KernelSpec, Op

_CACHED = 0.8
"""Share of L2 up to which activations stay there."""
_ACTIVATIONS = ("input", "input2", "residual", "output")
_DP4A_MACS = 4


def analytic_latency_s(spec: KernelSpec, config: GpuConfig, gpu: GpuSpec) -> float:
    """Modelled latency in seconds of a valid config, from a launch to the next."""
    traffic = _Traffic.of(spec, gpu)
    moved = traffic.moved
    if isinstance(config, MmaConfig):
        plan = MmaPlan.of(spec, config, gpu)
        if traffic.input > _CACHED * gpu.l2_bytes:
            moved += (plan.n_tiles - 1) * traffic.input  # every row of N tiles reads it from memory again
        cost = mma_block(plan, gpu)
    else:
        cost = simt_block(spec, config, gpu)
    computing_s = cost.grid_clocks(gpu.sms) / gpu.clock_hz
    moving_s = max(moved / (gpu.bandwidth_bytes_per_s * gpu.bandwidth_fraction), traffic.touched / gpu.l2_bytes_per_s)
    return overlapped(computing_s, moving_s) + gpu.launch_s


def limit_s(spec: KernelSpec, gpu: GpuSpec) -> float:
    """A time that no config can beat: all products at the peak of their instruction, what has to come from memory at
    the data sheet's bandwidth, or everything once through L2."""
    traffic = _Traffic.of(spec, gpu)
    moving_s = max(traffic.moved / gpu.bandwidth_bytes_per_s, traffic.touched / gpu.l2_bytes_per_s)
    return max(spec.workload.macs / _peak_macs(spec, gpu), moving_s)


@dataclass(frozen=True)
class _Traffic:
    """Bytes that a kernel reads of its input, that it touches in all, and that of these come from or go to memory.

    As in cache mode ``network``: parameters come from memory; activations are in L2, as far as they fit, where the
    previous layer left them and the next one finds them.
    """

    input: float
    touched: float
    moved: float

    @staticmethod
    @lru_cache(maxsize=16)  # a search asks for every config of a spec
    def of(spec: KernelSpec, gpu: GpuSpec) -> _Traffic:
        sizes = {operand.name: activation_nbytes(operand.shape, operand.dtype) for operand in operands(spec)}
        if spec.workload.op is Op.CONCAT:  # only a slice of the output is written
            sizes["output"] = sizes["output"] * spec.workload.in_channels // spec.workload.out_channels
        read = sizes["input"] * _touched(spec)
        activations = read + sizes["output"] + sizes.get("input2", 0) + sizes.get("residual", 0)
        parameters = sum(size for name, size in sizes.items() if name not in _ACTIVATIONS)
        return _Traffic(read, parameters + activations, parameters + max(0.0, activations - _CACHED * gpu.l2_bytes))


def _touched(spec: KernelSpec) -> float:
    """Share of the input that is read: a stride can be wider than the kernel."""
    w = spec.workload
    rows, columns = min(1.0, w.kernel_h / w.stride_h), min(1.0, w.kernel_w / w.stride_w)
    return rows * (columns if w.in_channels * spec.input_dtype.bits // 8 >= SECTOR_BYTES else 1.0)


def _peak_macs(spec: KernelSpec, gpu: GpuSpec) -> float:
    """Multiply-accumulates per second."""
    if spec.weight_dtype is None or not mma_types(spec):
        return gpu.int32_lanes * _DP4A_MACS * gpu.sms * gpu.clock_hz
    return gpu.mma_macs_per_s(mma_bits(spec)) / prod(mma_planes(spec))
