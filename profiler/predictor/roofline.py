"""The roofline of a kernel: the longer of what its products and its bytes take at the device's rates.

Source: Williams, Waterman, Patterson, Roofline: an insightful visual performance model, CACM 52(4), 2009. Rates are
nominal; only their ratio, the knee, shapes a model that learns the level. Knows every type, integer or not.
"""

from __future__ import annotations

from math import ceil, prod

from profiler.hardware import CpuSpec, GpuSpec
from profiler.predictor.device_facts import DeviceFacts, ObservedPeaks
from profiler.space.mma_plan import mma_planes, mma_types
from profiler.space.model import NOMINAL_HZ
from profiler.space.traffic import moved_bytes
from profiler.workload import KernelSpec

_CPU_BYTES_PER_CLOCK = 24.0  # from the last cache level, where a network's activations are
_DOT_PRODUCTS_PER_CLOCK, _DOT_MACS = 2, 4
_MMA_CHANNELS = 8  # of the instruction of a tensor core
_FLOAT_PER_LANE = 2  # fused multiply-adds of a lane in a clock


def roofline_s(spec: KernelSpec, facts: DeviceFacts) -> float:
    """Seconds. Output channels count as many as vectors of them hold: a vector takes as long when it is not full."""
    lanes = facts.isa.lanes if isinstance(facts, CpuSpec) else _MMA_CHANNELS if isinstance(facts, GpuSpec) else 1
    outputs = spec.workload.group_outputs
    macs = spec.workload.macs / outputs * ceil(outputs / lanes) * lanes
    return max(macs / _macs_per_s(spec, facts), moved_bytes(spec) / _bytes_per_s(facts))


def _macs_per_s(spec: KernelSpec, facts: DeviceFacts) -> float:
    weight = spec.weight_dtype
    if weight is None:
        return 1.0  # there are none
    if isinstance(facts, ObservedPeaks):
        return facts.macs_rate(weight.bits)
    integer = weight.is_integer and spec.input_dtype.is_integer
    if isinstance(facts, CpuSpec):
        per_lane = _DOT_PRODUCTS_PER_CLOCK * _DOT_MACS if integer else _FLOAT_PER_LANE
        return facts.isa.lanes * per_lane * NOMINAL_HZ
    if not integer:
        tensor_cores = spec.input_dtype.bits == 16
        return facts.int8_peak_ops / 4 if tensor_cores else facts.int32_lanes * facts.sms * facts.clock_hz
    if mma_types(spec) and spec.input_dtype.in_planes:
        return facts.mma_macs_per_s(1) / prod(mma_planes(spec))
    native = weight.bits <= 4 and facts.native_int4
    return (facts.int4_peak_ops if native else facts.int8_peak_ops) / 2 * facts.mma_fraction


def _bytes_per_s(facts: DeviceFacts) -> float:
    if isinstance(facts, ObservedPeaks):
        return facts.bytes_per_s
    if isinstance(facts, GpuSpec):
        return facts.bandwidth_bytes_per_s * facts.bandwidth_fraction
    return _CPU_BYTES_PER_CLOCK * NOMINAL_HZ
