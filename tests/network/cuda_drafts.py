"""Networks for a pretended GPU, and kernels for them that hold no code: the fake driver computes what they should."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from profiler.artifact import ArgSpec, Artifact, Launch, Resources, Role
from profiler.kernels.arguments import spec_arguments
from profiler.network.integer_network import IntegerNetwork
from profiler.quantize.packing import Packing
from profiler.workload import DType, Epilogue, KernelSpec, Op
from tests.devices.fake_cuda_code import write_cubin
from tests.network.integer_drafts import Draft, codeless

U8, S8, U4, S4, I32 = DType.UINT8, DType.INT8, DType.UINT4, DType.INT4, DType.INT32

MMA = Packing("mma", channel_block=8, step_words=4, tiled=True)
RESOURCES = Resources(16, 0, 0, 48, 64, 16, 0.5, {}, {}, 7, "525.60.13")


def residual() -> IntegerNetwork:
    """Of mixed precision: a 3-channel stem, a block in INT4 with a fused addition and one in INT8 with a separate one,
    a concatenation that ends in another precision, both pools, logits; two images."""
    draft = Draft(seed=1, batch=2)
    x = draft.input(9, 9, 3, S8)
    stem = draft.max_pool(draft.conv(x, 16, 3, output=U4))
    a = draft.conv(stem, 16, 3, output=U4, weight=S4)
    narrow = draft.conv(a, 16, 3, output=U4, weight=S4, epilogue=Epilogue.ADD_REQUANT_RELU, residual=stem)
    wide = draft.convert(narrow, U8)
    sums = draft.conv(wide, 16, 3, output=I32, epilogue=Epilogue.BIAS)
    added = draft.add(sums, wide)
    both = draft.concat([added, draft.conv(added, 8), draft.conv(added, 8, 3)])
    return draft.network([draft.dense(draft.avg_pool(both), 10), both], "residual")


def chain(steps: int) -> IntegerNetwork:
    """So many pointwise layers of the same kernel, one after another."""
    draft = Draft(seed=2)
    x = draft.input(2, 2, 8, U8)
    for _ in range(steps):
        x = draft.conv(x, 8)
    return draft.network([x], "chain")


def pretended(network: IntegerNetwork) -> dict[KernelSpec, Artifact]:
    """For each distinct kernel; those of layers have workspace and counters."""
    found = {}
    for index, (spec, plain) in enumerate(codeless(network).items()):
        weighted = spec.workload.op in (Op.CONV2D, Op.DENSE)
        packing = MMA if weighted else plain.packing
        scratch = (ArgSpec("workspace", Role.WORKSPACE, 100), ArgSpec("counters", Role.COUNTERS, 12))
        entry = f"kernel{index}"
        found[spec] = replace(
            plain,
            entry=entry,
            arch="sm_75",
            packing=packing,
            args=(*spec_arguments(spec, packing), *(scratch if weighted else ())),
            code=write_cubin(entry, content=spec.key.encode()),
            launch=Launch((index + 1, 1, 1), 64, 48),
            resources=RESOURCES,
        )
    return found


def sha256_of(artifacts: Mapping[KernelSpec, Artifact], network: IntegerNetwork, step: int) -> str:
    """Of the kernel of a step: where a scenario finds its faults."""
    return artifacts[network.steps[step].spec].sha256
