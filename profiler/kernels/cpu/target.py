"""The LLVM target of a CPU, from what that CPU says it can do."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from profiler.errors import CompilerError
from profiler.hardware import CpuSpec, DotIsa

if TYPE_CHECKING:
    from tvm.target import Target  # a target is a value that needs no TVM until code is generated for it

_LLVM_CPUS = {
    DotIsa.AVX512_VNNI: ("x86-64-v4", ("+avx512vnni",)),
    DotIsa.AVX_VNNI: ("x86-64-v3", ("+avxvnni",)),
    DotIsa.AVX2: ("x86-64-v3", ()),
}
_CPUINFO_FEATURES = {
    DotIsa.AVX512_VNNI: ("avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_vnni"),
    DotIsa.AVX_VNNI: ("avx2", "avx_vnni"),
    DotIsa.AVX2: ("avx2",),
    DotIsa.NEON_DOT: ("asimd", "asimddp"),
}


@dataclass(frozen=True)
class CpuTarget:
    """What code is generated for: an instruction set on a machine (``x86_64`` or ``aarch64``).

    The target names a feature level and not the CPU model, so that an artifact runs on every CPU that has ``features``.
    """

    isa: DotIsa
    machine: str

    @property
    def features(self) -> tuple[str, ...]:
        """What a CPU must list in /proc/cpuinfo to run the code."""
        return _CPUINFO_FEATURES.get(self.isa, ())

    @property
    def arch(self) -> str:
        return f"{self.machine}-{self.isa.value}"

    def llvm(self) -> Target:
        return _llvm_target(self.isa, self.machine)


def target_of(cpu: CpuSpec) -> CpuTarget:
    """The target of a CPU of this machine's architecture."""
    return CpuTarget(cpu.isa, {"arm64": "aarch64", "AMD64": "x86_64"}.get(platform.machine(), platform.machine()))


@lru_cache(maxsize=16)
def _llvm_target(isa: DotIsa, machine: str) -> Target:
    from tvm.target import Target

    if machine == "x86_64":
        cpu, attributes = _LLVM_CPUS.get(isa, ("x86-64-v2", ()))
        return Target({"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": cpu, "mattr": list(attributes)})
    if machine == "aarch64":
        attributes = ("+neon", "+v8.2a", "+dotprod") if isa is DotIsa.NEON_DOT else ("+neon",)
        return Target({"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mattr": list(attributes)})
    raise CompilerError(f"no CPU kernels for machine '{machine}'; x86_64 and aarch64 are supported")
