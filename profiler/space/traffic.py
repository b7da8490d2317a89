"""Bytes that a kernel has to move, whatever its schedule."""

from __future__ import annotations

from profiler.workload import DType, KernelSpec, Op


def moved_bytes(spec: KernelSpec) -> float:
    """Bytes of everything that a kernel reads and writes, once each, without padding."""
    w = spec.workload
    read = w.batch * w.in_height * w.in_width * w.in_channels
    written = w.batch * w.out_height * w.out_width * (w.in_channels if w.op is Op.CONCAT else w.out_channels)
    moved = _bytes(read, spec.input_dtype) + _bytes(written, spec.output_dtype)
    if spec.weight_dtype is not None:
        moved += _bytes(w.weights, spec.weight_dtype)
    if spec.input2_dtype is not None:
        moved += _bytes(written, spec.input2_dtype)
    return moved


def _bytes(elements: int, dtype: DType) -> float:
    return elements * dtype.bits / 8
