"""What a latency model knows of a device: its data sheet, or what its own rows tell.

A LUT names its device; a GPU of that name has a data sheet here (`hardware.GPUS`), a CPU is known by its instruction
set, and by what the configs of its rows make use of beside that. Of any other device the rows themselves give the
peaks, so that tables of others are welcome too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from profiler.errors import InvalidConfig
from profiler.hardware import GPUS, CpuSpec, DotIsa, GpuSpec, is_cpu
from profiler.lut.schema import LutRow
from profiler.space.config import parse_config
from profiler.space.cpu import extensions_of
from profiler.space.traffic import moved_bytes
from profiler.workload import KernelSpec

_ISAS: Mapping[str, DotIsa] = {isa.value: isa for isa in DotIsa}


@dataclass(frozen=True)
class ObservedPeaks:
    """A device without a data sheet: the most that its rows reached.

    macs_per_s : by weight bits, ascending. bytes_per_s : of operands and results together.
    """

    macs_per_s: tuple[tuple[int, float], ...]
    bytes_per_s: float

    def __post_init__(self) -> None:
        rates = [*(rate for _, rate in self.macs_per_s), self.bytes_per_s]
        if not all(0 < rate < float("inf") for rate in rates):
            raise ValueError("rates are positive and finite")

    def macs_rate(self, bits: int) -> float:
        """Of the nearest width that was seen; infinite if none was."""
        if not self.macs_per_s:
            return float("inf")
        return min(self.macs_per_s, key=lambda known: (abs(known[0] - bits), known[0]))[1]


DeviceFacts = CpuSpec | GpuSpec | ObservedPeaks


def facts_of(rows: Sequence[LutRow]) -> DeviceFacts:
    """Of the device that the rows (at least one) are of. It depends on the rows alone, not on the machine at hand."""
    first = rows[0]
    if first.device in GPUS:
        return GPUS[first.device]
    if first.arch in _ISAS and is_cpu(first.device):
        features = _extensions(row.config for row in rows)
        return CpuSpec(first.device_name, _ISAS[first.arch], features, "", 1, None, None, None)
    return observed_peaks([(row.spec, row.latency_median_s) for row in rows])


def _extensions(configs: Iterable[str]) -> frozenset[str]:
    """What kernels have used that were measured there. Other programs' rows may have a config of another kind."""
    found: set[str] = set()
    for text in set(configs):
        try:
            found |= extensions_of(parse_config(text))
        except InvalidConfig:
            continue
    return frozenset(found)


def observed_peaks(latencies: Sequence[tuple[KernelSpec, float]]) -> ObservedPeaks:
    """Of kernels and their latencies in seconds."""
    macs: dict[int, float] = {}
    for spec, latency_s in latencies:
        if spec.weight_dtype is not None:
            bits = spec.weight_dtype.bits
            macs[bits] = max(macs.get(bits, 0.0), spec.workload.macs / latency_s)
    return ObservedPeaks(tuple(sorted(macs.items())), max(moved_bytes(spec) / s for spec, s in latencies))
