"""Layers of real size for a GPU, each with configs that a small layer has none of: much shared memory, long splits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from profiler.hardware import GpuSpec
from profiler.space.config import GpuConfig, MmaConfig
from profiler.space.gpu import config_space
from profiler.space.mma_plan import MmaPlan
from profiler.workload import DType, Epilogue, KernelSpec, Workload
from tests.kernels.cuda.cases import conv, dense, same, turns, varied, weighted

DEFAULT_SHARED_BYTES = 48 << 10
"""Dynamic shared memory that a block gets without being asked for: more takes an attribute of the function."""
LONG_SPLITS = (8, 16, 32)
FREE_CONFIGS = 5
"""Of each layer, beside those with a property."""

LAYERS: list[tuple[Workload, DType, Epilogue]] = [
    (conv(8, (14, 14), 256, 256, (3, 3), pads=same(1)), DType.UINT8, Epilogue.REQUANT_RELU),
    (conv(8, (14, 14), 256, 256, (3, 3), pads=same(1)), DType.INT4, Epilogue.REQUANT),
    (conv(1, (14, 14), 256, 256, (3, 3), pads=same(1)), DType.UINT4, Epilogue.REQUANT_RELU),
    (conv(1, (7, 7), 512, 512, (3, 3), pads=same(1)), DType.UINT8, Epilogue.REQUANT_RELU),
    (conv(1, (7, 7), 512, 512, (3, 3), pads=same(1)), DType.UINT4, Epilogue.REQUANT_RELU),
    (conv(8, (56, 56), 64, 256, (1, 1)), DType.UINT8, Epilogue.ADD_REQUANT_RELU),
    (conv(8, (56, 56), 64, 256, (1, 1)), DType.UINT4, Epilogue.ADD_REQUANT_RELU),
    (conv(1, (224, 224), 3, 64, (7, 7), stride=(2, 2), pads=same(3)), DType.INT8, Epilogue.REQUANT_RELU),
    (conv(1, (224, 224), 3, 64, (7, 7), stride=(2, 2), pads=same(3)), DType.INT4, Epilogue.REQUANT_RELU),
    (dense(8, 2048, 1000), DType.UINT8, Epilogue.BIAS),
    (dense(1, 2048, 1000), DType.UINT8, Epilogue.BIAS),
    (dense(8, 2048, 1000), DType.UINT4, Epilogue.BIAS),
]
"""Of ResNet50, most of them: operator and shape, type of the activations, epilogue."""


def layer_requests(gpu: GpuSpec) -> Iterator[tuple[KernelSpec, GpuConfig]]:
    """Each layer with a config of each of `PROPERTIES` that it has one for, and some more."""
    for workload, dtype, epilogue in LAYERS:
        spec = weighted(workload, dtype, DType.integer(dtype.bits, signed=True), epilogue)
        turn, space = turns(spec.key, gpu.slug), config_space(spec, gpu)
        plans = [MmaPlan.of(spec, config, gpu) for config in space if isinstance(config, MmaConfig)]
        for has in PROPERTIES:
            among = [plan.config for plan in plans if has(plan)]
            if among:
                yield spec, turn.choice(among)
        for config in turn.sample(space, FREE_CONFIGS):
            yield spec, varied(spec, config, gpu, turn)


def is_large(plan: MmaPlan) -> bool:
    return plan.shared_bytes > DEFAULT_SHARED_BYTES


def is_uneven(plan: MmaPlan) -> bool:
    """Whether the last split has fewer steps than the others."""
    return plan.steps % plan.split_steps != 0 and plan.config.split_k > 1


def is_split(into: int, plan: MmaPlan) -> bool:
    return plan.config.split_k == into


PROPERTIES: tuple[Callable[[MmaPlan], bool], ...] = (
    is_large,
    is_uneven,
    *(partial(is_split, split) for split in LONG_SPLITS),
)
