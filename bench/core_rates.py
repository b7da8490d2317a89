"""What a core's instructions allow: products a second of the innermost steps of our kernels, with nothing around them.

Each mix is a loop of one step on twelve independent sums, written in assembly and timed by itself; the rest of a kernel
(tables, widening, epilogue, loads that miss) can only add to it. So a ratio of two mixes is what the ratio of two
kernels cannot pass by much.
"""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from profiler.hardware import WIDE_PERMUTATION, WIDE_POPCOUNT, CpuSpec, DotIsa
from profiler.kernels.cpu.c_compiler import c_compiler
from profiler.kernels.toolchain import run_tool
from profiler.workload import Precision

_SUMS = 12
_STEPS = 8_000_000
_TRIES = 7


@dataclass(frozen=True)
class Mix:
    """``step`` is AT&T assembly: SUM is a register of its own, OTHER one that it may overwrite, (%0) memory.
    ``products`` are those that it adds: of bytes, of whole activations with one bit of the weights (lookups), or of one
    bit with one bit (counts)."""

    name: str
    products: int
    step: tuple[str, ...]
    feature: str


DOT = Mix(
    "dot products of bytes, one operand broadcast from memory",
    64,
    ("vpdpbusd (%0)%{1to16%}, %%zmm30, SUM",),
    "avx512_vnni",
)
COUNT = Mix(
    "bits counted in words",
    512,
    ("vpandq %%zmm30, %%zmm31, OTHER", "vpopcntq OTHER, OTHER", "vpaddq OTHER, SUM, SUM"),
    WIDE_POPCOUNT,
)
LOOK_UP = Mix(
    "sums of four looked up", 256, ("vpshufb %%zmm31, %%zmm30, OTHER", "vpaddusb OTHER, SUM, SUM"), "avx512bw"
)
LOOK_UP_WIDE = Mix(
    "sums of six looked up", 384, ("vpermb %%zmm31, %%zmm30, OTHER", "vpaddusb OTHER, SUM, SUM"), WIDE_PERMUTATION
)
MIXES = (DOT, COUNT, LOOK_UP, LOOK_UP_WIDE)


def core_rates(cpu: CpuSpec) -> dict[Mix, float]:
    """Steps a second of each mix that the CPU has instructions for, the fastest of several tries. None at all where it
    has no AVX-512."""
    if platform.machine() != "x86_64" or cpu.isa is not DotIsa.AVX512_VNNI:
        return {}
    mixes = [mix for mix in MIXES if mix.feature in cpu.features]
    with tempfile.TemporaryDirectory(prefix="lowbit-rates-") as folder:
        source, program = Path(folder) / "rates.c", Path(folder) / "rates"
        source.write_text("\n".join(_program(mixes)))
        c_compiler().run(["-O2", "-mavx512f", "-o", str(program), str(source)])
        answer = run_tool([str(program)], "run the bench again").stdout
    return {mix: float(line) for mix, line in zip(mixes, answer.split(), strict=True)}


def products_per_s(precision: Precision, rates: dict[Mix, float]) -> float | None:
    """Of the best mix for the precision; None where nothing is known."""
    if not rates:
        return None
    found = [rates[DOT] * DOT.products]
    if precision.weight_bits < 4:
        found += [rates[mix] * mix.products / precision.weight_bits for mix in (LOOK_UP, LOOK_UP_WIDE) if mix in rates]
        if COUNT in rates:
            found.append(rates[COUNT] * COUNT.products / (precision.weight_bits * precision.activation_bits))
    return max(found)


def _program(mixes: list[Mix]) -> Iterator[str]:
    yield "#include <stdio.h>\n#include <time.h>"
    yield "static char memory[64] __attribute__((aligned(64)));"
    yield "static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t);"
    yield "  return t.tv_sec + t.tv_nsec * 1e-9; }"
    clobbered = ", ".join(f'"zmm{i}"' for i in range(2 * _SUMS))
    yield "int main(void) {"
    for mix in mixes:
        steps = [
            line.replace("SUM", f"%%zmm{i}").replace("OTHER", f"%%zmm{_SUMS + i}")
            for i in range(_SUMS)
            for line in mix.step
        ]
        text = "\\n\\t".join(steps)
        yield f"  {{ double best = 1e9; for (int try = 0; try < {_TRIES}; ++try) {{ double begin = now();"
        yield f'    for (long i = 0; i < {_STEPS // _SUMS}; ++i) asm volatile("{text}" :: "r"(memory) : {clobbered});'
        yield "    double took = now() - begin; if (took < best) best = took; }"
        yield f'  printf("%.6e\\n", {_STEPS // _SUMS * _SUMS} / best); }}'
    yield "  return 0; }"
