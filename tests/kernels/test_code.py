"""The machine code is what the instruction set promises: compile-only, so also for CPUs that this machine is not."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from profiler.errors import CompilerError, InvalidConfig
from profiler.hardware import DotIsa
from profiler.kernels.cpu.build import assembly, is_native
from profiler.kernels.cpu.lower import lower
from profiler.kernels.cpu.target import CpuTarget
from profiler.space.config import DotConfig, LookupConfig, LoopOrder, VectorConfig
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload

pytestmark = pytest.mark.compile

LAYER = Workload(Op.CONV2D, 1, 14, 14, 64, 64, 3, 3, 1, 1, 1, 1, 1, 1)
TILE = DotConfig(1, 7, 2, LoopOrder.IMAGES)


def spec(dtype: DType, workload: Workload = LAYER) -> KernelSpec:
    return KernelSpec(workload, dtype, dtype, DType.integer(dtype.bits, signed=True), epilogue=Epilogue.REQUANT_RELU)


@pytest.mark.parametrize(
    ("isa", "machine", "instruction", "register"),
    [
        (DotIsa.AVX512_VNNI, "x86_64", "vpdpbusd", "zmm"),
        (DotIsa.AVX_VNNI, "x86_64", "vpdpbusd", "ymm"),
        (DotIsa.AVX2, "x86_64", "vpmaddwd", "ymm"),
        (DotIsa.NEON_DOT, "aarch64", "sdot", "v"),
        (DotIsa.NEON, "aarch64", "smull2?", "v"),
    ],
)
@pytest.mark.parametrize("dtype", [DType.UINT8, DType.UINT4])
def test_the_dot_product_is_the_instruction(
    isa: DotIsa, machine: str, instruction: str, register: str, dtype: DType
) -> None:
    tile = TILE if isa is DotIsa.AVX512_VNNI else DotConfig(1, 3, 2, LoopOrder.IMAGES)
    text = assembly(spec(dtype), tile, CpuTarget(isa, machine))
    lines = [line for line in text.splitlines() if re.search(rf"\b{instruction}\b", line)]
    assert len(lines) >= tile.accumulators
    assert all(register in line for line in lines)


@pytest.mark.parametrize("dtype", [DType.UINT8, DType.UINT4])
def test_sums_stay_in_registers(dtype: DType) -> None:
    """In the inner loop (the block with the dot products) nothing is stored."""
    text = assembly(spec(dtype), TILE, CpuTarget(DotIsa.AVX512_VNNI, "x86_64"))
    blocks = re.split(r"^\.L\w+:", text, flags=re.MULTILINE)
    inner = max(blocks, key=lambda block: block.count("vpdpbusd"))
    body = inner[inner.index("vpdpbusd") : inner.rindex("vpdpbusd")]
    assert not re.search(r"vmovdqu?a?(64|32)?\s+%zmm\d+,\s*-?\d*\(%r[sb]p", body)
    assert "idiv" not in body
    assert "div" not in body


def test_only_eight_bits_on_a_dot_instruction_are_native() -> None:
    assert is_native(spec(DType.UINT8), TILE, DotIsa.AVX512_VNNI)
    assert not is_native(spec(DType.UINT4), TILE, DotIsa.AVX512_VNNI)
    assert not is_native(spec(DType.UINT8), TILE, DotIsa.AVX2)
    assert is_native(spec(DType.UINT8), TILE, DotIsa.NEON_DOT)
    assert not is_native(spec(DType.UINT8), TILE, DotIsa.NEON)


def test_bits_are_native_where_they_are_looked_up_and_not_where_they_are_unpacked() -> None:
    one_bit = replace(spec(DType.UINT4), weight_dtype=DType.INT1)
    assert is_native(one_bit, LookupConfig(1, 1, 1, LoopOrder.CHANNELS), DotIsa.AVX512_VNNI)
    assert not is_native(one_bit, LookupConfig(1, 1, 1, LoopOrder.CHANNELS), DotIsa.GENERIC)
    assert not is_native(one_bit, TILE, DotIsa.AVX512_VNNI)


def test_a_reduction_that_can_overflow_is_refused() -> None:
    deep = Workload(Op.DENSE, 1, 1, 1, 1 << 17, 16)
    with pytest.raises(CompilerError, match="can leave 32 bits"):
        lower(spec(DType.UINT8, deep), DotConfig(1, 1, 1, LoopOrder.IMAGES), DotIsa.AVX512_VNNI)


def test_a_config_of_another_template_is_refused() -> None:
    with pytest.raises(InvalidConfig, match="it wants a DotConfig"):
        lower(spec(DType.UINT8), VectorConfig(1), DotIsa.AVX512_VNNI)


def test_a_machine_without_templates_is_refused() -> None:
    with pytest.raises(CompilerError, match="riscv64"):
        CpuTarget(DotIsa.GENERIC, "riscv64").llvm()
