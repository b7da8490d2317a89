"""What the CUDA templates emit, by digest, and what it was emitted for: see tests/kernels/test_golden.py.

After a deliberate change raise `kernels.cuda.compiler.CUDA_TEMPLATES_VERSION` and run
``pytest tests/kernels/cuda/test_golden.py --update-golden``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from profiler.hardware import GPUS
from profiler.kernels.cuda.compiler import CUDA_TEMPLATES_VERSION
from profiler.kernels.cuda.lower import lower
from profiler.space.config import parse_config
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload
from tests.kernels.golden import compare

pytestmark = pytest.mark.compile

U8, U4, S8, S4, I32 = DType.UINT8, DType.UINT4, DType.INT8, DType.INT4, DType.INT32
U1, S1, U2, S2, S3 = DType.UINT1, DType.INT1, DType.UINT2, DType.INT2, DType.INT3
LAYER = Workload(Op.CONV2D, 2, 9, 11, 32, 40, 3, 3, 1, 2, 1, 0, 1, 2)
STEM = Workload(Op.CONV2D, 1, 17, 17, 3, 24, 7, 7, 2, 2, 3, 3, 3, 3)
DEEP = Workload(Op.CONV2D, 1, 7, 7, 512, 64, groups=2)
NARROW = Workload(Op.CONV2D, 1, 8, 8, 12, 20, 3, 3, groups=4)
DEPTHWISE = Workload(Op.CONV2D, 1, 8, 8, 40, 40, 3, 3, groups=40)
TILE = "mma(block_m=32,block_n=32,block_k=8,warp_m=16,warp_n=16,stages=2"
CASES = [
    (KernelSpec(LAYER, U8, U8, S8, epilogue=Epilogue.REQUANT_RELU), f"{TILE},load_bytes=16)"),
    (KernelSpec(LAYER, S4, S4, S4, U8, Epilogue.ADD_REQUANT), f"{TILE},load_bytes=8,unroll=full)"),
    (KernelSpec(STEM, S8, U4, S8, epilogue=Epilogue.REQUANT_RELU), f"{TILE},load_bytes=1,shared_layout=pad)"),
    (KernelSpec(DEEP, U4, I32, S4, epilogue=Epilogue.BIAS), f"{TILE},load_bytes=16,split_k=2,weight_layout=rows)"),
    (KernelSpec(DEEP, U1, U1, S1, epilogue=Epilogue.REQUANT_RELU), f"{TILE},load_bytes=16)"),
    (KernelSpec(LAYER, U2, S3, S2, U2, Epilogue.ADD_REQUANT), f"{TILE},load_bytes=8,split_k=2)"),
    (KernelSpec(LAYER, U4, U2, S1, epilogue=Epilogue.REQUANT_RELU), f"{TILE},load_bytes=16)"),
    (KernelSpec(NARROW, S8, U8, S8, epilogue=Epilogue.REQUANT_RELU), "simt_direct(threads=64,channels=4)"),
    (KernelSpec(DEPTHWISE, U4, U4, S4, epilogue=Epilogue.REQUANT), "simt_depthwise(threads=64,channels=4,pixels=2)"),
    (
        KernelSpec(Workload(Op.ADD, 1, 4, 4, 24, 24), I32, U4, None, U8, Epilogue.REQUANT_RELU),
        "simt_vector(threads=64,channels=8)",
    ),
    (
        KernelSpec(Workload(Op.MAX_POOL, 1, 9, 9, 24, 24, 3, 3, 2, 2, 1, 1, 1, 1), S4, S4),
        "simt_vector(threads=64,channels=8)",
    ),
    (KernelSpec(DEPTHWISE, U2, U2, S1, epilogue=Epilogue.REQUANT), "simt_depthwise(threads=64,channels=8,pixels=2)"),
    (KernelSpec(NARROW, U1, U2, S1, epilogue=Epilogue.REQUANT_RELU), "simt_direct(threads=64,channels=8)"),
    (
        KernelSpec(Workload(Op.CONCAT, 1, 3, 3, 7, 24), U2, S3, epilogue=Epilogue.REQUANT),
        "simt_vector(threads=32,channels=8)",
    ),
    (
        KernelSpec(Workload(Op.CONCAT, 1, 3, 3, 7, 24), U8, S4, epilogue=Epilogue.REQUANT),
        "simt_vector(threads=32,channels=2)",
    ),
]


def test_the_templates_emit_what_their_version_says(request: pytest.FixtureRequest) -> None:
    now = {}
    for slug in ("t4", "a100"):
        for spec, config in CASES:
            kernel = lower(spec, parse_config(config), GPUS[slug])
            now[f"{slug} {spec.key} {config}"] = f"{kernel.source}{kernel.launch}{kernel.args}{kernel.packing}"
    compare(
        Path(__file__).with_name("golden.json"),
        CUDA_TEMPLATES_VERSION,
        now,
        request.config.getoption("--update-golden"),
    )
