"""What a model's protobuf messages hold, as values with types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from profiler.frontend.refusal import quoted

LARGEST_KEPT = 64
"""Constants of at most so many elements keep their values: shapes, axes, limits, zero points."""

_DOMAINS = ("", "ai.onnx", "com.microsoft")


@dataclass(frozen=True)
class Constant:
    """A constant of the model: its shape (None where unknown), the values of a small one, and its element type."""

    shape: tuple[int, ...] | None
    values: tuple[float, ...] | None = None
    elem_type: int = 0
    weight_name: str = ""


@dataclass(frozen=True)
class Operator:
    """A node of the file with its attributes taken apart. ``inputs`` may hold empty names (left-out optional ones)."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    @property
    def text(self) -> str:
        """How messages call it."""
        where = quoted(self.name) if self.name else f"that makes {quoted(self.outputs[0] if self.outputs else '')}"
        return f"operator {quoted(self.op)[1:-1]} ({where})"

    @property
    def label(self) -> str:
        """A layer's name from its node's: torch's ``/layer2/downsample/downsample.0/Conv`` is layer2.downsample.0."""
        name = self.name or (self.outputs[0] if self.outputs else "")
        if not name.startswith("/"):
            return name
        parts: list[str] = []
        for part in name.split("/")[1:]:
            if parts and part.startswith(f"{parts[-1]}."):
                parts.pop()
            parts.append(part)
        if len(parts) > 1 and parts[-1].removesuffix("_quant") in ("Conv", "Gemm", "MatMul"):
            parts.pop()
        return ".".join(parts)

    def input(self, index: int) -> str:
        """Name of an input; empty where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else ""

    def get(self, name: str, default: Any) -> Any:
        return self.attributes.get(name, default)


def decoded(name: str | bytes) -> str:
    """Protobuf hands out bytes where a name of the file is not UTF-8."""
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name


def dims_of(tensor_type: Any) -> tuple[int | None, ...] | None:
    """The extents of a ``TypeProto.Tensor``, batch included; None: an open extent, or no shape at all."""
    if not tensor_type.HasField("shape"):
        return None
    return tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor_type.shape.dim)


def operator_of(node: Any) -> Operator:
    """Of a ``NodeProto``."""
    import onnx

    attributes: dict[str, Any] = {}
    for attribute in node.attribute:
        try:
            attributes[decoded(attribute.name)] = onnx.helper.get_attribute_value(attribute)
        except ValueError:
            attributes[decoded(attribute.name)] = None
    op, domain = decoded(node.op_type), decoded(node.domain)
    return Operator(
        op=op if domain in _DOMAINS else f"{domain}.{op}",
        name=decoded(node.name),
        inputs=tuple(map(decoded, node.input)),
        outputs=tuple(map(decoded, node.output)),
        attributes=attributes,
    )


def constant_of(tensor: Any) -> Constant:
    """Of a ``TensorProto``."""
    from onnx import TensorProto, numpy_helper

    shape = tuple(tensor.dims)
    values = None
    if 0 <= prod(shape) <= LARGEST_KEPT and tensor.data_location != TensorProto.EXTERNAL:
        try:
            values = tuple(numpy_helper.to_array(tensor).reshape(-1).astype(float).tolist())
        except Exception:  # damaged, or a type that NumPy lacks: then its values are not known
            values = None
    return Constant(shape, values, tensor.data_type, decoded(tensor.name))
