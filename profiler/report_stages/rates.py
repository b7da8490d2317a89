"""The rates of a device, by its data sheet or by what its rows tell: the roofs under which its kernels stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from profiler.hardware import WIDE_PERMUTATION, CpuSpec, DotIsa, GpuSpec
from profiler.lut.schema import LutRow
from profiler.predictor.device_facts import DeviceFacts, observed_peaks
from profiler.quantize.lookup import GROUP, WIDE_GROUP
from profiler.record import Conditions
from profiler.space.model import NOMINAL_HZ
from profiler.space.traffic import moved_bytes
from profiler.workload import KernelSpec, Precision

_DOT_PRODUCTS_PER_CLOCK, _DOT_MACS = 2, 4
_BYTES_PER_LANE = 4


@dataclass(frozen=True)
class Rates:
    """``ops_per_s`` is the peak in each precision, in their order, with its ``origins``; a multiply-accumulate is two
    operations. ``bytes_per_s`` of the memory, with ``memory_origin``."""

    facts: DeviceFacts
    precisions: tuple[Precision, ...]
    ops_per_s: tuple[float, ...]
    origins: tuple[str, ...]
    bytes_per_s: float
    memory_origin: str

    def peak(self, precision: Precision) -> float:
        return self.ops_per_s[self.precisions.index(precision)]

    def memory_bound(self, spec: KernelSpec, precision: Precision) -> bool:
        """Whether its bytes take longer than its products."""
        return moved_bytes(spec) / self.bytes_per_s > 2 * spec.workload.macs / self.peak(precision)

    def limit_s(self, ops: float, nbytes: float, precision: Precision) -> float:
        """What the device cannot beat unless a cache saves it bytes: operations at the peak, or bytes at the memory's
        rate, whichever takes longer."""
        return max(ops / self.peak(precision), nbytes / self.bytes_per_s)


def rates_of(
    rows: Sequence[LutRow], facts: DeviceFacts, conditions: Conditions, precisions: tuple[Precision, ...]
) -> Rates:
    """Raises `InvalidFile` for a table without any kernel that multiplies."""
    if isinstance(facts, GpuSpec):
        of_gpu = [_of_gpu(facts, precision) for precision in precisions]
        memory = facts.bandwidth_bytes_per_s, "the data sheet's bandwidth"
        return _rates(facts, precisions, of_gpu, memory)
    seen = observed_peaks([(row.spec, row.latency_median_s) for row in rows])
    memory = seen.bytes_per_s, "the most that a row of this table moves, which is no figure of the memory itself"
    if isinstance(facts, CpuSpec):
        hz, clock = _clock(rows)
        ops = 2 * facts.isa.lanes * _DOT_PRODUCTS_PER_CLOCK * _DOT_MACS * hz * conditions.threads
        name = facts.isa.value.replace("_", "-").upper()
        dots = ops, f"two {name} dot products a clock, {clock}"
        of_cpu = [
            dots if precision.weight_bits >= 4 else _of_lookups(ops, precision, facts, clock)
            for precision in precisions
        ]
        return _rates(facts, precisions, of_cpu, memory)
    peaks = [(2 * seen.macs_rate(precision.weight_bits), "the most that a row reaches") for precision in precisions]
    return _rates(facts, precisions, peaks, memory)


def _rates(
    facts: DeviceFacts,
    precisions: tuple[Precision, ...],
    peaks: Sequence[tuple[float, str]],
    memory: tuple[float, str],
) -> Rates:
    ops, origins = zip(*peaks, strict=True)
    return Rates(facts, precisions, ops, origins, *memory)


def _of_lookups(dot_ops: float, precision: Precision, cpu: CpuSpec, clock: str) -> tuple[float, str]:
    """A byte shuffle adds four products for each byte of a vector, as many as a dot product of four for each of its
    32-bit lanes, of which there are a quarter; each bit of the weights takes one. In 64 bytes six are looked up."""
    wide = WIDE_PERMUTATION in cpu.features and cpu.isa is DotIsa.AVX512_VNNI
    origin = (
        f"two byte shuffles a clock, each of {'six' if wide else 'four'} products for a bit of the weights, {clock}"
    )
    more = WIDE_GROUP / GROUP if wide else 1.0
    return more * dot_ops * _BYTES_PER_LANE / precision.weight_bits, origin


def _of_gpu(gpu: GpuSpec, precision: Precision) -> tuple[float, str]:
    clock = f"at {gpu.boost_mhz:.0f} MHz"
    reached = "" if gpu.mma_fraction == 1 else f", {gpu.mma_fraction:.0%} of it, which mma.sync reaches"
    if precision.activation_dtype(signed=False).in_planes:
        pairs = precision.activation_bits * precision.weight_bits
        emulated = "" if gpu.has_native(1) else ", being emulated"
        origin = f"the binary instruction, once for each of {pairs} pairs of planes, {clock}{reached}{emulated}"
        return 2 * gpu.mma_macs_per_s(1) / pairs, origin
    width = max(precision.activation_bits, precision.weight_bits)
    native = gpu.has_native(width)
    peak = gpu.int4_peak_ops if native and width == 4 else gpu.int8_peak_ops
    emulated = "" if native else f", INT{width} being emulated"
    return peak * gpu.mma_fraction, f"data sheet, {clock}{reached}{emulated}"


def _clock(rows: Sequence[LutRow]) -> tuple[float, str]:
    """Of a core: the highest that the rows have, since no row shall lie above its roof."""
    clocks = [row.sm_clock_mhz_high for row in rows if row.sm_clock_mhz_high]
    if not clocks:
        return NOMINAL_HZ, f"{NOMINAL_HZ / 1e9:.1f} GHz assumed"
    return max(clocks) * 1e6, f"at {max(clocks) / 1e3:.2f} GHz, the highest clock that was measured beside the rows"
