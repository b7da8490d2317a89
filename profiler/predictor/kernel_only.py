"""The view "kernel only": layers as bare kernels, without epilogue, for tables that have no others.

Tuning logs of others hold bare convolutions (epilogue none, int32 out) in layouts and signs of their own. A model of
such a table answers for a fused layer with the bare kernel of the same workload and widths, and whoever shows the
answer says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from profiler.workload import NHWC, DType, Epilogue, KernelSpec


@dataclass(frozen=True)
class KernelOnly:
    """``inputs`` : by weight type, the input type of most of the table's kernels."""

    inputs: tuple[tuple[DType, DType], ...]

    @staticmethod
    def of(specs: Iterable[KernelSpec]) -> KernelOnly | None:
        """The view that a table of these kernels needs; None if any of its layers is fused, or none has weights."""
        layers = [spec for spec in specs if spec.weight_dtype is not None]
        if not layers or any(spec.epilogue is not Epilogue.NONE for spec in layers):
            return None
        counts = Counter((spec.weight_dtype, spec.input_dtype) for spec in layers if spec.weight_dtype)
        usual = {weights: inputs for (weights, inputs), _ in reversed(counts.most_common())}
        return KernelOnly(tuple(usual.items()))

    def of_kernel(self, spec: KernelSpec) -> KernelSpec:
        """The bare kernel that stands for it, without its layouts; itself where it has no weights."""
        if spec.weight_dtype is None:
            return spec
        integer = spec.input_dtype.is_integer
        bare = spec.epilogue is Epilogue.NONE
        return replace(
            spec,
            input_dtype=spec.input_dtype if bare else dict(self.inputs).get(spec.weight_dtype, spec.input_dtype),
            input2_dtype=None,
            output_dtype=DType.INT32 if integer else spec.output_dtype,
            epilogue=Epilogue.NONE,
            input_layout=NHWC,
            output_layout=NHWC,
        )
