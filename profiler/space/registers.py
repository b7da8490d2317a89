"""Estimates of the registers that a thread of a CUDA kernel takes, ahead of its compilation."""

from __future__ import annotations

from math import ceil

from profiler.hardware import WARP_SIZE, GpuSpec
from profiler.space.config import GpuConfig, MmaConfig, SimtDepthwiseConfig, SimtDirectConfig
from profiler.space.mma_plan import MmaPlan
from profiler.workload import KernelSpec, Op

_VECTOR_REGISTERS = {Op.MAX_POOL: 1.5, Op.AVG_POOL: 2.0, Op.ADD: 5.0}  # of a channel; conversions and copies: 3
_VECTOR_MOST = 72  # from here on the compiler keeps fewer channels in flight


def register_estimate(spec: KernelSpec, config: GpuConfig, gpu: GpuSpec) -> int:
    """About how many registers a thread wants: where the device does not have them the kernel would spill.

    Four of five estimates for tensor cores were within 15% of what ptxas took when they were fitted.
    """
    if isinstance(config, MmaConfig):
        return _mma_registers(MmaPlan.of(spec, config, gpu), gpu)
    if isinstance(config, SimtDirectConfig):
        return 16 + 5 * config.channels
    if isinstance(config, SimtDepthwiseConfig):
        return _depthwise_registers(spec, config)
    return min(_VECTOR_MOST, ceil(19 + _VECTOR_REGISTERS.get(spec.workload.op, 3.0) * config.channels))


def _mma_registers(plan: MmaPlan, gpu: GpuSpec) -> int:
    """The most of two phases: the steps of K (sums, words on their way from global memory, places of the pixels that
    a thread loads), and the epilogue (sums, and what two of them need at once). Fragments come and go in what is left.

    Fitted to 523 kernels of NVRTC 12.9 on sm_75, sm_80 and sm_90.
    """
    config, spec = plan.config, plan.spec
    sums = plan.warp_sums
    activations, weights = plan.activation_loads, plan.weight_loads
    staged = activations.passes * activations.words + weights.passes * weights.words
    window = 6 if spec.workload.kernel_h * spec.workload.kernel_w > 1 or spec.workload.has_padding else 0
    emulation = 0 if gpu.has_native(plan.bits) else 15
    steps = 20 + 1.15 * sums + staged + 2 * activations.passes + window + emulation
    epilogue = 34 + 1.05 * (config.warp_m * config.warp_n // WARP_SIZE) + (12 if spec.epilogue.adds else 0)
    return ceil(max(steps, epilogue))


def _depthwise_registers(spec: KernelSpec, config: SimtDepthwiseConfig) -> int:
    w = spec.workload
    columns = (config.pixels - 1) * w.stride_w + (w.kernel_w - 1) * w.dilation_w + 1
    return 28 + config.channels * (config.pixels + 1) + ceil(config.channels / 4) * columns
