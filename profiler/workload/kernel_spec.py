"""What a kernel computes: an operator with its shape, and that with types and an epilogue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import Enum
from typing import Any

from profiler.errors import InvalidWorkload
from profiler.workload.precisions import DType


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
"""The layout of activations: channels last; 4-bit types two to a byte, narrower ones in planes (quantize.stored)."""


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
        if DType.INT1 in (self.input_dtype, self.input2_dtype, self.output_dtype):
            raise InvalidWorkload(f"{op.value}: int1 is a type of weights; signed activations have two bits or more")
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


def distinct(items: Iterable[KernelSpec]) -> tuple[KernelSpec, ...]:
    """The specs without repetition, in order of first occurrence."""
    return tuple(dict.fromkeys(items))
