"""nvcc of a CUDA toolkit, from PATH or from a given root."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from shutil import which

from profiler.errors import CompilerError
from profiler.kernels.cuda.cubin import Cubin
from profiler.kernels.toolchain import ToolchainError, run_tool, tool_output

_SHIELD = "#define int64_t lowbit_int64_t\n#define uint64_t lowbit_uint64_t\n"
"""nvcc puts the system's headers ahead of every source, and their 64-bit types are `long`, not `long long`."""

_REPAIR = "install another CUDA toolkit, or use NVRTC (--cuda 12)"


@dataclass(frozen=True)
class Nvcc:
    path: Path
    version: str

    @staticmethod
    def find(root: Path | None) -> Nvcc:
        """That of a CUDA root (its folder ``bin``), or of PATH. Raises `ToolchainError` if there is none."""
        if root is None:
            found = which("nvcc")
            if found is None:
                raise ToolchainError(
                    "nvcc is not on PATH; install a CUDA toolkit, give the path of one, or use NVRTC (--cuda 12)"
                )
            path = Path(found)
        else:
            path = root / "bin" / "nvcc"
            if not path.exists():
                raise ToolchainError(
                    f"'{root}' is neither 12, 13 nor nvcc, nor the root of a CUDA toolkit (with bin/nvcc)"
                )
        said = tool_output([str(path), "--version"], _REPAIR)
        version = re.search(r"\bV(\d+\.\d+\.\d+)", said)
        if version is None:
            raise ToolchainError(f"{path} does not tell its version; {_REPAIR}")
        return Nvcc(path, version[1])

    @property
    def identity(self) -> str:
        return f"nvcc {self.version}"

    def archs(self) -> tuple[str, ...]:
        return tuple(tool_output([str(self.path), "--list-gpu-code"], _REPAIR).split())

    def compile(self, source: str, arch: str) -> Cubin:
        with tempfile.TemporaryDirectory(prefix="lowbit-nvcc-") as name:
            folder, cubin = Path(name), Path(name) / "kernel.cubin"
            (folder / "kernel.cu").write_text(_SHIELD + source)
            command = [str(self.path), f"-arch={arch}", "-cubin", "-Xptxas", "-v", "-o", cubin.name, "kernel.cu"]
            done = run_tool(command, _REPAIR, folder)
            log = done.stdout + done.stderr
            if done.returncode == 0 and cubin.exists():
                return Cubin(cubin.read_bytes(), log)
        lines = [line.strip() for line in log.splitlines() if line.strip()]
        refused = next((line for line in lines if re.match(r"kernel\.cu.*\berror\b|ptxas (error|fatal)", line)), None)
        if refused is not None:
            raise CompilerError(f"{self.identity} refused the kernel: {refused}")
        reason = "; ".join(lines[:2]) or f"it ended with {done.returncode}, without a cubin"
        raise ToolchainError(
            f"{self.path} does not work: {reason}; repair it (it needs a C++ compiler), or use NVRTC (--cuda 12)"
        )
