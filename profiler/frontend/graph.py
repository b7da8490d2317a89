"""From a model's operators to a `Network`: the part that all frontends share.

A frontend translates its file into a `Graph` of `Node`s, one per operator, and `build_network` does the rest: it sorts
the nodes, computes the shapes, folds batch normalization and biases into the layer ahead of them, fuses ReLU, and looks
through operators that move no data. The batch never takes part in the shapes here, so any batch can be asked for.

Values are NCHW in the files and NHWC in the network; a flattened value stays the same tensor, since the order of its
features is a permutation of the next layer's weights.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from profiler.errors import InvalidWorkload, UnsupportedModel
from profiler.workload import Layer, Network, Op, Tensor, Workload

MAX_ELEMENTS = 2**31 - 1
"""Largest tensor, in elements: kernels index with 32 bits."""


class Kind(Enum):
    """What a node means to the network."""

    CONV2D = "conv2d"
    DENSE = "dense"
    ADD = "add"
    MAX_POOL = "max_pool"
    AVG_POOL = "avg_pool"
    CONCAT = "concat"
    RELU = "relu"  # clamp at zero; the upper end of ReLU6 is the upper end of the quantized range
    CLAMP = "clamp"  # the same, but only a hint: a quantization to a type that holds nothing below zero
    FOLD = "fold"  # scale or shift per channel with constants, to be folded into the layer ahead
    RESHAPE = "reshape"
    PASS = "pass"  # moves no data and changes no shape
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True)
class Window:
    """Kernel extents of a convolution or pool, each (height, width).

    ``pads`` are top, left, bottom, right. ``same`` is "upper" or "lower" where the padding is to be derived from the
    input so that the output has ceil(input / stride) elements (ONNX auto_pad); ``ceil_mode`` rounds the output's
    extent up.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    same: str = ""
    ceil_mode: bool = False


@dataclass(frozen=True)
class Adaptive:
    """A pool that is told its output's extents (height, width); ``Adaptive((1, 1))`` is a global pool."""

    size: tuple[int, int]


@dataclass(frozen=True)
class Node:
    """An operator of the model.

    ``label`` becomes the layer's name (made unique), ``text`` is how messages call the node. ``inputs`` are
    activations only; constants are spent on the other fields. ``in_channels`` is what the weights ask for.
    ``constant_shape`` belongs to FOLD (or ``in_channels``, where the constants are one per channel by definition),
    ``target`` (batch left out, -1 for a free extent) to RESHAPE, ``reason`` to UNSUPPORTED. ``clamped``: the operator
    is a quantized one, and the type that it stores holds nothing below zero.
    """

    label: str
    text: str
    kind: Kind
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    window: Window | Adaptive | None = None
    in_channels: int = 0
    out_channels: int = 0
    groups: int = 1
    parameters: int = 0
    constant_shape: tuple[int, ...] = ()
    target: tuple[int, ...] = ()
    reason: str = ""
    clamped: bool = False


@dataclass(frozen=True)
class GraphInput:
    """An input of the model: (C, H, W) or (features,), batch left out, -1 for an open extent; None: not said."""

    name: str
    shape: tuple[int, ...] | None
    signed: bool = True


@dataclass(frozen=True)
class Graph:
    """A model as its frontend read it; nodes in any order.

    ``where`` begins each message: the file. ``shape_of`` tells what the file says of a name, (C, H, W) or
    (features,), or None; it is asked only about the outputs of skipped operators.
    """

    name: str
    where: str
    inputs: tuple[GraphInput, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    shape_of: Callable[[str], tuple[int, ...] | None] = lambda _: None


def quoted(text: str) -> str:
    """A name from a file, fit for one line of a message."""
    short = text if len(text) <= 80 else text[:77] + "..."
    return repr(short)


def first_line(error: Exception) -> str:
    """What another library has to say, cut to one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__


class RefusedError(Exception):
    """Why an operator cannot become part of a network; the node that it belongs to is added by who catches it."""


def build_network(graph: Graph, batch: int, *, skip_unsupported: bool = False) -> Network:
    """The network of a graph.

    An operator that has no place in a `Network` raises `UnsupportedModel` with its name; with ``skip_unsupported`` it
    is left out and named in ``skipped``, and its output goes on as a tensor without a producer where its shape is known
    (what reads an output of unknown shape is left out too).
    """
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise UnsupportedModel(f"{graph.where}: the batch must be an integer of at least 1, not {batch!r}")
    return _Lowering(graph, batch, skip_unsupported).run()


@dataclass(frozen=True)
class _Value:
    """What a name of the graph stands for: a tensor, seen as NCHW or flattened.

    ``source`` is the name under which the tensor left its layer, folds included: whoever reads that name, or a
    reshaped one, reads the tensor.
    """

    tensor: str
    flat: bool
    source: str


class _Lowering:
    """The state of one `build_network`."""

    def __init__(self, graph: Graph, batch: int, skip_unsupported: bool) -> None:
        self.graph = graph
        self.batch = batch
        self.skip_unsupported = skip_unsupported
        self.nodes = _needed(graph)
        self.readers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in node.inputs:
                self.readers.setdefault(name, []).append(node)
        self.values: dict[str, _Value | None] = {}  # None: skipped, of unknown shape
        self.tensors: dict[str, Tensor] = {}
        self.layers: list[Layer] = []
        self.writers: dict[str, list[int]] = {}  # tensor -> indices of the layers that write it
        self.pooled_from: dict[str, tuple[Node, _Value]] = {}  # output of a max pool -> that pool and its input
        self.labels: dict[str, int] = {}
        self.skipped: list[str] = []

    def run(self) -> Network:
        for entry in self.graph.inputs:
            if entry.name in self.readers:
                self._input(entry)
        for node in self.nodes:
            try:
                if node.kind is not Kind.UNSUPPORTED and any(self.values[name] is None for name in node.inputs):
                    raise RefusedError("it reads the output of a skipped operator whose shape is not known")
                self._lower(node)
            except (RefusedError, InvalidWorkload) as refusal:
                self._skip(node, str(refusal))
        if not self.layers:
            raise UnsupportedModel(f"{self.graph.where}: the model has no layer that can be profiled")
        return Network(
            name=self.graph.name,
            batch=self.batch,
            tensors=tuple(self.tensors.values()),
            layers=tuple(self.layers),
            skipped=tuple(self.skipped),
        )

    def _input(self, entry: GraphInput) -> None:
        try:
            self._define(entry.name, entry.shape, entry.signed)
        except RefusedError as refusal:
            if all(node.kind is Kind.UNSUPPORTED for node in self.readers[entry.name]):
                self.values[entry.name] = None  # the reader is the better one to complain about
                return
            advice = "export the model with inputs of a fixed NCHW size (the batch can be open)"
            raise UnsupportedModel(f"{self.graph.where}: input {quoted(entry.name)}: {refusal}; {advice}") from None

    def _skip(self, node: Node, reason: str) -> None:
        if not self.skip_unsupported:
            hint = "--skip-unsupported profiles the rest"
            raise UnsupportedModel(f"{self.graph.where}: {node.text}: {reason} ({hint})")
        self.skipped.append(node.text)
        for name in node.outputs:
            try:
                self._define(name, self.graph.shape_of(name), signed=True)
            except RefusedError:
                self.values[name] = None

    def _define(self, name: str, shape: tuple[int, ...] | None, signed: bool) -> None:
        """Make ``name`` a tensor that no layer writes. ``shape`` is (C, H, W) or (features,)."""
        if shape is None:
            raise RefusedError("its shape is not known")
        if len(shape) not in (1, 3):
            raise RefusedError(f"it has {len(shape) + 1} dimensions; only NCHW, and batch and features, are supported")
        if any(extent < 1 for extent in shape):
            raise RefusedError(f"one of its extents is zero or open: {_text(('batch', *shape))}")
        channels, height, width = shape if len(shape) == 3 else (*shape, 1, 1)
        if self.batch * height * width * channels > MAX_ELEMENTS:
            raise RefusedError(f"{_text((self.batch, *shape))} has more than {MAX_ELEMENTS} elements")
        self.tensors[name] = Tensor(name, height, width, channels, signed)
        self.values[name] = _Value(name, len(shape) == 1, name)

    def _lower(self, node: Node) -> None:
        if node.kind is Kind.UNSUPPORTED:
            raise RefusedError(node.reason)
        values = [self._value(name) for name in node.inputs]
        for extra in node.outputs[1:]:
            if extra in self.readers or extra in self.graph.outputs:
                raise RefusedError(f"its output {quoted(extra)} is used; only the first one is supported")
        rules: dict[Kind, Callable[[Node, list[_Value]], None]] = {
            Kind.CONV2D: self._conv2d,
            Kind.DENSE: self._dense,
            Kind.ADD: self._add,
            Kind.MAX_POOL: self._pool,
            Kind.AVG_POOL: self._pool,
            Kind.CONCAT: self._concat,
            Kind.RELU: self._relu,
            Kind.CLAMP: self._relu,
            Kind.FOLD: self._fold,
            Kind.RESHAPE: self._reshape,
            Kind.PASS: self._pass,
        }
        rules[node.kind](node, values)

    def _value(self, name: str) -> _Value:
        value = self.values[name]
        assert value is not None
        return value

    # -- operators with a price -------------------------------------------------------------------------------------

    def _conv2d(self, node: Node, values: list[_Value]) -> None:
        tensor = self._image(values[0])
        assert isinstance(node.window, Window)
        self._check_channels(node, tensor.channels)
        workload = Workload(
            op=Op.CONV2D,
            batch=self.batch,
            in_height=tensor.height,
            in_width=tensor.width,
            in_channels=tensor.channels,
            out_channels=node.out_channels,
            groups=node.groups,
            **_window_fields(node.window, tensor.height, tensor.width),
        )
        self._emit(node, workload, (tensor,), signed=True)

    def _dense(self, node: Node, values: list[_Value]) -> None:
        tensor = self.tensors[values[0].tensor]
        features = tensor.height * tensor.width * tensor.channels
        if not values[0].flat:
            raise RefusedError(
                "it multiplies the last dimension of an NCHW tensor; only (batch, features) is supported"
            )
        self._check_channels(node, features)
        workload = Workload(Op.DENSE, self.batch, 1, 1, features, node.out_channels)
        self._emit(node, workload, (tensor,), signed=True, flat=True)

    def _add(self, node: Node, values: list[_Value]) -> None:
        first, second = (self.tensors[value.tensor] for value in values)
        shapes = [(t.height, t.width, t.channels) for t in (first, second)]
        if shapes[0] != shapes[1] or values[0].flat != values[1].flat:
            raise RefusedError(f"it adds tensors of different shapes (NHWC without batch: {shapes[0]} and {shapes[1]})")
        workload = Workload(Op.ADD, self.batch, *shapes[0], first.channels)
        self._emit(node, workload, (first, second), signed=first.signed or second.signed, flat=values[0].flat)

    def _pool(self, node: Node, values: list[_Value]) -> None:
        tensor = self._image(values[0])
        window = node.window
        if isinstance(window, Adaptive):
            if window.size == (tensor.height, tensor.width):
                self._pass(node, values)
                return
            window = _adaptive_window(window, tensor.height, tensor.width)
        assert window is not None
        workload = Workload(
            op=Op.MAX_POOL if node.kind is Kind.MAX_POOL else Op.AVG_POOL,
            batch=self.batch,
            in_height=tensor.height,
            in_width=tensor.width,
            in_channels=tensor.channels,
            out_channels=tensor.channels,
            **_window_fields(window, tensor.height, tensor.width),
        )
        self._emit(node, workload, (tensor,), signed=tensor.signed)
        if node.kind is Kind.MAX_POOL:
            self.pooled_from[node.outputs[0]] = (node, values[0])

    def _concat(self, node: Node, values: list[_Value]) -> None:
        """One layer per input: each copies its slice into the common output, in the order of the channels."""
        flat = values[0].flat
        slices: list[tuple[Tensor, int, int, int]] = []
        for value in values:
            tensor = self.tensors[value.tensor]
            extents = (tensor.height, tensor.width, tensor.channels)
            slices.append((tensor, *((1, 1, extents[0] * extents[1] * extents[2]) if flat else extents)))
        if any(value.flat != flat for value in values) or len({s[1:3] for s in slices}) > 1:
            raise RefusedError("it concatenates tensors of different height, width or rank")
        total = sum(s[3] for s in slices)
        signed = any(tensor.signed for tensor, *_ in slices)
        workloads = [Workload(Op.CONCAT, self.batch, height, width, c, total) for _, height, width, c in slices]
        label = self._unique(node.label)
        for index, ((tensor, *_), workload) in enumerate(zip(slices, workloads, strict=True)):
            name = label if len(slices) == 1 else self._unique(f"{label}.{index}")
            self._emit(node, workload, (tensor,), signed=signed, flat=flat, name=name)

    def _emit(
        self,
        node: Node,
        workload: Workload,
        inputs: tuple[Tensor, ...],
        *,
        signed: bool,
        flat: bool = False,
        name: str | None = None,
    ) -> None:
        output = node.outputs[0]
        if max(workload.weights, _elements(workload.input_shape), _elements(workload.output_shape)) > MAX_ELEMENTS:
            raise RefusedError(f"a tensor of it is larger than {MAX_ELEMENTS} elements")
        relu = node.clamped and signed and (workload.op.has_weights or workload.op is Op.ADD)
        extents = (workload.out_height, workload.out_width, workload.out_channels)
        self.tensors[output] = Tensor(output, *extents, signed=signed and not node.clamped)
        self.values[output] = _Value(output, flat, output)
        self.writers.setdefault(output, []).append(len(self.layers))
        self.layers.append(
            Layer(
                name=name or self._unique(node.label),
                workload=workload,
                inputs=tuple(tensor.name for tensor in inputs),
                output=output,
                relu=relu,
                parameters=node.parameters,
            )
        )

    def _image(self, value: _Value) -> Tensor:
        if value.flat:
            raise RefusedError("it reads a tensor of 2 dimensions; only NCHW is supported")
        return self.tensors[value.tensor]

    @staticmethod
    def _check_channels(node: Node, channels: int) -> None:
        if node.in_channels != channels:
            raise RefusedError(f"its weights are for {node.in_channels} input channels, but it reads {channels}")

    def _unique(self, label: str) -> str:
        label = "".join(c if c.isprintable() else "_" for c in label) or "layer"
        count = self.labels.get(label, 0)
        self.labels[label] = count + 1
        return label if count == 0 else self._unique(f"{label}_{count}")

    # -- operators that disappear -----------------------------------------------------------------------------------

    def _pass(self, node: Node, values: list[_Value]) -> None:
        self.values[node.outputs[0]] = values[0]

    def _reshape(self, node: Node, values: list[_Value]) -> None:
        """Flattening to (batch, features), and back to where it came from."""
        tensor = self.tensors[values[0].tensor]
        image = (tensor.channels, tensor.height, tensor.width)
        features = tensor.channels * tensor.height * tensor.width
        if node.target in ((features,), (-1,)):
            flat = True
        elif len(node.target) == 3 and all(want in (-1, have) for want, have in zip(node.target, image, strict=True)):
            flat = False
        else:
            target = _text(("batch", *node.target)) if node.target else "an unknown shape"
            raise RefusedError(f"it reshapes {_text(('batch', *image))} to {target}; only flattening is supported")
        self.values[node.outputs[0]] = replace(values[0], flat=flat)

    def _fold(self, node: Node, values: list[_Value]) -> None:
        """Fold constants per channel into the convolution or dense layer ahead."""
        value = values[0]
        tensor = self.tensors[value.tensor]
        writers = self.writers.get(value.tensor, [])
        producer = self.layers[writers[0]] if len(writers) == 1 else None
        if producer is None or not producer.workload.op.has_weights or producer.relu:
            raise RefusedError("it can be folded only into a convolution or dense layer just ahead of it")
        if self._readers_of(value.source) != [node]:
            raise RefusedError(
                f"it cannot be folded into {quoted(producer.name)}, whose output something else reads too"
            )
        if node.in_channels not in (0, tensor.channels):
            raise RefusedError(f"its constants are for {node.in_channels} channels, but it reads {tensor.channels}")
        per_channel = (tensor.channels,) if value.flat else (tensor.channels, 1, 1)
        if _without_leading_ones(node.constant_shape) not in ((), _without_leading_ones(per_channel)):
            raise RefusedError(f"its constant of shape {node.constant_shape} is not one value per channel")
        self.layers[writers[0]] = replace(producer, parameters=producer.parameters + node.parameters)
        self.values[node.outputs[0]] = replace(value, source=node.outputs[0])

    def _relu(self, node: Node, values: list[_Value]) -> None:
        """Fuse into the layer ahead; behind a max pool, into the layer ahead of that, since the two commute."""
        value = values[0]
        hint = node.kind is Kind.CLAMP
        fused = not self.tensors[value.tensor].signed or self._clamp_at_zero(value, input_too=hint)
        if not fused and not hint:
            raise RefusedError(
                "it can be fused only into a convolution, dense, add, concat or pool that it alone reads"
            )
        self.values[node.outputs[0]] = replace(value, source=node.outputs[0]) if fused else value

    def _clamp_at_zero(self, value: _Value, *, input_too: bool) -> bool:
        if any(r is None or r.kind not in (Kind.RELU, Kind.CLAMP) for r in self._readers_of(value.source)):
            return False
        unsigned = [value.tensor]
        while value.tensor in self.pooled_from:
            pool, value = self.pooled_from[value.tensor]
            if self._readers_of(value.source) != [pool]:
                return False
            unsigned.append(value.tensor)
        writers = self.writers.get(value.tensor, [])
        if not writers and not (input_too and value.tensor in {entry.name for entry in self.graph.inputs}):
            return False
        for index in writers:
            # A pool or concat that stores an unsigned type clamps at zero by doing so.
            op = self.layers[index].workload.op
            self.layers[index] = replace(self.layers[index], relu=op.has_weights or op is Op.ADD)
        for name in unsigned:
            self.tensors[name] = replace(self.tensors[name], signed=False)
        return True

    def _readers_of(self, source: str) -> list[Node | None]:
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


def _needed(graph: Graph) -> tuple[Node, ...]:
    """The nodes that the outputs depend on, in topological order, otherwise in the order of the file."""
    made_by: dict[str, int] = {}
    inputs = {entry.name for entry in graph.inputs}
    for index, node in enumerate(graph.nodes):
        for name in node.outputs:
            if name in made_by or name in inputs:
                raise UnsupportedModel(f"{graph.where}: the tensor {quoted(name)} is defined twice")
            made_by[name] = index
    if not graph.outputs:
        raise UnsupportedModel(f"{graph.where}: the model has no outputs")
    needed: set[int] = set()
    pending = [made_by[name] for name in graph.outputs if name in made_by]
    while pending:
        index = pending.pop()
        if index in needed:
            continue
        needed.add(index)
        for name in graph.nodes[index].inputs:
            if name in made_by:
                pending.append(made_by[name])
            elif name not in inputs:
                reader = graph.nodes[index].text
                raise UnsupportedModel(f"{graph.where}: {reader} reads {quoted(name)}, which nothing defines")
    missing = {i: len({made_by[n] for n in graph.nodes[i].inputs if n in made_by}) for i in needed}
    dependents: dict[int, set[int]] = {}
    for i in needed:
        for name in graph.nodes[i].inputs:
            if name in made_by:
                dependents.setdefault(made_by[name], set()).add(i)
    ready = [i for i, count in missing.items() if count == 0]
    heapq.heapify(ready)
    order: list[int] = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for dependent in dependents.get(index, ()):
            missing[dependent] -= 1
            if missing[dependent] == 0:
                heapq.heappush(ready, dependent)
    if len(order) < len(needed):
        stuck = graph.nodes[min(needed.difference(order))]
        raise UnsupportedModel(f"{graph.where}: the graph has a cycle through {stuck.text}")
    return tuple(graph.nodes[i] for i in order)


def _window_fields(window: Window, height: int, width: int) -> dict[str, int]:
    """The kernel's fields of a `Workload` over an input of that size, with the padding worked out."""
    top, bottom = _padding(window, 0, height)
    left, right = _padding(window, 1, width)
    return {
        "kernel_h": window.kernel[0],
        "kernel_w": window.kernel[1],
        "stride_h": window.stride[0],
        "stride_w": window.stride[1],
        "dilation_h": window.dilation[0],
        "dilation_w": window.dilation[1],
        "pad_top": top,
        "pad_left": left,
        "pad_bottom": bottom,
        "pad_right": right,
    }


def _padding(window: Window, axis: int, size: int) -> tuple[int, int]:
    """Padding before and behind ``size`` elements along an axis (0 height, 1 width)."""
    before, after = window.pads[axis], window.pads[axis + 2]
    stride = window.stride[axis]
    span = window.dilation[axis] * (window.kernel[axis] - 1) + 1
    if stride < 1 or window.kernel[axis] < 1 or window.dilation[axis] < 1 or before < 0 or after < 0:
        raise RefusedError("kernel, stride and dilation must be at least 1, and padding at least 0")
    if window.same:
        total = max((-(-size // stride) - 1) * stride + span - size, 0)
        half = total // 2
        return (half, total - half) if window.same == "upper" else (total - half, half)
    if window.ceil_mode:
        steps = -(-(size + before + after - span) // stride)
        # A last window that would start in the padding behind the input does not count (torch and ONNX alike).
        if steps * stride >= size + before:
            steps -= 1
        if steps != (size + before + after - span) // stride:
            after = max(0, steps * stride + span - size - before)
    return before, after


def _adaptive_window(window: Adaptive, height: int, width: int) -> Window:
    out_h, out_w = window.size
    if out_h < 1 or out_w < 1 or height % out_h or width % out_w:
        raise RefusedError(f"it pools {height}x{width} to {out_h}x{out_w}, which takes windows of different sizes")
    extents = (height // out_h, width // out_w)
    # A single window has no stride: (1, 1) makes equal workloads equal, however the model was written.
    return Window(extents, stride=(1, 1) if window.size == (1, 1) else extents)


def _elements(shape: tuple[int, ...]) -> int:
    product = 1
    for extent in shape:
        product *= extent
    return product


def _without_leading_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    start = 0
    while start < len(shape) and shape[start] == 1:
        start += 1
    return shape[start:]


def _text(shape: tuple[int | str, ...]) -> str:
    return "x".join("?" if extent == -1 else str(extent) for extent in shape)
