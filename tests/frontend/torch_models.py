"""Models in torch that several tests export."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any


def tiny_model() -> Any:
    """That of the ONNX files in tests/data."""
    spec = importlib.util.spec_from_file_location("export_tiny", Path(__file__).parents[1] / "data" / "export_tiny.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.tiny_model()


def from_function(torch: Any, function: Any, *layers: Any) -> Any:
    """A module that owns the layers ``a``, ``b``, ... and runs ``function(self, x)``."""

    class Model(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            for name, layer in zip("abcd", layers, strict=False):
                self.add_module(name, layer)

        def forward(self, x: Any) -> Any:
            return function(self, x)

    return Model().eval()
