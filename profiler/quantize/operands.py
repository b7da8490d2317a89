"""The logical arguments of a kernel: names, shapes and types, in call order.

One place decides them; the oracle reads them, `samples` draws them, `packed_arguments` lays them out in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from profiler.errors import InvalidWorkload
from profiler.workload import DType, Epilogue, KernelSpec, Op

_ADMITTED: Mapping[Op, tuple[Epilogue, ...]] = {
    Op.CONV2D: tuple(Epilogue),
    Op.DENSE: tuple(Epilogue),
    Op.ADD: (Epilogue.REQUANT, Epilogue.REQUANT_RELU),
    Op.MAX_POOL: (Epilogue.NONE,),
    Op.AVG_POOL: (Epilogue.REQUANT, Epilogue.REQUANT_RELU),
    Op.CONCAT: (Epilogue.REQUANT, Epilogue.REQUANT_RELU),
    Op.CONVERT: (Epilogue.REQUANT, Epilogue.REQUANT_RELU),
}


@dataclass(frozen=True)
class Operand:
    """One logical argument.

    ``shape`` is NHWC for activations, OHWI for weights, [C] for vectors and [OH, OW] for the requantization of
    ``avg_pool``. ``per_output_channel`` marks the vectors of a convolution or dense layer, which its packing may pad.
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType
    per_output_channel: bool = False


def operands(spec: KernelSpec) -> tuple[Operand, ...]:
    """All logical arguments in call order, the output last.

    Raises `InvalidWorkload` for what has no integer semantics here: float types, `relayout`, an epilogue that the
    operator does not have.
    """
    workload = spec.workload
    admitted = _ADMITTED.get(workload.op, ())
    if spec.epilogue not in admitted:
        raise InvalidWorkload(
            f"{workload.op.value} with epilogue {spec.epilogue.value} has no integer kernel; "
            f"its epilogues are: {', '.join(e.value for e in admitted) or 'none at all'}"
        )
    for dtype in (spec.input_dtype, spec.input2_dtype, spec.weight_dtype, spec.output_dtype):
        if dtype is not None and not dtype.is_integer:
            raise InvalidWorkload(f"{workload.op.value} on {dtype.value} has no integer kernel")
    found = [Operand("input", workload.input_shape, spec.input_dtype)]
    if workload.op.has_weights:
        found += _weighted(spec)
    elif workload.op is Op.ADD:
        found.append(Operand("input2", workload.input_shape, _second(spec)))
        found += _rescale((workload.in_channels,)) + _rescale((workload.in_channels,), suffix="2")
    elif workload.op is Op.AVG_POOL:
        found += _rescale((workload.out_height, workload.out_width))
    elif workload.op in (Op.CONCAT, Op.CONVERT):
        found += _rescale((workload.in_channels,))
    return (*found, Operand("output", workload.output_shape, spec.output_dtype))


def _weighted(spec: KernelSpec) -> list[Operand]:
    workload, epilogue = spec.workload, spec.epilogue
    channels = (workload.out_channels,)
    assert spec.weight_dtype is not None
    found = [Operand("weight", workload.weight_shape, spec.weight_dtype)]
    if epilogue is not Epilogue.NONE:
        found.append(Operand("bias", channels, DType.INT32, per_output_channel=True))
    if epilogue.requantizes:
        found += _rescale(channels, per_output_channel=True)
    if epilogue.adds:
        found.append(Operand("residual", workload.output_shape, _second(spec)))
        found += _rescale(channels, prefix="residual_", per_output_channel=True)
    return found


def _rescale(
    shape: tuple[int, ...], prefix: str = "", suffix: str = "", per_output_channel: bool = False
) -> list[Operand]:
    names = (f"{prefix}multiplier{suffix}", f"{prefix}shift{suffix}")
    return [Operand(name, shape, DType.INT32, per_output_channel) for name in names]


def _second(spec: KernelSpec) -> DType:
    assert spec.input2_dtype is not None
    return spec.input2_dtype
