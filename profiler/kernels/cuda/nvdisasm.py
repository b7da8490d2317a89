"""nvdisasm, NVIDIA's disassembler of cubins: from its wheel, a CUDA root or PATH."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from shutil import which

from profiler.kernels.cuda.sass import Listing, parse
from profiler.kernels.cuda.wheel import Wheel
from profiler.kernels.toolchain import ToolchainError

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
            return parse(_output([str(self.path), "--print-code", "--no-dataflow", file.name]))


def _version(path: Path) -> str:
    said = re.search(r"\bV(\d+\.\d+\.\d+)", _output([str(path), "--version"]))
    return said[1] if said else "unknown"


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ToolchainError(f"{command[0]} cannot be started: {error.strerror}; {WHEEL.repair}") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        reason = said[-1] if said else f"it ended with {done.returncode}"
        raise ToolchainError(f"{command[0]} fails: {reason}; {WHEEL.repair}")
    return done.stdout
