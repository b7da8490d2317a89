"""Opening an ONNX file: what can be read, in an opset that is known, with its local functions inlined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from profiler.errors import UnsupportedModel
from profiler.frontend.refusal import first_line

OLDEST_OPSET = 7
"""Before this one, broadcasting was spelled with attributes."""


def read(path: Path) -> Any:
    """The file's ``onnx.ModelProto``, without external data; raises `UnsupportedModel`."""
    try:
        import onnx
    except ImportError:
        raise UnsupportedModel(
            f"{path}: reading ONNX files needs the onnx package: pip install 'lowbit-profiler[onnx]'"
        ) from None
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf has no common base for what a broken file can raise
        raise UnsupportedModel(f"{path}: not an ONNX file, or a damaged one ({first_line(error)})") from None
    if not model.HasField("graph") or not model.graph.node:
        raise UnsupportedModel(f"{path}: not an ONNX model: it has no graph with nodes")
    newest = onnx.defs.onnx_opset_version()
    opsets = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if not opsets:
        raise UnsupportedModel(f"{path}: the model does not say its opset")
    if not OLDEST_OPSET <= opsets[0] <= newest:
        raise UnsupportedModel(
            f"{path}: opset {opsets[0]} is not supported (known are {OLDEST_OPSET} to {newest}); "
            "export the model again with one of these"
        )
    if model.functions:
        import onnx.inliner

        try:
            model = onnx.inliner.inline_local_functions(model)
        except Exception as error:
            raise UnsupportedModel(f"{path}: its local functions cannot be inlined ({first_line(error)})") from None
    return model
