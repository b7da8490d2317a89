"""Small kernels in CUDA C as artifacts for a GPU at hand, without TVM. All are a 2x2 max pool, or pretend to be one."""

from __future__ import annotations

from functools import cache

import pytest

from profiler.artifact import ArgSpec, Artifact, Check, Launch, Resources, Role
from profiler.kernels.cuda.compiler import find_compiler
from profiler.kernels.cuda.cubin import Cubin
from profiler.kernels.toolchain import ToolchainError
from profiler.quantize.packing import Packing
from profiler.quantize.samples import expected_sha256

from .c_kernels import SPEC

WORKSPACE_BYTES = 1 << 20
LAUNCH = Launch((8, 1, 1), 256, 0)
"""A thread for each of the 2048 outputs."""

_SOURCE = """
extern __shared__ volatile signed char shared[];
__device__ void pool(const signed char* x, signed char* y, int i) {
  int c = i % 32, w = i / 32 % 8, h = i / 256, best = -128;
  for (int j = 0; j < 4; ++j) best = max(best, (int)x[((2 * h + j / 2) * 16 + 2 * w + j % 2) * 32 + c]);
  y[i] = best;
}
__device__ unsigned long long now_ns() {
  unsigned long long t;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(t));
  return t;
}
"""
BODIES = {
    "right": "pool(x, y, i);",
    "uses_workspace": "for (int j = i; j < 262144; j += 2048) ((int*)w)[j] = j; pool(x, y, i);",
    "reads_workspace": "int s = 0; for (int j = i; j < 262144; j += 2048) s ^= ((volatile int*)w)[j]; "
    "pool(x, y, i); if (s == 12345) y[i] = 0;",
    "uses_shared": "shared[threadIdx.x * 200] = x[0]; __syncthreads(); pool(x, y, i); "
    "if (shared[(255 - threadIdx.x) * 200] != x[0]) y[i] = 0;",
    "slow": "unsigned long long begin = now_ns(); while (now_ns() - begin < 2000000) {} pool(x, y, i);",
    "wrong": "pool(x, y, i); if (i == 17) y[17] ^= 1;",
    "accumulates": "signed char old = y[i]; pool(x, y, i); y[i] += old;",
    "behind_output": "pool(x, y, i); if (i == 0) y[2048] ^= 1;",
    "ahead_of_output": "pool(x, y, i); if (i == 0) y[-1] ^= 1;",
    "into_input": "pool(x, y, i); __syncthreads(); if (i == 0) ((signed char*)x)[5] ^= 1;",
    "illegal_address": "*(volatile int*)8 = 1;",
    "misaligned_address": "*(volatile int*)(w + 1) = 1;",
    "traps": 'asm volatile("trap;");',
    "hangs": "while (now_ns()) {}",
}
"""What thread ``i`` does with input ``x``, output ``y`` and workspace ``w``, by name."""


@cache
def _compile(body: str, arch: str) -> tuple[Cubin, str]:
    try:
        compiler = find_compiler("12")
    except ToolchainError as error:
        pytest.skip(str(error))
    signature = "lowbit_kernel(const signed char* __restrict__ x, signed char* y, signed char* w)"
    source = f"""{_SOURCE}
extern "C" __global__ void __launch_bounds__({LAUNCH.threads}) {signature} {{
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  {body}
}}
"""
    return compiler.compile(source, arch), compiler.identity


def artifact(body: str, arch: str, shared_bytes: int = 0) -> Artifact:
    """An artifact of a body by name; its config is that name. shared_bytes : of a block, dynamic."""
    cubin, compiler = _compile(BODIES[body], arch)
    usage = cubin.usage("lowbit_kernel")
    return Artifact(
        spec=SPEC,
        config=body,
        threads=1,
        entry="lowbit_kernel",
        arch=arch,
        features=(),
        args=(
            ArgSpec("input", Role.INPUT, 16 * 16 * 32),
            ArgSpec("output", Role.OUTPUT, 8 * 8 * 32),
            ArgSpec("workspace", Role.WORKSPACE, WORKSPACE_BYTES),
        ),
        packing=Packing("plain"),
        check=Check(seed=7, output_sha256=expected_sha256(SPEC, 7)),
        compiler=compiler,
        native=True,
        code=cubin.code,
        launch=Launch(LAUNCH.grid, LAUNCH.threads, shared_bytes),
        resources=Resources(
            registers=usage.registers,
            stack_bytes=usage.stack_bytes,
            spill_bytes=usage.spill_bytes,
            shared_bytes=usage.static_shared_bytes + shared_bytes,
            threads=LAUNCH.threads,
            blocks_per_sm=1,
            occupancy=0.25,
            instructions={},
            main_loop={},
            cubin_abi=cubin.abi,
            least_driver=cubin.least_driver,
        ),
    )
