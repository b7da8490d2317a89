"""Which kernel the arguments of a task describe, and what its template times.

AutoTVM times the operator by itself: no bias, no requantization, int32 out (`Epilogue.NONE`). What else is inside of
the timed window differs by template, read in TVM 0.7 (python/tvm/topi/cuda) and, where a template is in HAWQ's fork
alone or differs there, in commit 13fdf591 of its branch int4_direct_HWNC (topi/python/topi/cuda):

- ``conv2d_HWNCnc_tensorcore.cuda``: reads activations in HWNC and cuts them into tiles of tensor cores, inlined or
  (knob ``fuse_pack=1``) by a kernel of its own, which is timed too; reads weights that are packed already; writes int32
  in blocks of 8 images and 32 (8-bit) or 8 (4-bit) channels, the unpacking left out.
- ``conv2d_nhwc_tensorcore_im2col.cuda`` (fork): three kernels in NHWC, all timed: packing of the weights, a matrix
  product whose int32 result goes to memory in blocks (im2col inlined, or with ``fuse_im2col=0`` a fourth kernel), and
  the unpacking of that. Its weights are HWOI in that branch and were OHWI before: only square windows are certain.
- ``conv2d_NCHWc_int8.cuda``: activations and weights packed already by 4 channels, so is the output.
- ``conv2d_nchw.cuda``, ``conv2d_nhwc.cuda``, ``conv2d_nhwc_tensorcore.cuda``, ``dense_*.cuda``: plain layouts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from profiler.errors import InvalidWorkload
from profiler.lut.autotvm.log import NotUsable
from profiler.workload import NHWC, DType, Epilogue, KernelSpec, Op, Workload


@dataclass(frozen=True)
class _Conv:
    """A template for convolutions: the axes of its arguments and the layouts that its kernel reads and writes.

    An argument has one of several forms, of which each has another number of axes; a lower-case letter is the inner
    part of an axis that is split.
    """

    data: tuple[str, ...]
    weight: tuple[str, ...]
    input_layout: str
    blocked_output: bool = False
    square_window: bool = False

    def output_layout(self, bits: int) -> str:
        if not self.blocked_output:
            return self.input_layout
        return "hwnc8n32c" if bits == 8 else "hwnc8n8c"


_CONVS: Mapping[str, _Conv] = {
    "conv2d_HWNCnc_tensorcore.cuda": _Conv(("HWNC",), ("HWOI", "HWOIoi"), "hwnc", blocked_output=True),
    "conv2d_nhwc_tensorcore_im2col.cuda": _Conv(("NHWC",), ("HWOI",), NHWC, square_window=True),
    "conv2d_NCHWc_int8.cuda": _Conv(("NCHW", "NCHWc"), ("OIHW", "OIHWoi"), "nchw4c"),
    "conv2d_nchw.cuda": _Conv(("NCHW",), ("OIHW",), "nchw"),
    "conv2d_nhwc.cuda": _Conv(("NHWC",), ("HWIO",), NHWC),
    "conv2d_nhwc_tensorcore.cuda": _Conv(("NHWC",), ("HWIO",), NHWC),
}
_DENSE = (
    "dense_int8.cuda",
    "dense_tensorcore.cuda",
    "dense_small_batch.cuda",
    "dense_large_batch.cuda",
    "dense_cublas.cuda",
)
_BITS: Mapping[str, int] = {d.value: d.bits for d in (DType.INT4, DType.UINT4, DType.INT8, DType.UINT8)}

_UNKNOWN_FORM = "arguments in an unknown form"
_NO_FIT = "groups, or weights that do not fit the activations"


def kernel_of(task: str, args: Sequence[Any], padded_inputs: bool = False) -> KernelSpec:
    """The kernel that a task of that name and those arguments times; raises `NotUsable` where they do not tell.

    ``padded_inputs``: the network padded its activations by an operator of its own, as TVM's qnn dialect does, so that
    the tasks have larger inputs and no padding. Then a window of k on an unpadded input of h is taken as one that pads
    an input of h - 2p by p = (k - 1) / 2 on each side, and the layout of that input is called ``..._padded``.
    """
    try:
        if task in _CONVS:
            spec = _conv(_CONVS[task], args)
            return _unpadded(spec) if padded_inputs else spec
        if task in _DENSE:
            return _dense(args)
    except InvalidWorkload as error:
        raise NotUsable(f"no possible kernel: {error}") from None
    raise NotUsable(f"task {task} is not known here")


def _conv(template: _Conv, args: Sequence[Any]) -> KernelSpec:
    if len(args) not in (6, 7) or (len(args) == 7 and not isinstance(args[5], str)):
        raise NotUsable(_UNKNOWN_FORM)
    input_dtype, weight_dtype = _types(args[0], args[1], args[-1])
    data, weight = _extents(args[0], template.data), _extents(args[1], template.weight)
    if data["C"] != weight["I"]:
        raise NotUsable(_NO_FIT)
    if template.square_window and weight["H"] != weight["W"]:
        raise NotUsable("weights whose order of axes cannot be told")
    (stride_h, stride_w), (dilation_h, dilation_w) = _pair(args[2]), _pair(args[4])
    top, left, bottom, right = _padding(args[3])
    workload = Workload(
        Op.CONV2D,
        batch=data["N"],
        in_height=data["H"],
        in_width=data["W"],
        in_channels=data["C"],
        out_channels=weight["O"],
        kernel_h=weight["H"],
        kernel_w=weight["W"],
        stride_h=stride_h,
        stride_w=stride_w,
        pad_top=top,
        pad_left=left,
        pad_bottom=bottom,
        pad_right=right,
        dilation_h=dilation_h,
        dilation_w=dilation_w,
    )
    layouts = template.input_layout, template.output_layout(input_dtype.bits)
    return KernelSpec(workload, input_dtype, DType.INT32, weight_dtype, None, Epilogue.NONE, *layouts)


def _dense(args: Sequence[Any]) -> KernelSpec:
    if len(args) != 4:
        raise NotUsable(_UNKNOWN_FORM)
    if args[2] is not None:
        raise NotUsable("a bias in the timed kernel")
    input_dtype, weight_dtype = _types(args[0], args[1], args[3])
    data, weight = _extents(args[0], ("NC",)), _extents(args[1], ("OI",))
    if data["C"] != weight["I"]:
        raise NotUsable(_NO_FIT)
    workload = Workload(Op.DENSE, data["N"], 1, 1, data["C"], weight["O"])
    return KernelSpec(workload, input_dtype, DType.INT32, weight_dtype)


def _unpadded(spec: KernelSpec) -> KernelSpec:
    w = spec.workload
    both_h, both_w = w.dilation_h * (w.kernel_h - 1), w.dilation_w * (w.kernel_w - 1)
    if w.has_padding or (both_h, both_w) == (0, 0):
        return spec
    if both_h % 2 or both_w % 2:
        raise NotUsable("a window of even extent, whose padding cannot be told")
    workload = replace(
        w,
        in_height=w.in_height - both_h,
        in_width=w.in_width - both_w,
        pad_top=both_h // 2,
        pad_left=both_w // 2,
        pad_bottom=both_h // 2,
        pad_right=both_w // 2,
    )
    return replace(spec, workload=workload, input_layout=f"{spec.input_layout}_padded")


def _types(data: Any, weight: Any, output: Any) -> tuple[DType, DType]:
    """Types of activations and weights: small integers of one width, with int32 out."""
    match data, weight:
        case ["TENSOR", _, str(data_type)], ["TENSOR", _, str(weight_type)]:
            if {data_type, weight_type} <= _BITS.keys() and _BITS[data_type] == _BITS[weight_type]:
                if output != DType.INT32.value:
                    raise NotUsable(f"output of type {output}")
                return DType(data_type), DType(weight_type)
            raise NotUsable(f"types {data_type} x {weight_type}")
    raise NotUsable(_UNKNOWN_FORM)


def _extents(tensor: Any, forms: Sequence[str]) -> dict[str, int]:
    """Extent of each axis (upper case) of the one form that has as many axes; split axes are put together."""
    shape = tensor[1]
    axes = next((form for form in forms if isinstance(shape, list) and len(form) == len(shape)), None)
    if axes is None or not all(isinstance(extent, int) for extent in shape):
        raise NotUsable(_UNKNOWN_FORM)
    extents: dict[str, int] = {}
    for axis, extent in zip(axes.upper(), shape, strict=True):
        extents[axis] = extents.get(axis, 1) * extent
    return extents


def _pair(value: Any) -> tuple[int, int]:
    match value:
        case int():
            return value, value
        case [int(), int()]:
            return value[0], value[1]
    raise NotUsable(_UNKNOWN_FORM)


def _padding(value: Any) -> tuple[int, int, int, int]:
    """Top, left, bottom, right. Padding that is given by name ("SAME") is not read."""
    match value:
        case [int(), int(), int(), int()]:
            return value[0], value[1], value[2], value[3]
    pad_h, pad_w = _pair(value)
    return pad_h, pad_w, pad_h, pad_w
