"""ONNX files, float, QDQ or with quantized operators (QLinearConv and its like), as a `Network`.

- ``file``: opening it
- ``protobuf``: what the messages hold, with types
- ``constants``: what is known without running the model
- ``model``: the model as the rules ask about it
- ``rules``: what each operator means
- ``reader``: from the model to a `Graph`
- ``values``, ``weights``: the numbers of a layer's weights, imported when they are asked for (need NumPy)

A network needs no weights, only their shapes, so external data is not read for one. The file's batch does not matter.
Operators are those of https://onnx.ai/onnx/operators/, and for quantized models ONNX Runtime's com.microsoft ones.
"""

from __future__ import annotations

from pathlib import Path

from profiler.frontend.lowering import build_network
from profiler.frontend.onnx.file import read
from profiler.frontend.onnx.model import Model
from profiler.frontend.onnx.reader import graph_of
from profiler.workload import Network

__all__ = ["load"]


def load(path: Path, batch: int, *, skip_unsupported: bool = False) -> Network:
    """The network in an ONNX file; raises `UnsupportedModel` with one line for whatever stands in the way."""
    graph = graph_of(Model(read(path)), path.stem, str(path))
    return build_network(graph, batch, skip_unsupported=skip_unsupported)
