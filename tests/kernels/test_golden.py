"""What the templates emit, by digest: a change of code that nobody meant is noticed, one that is meant is declared.

After a deliberate change raise `kernels.cpu.build.TEMPLATES_VERSION` and run
``pytest tests/kernels/test_golden.py --update-golden``. Whoever measured with the old templates then measures anew.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from profiler.hardware import DotIsa
from profiler.kernels.cpu.build import TEMPLATES_VERSION
from profiler.kernels.cpu.lower import lower
from profiler.space.config import parse_config
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload
from tests.kernels.golden import compare

pytestmark = pytest.mark.compile

GOLDEN = Path(__file__).with_name("golden.json")
U8, U4, S8, S4, I32 = DType.UINT8, DType.UINT4, DType.INT8, DType.INT4, DType.INT32
LAYER = Workload(Op.CONV2D, 2, 9, 11, 24, 40, 3, 3, 1, 2, 1, 0, 1, 2)
SHORTCUT = Workload(Op.CONV2D, 1, 8, 8, 32, 64, 1, 1, 2, 2)
GROUPED = Workload(Op.CONV2D, 1, 8, 8, 12, 20, 3, 3, groups=4)
DEPTHWISE = Workload(Op.CONV2D, 1, 8, 8, 40, 40, 3, 3, groups=40)
CASES = [
    (KernelSpec(LAYER, U8, U8, S8, epilogue=Epilogue.REQUANT_RELU), "dot(tile_h=2,tile_w=3,vectors=2,order=images)"),
    (KernelSpec(LAYER, S4, S4, S4, U8, Epilogue.ADD_REQUANT), "dot(tile_h=1,tile_w=4,vectors=1,order=channels)"),
    (KernelSpec(SHORTCUT, U4, U4, S4, epilogue=Epilogue.REQUANT), "dot(tile_h=1,tile_w=8,vectors=2,order=pixels)"),
    (KernelSpec(GROUPED, S8, I32, S8), "dot(tile_h=1,tile_w=2,vectors=1,order=images,unroll=1)"),
    (KernelSpec(DEPTHWISE, U8, U8, S8, epilogue=Epilogue.REQUANT_RELU), "depthwise(tile_w=3,vectors=2)"),
    (KernelSpec(Workload(Op.ADD, 1, 4, 4, 24, 24), I32, U4, None, U8, Epilogue.REQUANT_RELU), "vector(vectors=1)"),
    (KernelSpec(Workload(Op.MAX_POOL, 1, 9, 9, 24, 24, 3, 3, 2, 2, 1, 1, 1, 1), S4, S4), "vector(vectors=2)"),
    (KernelSpec(Workload(Op.AVG_POOL, 1, 7, 7, 24, 24, 7, 7), U8, U4, epilogue=Epilogue.REQUANT), "vector(vectors=1)"),
    (KernelSpec(Workload(Op.CONCAT, 1, 3, 3, 7, 24), U8, S4, epilogue=Epilogue.REQUANT), "vector(vectors=1)"),
    (
        KernelSpec(LAYER, DType.INT2, DType.UINT2, DType.INT1, epilogue=Epilogue.REQUANT_RELU),
        "lookup(tile_h=1,tile_w=4,vectors=1,order=channels,unroll=2)",
    ),
    (
        KernelSpec(SHORTCUT, U4, U8, DType.INT2, DType.UINT2, Epilogue.ADD_REQUANT_RELU),
        "lookup(tile_h=1,tile_w=2,vectors=1,order=pixels)",
    ),
    (
        KernelSpec(LAYER, DType.UINT2, DType.UINT2, DType.INT1, epilogue=Epilogue.REQUANT_RELU),
        "lookup(tile_h=2,tile_w=4,vectors=1,order=images,unroll=2,tables=sextets)",
    ),
    (
        KernelSpec(LAYER, DType.UINT1, DType.UINT2, DType.INT2, epilogue=Epilogue.REQUANT_RELU),
        "lookup(tile_h=1,tile_w=4,vectors=1,order=pixels,unroll=1,tables=indexed)",
    ),
    (
        KernelSpec(LAYER, DType.UINT1, DType.UINT2, DType.INT1, epilogue=Epilogue.REQUANT),
        "popcount(tile_h=1,tile_w=4,vectors=5,order=images)",
    ),
    (
        KernelSpec(Workload(Op.MAX_POOL, 1, 9, 9, 70, 70, 3, 3, 2, 2, 1, 1, 1, 1), DType.INT2, DType.INT2),
        "vector(vectors=1)",
    ),
    (
        KernelSpec(Workload(Op.CONCAT, 1, 3, 3, 70, 118), U8, DType.UINT2, epilogue=Epilogue.REQUANT),
        "vector(vectors=2)",
    ),
    (
        KernelSpec(Workload(Op.CONVERT, 1, 3, 3, 70, 70), U4, DType.UINT2, epilogue=Epilogue.REQUANT),
        "vector(vectors=2)",
    ),
]


def emitted(isa: DotIsa) -> dict[str, str]:
    return {
        f"{isa.value} {spec.key} {config}": lower(spec, parse_config(config), isa).function.script()
        for spec, config in CASES
        if isa is DotIsa.AVX512_VNNI or not ("popcount" in config or "tables" in config)
    }


def test_the_templates_emit_what_their_version_says(request: pytest.FixtureRequest) -> None:
    now = {**emitted(DotIsa.AVX512_VNNI), **emitted(DotIsa.AVX2), **emitted(DotIsa.NEON_DOT)}
    compare(GOLDEN, TEMPLATES_VERSION, now, request.config.getoption("--update-golden"))
