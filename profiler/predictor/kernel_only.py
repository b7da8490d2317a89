"""The view "kernel only": layers as bare kernels, without epilogue, for tables that have no others.

Tuning logs of others hold bare convolutions (epilogue none, int32 out) in layouts and signs of their own. A model of
such a table answers for a fused layer with the bare kernel of the same workload and widths, and whoever shows the
answer says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from profiler.workload import DType, Epilogue, KernelSpec


@dataclass(frozen=True)
class KernelOnly:
    """``inputs`` : by weight type, the input type of the table's kernels."""

    inputs: tuple[tuple[DType, DType], ...]
    layouts: tuple[tuple[tuple[DType, bool], tuple[str, str]], ...]

    @staticmethod
    def of(specs: Iterable[KernelSpec]) -> KernelOnly | None:
        """The view that a table of these kernels needs; None if any of its layers is fused, or none has weights."""
        layers = [spec for spec in specs if spec.weight_dtype is not None]
        if not layers or any(spec.epilogue is not Epilogue.NONE for spec in layers):
            return None
        inputs = {spec.weight_dtype: spec.input_dtype for spec in layers if spec.weight_dtype}
        layouts = {
            (spec.weight_dtype, spec.workload.has_padding): (spec.input_layout, spec.output_layout)
            for spec in layers
            if spec.weight_dtype
        }
        return KernelOnly(tuple(inputs.items()), tuple(layouts.items()))

    def of_kernel(self, spec: KernelSpec) -> KernelSpec:
        """The bare kernel that stands for it; itself where it has no weights, or of a type that the table lacks."""
        inputs, layouts = dict(self.inputs), dict(self.layouts)
        if spec.weight_dtype not in inputs or spec.epilogue is Epilogue.NONE:
            return spec
        key = (spec.weight_dtype, spec.workload.has_padding)
        read, written = layouts.get(key, (spec.input_layout, spec.output_layout))
        return replace(
            spec,
            input_dtype=inputs[spec.weight_dtype],
            input2_dtype=None,
            output_dtype=DType.INT32,
            epilogue=Epilogue.NONE,
            input_layout=read,
            output_layout=written,
        )
