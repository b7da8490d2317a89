"""Compilers and disassembler of the tests, and kernels to try them on that need no template."""

from __future__ import annotations

from shutil import which

import pytest

from profiler.hardware import GPUS
from profiler.kernels.cuda.tools import Tools
from profiler.kernels.toolchain import ToolchainError

CHOICES = ("12", "13", "nvcc")

DEVICE = """
typedef long long int64_t;
__device__ __forceinline__ void mma_u4(int* c, int a, int b) {
  asm volatile("mma.sync.aligned.m8n8k32.row.col.s32.u4.s4.s32 {%0,%1},{%2},{%3},{%0,%1};"
               : "+r"(c[0]), "+r"(c[1]) : "r"(a), "r"(b));
}
__device__ __forceinline__ void mma_s8(int* c, int a, int b) {
  asm volatile("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0,%1},{%2},{%3},{%0,%1};"
               : "+r"(c[0]), "+r"(c[1]) : "r"(a), "r"(b));
}
"""


def kernel(body: str, threads: int = 64) -> str:
    """CUDA source of kernel ``k``, whose arguments are ``x``, ``y``, ``n`` and ``d``."""
    signature = f"__launch_bounds__({threads}) k(const int* __restrict__ x, int* __restrict__ y, int n, int d)"
    return f'{DEVICE}extern "C" __global__ void {signature} {{\n{body}\n}}\n'


def require(cuda: str, gpu: str = "t4") -> Tools:
    """The tools of a choice; skips the test where they are not installed."""
    if cuda == "nvcc" and which("nvcc") is None:
        pytest.skip("nvcc is not on PATH")
    try:
        return Tools.find(cuda, GPUS[gpu])
    except ToolchainError as error:
        if "is not installed" in str(error):
            pytest.skip(str(error))
        raise
