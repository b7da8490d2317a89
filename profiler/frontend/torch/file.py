"""Opening a program saved by ``torch.export.save``."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
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
        with _silence():
            return torch.export.load(str(path))
    except Exception as error:  # torch's loader has no common base for what a broken file can raise
        reason = first_line(error)
        if "warnings above" in reason:  # which nobody sees
            reason = "it is damaged, or of a version of PyTorch that this one does not know"
        raise UnsupportedModel(f"{path}: torch.export.load cannot read it ({reason})") from None


@contextmanager
def _silence() -> Iterator[None]:
    """torch warns and logs, with tracebacks, of what it then raises."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
