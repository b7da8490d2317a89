"""nvdisasm, NVIDIA's disassembler of cubins: from its wheel, a CUDA root or PATH."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from shutil import which

from profiler.kernels.cuda.sass import Listing, parse
from profiler.kernels.cuda.wheel import Wheel
from profiler.kernels.toolchain import ToolchainError, tool_output

WHEEL = Wheel("nvidia-cuda-nvdisasm", "nvidia/cu13/bin/nvdisasm")


@dataclass(frozen=True)
class Disassembler:
    """nvdisasm. About 0.15 s a cubin, whatever its size."""

    path: Path
    version: str

    @staticmethod
    def find(root: Path | None = None) -> Disassembler:
        """That of a CUDA root, else of its wheel, else of PATH. Raises `ToolchainError` if there is none."""
        own = root / "bin" / "nvdisasm" if root is not None else None
        if own is not None and own.exists():
            return Disassembler(own, _version(own))
        try:
            path, _ = WHEEL.locate()
        except ToolchainError as error:
            found = which("nvdisasm")
            if found is None:
                raise ToolchainError(f"no disassembler: nvdisasm is not on PATH, and {error}") from None
            path = Path(found)
        return Disassembler(path, _version(path))

    def listing(self, cubin: bytes) -> Listing:
        """Raises `ToolchainError` if nvdisasm cannot read the cubin."""
        with tempfile.NamedTemporaryFile(prefix="lowbit-", suffix=".cubin") as file:
            file.write(cubin)
            file.flush()
            # Its analysis of the data flow names the targets of indirect branches, which our kernels do not have.
            command = [str(self.path), "--print-code", "--no-dataflow", file.name]
            return parse(tool_output(command, WHEEL.repair))


def _version(path: Path) -> str:
    said = re.search(r"\bV(\d+\.\d+\.\d+)", tool_output([str(path), "--version"], WHEEL.repair))
    return said[1] if said else "unknown"
