"""The programs that make cubins and read them, found and checked for one GPU. Needs no TVM."""

from __future__ import annotations

from dataclasses import dataclass

from profiler.hardware import GpuSpec
from profiler.kernels.cuda.compiler import CudaCompiler, find_compiler
from profiler.kernels.cuda.nvcc import Nvcc
from profiler.kernels.cuda.nvdisasm import Disassembler
from profiler.kernels.toolchain import ToolchainError


@dataclass(frozen=True)
class Tools:
    """A compiler that knows the GPU, and a disassembler."""

    compiler: CudaCompiler
    disassembler: Disassembler

    @staticmethod
    def find(cuda: str, gpu: GpuSpec) -> Tools:
        """``cuda`` as in `find_compiler`. Raises `ToolchainError` if a tool is missing, broken or unfit for the GPU."""
        compiler = find_compiler(cuda)
        archs = compiler.archs()
        if gpu.arch not in archs:
            known = f"{archs[0]} to {archs[-1]}" if archs else "nothing"
            raise ToolchainError(
                f"{compiler.identity} does not compile for {gpu.arch} ({gpu.name}); it knows {known}: "
                f"choose another (--cuda 12, 13, nvcc or the path of a CUDA root)"
            )
        root = compiler.path.parent.parent if isinstance(compiler, Nvcc) else None
        return Tools(compiler, Disassembler.find(root))
