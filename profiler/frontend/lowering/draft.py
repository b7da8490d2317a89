"""The network while it is being made: its tensors and layers so far, and what the graph's names stand for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

from profiler.frontend.graph import Graph, Kind, Node
from profiler.frontend.lowering.extents import shape_text
from profiler.frontend.lowering.origin import Origin
from profiler.frontend.refusal import RefusedError
from profiler.workload import Layer, Op, Tensor, Workload

MAX_ELEMENTS = 2**31 - 1
"""Largest tensor, in elements: kernels index with 32 bits."""


@dataclass(frozen=True)
class Value:
    """What a name of the graph stands for: a tensor, seen as NCHW or flattened.

    ``source`` is the name under which the tensor left its layer, folds included: whoever reads that name, or a
    reshaped one, reads the tensor.
    """

    tensor: str
    flat: bool
    source: str


class Draft:
    """The state of one lowering; the rules write to it."""

    def __init__(self, graph: Graph, nodes: Sequence[Node], batch: int) -> None:
        self.graph = graph
        self.batch = batch
        self.readers: dict[str, list[Node]] = {}
        for node in nodes:
            for name in node.inputs:
                self.readers.setdefault(name, []).append(node)
        self.values: dict[str, Value | None] = {}
        """By name of the graph; None: of a skipped operator, of unknown shape."""
        self.tensors: dict[str, Tensor] = {}
        self.layers: list[Layer] = []
        self.origins: list[Origin] = []
        """Of the layers, in their order."""
        self.writers: dict[str, list[int]] = {}
        """Tensor to the indices of the layers that write it."""
        self.pooled_from: dict[str, tuple[Node, Value]] = {}
        """Output of a max pool to that pool and its input."""
        self._labels: dict[str, int] = {}

    def define(self, name: str, shape: tuple[int, ...] | None, signed: bool) -> None:
        """Make ``name`` a tensor that no layer writes. ``shape`` is (C, H, W) or (features,)."""
        if shape is None:
            raise RefusedError("its shape is not known")
        if len(shape) not in (1, 3):
            raise RefusedError(f"it has {len(shape) + 1} dimensions; only NCHW, and batch and features, are supported")
        if any(extent < 1 for extent in shape):
            raise RefusedError(f"one of its extents is zero or open: {shape_text(('batch', *shape))}")
        channels, height, width = shape if len(shape) == 3 else (*shape, 1, 1)
        if self.batch * height * width * channels > MAX_ELEMENTS:
            raise RefusedError(f"{shape_text((self.batch, *shape))} has more than {MAX_ELEMENTS} elements")
        self.tensors[name] = Tensor(name, height, width, channels, signed)
        self.values[name] = Value(name, len(shape) == 1, name)

    def emit(
        self,
        node: Node,
        workload: Workload,
        inputs: tuple[Tensor, ...],
        *,
        signed: bool,
        flat: bool = False,
        name: str | None = None,
        reads: tuple[str, ...] | None = None,
        counted_pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    ) -> None:
        """Add a layer, and its output, of which ``signed`` tells whether the operator can make it negative. ``reads``:
        the inputs of the node that belong to the layer, if not all. ``counted_pads`` as in `Layer`."""
        output = node.outputs[0]
        if max(workload.weights, prod(workload.input_shape), prod(workload.output_shape)) > MAX_ELEMENTS:
            raise RefusedError(f"a tensor of it is larger than {MAX_ELEMENTS} elements")
        relu = node.clamped and signed and (workload.op.has_weights or workload.op is Op.ADD)
        extents = (workload.out_height, workload.out_width, workload.out_channels)
        self.tensors[output] = Tensor(output, *extents, signed=signed and not node.clamped)
        self.values[output] = Value(output, flat, output)
        self.writers.setdefault(output, []).append(len(self.layers))
        self.layers.append(
            Layer(
                name=name or self.unique(node.label),
                workload=workload,
                inputs=tuple(tensor.name for tensor in inputs),
                output=output,
                relu=relu,
                parameters=node.parameters,
                counted_pads=counted_pads,
            )
        )
        self.origins.append(Origin(self.layers[-1].name, node, node.inputs if reads is None else reads))

    def unique(self, label: str) -> str:
        """A layer name that is not taken yet, and printable."""
        label = "".join(c if c.isprintable() else "_" for c in label) or "layer"
        count = self._labels.get(label, 0)
        self._labels[label] = count + 1
        return label if count == 0 else self.unique(f"{label}_{count}")

    def readers_of(self, source: str) -> list[Node | None]:
        """Who reads that value, looking through operators that move no data; None stands for an output of the model."""
        found: list[Node | None] = []
        pending = [source]
        while pending:
            name = pending.pop()
            if name in self.graph.outputs:
                found.append(None)
            for node in self.readers.get(name, []):
                if node.kind in (Kind.PASS, Kind.RESHAPE):
                    pending.extend(node.outputs[:1])
                else:
                    found.append(node)
        return found

    def outputs(self) -> tuple[str, ...]:
        """The tensors that the model's outputs are; those of skipped operators of unknown shape are none."""
        values = (self.values.get(name) for name in self.graph.outputs)
        return tuple(dict.fromkeys(value.tensor for value in values if value is not None))


Rule = Callable[[Draft, Node, Sequence[Value]], None]
"""What a node of one kind does to the draft, given the values that it reads. Raises `RefusedError`."""
