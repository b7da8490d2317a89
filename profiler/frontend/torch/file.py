"""Opening a program saved by ``torch.export.save``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from profiler.errors import UnsupportedModel
from profiler.frontend.refusal import first_line


def read(path: Path) -> Any:
    """The file's ``torch.export.ExportedProgram``; raises `UnsupportedModel`."""
    try:
        import torch  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise UnsupportedModel(
            f"{path}: reading exported programs needs PyTorch: pip install 'lowbit-profiler[torch]'"
        ) from None
    try:
        return torch.export.load(str(path))
    except Exception as error:  # torch's loader has no common base for what a broken file can raise
        raise UnsupportedModel(f"{path}: torch.export.load cannot read it ({first_line(error)})") from None
