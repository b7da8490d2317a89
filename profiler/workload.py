"""Workloads, precisions, layers and networks: frozen values that check themselves.

A `Workload` is an operator with its shape; a `KernelSpec` adds the types and the epilogue, and is what a kernel
computes; a `Layer` is a named occurrence of a workload in a `Network`. Activations are NHWC throughout.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import Enum
from math import prod
from typing import Any

from profiler.errors import InvalidWorkload


class Op(str, Enum):
    """Operators that have a price. Data movement (`concat`, `convert`, `relayout`) has one too."""

    CONV2D = "conv2d"
    DENSE = "dense"
    ADD = "add"
    MAX_POOL = "max_pool"
    AVG_POOL = "avg_pool"
    CONCAT = "concat"
    CONVERT = "convert"
    RELAYOUT = "relayout"

    @property
    def has_weights(self) -> bool:
        """Whether the operator has weights, and so a precision to choose."""
        return self in (Op.CONV2D, Op.DENSE)


class DType(str, Enum):
    """Element types, spelled as in the LUT."""

    INT4 = "int4"
    UINT4 = "uint4"
    INT8 = "int8"
    UINT8 = "uint8"
    INT16 = "int16"
    INT32 = "int32"
    FLOAT16 = "float16"
    FLOAT32 = "float32"

    @property
    def bits(self) -> int:
        return _BITS[self]

    @property
    def signed(self) -> bool:
        return not self.value.startswith("u")

    @property
    def is_integer(self) -> bool:
        return "int" in self.value

    @property
    def low(self) -> int:
        """Smallest representable integer."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        """Largest representable integer."""
        return (1 << (self.bits - (1 if self.signed else 0))) - 1

    @staticmethod
    def integer(bits: int, signed: bool) -> DType:
        """The integer type of that width, e.g. ``DType.integer(4, signed=False) is DType.UINT4``."""
        try:
            return DType(f"{'' if signed else 'u'}int{bits}")
        except ValueError:
            raise InvalidWorkload(f"there is no {'signed' if signed else 'unsigned'} {bits}-bit type") from None


_BITS = {dtype: int(re.sub(r"\D", "", dtype.value)) for dtype in DType}


class Epilogue(str, Enum):
    """What a kernel does to its accumulators (int32, or float where it reads floats) before it stores them.

    ``none``: nothing (a bare kernel, as in AutoTVM logs); ``bias``: a bias of the accumulators' type only, for an
    addition of its own; ``requant``: bias, dyadic requantization, clamp; ``add_requant``: as before, with a second,
    rescaled operand (the residual) added ahead of the clamp; ``..._relu``: the clamp starts at zero. Where the output
    is a float nothing is clamped but below a ReLU, and the factor may be one: a float convolution with bias and ReLU is
    ``requant_relu``.
    """

    NONE = "none"
    BIAS = "bias"
    REQUANT = "requant"
    REQUANT_RELU = "requant_relu"
    ADD_REQUANT = "add_requant"
    ADD_REQUANT_RELU = "add_requant_relu"

    @property
    def adds(self) -> bool:
        """Whether a residual is added in the epilogue."""
        return self in (Epilogue.ADD_REQUANT, Epilogue.ADD_REQUANT_RELU)

    @property
    def requantizes(self) -> bool:
        return self not in (Epilogue.NONE, Epilogue.BIAS)

    @property
    def relu(self) -> bool:
        return self in (Epilogue.REQUANT_RELU, Epilogue.ADD_REQUANT_RELU)


@dataclass(frozen=True)
class Precision:
    """The pair of weight and input-activation widths of a layer: ``int8`` is W8A8, ``int4`` is W4A4.

    Weights are signed; activations are unsigned after a ReLU and signed otherwise, as HAWQ-V3 has it.
    """

    name: str
    weight_bits: int
    activation_bits: int

    @property
    def weight_dtype(self) -> DType:
        return DType.integer(self.weight_bits, signed=True)

    def activation_dtype(self, signed: bool) -> DType:
        return DType.integer(self.activation_bits, signed)

    @staticmethod
    def parse(name: str) -> Precision:
        """The precision of that name; raises `InvalidWorkload` with the known names."""
        try:
            return PRECISIONS[name.strip().lower()]
        except KeyError:
            raise InvalidWorkload(f"unknown precision '{name}'; known are: {', '.join(PRECISIONS)}") from None


INT8 = Precision("int8", 8, 8)
INT4 = Precision("int4", 4, 4)
PRECISIONS: Mapping[str, Precision] = {p.name: p for p in (INT8, INT4)}


@dataclass(frozen=True)
class Workload:
    """An operator with all of its shape.

    Extents are elements; ``pad_*`` are elements of the input on each side. ``dense`` has a spatial extent of 1. For
    ``concat`` the workload is the copy of one input of ``in_channels`` into its slice of ``out_channels``.
    """

    op: Op
    batch: int
    in_height: int
    in_width: int
    in_channels: int
    out_channels: int
    kernel_h: int = 1
    kernel_w: int = 1
    stride_h: int = 1
    stride_w: int = 1
    pad_top: int = 0
    pad_left: int = 0
    pad_bottom: int = 0
    pad_right: int = 0
    dilation_h: int = 1
    dilation_w: int = 1
    groups: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "op", Op(self.op))
        for field in fields(self)[1:]:
            value = getattr(self, field.name)
            least = 0 if field.name.startswith("pad_") else 1
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InvalidWorkload(
                    f"{self.op.value}: {field.name} must be an integer of at least {least}, not {value!r}"
                )
        if self.out_height < 1 or self.out_width < 1:
            raise InvalidWorkload(
                f"{self.op.value}: a {self.kernel_h}x{self.kernel_w} kernel "
                f"(dilation {self.dilation_h}x{self.dilation_w}) does not fit the padded "
                f"{self.in_height}x{self.in_width} input"
            )
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise InvalidWorkload(
                f"{self.op.value}: {self.groups} groups do not divide {self.in_channels} input and "
                f"{self.out_channels} output channels"
            )
        if (
            self.op in (Op.ADD, Op.MAX_POOL, Op.AVG_POOL, Op.CONVERT, Op.RELAYOUT)
            and self.in_channels != self.out_channels
        ):
            raise InvalidWorkload(
                f"{self.op.value}: {self.in_channels} input channels but {self.out_channels} output channels"
            )
        if self.op is Op.CONCAT and self.in_channels > self.out_channels:
            raise InvalidWorkload(
                f"concat: a slice of {self.in_channels} channels is wider than all {self.out_channels}"
            )
        if self.op not in (Op.CONV2D, Op.MAX_POOL, Op.AVG_POOL):
            window = [f for f in fields(self) if f.name.split("_")[0] in ("kernel", "stride", "pad", "dilation")]
            if any(getattr(self, f.name) != f.default for f in window):
                raise InvalidWorkload(f"{self.op.value}: there is no window, so no kernel, stride, padding or dilation")
        if self.op is Op.DENSE and (self.in_height, self.in_width) != (1, 1):
            raise InvalidWorkload("dense: the spatial extents must be 1; flatten the features into the channels")

    @property
    def out_height(self) -> int:
        return (
            self.in_height + self.pad_top + self.pad_bottom - self.dilation_h * (self.kernel_h - 1) - 1
        ) // self.stride_h + 1

    @property
    def out_width(self) -> int:
        return (
            self.in_width + self.pad_left + self.pad_right - self.dilation_w * (self.kernel_w - 1) - 1
        ) // self.stride_w + 1

    @property
    def has_padding(self) -> bool:
        return any((self.pad_top, self.pad_left, self.pad_bottom, self.pad_right))

    @property
    def is_depthwise(self) -> bool:
        return self.op is Op.CONV2D and self.groups > 1 and self.groups == self.in_channels

    @property
    def group_inputs(self) -> int:
        """Input channels of a group."""
        return self.in_channels // self.groups

    @property
    def group_outputs(self) -> int:
        """Output channels of a group."""
        return self.out_channels // self.groups

    @property
    def reduction(self) -> int:
        """Products that are summed into one output element (1 where nothing is multiplied)."""
        if not self.op.has_weights:
            return 1
        return self.kernel_h * self.kernel_w * self.group_inputs

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations of the whole batch; zero for operators without weights."""
        if not self.op.has_weights:
            return 0
        return self.batch * self.out_height * self.out_width * self.out_channels * self.reduction

    @property
    def weights(self) -> int:
        """Number of weights (no bias)."""
        return self.out_channels * self.reduction if self.op.has_weights else 0

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """NHWC."""
        return (self.batch, self.in_height, self.in_width, self.in_channels)

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        """NHWC."""
        return (self.batch, self.out_height, self.out_width, self.out_channels)

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """OHWI: output channels, kernel height, kernel width, input channels of one group."""
        return (self.out_channels, self.kernel_h, self.kernel_w, self.group_inputs)

    def with_batch(self, batch: int) -> Workload:
        return replace(self, batch=batch)

    @property
    def text(self) -> str:
        """A short name for people and file names, e.g. ``conv2d_n1_56x56x64_o64_k3x3_s1x1_p1.1.1.1``."""
        head = f"{self.op.value}_n{self.batch}_{self.in_height}x{self.in_width}x{self.in_channels}"
        if self.op.has_weights or self.op is Op.CONCAT:
            head += f"_o{self.out_channels}"
        if self.op in (Op.CONV2D, Op.MAX_POOL, Op.AVG_POOL):
            head += f"_k{self.kernel_h}x{self.kernel_w}_s{self.stride_h}x{self.stride_w}"
        if self.has_padding:
            head += f"_p{self.pad_top}.{self.pad_left}.{self.pad_bottom}.{self.pad_right}"
        if (self.dilation_h, self.dilation_w) != (1, 1):
            head += f"_d{self.dilation_h}x{self.dilation_w}"
        return head + (f"_g{self.groups}" if self.groups > 1 else "")


NHWC = "nhwc"
"""The layout of activations: channels last; 4-bit types two to a byte along the channels (see quantize.packing)."""


@dataclass(frozen=True)
class KernelSpec:
    """What one kernel computes: a workload, its types, its epilogue and its layouts. The identity of a LUT row.

    ``input2_dtype`` is set where a second activation is read (``add``, or an ``add_...`` epilogue), ``weight_dtype``
    where the operator has weights.
    """

    workload: Workload
    input_dtype: DType
    output_dtype: DType
    weight_dtype: DType | None = None
    input2_dtype: DType | None = None
    epilogue: Epilogue = Epilogue.NONE
    input_layout: str = NHWC
    output_layout: str = NHWC

    def __post_init__(self) -> None:
        for name, kind in (("input_dtype", DType), ("output_dtype", DType), ("epilogue", Epilogue)):
            object.__setattr__(self, name, kind(getattr(self, name)))
        for name in ("weight_dtype", "input2_dtype"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, DType(getattr(self, name)))
        op = self.workload.op
        if op.has_weights != (self.weight_dtype is not None):
            raise InvalidWorkload(f"{op.value}: a weight type is {'missing' if op.has_weights else 'not possible'}")
        if (op is Op.ADD or self.epilogue.adds) != (self.input2_dtype is not None):
            raise InvalidWorkload(
                f"{op.value} with epilogue {self.epilogue.value}: the second input type is missing or superfluous"
            )
        if self.epilogue.adds and not op.has_weights:
            raise InvalidWorkload(f"{op.value} cannot end in epilogue {self.epilogue.value}")
        if op is Op.MAX_POOL and self.input_dtype is not self.output_dtype:
            raise InvalidWorkload("max_pool keeps the type of its input")
        if op.has_weights:
            self._check_accumulators()

    def _check_accumulators(self) -> None:
        """Sums of integers are int32, sums of floats, or of floats and integer weights, are floats. Unless they are
        rescaled they are stored as such."""
        what = f"{self.workload.op.value} with epilogue {self.epilogue.value}"
        integer, stored = self.input_dtype.is_integer, self.output_dtype
        if integer and self.weight_dtype is not None and not self.weight_dtype.is_integer:
            raise InvalidWorkload(
                f"{what}: weights of {self.weight_dtype.value} on {self.input_dtype.value}; float weights take float"
                " activations"
            )
        if self.epilogue.requantizes:
            return
        if integer and stored is not DType.INT32:
            raise InvalidWorkload(f"{what} emits int32, not {stored.value}")
        if not integer and stored.is_integer:
            raise InvalidWorkload(f"{what} on {self.input_dtype.value} emits a float type, not {stored.value}")

    @property
    def key(self) -> str:
        """Canonical text, unique per spec; file-name safe."""
        types = [self.input_dtype.value]
        types += [d.value for d in (self.input2_dtype, self.weight_dtype) if d is not None]
        types += [self.output_dtype.value, self.epilogue.value]
        layouts = (
            [] if (self.input_layout, self.output_layout) == (NHWC, NHWC) else [self.input_layout, self.output_layout]
        )
        return "-".join([self.workload.text, *types, *layouts])

    @property
    def output_range(self) -> tuple[int, int]:
        """Lowest and highest value that is stored."""
        low = max(self.output_dtype.low, 0) if self.epilogue.relu else self.output_dtype.low
        return low, self.output_dtype.high

    def to_dict(self) -> dict[str, Any]:
        """Flat, JSON-ready; inverse of `from_dict`."""
        flat: dict[str, Any] = {k: (v.value if isinstance(v, Enum) else v) for k, v in asdict(self.workload).items()}
        for name in ("input_dtype", "input2_dtype", "weight_dtype", "output_dtype", "epilogue"):
            value = getattr(self, name)
            flat[name] = value.value if value is not None else None
        return {**flat, "input_layout": self.input_layout, "output_layout": self.output_layout}

    @staticmethod
    def from_dict(flat: Mapping[str, Any]) -> KernelSpec:
        """Raises `InvalidWorkload` for missing or contradictory fields."""
        try:
            workload = Workload(**{f.name: flat[f.name] for f in fields(Workload)})
            rest = {f.name: flat[f.name] for f in fields(KernelSpec) if f.name != "workload"}
            return KernelSpec(workload=workload, **rest)
        except (KeyError, ValueError) as error:
            raise InvalidWorkload(f"not a kernel spec: {error}") from None


@dataclass(frozen=True)
class Tensor:
    """An activation tensor of a network (batch left out): NHWC extents and whether its values can be negative."""

    name: str
    height: int
    width: int
    channels: int
    signed: bool


@dataclass(frozen=True)
class Layer:
    """A named occurrence of a workload: what it reads, what it writes, and whether a ReLU is fused into it.

    Batch normalization is folded. ``inputs`` and ``output`` are names of tensors. A residual ``add`` is a layer of
    its own here; `Network.fusions` tells which additions can move into the epilogue of a convolution. ``parameters``
    counts the weights and biases as the model defines them, with those of a folded batch normalization.
    """

    name: str
    workload: Workload
    inputs: tuple[str, ...]
    output: str
    relu: bool = False
    parameters: int = 0


@dataclass(frozen=True)
class Network:
    """Layers in topological order, and the tensors between them. Ties and fusions are derived, never typed in.

    ``skipped`` names the nodes that were left out on the user's demand, so that totals can say what is missing.
    ``outputs`` are the tensors that the model hands out; where none are given and nothing was skipped, they are those
    that are written and never read. A tensor has one writer, or all slices of a concatenation.
    """

    name: str
    batch: int
    tensors: tuple[Tensor, ...]
    layers: tuple[Layer, ...]
    skipped: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.layers:
            raise InvalidWorkload(f"network '{self.name}' has no layer that can be profiled")
        if not self.outputs and not self.skipped:
            read = {tensor for layer in self.layers for tensor in layer.inputs}
            written = dict.fromkeys(layer.output for layer in self.layers)
            object.__setattr__(self, "outputs", tuple(tensor for tensor in written if tensor not in read))
        self._check_names()
        self._check_order()
        self._check_extents()
        self._check_writers()

    def _check_names(self) -> None:
        for name in (self.name, *(t.name for t in self.tensors), *(layer.name for layer in self.layers), *self.skipped):
            if not isinstance(name, str) or not name.isprintable():
                raise InvalidWorkload(f"the name {name!a} is not a text that can be printed; rename it in the model")
        known = {t.name for t in self.tensors}
        for label, names in (
            ("tensor", [t.name for t in self.tensors]),
            ("layer", [layer.name for layer in self.layers]),
            ("output", self.outputs),
        ):
            twice = [name for name, count in Counter(names).items() if count > 1]
            if twice:
                raise InvalidWorkload(f"network '{self.name}': {label} '{twice[0]}' is defined twice")
        for layer in self.layers:
            for tensor in (*layer.inputs, layer.output):
                if tensor not in known:
                    raise InvalidWorkload(
                        f"network '{self.name}': layer '{layer.name}' refers to unknown tensor '{tensor}'"
                    )
        for tensor in self.outputs:
            if tensor not in known:
                raise InvalidWorkload(f"network '{self.name}': output '{tensor}' is an unknown tensor")

    def _check_order(self) -> None:
        unwritten = Counter(layer.output for layer in self.layers)  # the slices of a concat write one tensor
        for layer in self.layers:
            unwritten[layer.output] -= 1
            for tensor in layer.inputs:
                if unwritten[tensor] > 0 or tensor == layer.output:
                    raise InvalidWorkload(
                        f"network '{self.name}': layer '{layer.name}' reads '{tensor}' before it is written"
                    )

    def _check_extents(self) -> None:
        """A layer reads and writes its tensors whole; what it sees flattened (dense, concat) as H*W*C channels."""
        tensors = self._tensor_index()
        for layer in self.layers:
            work = layer.workload
            if work.batch != self.batch:
                raise InvalidWorkload(
                    f"network '{self.name}': layer '{layer.name}' has batch {work.batch}, not {self.batch}"
                )
            accesses = [("reads", name, work.input_shape[1:]) for name in layer.inputs]
            accesses.append(("writes", layer.output, work.output_shape[1:]))
            for verb, name, shape in accesses:
                extents = (tensors[name].height, tensors[name].width, tensors[name].channels)
                flattens = verb == "reads" and work.op in (Op.DENSE, Op.CONCAT)
                if shape != extents and not (flattens and shape == (1, 1, prod(extents))):
                    raise InvalidWorkload(
                        f"network '{self.name}': layer '{layer.name}' {verb} {_extents(shape)} (NHWC without batch), "
                        f"but tensor '{name}' is {_extents(extents)}"
                    )

    def _check_writers(self) -> None:
        """Only the slices of a concatenation share a tensor, and together they fill it."""
        writers = Counter(layer.output for layer in self.layers)
        filled: Counter[str] = Counter()
        for layer in self.layers:
            if layer.workload.op is Op.CONCAT:
                filled[layer.output] += layer.workload.in_channels
            elif writers[layer.output] > 1:
                raise InvalidWorkload(
                    f"network '{self.name}': layer '{layer.name}' is not the only one that writes '{layer.output}'; "
                    "only the slices of a concat share a tensor"
                )
        tensors = self._tensor_index()
        for name, channels in filled.items():
            if channels != tensors[name].channels:
                raise InvalidWorkload(
                    f"network '{self.name}': the slices of a concat fill {channels} of the {tensors[name].channels} "
                    f"channels of '{name}'"
                )

    def tensor(self, name: str) -> Tensor:
        return self._tensor_index()[name]

    def layer(self, name: str) -> Layer:
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise InvalidWorkload(f"network '{self.name}' has no layer '{name}'")

    def _tensor_index(self) -> dict[str, Tensor]:
        return {t.name: t for t in self.tensors}

    @property
    def weighted_layers(self) -> tuple[Layer, ...]:
        """Convolutions and dense layers: those with a precision to choose."""
        return tuple(layer for layer in self.layers if layer.workload.op.has_weights)

    @property
    def macs(self) -> int:
        return sum(layer.workload.macs for layer in self.layers)

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    def readers(self, tensor: str) -> tuple[Layer, ...]:
        return tuple(layer for layer in self.layers if tensor in layer.inputs)

    def producer(self, tensor: str) -> Layer | None:
        """The layer that writes the tensor (of a concatenation: the first slice); None where no layer does."""
        for layer in self.layers:
            if layer.output == tensor:
                return layer
        return None

    def multiplicities(self) -> Mapping[Workload, int]:
        """How many layers share each distinct workload, in order of first occurrence."""
        return dict(Counter(layer.workload for layer in self.layers))

    def ties(self) -> tuple[tuple[str, ...], ...]:
        """Groups of weighted layers that read one tensor, and so share its type unless a conversion is paid for.

        A max pool keeps the type of its input, so readers behind it belong to the group of the tensor ahead of it.
        """
        groups: dict[str, list[str]] = {}
        for layer in self.weighted_layers:
            groups.setdefault(self.type_owner(layer.inputs[0]), []).append(layer.name)
        return tuple(tuple(names) for names in groups.values() if len(names) > 1)

    def type_owner(self, tensor: str) -> str:
        """The tensor whose type it has: itself, or behind max pools the one ahead of them."""
        producer = self.producer(tensor)
        while producer is not None and producer.workload.op is Op.MAX_POOL:
            tensor = producer.inputs[0]
            producer = self.producer(tensor)
        return tensor

    def fusions(self) -> Mapping[str, str]:
        """Additions that can move into a convolution's epilogue: name of the ``add`` layer to name of that layer.

        The producer must be a convolution or dense layer without ReLU whose output nobody else reads and the model
        does not hand out; of two such operands the first one listed is taken, which in residual networks is the main
        branch.
        """
        fused: dict[str, str] = {}
        for layer in self.layers:
            if layer.workload.op is not Op.ADD:
                continue
            for tensor in layer.inputs:
                producer = self.producer(tensor)
                if producer is None or not producer.workload.op.has_weights or producer.relu:
                    continue
                if tensor in self.outputs:
                    continue
                if len(self.readers(tensor)) == 1 and layer.inputs.count(tensor) == 1:
                    fused[layer.name] = producer.name
                    break
        return fused


def _extents(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def distinct(items: Iterable[KernelSpec]) -> tuple[KernelSpec, ...]:
    """The specs without repetition, in order of first occurrence."""
    return tuple(dict.fromkeys(items))
