"""The LLVM target of a CPU, from what that CPU says it can do."""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from profiler.errors import CompilerError
from profiler.hardware import WIDE_PERMUTATION, WIDE_POPCOUNT, CpuSpec, DotIsa
from profiler.space.config import ScheduleConfig
from profiler.space.cpu import extensions_of

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
    DotIsa.NEON: ("asimd",),
}

_NO_PAIRING = "-aarch64-enable-ldst-opt:bool=0"
"""Of LLVM for Arm. Its pass that joins loads and stores to pairs (LLVM 22) makes wrong code of some kernels whose tiles
take all registers: tests/arm has two."""


@dataclass(frozen=True)
class CpuTarget:
    """What code is generated for: an instruction set on a machine (``x86_64`` or ``aarch64``).

    The target names a feature level and not the CPU model, so that an artifact runs on every CPU that has ``features``.
    """

    isa: DotIsa
    machine: str
    wide_popcount: bool = False
    wide_permutation: bool = False

    @property
    def _extensions(self) -> tuple[str, ...]:
        chosen = ((WIDE_POPCOUNT, self.wide_popcount), (WIDE_PERMUTATION, self.wide_permutation))
        return tuple(name for name, wanted in chosen if wanted)

    @property
    def features(self) -> tuple[str, ...]:
        """What a CPU must list in /proc/cpuinfo to run the code."""
        return (*_CPUINFO_FEATURES.get(self.isa, ()), *self._extensions)

    @property
    def arch(self) -> str:
        return "-".join((self.machine, self.isa.value, *self._extensions))

    def for_config(self, config: ScheduleConfig) -> CpuTarget:
        """The target with all that a kernel of that config cannot do without, and nothing that it has no use for, so
        that more CPUs run it. Bits can be counted without the instruction for it, but not looked up in 64 bytes."""
        used = extensions_of(config)
        return replace(
            self,
            wide_popcount=self.wide_popcount and WIDE_POPCOUNT in used,
            wide_permutation=self.isa is DotIsa.AVX512_VNNI and WIDE_PERMUTATION in used,
        )

    def llvm(self) -> Target:
        return _llvm_target(self.isa, self.machine, self._extensions)


def target_of(cpu: CpuSpec) -> CpuTarget:
    """The target of a CPU, of this machine or another."""
    named = cpu.machine or platform.machine()
    machine = {"arm64": "aarch64", "AMD64": "x86_64"}.get(named, named)
    return CpuTarget(cpu.isa, machine, cpu.isa is DotIsa.AVX512_VNNI and WIDE_POPCOUNT in cpu.features)


@lru_cache(maxsize=16)
def _llvm_target(isa: DotIsa, machine: str, extensions: tuple[str, ...]) -> Target:
    from tvm.target import Target

    if machine == "x86_64":
        cpu, attributes = _LLVM_CPUS.get(isa, ("x86-64-v2", ()))
        mattr = [*attributes, *(f"+{name.replace('_', '')}" for name in extensions)]
        return Target({"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": cpu, "mattr": mattr})
    if machine == "aarch64":
        attributes = ("+neon", "+dotprod") if isa is DotIsa.NEON_DOT else ("+neon",)
        options = {"mattr": list(attributes), "cl-opt": [_NO_PAIRING]}
        return Target({"kind": "llvm", "mtriple": "aarch64-linux-gnu", **options})
    raise CompilerError(f"no CPU kernels for machine '{machine}'; x86_64 and aarch64 are supported")
