"""Workloads, precisions, layers and networks: frozen values that check themselves.

A `Workload` is an operator with its shape; a `KernelSpec` adds the types and the epilogue, and is what a kernel
computes; a `Layer` is a named occurrence of a workload in a `Network`. Activations are NHWC throughout.

- `precisions`   element types and precisions
- `kernel_spec`  operators, workloads and kernel specs
- `layers`       tensors, layers and networks
"""

from profiler.workload.kernel_spec import NHWC, Epilogue, KernelSpec, Op, Workload, distinct
from profiler.workload.layers import Layer, Network, Tensor
from profiler.workload.precisions import INT4, INT8, PRECISIONS, DType, Precision, any_in_planes, widest_first

__all__ = [
    "INT4",
    "INT8",
    "NHWC",
    "PRECISIONS",
    "DType",
    "Epilogue",
    "KernelSpec",
    "Layer",
    "Network",
    "Op",
    "Precision",
    "Tensor",
    "Workload",
    "any_in_planes",
    "distinct",
    "widest_first",
]
