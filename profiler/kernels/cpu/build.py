"""From a TIR function to an artifact: LLVM through TVM, linked with the launch runtime into a shared object.

TVM's packed calling convention is left out: the function takes plain pointers, so that the shared object needs neither
TVM nor Python to be called.
"""

from __future__ import annotations

import platform
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tvm
from tvm import s_tir, tirx
from tvm.ir.transform import PassContext, Sequential

from profiler.artifact import Artifact
from profiler.errors import CompilerError
from profiler.hardware import DotIsa
from profiler.kernels.check import check_of
from profiler.kernels.cpu.c_compiler import CCompiler, c_compiler
from profiler.kernels.cpu.lower import lower
from profiler.kernels.cpu.target import CpuTarget
from profiler.space.config import LookupConfig, PopcountConfig, ScheduleConfig, to_text
from profiler.workload import KernelSpec

TEMPLATES_VERSION = 1
"""To be raised whenever a template emits other code: measurements of the old code are then another instrument's."""
RUNTIME_SOURCES = ("runtime.c", "entry.c")
_C_FLAGS = ("-std=gnu11", "-O2", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra")
# Of Arm's artifacts, which mostly run on another system than they are linked on: no helpers of a compiler's library,
# and the C library is that of the process that loads them, whatever its version. Linked against Debian 12's they would
# not load on older systems: the same pthread_create has a newer version there.
_ARM_C_FLAGS = ("-mno-outline-atomics",)
_ARM_LINK_FLAGS = ("-nodefaultlibs",)


@dataclass(frozen=True)
class Toolchain:
    """The C compiler that links kernels with the launch runtime, and the runtime's objects, compiled once."""

    cc: CCompiler
    objects: tuple[Path, ...]
    link_flags: tuple[str, ...] = ("-pthread",)

    @staticmethod
    def prepare(folder: Path, machine: str = "") -> Toolchain:
        """Compile the runtime into ``folder``, for a machine, by default this one.

        Raises `ToolchainError` if there is no C compiler or it fails.
        """
        cc = c_compiler(machine)
        arm = (machine or platform.machine()) == "aarch64"
        flags = (*_C_FLAGS, *(_ARM_C_FLAGS if arm else ()))
        objects = []
        for source in RUNTIME_SOURCES:
            target = folder / (source + ".o")
            cc.run([*flags, "-c", str(Path(__file__).parent / source), "-o", str(target)])
            objects.append(target)
        return Toolchain(cc, tuple(objects), _ARM_LINK_FLAGS if arm else Toolchain.link_flags)


def compiler_version() -> str:
    """What generated the machine code, for artifacts and fingerprints: the compiler and the templates."""
    llvm = tvm.target.codegen.llvm_version_major()
    return f"tvm {tvm.__version__} llvm {llvm} templates {TEMPLATES_VERSION}"


def build(spec: KernelSpec, config: ScheduleConfig, target: CpuTarget, threads: int, toolchain: Toolchain) -> Artifact:
    """Compile one kernel. Raises `CompilerError` or `InvalidConfig`, and `ToolchainError` if it cannot be linked."""
    target = target.for_config(config)
    lowered = lower(spec, config, target.isa)
    with tempfile.TemporaryDirectory(prefix="lowbit-build-") as folder:
        kernel = Path(folder) / "kernel.o"
        shared = Path(folder) / "kernel.so"
        _module(lowered.function, config, target).write_to_file(str(kernel))
        _link(toolchain, [kernel, *toolchain.objects], shared)
        code = shared.read_bytes()
    return Artifact(
        spec=spec,
        config=to_text(config),
        threads=threads,
        entry=f"lowbit_entry_{len(lowered.args)}",
        arch=target.arch,
        features=target.features,
        args=lowered.args,
        packing=lowered.packing,
        check=check_of(spec),
        compiler=compiler_version(),
        native=is_native(spec, config, target.isa),
        code=code,
    )


def is_native(spec: KernelSpec, config: ScheduleConfig, isa: DotIsa) -> bool:
    """Whether the CPU multiplies in the width of the weights; no CPU has a dot product of 4 bits or fewer.

    Narrower weights are looked up bit by bit, for which every CPU but the plainest has an instruction.
    """
    if spec.weight_dtype is None:
        return True
    if isinstance(config, (LookupConfig, PopcountConfig)):
        return isa is not DotIsa.GENERIC
    return spec.weight_dtype.bits == 8 and isa in (DotIsa.AVX512_VNNI, DotIsa.AVX_VNNI, DotIsa.NEON_DOT)


def assembly(spec: KernelSpec, config: ScheduleConfig, target: CpuTarget) -> str:
    """The kernel's machine code as text, for tests and the curious."""
    target = target.for_config(config)
    return str(_module(lower(spec, config, target.isa).function, config, target).inspect_source("asm"))


def _module(function: Any, config: ScheduleConfig, target: CpuTarget) -> Any:
    """LLVM's module of a kernel."""
    module = _code_generation(function, target)
    return _with_aligned_stack(module) if isinstance(config, LookupConfig | PopcountConfig) else module


def _code_generation(function: Any, target: CpuTarget) -> Any:
    llvm = target.llvm()
    passes = [
        s_tir.transform.LowerOpaqueBlock(),
        tirx.transform.FlattenBuffer(),
        tirx.transform.NarrowDataType(32),
        tirx.transform.VectorizeLoop(True),
        tirx.transform.UnrollLoop(),
        tirx.transform.StmtSimplify(),
        tirx.transform.LowerIntrin(),
    ]
    module = tirx.transform.BindTarget(llvm.with_host(llvm))(tvm.IRModule.from_expr(function))
    try:
        with PassContext(opt_level=3):
            return tvm.get_global_func("target.build.llvm")(Sequential(passes)(module), llvm)
    except RuntimeError as error:  # the base of TVM's internal errors
        raise CompilerError(f"TVM refused the kernel: {str(error).splitlines()[-1]}") from None


def _with_aligned_stack(module: Any) -> Any:
    """The same code, but that its functions align their stack to whole vectors.

    LLVM spills vectors to a stack that is aligned to 16 bytes, so that by chance half of the accesses cross two lines
    of the cache, and a kernel's time differs from process to process. TVM has no option for it.
    """
    text = str(module.inspect_source("ll"))
    aligned = re.sub(r'^(attributes #\d+ = \{)(?=.*"target-cpu")', r"\1 alignstack=64", text, flags=re.MULTILINE)
    with tempfile.TemporaryDirectory(prefix="lowbit-ir-") as folder:
        source = Path(folder) / "kernel.ll"
        source.write_text(aligned)
        return tvm.get_global_func("ffi.Module.load_from_file.ll")(str(source), "ll")


def _link(toolchain: Toolchain, objects: Sequence[Path], target: Path) -> None:
    toolchain.cc.run(["-shared", *toolchain.link_flags, "-Wl,-z,noexecstack", "-o", str(target), *map(str, objects)])
