"""What the machine code of the networks' kernels is made of: tensor-core instructions of the right width in the main
loop, no spills, no division. Proven on every machine, since nothing is run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import pytest

from profiler.artifact import Artifact, Resources
from profiler.frontend import load_network
from profiler.hardware import GPUS
from profiler.kernels.backend import CudaBackend
from profiler.kernels.cuda.sass import DIVISION
from profiler.kernels.pool_build import BuildPool
from profiler.lut.demand import demand
from profiler.space.config import MmaConfig, parse_config
from profiler.space.gpu import default_config
from profiler.space.gpu_limits import template_for
from profiler.space.mma_plan import MmaPlan
from profiler.workload import INT4, INT8, DType, Epilogue, KernelSpec, Op, Precision, Workload
from tests.kernels.cuda.tools import require

pytestmark = pytest.mark.compile

NETWORKS = ("resnet18", "resnet50", "inceptionv3")
BATCH = 8
SHAPES = {
    ("t4", 8): r"IMMA\.8816\.{sign}8\.S8",
    ("t4", 4): r"IMMA\.8832\.{sign}4\.S4",
    ("a100", 8): r"IMMA\.16832\.{sign}8\.S8",
    ("a100", 4): r"IMMA\.16864\.{sign}4\.S4",
    ("h200", 8): r"IMMA\.16832\.{sign}8\.S8",
    ("h200", 4): r"IMMA\.(16832|8816)\.[SU]8\.S8",  # emulated
}
"""With the sign of the activations: what mma.h says in PTX is not run by the emulator, so it is read here."""


def tensor_core_specs() -> list[KernelSpec]:
    """Of every convolution and dense layer of the networks, in both precisions: one per workload and precision."""
    found: dict[tuple[Workload, DType], KernelSpec] = {}
    for name in NETWORKS:
        for wanted in demand(load_network(name, BATCH), (INT8, INT4), mixed=False):
            spec = wanted.spec
            if spec.weight_dtype is not None and spec.workload.op in (Op.CONV2D, Op.DENSE):
                found.setdefault((spec.workload, spec.weight_dtype), spec)
    return list(found.values())


def one_precision_each(specs: Sequence[KernelSpec]) -> list[KernelSpec]:
    """Every workload, its precisions in turn: half the time of both."""
    by_workload: dict[Workload, list[KernelSpec]] = {}
    for spec in specs:
        by_workload.setdefault(spec.workload, []).append(spec)
    return [several[i % len(several)] for i, several in enumerate(by_workload.values())]


def half(specs: Sequence[KernelSpec]) -> list[KernelSpec]:
    """Every other pair, so that both precisions stay."""
    return [spec for i, spec in enumerate(specs) if i % 4 < 2]


def other_sign(spec: KernelSpec) -> KernelSpec:
    """The same with activations of the other sign."""
    return replace(spec, input_dtype=DType.integer(spec.input_dtype.bits, not spec.input_dtype.signed))


def built(gpu: str, specs: Sequence[KernelSpec]) -> list[Artifact]:
    """With their default configs."""
    require("12", gpu)
    with BuildPool(CudaBackend(GPUS[gpu]), workers=2) as pool:
        results = pool.build([(spec, default_config(spec, GPUS[gpu])) for spec in specs])
    assert [r for r in results if not isinstance(r, Artifact)] == []
    return [r for r in results if isinstance(r, Artifact)]


def defects(gpu: str, artifact: Artifact) -> list[str]:
    """What is not as it should be in a kernel for tensor cores."""
    resources, dtype = artifact.resources, artifact.spec.weight_dtype
    assert isinstance(resources, Resources)
    assert dtype is not None
    sign = "S" if artifact.spec.input_dtype.signed else "U"
    shape = re.compile(SHAPES[gpu, dtype.bits].format(sign=sign))
    loop = resources.main_loop
    others = [kind for kind in resources.instructions if kind.startswith("IMMA") and not shape.fullmatch(kind)]
    found = [f"{kind} in the kernel" for kind in others]
    if not any(shape.fullmatch(kind) for kind in loop):
        found.append("no tensor-core instruction in the main loop")
    emulated = dtype.bits == 4 and not GPUS[gpu].native_int4
    if artifact.native == emulated:
        found.append(f"native is {artifact.native}")
    if resources.spill_bytes or resources.stack_bytes or {"LDL", "STL"} & set(resources.instructions):
        found.append(f"{resources.spill_bytes} bytes spilled, {resources.stack_bytes} of local memory")
    dividing = set(DIVISION) | ({"CALL"} if not emulated else set())
    found += [f"{kind} in the main loop" for kind in dividing if kind in loop]
    return [f"{artifact.spec.key} {artifact.config}: {defect}" for defect in found]


def test_turing_has_its_instructions() -> None:
    specs = half(one_precision_each(tensor_core_specs()))
    assert len(specs) >= 35
    assert {template_for(spec) for spec in specs} == {MmaConfig}
    specs += [other_sign(specs[0]), other_sign(specs[1])]
    assert {spec.input_dtype for spec in specs} == {DType.INT4, DType.UINT4, DType.INT8, DType.UINT8}
    artifacts = built("t4", specs)
    assert [defect for artifact in artifacts for defect in defects("t4", artifact)] == []
    assert {a.resources.least_driver for a in artifacts if a.resources} == {"525.60.13"}


@pytest.mark.parametrize("gpu", ["a100", "h200"])
def test_newer_cards_have_theirs(gpu: str) -> None:
    """Some of the kernels: their code differs from Turing's in the instruction's shape."""
    specs = tensor_core_specs()
    chosen = [s for bits in (8, 4) for s in [x for x in specs if x.weight_dtype and x.weight_dtype.bits == bits][::24]]
    chosen += [other_sign(next(s for s in chosen if s.input_dtype.bits == bits)) for bits in (8, 4)]
    assert {spec.input_dtype for spec in chosen} == {DType.INT4, DType.UINT4, DType.INT8, DType.UINT8}
    assert [defect for artifact in built(gpu, chosen) for defect in defects(gpu, artifact)] == []


BITS = ("a1w1", "a2w1", "a2w2", "a3w3")
BIT_SHAPES = {
    "t4": dict.fromkeys(BITS, "BMMA.88128.XOR.POPC"),
    "a100": {**dict.fromkeys(BITS[2:], "BMMA.168256.AND.POPC"), **dict.fromkeys(BITS[:2], "BMMA.168256.XOR.POPC")},
    "h200": dict.fromkeys(BITS, "BMMA.168256.AND.POPC"),
}


@pytest.mark.parametrize("gpu", ["t4", "a100", "h200"])
def test_bit_planes_have_the_binary_instruction(gpu: str) -> None:
    """As many of it in the main loop as the plan says, nothing else on tensor cores, no call, spill or division."""
    layers = [
        Workload(Op.CONV2D, BATCH, 56, 56, 64, 64, 3, 3, 1, 1, 1, 1, 1, 1),
        Workload(Op.CONV2D, BATCH, 14, 14, 256, 256, 3, 3, 1, 1, 1, 1, 1, 1),
        Workload(Op.CONV2D, BATCH, 28, 28, 128, 256, 1, 1, 2, 2),
        Workload(Op.DENSE, BATCH, 1, 1, 512, 1000),
    ]
    layers = layers if gpu == "t4" else layers[1:3]
    specs = []
    for workload, name in product(layers, BITS):
        precision = Precision.parse(name)
        dtype = precision.activation_dtype(signed=False)
        specs.append(KernelSpec(workload, dtype, dtype, precision.weight_dtype, epilogue=Epilogue.REQUANT_RELU))
    for artifact, (_, name) in zip(built(gpu, specs), product(layers, BITS), strict=True):
        config = parse_config(artifact.config)
        assert isinstance(config, MmaConfig)
        plan, resources = MmaPlan.of(artifact.spec, config, GPUS[gpu]), artifact.resources
        assert resources is not None
        loop = resources.main_loop
        wanted = plan.warp_mmas * config.block_k // plan.mma.k_words
        found = {kind: n for kind, n in loop.items() if "MMA" in kind}
        # A loop of one step is no loop: the kernel is then counted as a whole.
        assert found == {BIT_SHAPES[gpu][name]: wanted}, artifact.config
        assert set(found) == {kind for kind in resources.instructions if "MMA" in kind}
        assert artifact.native
        assert resources.spill_bytes == resources.stack_bytes == 0, f"{artifact.spec.key} {artifact.config}"
        assert not ({"CALL", *DIVISION} & set(loop))


def test_a_defect_is_seen() -> None:
    """The proof itself: a kernel of the wrong kind has all the defects there are."""
    spec = next(s for s in tensor_core_specs() if s.weight_dtype is DType.INT4)
    (artifact,) = built("h200", [spec])
    assert defects("h200", artifact) == []
    found = " ".join(defects("t4", artifact))
    assert "IMMA.16832" in found
    assert "no tensor-core instruction in the main loop" in found
    assert "native is False" in found
    assert "CALL in the main loop" in found
    assert artifact.resources is not None
    divided = {**artifact.resources.main_loop, "MUFU.RCP": 1}
    worse = replace(artifact.resources, spill_bytes=8, instructions=divided, main_loop=divided)
    found = " ".join(defects("h200", replace(artifact, resources=worse)))
    assert "8 bytes spilled" in found
    assert "MUFU.RCP in the main loop" in found
