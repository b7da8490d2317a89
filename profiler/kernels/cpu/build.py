"""From a TIR function to an artifact: LLVM through TVM, linked with the launch runtime into a shared object.

TVM's packed calling convention is left out: the function takes plain pointers, so that the shared object needs neither
TVM nor Python to be called.
"""

from __future__ import annotations

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
from profiler.space.config import ScheduleConfig, to_text
from profiler.workload import KernelSpec

TEMPLATES_VERSION = 1
"""To be raised whenever a template emits other code: measurements of the old code are then another instrument's."""
RUNTIME_SOURCES = ("runtime.c", "entry.c")
_C_FLAGS = ("-std=gnu11", "-O2", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra")


@dataclass(frozen=True)
class Toolchain:
    """The C compiler that links kernels with the launch runtime, and the runtime's objects, compiled once."""

    cc: CCompiler
    objects: tuple[Path, ...]

    @staticmethod
    def prepare(folder: Path) -> Toolchain:
        """Compile the runtime into ``folder``. Raises `ToolchainError` if there is no C compiler or it fails."""
        cc = c_compiler()
        objects = []
        for source in RUNTIME_SOURCES:
            target = folder / (source + ".o")
            cc.run([*_C_FLAGS, "-c", str(Path(__file__).parent / source), "-o", str(target)])
            objects.append(target)
        return Toolchain(cc, tuple(objects))


def compiler_version() -> str:
    """What generated the machine code, for artifacts and fingerprints: the compiler and the templates."""
    llvm = tvm.target.codegen.llvm_version_major()
    return f"tvm {tvm.__version__} llvm {llvm} templates {TEMPLATES_VERSION}"


def build(spec: KernelSpec, config: ScheduleConfig, target: CpuTarget, threads: int, toolchain: Toolchain) -> Artifact:
    """Compile one kernel. Raises `CompilerError` or `InvalidConfig`, and `ToolchainError` if it cannot be linked."""
    lowered = lower(spec, config, target.isa)
    with tempfile.TemporaryDirectory(prefix="lowbit-build-") as folder:
        kernel = Path(folder) / "kernel.o"
        shared = Path(folder) / "kernel.so"
        _code_generation(lowered.function, target).write_to_file(str(kernel))
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
        native=is_native(spec, target.isa),
        code=code,
    )


def is_native(spec: KernelSpec, isa: DotIsa) -> bool:
    """Whether the CPU multiplies in the width of the weights; no CPU has a 4-bit dot product."""
    if spec.weight_dtype is None:
        return True
    return spec.weight_dtype.bits == 8 and isa in (DotIsa.AVX512_VNNI, DotIsa.AVX_VNNI, DotIsa.NEON_DOT)


def assembly(spec: KernelSpec, config: ScheduleConfig, target: CpuTarget) -> str:
    """The kernel's machine code as text, for tests and the curious."""
    return str(_code_generation(lower(spec, config, target.isa).function, target).inspect_source("asm"))


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


def _link(toolchain: Toolchain, objects: Sequence[Path], target: Path) -> None:
    toolchain.cc.run(["-shared", "-pthread", "-Wl,-z,noexecstack", "-o", str(target), *map(str, objects)])
