"""The kernels that every card of a fleet measures, so that cards can be compared: a fixed set, whatever the network.

One for each thing that a card may be slow at: tensor cores or dot products (both widths), a thin matrix that reads its
weights once, and memory alone. Each with the schedule config that the analytic model holds for the best: no search, so
the artifact is the same on every card of a model.
"""

from __future__ import annotations

from collections.abc import Mapping

from profiler.errors import InvalidConfig
from profiler.hardware import CpuSpec
from profiler.space import cpu_default, gpu
from profiler.space.config import ScheduleConfig
from profiler.targets import Target, default_batch
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload


def reference_kernels(batch: int) -> Mapping[str, KernelSpec]:
    """By name."""
    wide = Workload(Op.CONV2D, batch, 28, 28, 128, 128, 3, 3, 1, 1, 1, 1, 1, 1)
    deep = Workload(Op.CONV2D, batch, 14, 14, 256, 1024)
    thin = Workload(Op.DENSE, batch, 1, 1, 2048, 1000)
    adding = Workload(Op.ADD, batch, 56, 56, 64, 64)
    return {
        "conv 3x3, 28x28x128, INT8": _layer(wide, 8),
        "conv 3x3, 28x28x128, INT4": _layer(wide, 4),
        "conv 1x1, 14x14x256 to 1024, INT8": _layer(deep, 8),
        "dense 2048 to 1000, INT8": _layer(thin, 8),
        "addition, 56x56x64, INT8": KernelSpec(
            adding, DType.UINT8, DType.UINT8, input2_dtype=DType.UINT8, epilogue=Epilogue.REQUANT_RELU
        ),
    }


def reference_configs(target: Target) -> Mapping[str, tuple[KernelSpec, ScheduleConfig]]:
    """Those that the target has kernels for, each with its config."""
    device = target.device
    found: dict[str, tuple[KernelSpec, ScheduleConfig]] = {}
    for name, spec in reference_kernels(default_batch(not isinstance(device, CpuSpec))).items():
        try:
            if isinstance(device, CpuSpec):
                config: ScheduleConfig = cpu_default.default_config(spec, device, target.threads)
            else:
                config = gpu.usual_config(spec, device)
        except InvalidConfig:
            continue
        found[name] = (spec, config)
    return found


def _layer(workload: Workload, bits: int) -> KernelSpec:
    activation = DType.integer(bits, signed=False)
    return KernelSpec(
        workload, activation, activation, DType.integer(bits, signed=True), epilogue=Epilogue.REQUANT_RELU
    )
