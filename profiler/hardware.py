"""What the devices are: frozen facts that check their own arithmetic, and the host CPU as it describes itself."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from profiler import arm_cpus


class DotIsa(str, Enum):
    """The instructions with which a CPU sums four 8-bit products into a 32-bit lane, best first."""

    AVX512_VNNI = "avx512_vnni"
    AVX_VNNI = "avx_vnni"
    AVX2 = "avx2"
    NEON_DOT = "neon_dot"
    NEON = "neon"
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
        return {DotIsa.AVX512_VNNI: True, DotIsa.AVX_VNNI: True, DotIsa.NEON_DOT: False, DotIsa.NEON: False}.get(self)


WIDE_POPCOUNT = "avx512_vpopcntdq"
"""The feature of a CPU that counts the set bits of each word of a 512-bit vector."""
WIDE_PERMUTATION = "avx512vbmi"
"""The feature of a CPU that looks bytes up in a 512-bit vector."""
WARP_SIZE = 32


@dataclass(frozen=True)
class GpuSpec:
    """A GPU model. Peaks are dense operations per second (a multiply-accumulate is two) at ``boost_mhz``.

    binary_macs_per_tensor_core : bits that the binary instruction combines per clock; 0 where it is emulated.
    mma_fraction : share of the tensor peak that warp-level instructions (``mma.sync``) can reach.
    bandwidth_bytes_per_s : of the data sheet; streams reach ``bandwidth_fraction`` of it.
    shared_bytes_reserved : what the driver takes of an SM's shared memory for each block. l1_bytes : of an SM, shared
    memory included.
    instructions_per_clock : warp instructions that an SM issues. int32_lanes : 32-bit integer additions, shifts,
    multiply-adds and dp4a per clock of an SM. shared_bytes_per_clock : of an SM, loads or stores.
    l2_bytes_per_s : reads that hit L2, by all SMs. l2_latency_clocks, dram_latency_clocks : from issue to use.
    launch_s : from one kernel of a stream to the next beyond what both compute.
    """

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
    mma_fraction: float
    bandwidth_bytes_per_s: float
    bandwidth_fraction: float
    shared_bytes_per_sm: int
    shared_bytes_per_block: int
    shared_bytes_reserved: int
    l1_bytes: int
    registers_per_sm: int
    threads_per_sm: int
    blocks_per_sm: int
    l2_bytes: int
    l2_bytes_per_s: float
    l2_latency_clocks: int
    dram_latency_clocks: int
    shared_bytes_per_clock: int
    power_w: float
    int32_lanes: int = 64
    instructions_per_clock: int = 4
    threads_per_block: int = 1024
    registers_per_thread: int = 255
    launch_s: float = 2e-6
    binary_macs_per_tensor_core: int = 0

    def __post_init__(self) -> None:
        for bits, macs, peak in (
            (8, self.int8_macs_per_tensor_core, self.int8_peak_ops),
            (4, self.int4_macs_per_tensor_core, self.int4_peak_ops),
        ):
            derived = 2 * macs * self.tensor_cores_per_sm * self.sms * self.clock_hz
            if abs(derived - peak) > 0.01 * max(peak, 1.0):
                raise ValueError(
                    f"{self.slug}: INT{bits} peak {peak:.4g} op/s does not follow from its units ({derived:.4g})"
                )
        if self.shared_bytes_per_block + self.shared_bytes_reserved != self.shared_bytes_per_sm:
            raise ValueError(f"{self.slug}: a block's shared memory and its reserve do not fill an SM's")
        if self.l1_bytes < self.shared_bytes_per_sm:
            raise ValueError(f"{self.slug}: shared memory is part of L1, which cannot be smaller")
        if not self.bandwidth_bytes_per_s < self.l2_bytes_per_s < self.shared_bytes_per_s:
            raise ValueError(f"{self.slug}: memory, L2 and shared memory must each be faster than the one before")
        if not self.l2_latency_clocks < self.dram_latency_clocks:
            raise ValueError(f"{self.slug}: memory must take longer to answer than L2")
        if not (0 < self.mma_fraction <= 1 and 0 < self.bandwidth_fraction <= 1):
            raise ValueError(f"{self.slug}: a fraction of a peak lies in (0, 1]")

    @property
    def native_int4(self) -> bool:
        return self.has_native(4)

    def macs_per_tensor_core(self, bits: int) -> int:
        """Per clock, of operands of 8, 4 or 1 bits; 0 where tensor cores have no such instruction."""
        return {
            8: self.int8_macs_per_tensor_core,
            4: self.int4_macs_per_tensor_core,
            1: self.binary_macs_per_tensor_core,
        }[bits]

    def has_native(self, bits: int) -> bool:
        """Whether tensor cores multiply operands of that width: 8, 4 or 1 bits."""
        return self.macs_per_tensor_core(bits) > 0

    def mma_macs_per_s(self, bits: int) -> float:
        """What ``mma.sync`` reaches at most; of a width that is emulated as many as 8-bit instructions of it."""
        per_core = self.macs_per_tensor_core(bits) or self.int8_macs_per_tensor_core
        return per_core * self.tensor_cores_per_sm * self.sms * self.clock_hz * self.mma_fraction

    @property
    def capability(self) -> tuple[int, int]:
        """Compute capability, e.g. (7, 5) of ``sm_75``."""
        number = int(self.arch[len("sm_") :])
        return (number // 10, number % 10)

    @property
    def clock_hz(self) -> float:
        return self.boost_mhz * 1e6

    @property
    def shared_bytes_per_s(self) -> float:
        """Of all SMs."""
        return self.shared_bytes_per_clock * self.sms * self.clock_hz


# Sources. All cards: data sheets and architecture white papers (units, peaks, memory, L2, power); the CUDA programming
# guide's tables of technical specifications per compute capability and of arithmetic throughput (64 results of 32-bit
# integer addition, multiply-add and shift per clock of an SM on 7.5, 8.0 and 9.0); cuda_occupancy.h. What only papers
# tell stands beside it; "quoted" was not compared with the paper's text. ``launch_s`` is assumed, to be measured.
GPUS: Mapping[str, GpuSpec] = {
    spec.slug: spec
    for spec in (
        GpuSpec(
            slug="t4",
            name="Tesla T4",
            arch="sm_75",
            sms=40,
            tensor_cores_per_sm=8,
            int8_macs_per_tensor_core=128,
            int4_macs_per_tensor_core=256,
            boost_mhz=1590,
            int8_peak_ops=130.2e12,
            int4_peak_ops=260.5e12,
            mma_fraction=1.0,
            bandwidth_bytes_per_s=320e9,
            # quoted: 220 GiB/s in Jia et al., arXiv 1903.07486; 238 GB/s in Yan et al., IPDPS 2020
            bandwidth_fraction=0.75,
            shared_bytes_per_sm=65536,
            shared_bytes_per_block=65536,
            shared_bytes_reserved=0,
            l1_bytes=96 << 10,
            registers_per_sm=65536,
            threads_per_sm=1024,
            blocks_per_sm=16,
            l2_bytes=4 << 20,
            # Jia et al.: latency of an L2 hit, and of a miss that hits the TLB (figure 3.5); quoted: bandwidth of L2
            l2_bytes_per_s=1270e9,
            l2_latency_clocks=188,
            dram_latency_clocks=296,
            shared_bytes_per_clock=64,  # 16 load/store units of 4 bytes; 58.8 of 64 reached (the same, section 3.1.1)
            power_w=70,
            # not in the data sheet; assumed: four times INT4, as on GA100 (an instruction of four times the products)
            binary_macs_per_tensor_core=1024,
        ),
        GpuSpec(
            slug="a100",
            name="NVIDIA A100",
            arch="sm_80",
            sms=108,
            tensor_cores_per_sm=4,
            int8_macs_per_tensor_core=512,
            int4_macs_per_tensor_core=1024,
            boost_mhz=1410,
            int8_peak_ops=624e12,
            int4_peak_ops=1248e12,
            mma_fraction=1.0,
            bandwidth_bytes_per_s=1555e9,  # of the 40 GB card
            bandwidth_fraction=0.9,  # assumed
            shared_bytes_per_sm=167936,
            shared_bytes_per_block=166912,
            shared_bytes_reserved=1024,
            l1_bytes=192 << 10,
            registers_per_sm=65536,
            threads_per_sm=2048,
            blocks_per_sm=32,
            l2_bytes=40 << 20,
            # 5120 bytes per clock in the white paper; assumed: 60% of that are reached
            l2_bytes_per_s=4400e9,
            # quoted: Luo et al., arXiv 2402.13499
            l2_latency_clocks=262,
            dram_latency_clocks=466,
            shared_bytes_per_clock=128,
            power_w=400,
            # 4992 binary TOPS: NVIDIA Ampere Architecture In-Depth (2020), table 2
            binary_macs_per_tensor_core=4096,
        ),
        GpuSpec(
            slug="h200",
            name="NVIDIA H200",
            arch="sm_90",
            sms=132,
            tensor_cores_per_sm=4,
            int8_macs_per_tensor_core=1024,
            int4_macs_per_tensor_core=0,
            boost_mhz=1830,
            int8_peak_ops=1979e12,
            int4_peak_ops=0,
            # mma.sync, which the templates use, does not reach wgmma's peak; quoted, of H100: arXiv 2402.13499
            mma_fraction=0.629,
            bandwidth_bytes_per_s=4800e9,
            bandwidth_fraction=0.9,  # assumed
            shared_bytes_per_sm=233472,
            shared_bytes_per_block=232448,
            shared_bytes_reserved=1024,
            l1_bytes=256 << 10,
            registers_per_sm=65536,
            threads_per_sm=2048,
            blocks_per_sm=32,
            l2_bytes=50 << 20,
            # quoted, of H100: bandwidth from Chips and Cheese (2023), latencies from Luo et al.
            l2_bytes_per_s=5500e9,
            l2_latency_clocks=263,
            dram_latency_clocks=479,
            shared_bytes_per_clock=128,
            power_w=700,
            # ptxas has the AND form natively (XOR: two of them); its rate is published nowhere. Assumed: that of GA100.
            binary_macs_per_tensor_core=4096,
        ),
    )
}


DEFAULT_L1D_BYTES, DEFAULT_L2_BYTES = 32 << 10, 1 << 20
"""Of a core whose caches could not be read."""


@dataclass(frozen=True)
class CpuSpec:
    """A CPU as the operating system describes it. Cache sizes are per instance; None where they could not be read.

    machine : as ``platform.machine()`` names it; empty: this machine's. slug : what its folders and tables are named
    after. emulated_on : the kind of CPU that imitates it; empty for a real one.
    """

    model: str
    isa: DotIsa
    features: frozenset[str]
    microcode: str
    cores: int
    l1d_bytes: int | None
    l2_bytes: int | None
    l3_bytes: int | None
    line_bytes: int = 64
    machine: str = ""
    slug: str = "cpu"
    emulated_on: str = ""


# What kernels can be built for where no such CPU is. The caches, those of a common board, only decide on the order in
# which candidates are tried.
ARM_CPUS: Mapping[str, CpuSpec] = {
    spec.slug: spec
    for spec in (
        CpuSpec(
            model="Armv8.2 with dot products",
            isa=DotIsa.NEON_DOT,
            features=frozenset({"asimd", "asimddp"}),
            microcode="",
            cores=4,
            l1d_bytes=64 << 10,
            l2_bytes=512 << 10,
            l3_bytes=None,
            machine="aarch64",
            slug="aarch64",
        ),
        CpuSpec(
            model="Armv8.0, any 64-bit Arm",
            isa=DotIsa.NEON,
            features=frozenset({"asimd"}),
            microcode="",
            cores=4,
            l1d_bytes=32 << 10,
            l2_bytes=512 << 10,
            l3_bytes=None,
            machine="aarch64",
            slug="aarch64-neon",
        ),
    )
}


def is_cpu(slug: str) -> bool:
    """Whether the device that folders and tables of that name are of is a CPU: this machine's, or one of `ARM_CPUS`."""
    return slug.startswith("cpu") or slug in ARM_CPUS


def dot_isa(features: frozenset[str], machine: str) -> DotIsa:
    """The best dot-product instruction that the features (as in /proc/cpuinfo) allow on that machine."""
    if machine in ("aarch64", "arm64"):
        if "asimd" not in features:
            return DotIsa.GENERIC
        return DotIsa.NEON_DOT if "asimddp" in features else DotIsa.NEON
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
    model = entries.get("model name") or arm_cpus.core_names(text) or machine
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
        machine=machine,
    )


def host_cpu(
    cpuinfo: Path = Path("/proc/cpuinfo"), sysfs: Path = Path("/sys/devices/system/cpu/cpu0/cache")
) -> CpuSpec:
    """The CPU of this machine."""
    spec = _this_cpu(parse_cpuinfo(cpuinfo.read_text(), platform.machine()))
    sizes: dict[int, int] = {}
    for index in sorted(sysfs.glob("index*")):
        # Arm boards and some virtual machines list their caches without a size.
        facts = [(index / name).read_text().strip() for name in ("type", "level", "size") if (index / name).exists()]
        size = re.fullmatch(r"(\d+)([KM]?)", facts[2]) if len(facts) == 3 else None
        if size and facts[0] in ("Data", "Unified"):
            scale = {"": 1, "K": 1 << 10, "M": 1 << 20}[size[2]]
            sizes[int(facts[1])] = int(size[1]) * scale
    line = sysfs / "index0" / "coherency_line_size"
    return replace(
        spec,
        l1d_bytes=sizes.get(1),
        l2_bytes=sizes.get(2),
        l3_bytes=sizes.get(3),
        line_bytes=int(line.read_text()) if line.exists() else 64,
    )


def _this_cpu(read: CpuSpec) -> CpuSpec:
    """What was read, with what the kernel tells this process: an emulator's process is shown the CPU that emulates."""
    features = arm_cpus.vector_features() if read.machine == "aarch64" else frozenset()
    if features:
        read = replace(read, features=features, isa=dot_isa(features, read.machine))
    emulated_on = arm_cpus.emulated_on(read.machine)
    if emulated_on:
        return replace(read, model=f"{read.machine}, emulated on {emulated_on}", microcode="", emulated_on=emulated_on)
    return read
