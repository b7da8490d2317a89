"""What the devices are: frozen facts that check their own arithmetic, and the host CPU as it describes itself."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class DotIsa(str, Enum):
    """The instruction with which a CPU sums four 8-bit products into a 32-bit lane, best first."""

    AVX512_VNNI = "avx512_vnni"
    AVX_VNNI = "avx_vnni"
    AVX2 = "avx2"
    NEON_DOT = "neon_dot"
    GENERIC = "generic"

    @property
    def lanes(self) -> int:
        """32-bit lanes of a vector register."""
        return {DotIsa.AVX512_VNNI: 16, DotIsa.AVX_VNNI: 8, DotIsa.AVX2: 8}.get(self, 4)

    @property
    def registers(self) -> int:
        """Vector registers that the instruction can use."""
        return {DotIsa.AVX_VNNI: 16, DotIsa.AVX2: 16}.get(self, 32)

    @property
    def unsigned_activations(self) -> bool | None:
        """The sign that activation bytes must have; None if either will do."""
        return {DotIsa.AVX512_VNNI: True, DotIsa.AVX_VNNI: True, DotIsa.NEON_DOT: False}.get(self)


@dataclass(frozen=True)
class GpuSpec:
    """A GPU model. Peaks are dense operations per second (a multiply-accumulate is two) at ``boost_mhz``."""

    slug: str
    name: str
    arch: str
    sms: int
    tensor_cores_per_sm: int
    int8_macs_per_tensor_core: int
    int4_macs_per_tensor_core: int
    boost_mhz: float
    int8_peak_ops: float
    int4_peak_ops: float
    bandwidth_bytes_per_s: float
    shared_bytes_per_sm: int
    shared_bytes_per_block: int
    registers_per_sm: int
    threads_per_sm: int
    blocks_per_sm: int
    l2_bytes: int
    power_w: float

    def __post_init__(self) -> None:
        for bits, macs, peak in (
            (8, self.int8_macs_per_tensor_core, self.int8_peak_ops),
            (4, self.int4_macs_per_tensor_core, self.int4_peak_ops),
        ):
            derived = 2 * macs * self.tensor_cores_per_sm * self.sms * self.boost_mhz * 1e6
            if abs(derived - peak) > 0.01 * max(peak, 1.0):
                raise ValueError(
                    f"{self.slug}: INT{bits} peak {peak:.4g} op/s does not follow from its units ({derived:.4g})"
                )

    @property
    def native_int4(self) -> bool:
        return self.int4_macs_per_tensor_core > 0


# Figures: NVIDIA's architecture white papers and data sheets of each card, and the CUDA programming guide's table of
# technical specifications per compute capability.
GPUS: Mapping[str, GpuSpec] = {
    spec.slug: spec
    for spec in (
        GpuSpec(
            "t4",
            "Tesla T4",
            "sm_75",
            40,
            8,
            128,
            256,
            1590,
            130.2e12,
            260.5e12,
            320e9,
            65536,
            65536,
            65536,
            1024,
            16,
            4 << 20,
            70,
        ),
        GpuSpec(
            "a100",
            "NVIDIA A100",
            "sm_80",
            108,
            4,
            512,
            1024,
            1410,
            624e12,
            1248e12,
            1555e9,
            167936,
            166912,
            65536,
            2048,
            32,
            40 << 20,
            400,
        ),
        GpuSpec(
            "h200",
            "NVIDIA H200",
            "sm_90",
            132,
            4,
            1024,
            0,
            1830,
            1979e12,
            0,
            4800e9,
            233472,
            232448,
            65536,
            2048,
            32,
            50 << 20,
            700,
        ),
    )
}


@dataclass(frozen=True)
class CpuSpec:
    """A CPU as the operating system describes it. Cache sizes are per instance; None where they could not be read."""

    model: str
    isa: DotIsa
    features: frozenset[str]
    microcode: str
    cores: int
    l1d_bytes: int | None
    l2_bytes: int | None
    l3_bytes: int | None
    line_bytes: int = 64

    @property
    def slug(self) -> str:
        return "cpu"


def dot_isa(features: frozenset[str], machine: str) -> DotIsa:
    """The best dot-product instruction that the features (as in /proc/cpuinfo) allow on that machine."""
    if machine in ("aarch64", "arm64"):
        return DotIsa.NEON_DOT if "asimddp" in features else DotIsa.GENERIC
    if {"avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_vnni"} <= features:
        return DotIsa.AVX512_VNNI
    if {"avx2", "avx_vnni"} <= features:
        return DotIsa.AVX_VNNI
    return DotIsa.AVX2 if "avx2" in features else DotIsa.GENERIC


def parse_cpuinfo(text: str, machine: str) -> CpuSpec:
    """The CPU that a /proc/cpuinfo describes; cache sizes are left out. Unknown fields become empty strings."""
    entries: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        entries.setdefault(key.strip().lower(), value.strip())
    features = frozenset((entries.get("flags") or entries.get("features") or "").split())
    model = (
        entries.get("model name")
        or "-".join(entries[k] for k in ("cpu implementer", "cpu part") if k in entries)
        or machine
    )
    family = "/".join(entries[k] for k in ("cpu family", "model", "stepping") if k in entries)
    return CpuSpec(
        model=f"{model} ({family})" if family else model,
        isa=dot_isa(features, machine),
        features=features,
        microcode=entries.get("microcode", ""),
        cores=len(re.findall(r"^processor\s*:", text, re.MULTILINE)) or 1,
        l1d_bytes=None,
        l2_bytes=None,
        l3_bytes=None,
    )


def host_cpu(
    cpuinfo: Path = Path("/proc/cpuinfo"), sysfs: Path = Path("/sys/devices/system/cpu/cpu0/cache")
) -> CpuSpec:
    """The CPU of this machine."""
    spec = parse_cpuinfo(cpuinfo.read_text(), platform.machine())
    sizes: dict[int, int] = {}
    for index in sorted(sysfs.glob("index*")):
        # Arm boards and some virtual machines list their caches without a size.
        facts = [(index / name).read_text().strip() for name in ("type", "level", "size") if (index / name).exists()]
        size = re.fullmatch(r"(\d+)([KM]?)", facts[2]) if len(facts) == 3 else None
        if size and facts[0] in ("Data", "Unified"):
            scale = {"": 1, "K": 1 << 10, "M": 1 << 20}[size[2]]
            sizes[int(facts[1])] = int(size[1]) * scale
    line = sysfs / "index0" / "coherency_line_size"
    return CpuSpec(
        model=spec.model,
        isa=spec.isa,
        features=spec.features,
        microcode=spec.microcode,
        cores=spec.cores,
        l1d_bytes=sizes.get(1),
        l2_bytes=sizes.get(2),
        l3_bytes=sizes.get(3),
        line_bytes=int(line.read_text()) if line.exists() else 64,
    )
