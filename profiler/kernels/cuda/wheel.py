"""Files that come as Python packages: NVIDIA's compiler library and disassembler."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from profiler.kernels.toolchain import ToolchainError


@dataclass(frozen=True)
class Wheel:
    """A package with a file of it."""

    package: str
    file: str

    def locate(self) -> tuple[Path, str]:
        """Where the file is, and the package's version. Raises `ToolchainError` if it is not installed."""
        try:
            found = metadata.distribution(self.package)
        except metadata.PackageNotFoundError:
            raise ToolchainError(f"{self.package} is not installed; {self.install}") from None
        path = Path(str(found.locate_file(self.file)))
        if not path.exists():
            raise ToolchainError(f"{path} is missing; {self.repair}")
        return path, found.version

    @property
    def install(self) -> str:
        return f"install it: pip install {self.package}"

    @property
    def repair(self) -> str:
        return f"install it again: pip install --force-reinstall {self.package}"
