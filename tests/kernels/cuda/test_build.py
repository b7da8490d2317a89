"""Artifacts of CUDA kernels: what is refused although it compiles."""

from __future__ import annotations

from dataclasses import replace

import pytest

from profiler.artifact import Launch
from profiler.errors import CompilerError
from profiler.hardware import GPUS
from profiler.kernels.cuda.build import _resources, build
from profiler.kernels.cuda.cubin import Cubin
from profiler.kernels.cuda.lower import lower
from profiler.kernels.cuda.sass import parse
from profiler.space.config import MmaConfig
from profiler.space.gpu import default_config
from profiler.workload import DType, Epilogue, KernelSpec, Op, Workload
from tests.kernels.cuda.tools import require

pytestmark = pytest.mark.compile

CONV = Workload(Op.CONV2D, 1, 8, 8, 64, 32, 3, 3, 1, 1, 1, 1, 1, 1)
INT4 = KernelSpec(CONV, DType.UINT4, DType.UINT4, DType.INT4, epilogue=Epilogue.REQUANT_RELU)
INT8 = KernelSpec(CONV, DType.UINT8, DType.UINT8, DType.INT8, epilogue=Epilogue.REQUANT_RELU)
BINARY = KernelSpec(CONV, DType.UINT1, DType.UINT1, DType.INT1, epilogue=Epilogue.REQUANT_RELU)
MMA = MmaConfig(64, 32, 8, 32, 32, 1, 16)


NARROW_GROUPS = Workload(Op.CONV2D, 1, 8, 8, 6, 6, 3, 3, groups=3)
DEPTHWISE = Workload(Op.CONV2D, 1, 8, 8, 32, 32, 3, 3, groups=32)


@pytest.mark.parametrize(
    ("spec", "gpu", "native"),
    [
        (INT8, "t4", True),
        (INT8, "h200", True),
        (INT4, "t4", True),
        (INT4, "a100", True),
        (INT4, "h200", False),
        (BINARY, "t4", True),
        (BINARY, "h200", True),
        (replace(BINARY, input_dtype=DType.UINT4), "t4", True),  # one-bit weights in nibbles
        (replace(BINARY, input_dtype=DType.UINT4), "h200", False),
        (replace(INT8, workload=DEPTHWISE), "t4", True),  # dp4a
        (replace(INT4, workload=DEPTHWISE), "t4", False),
        (replace(INT4, workload=NARROW_GROUPS), "t4", False),
        (KernelSpec(Workload(Op.MAX_POOL, 1, 8, 8, 4, 4, 2, 2), DType.UINT4, DType.UINT4), "h200", True),
    ],
)
def test_native_is_what_the_machine_code_multiplies(spec: KernelSpec, gpu: str, native: bool) -> None:
    assert build(spec, default_config(spec, GPUS[gpu]), GPUS[gpu], require("12", gpu)).native == native


def test_int4_that_the_compiler_emulates_is_refused_where_it_should_be_native() -> None:
    tools = require("12", "h200")
    h200 = GPUS["h200"]
    believed = replace(h200, int4_macs_per_tensor_core=2048, int4_peak_ops=2 * h200.int8_peak_ops)
    assert build(INT4, default_config(INT4, h200), h200, tools).native is False
    with pytest.raises(CompilerError, match="emulates INT4 on sm_90, which has it"):
        build(INT4, default_config(INT4, believed), believed, tools)


def test_xor_that_hopper_emulates_is_seen_by_what_it_calls() -> None:
    """Why kernels of sm_90 count shared bits: ptxas makes two of those, in a routine, of one that counts others."""
    h200, tools = GPUS["h200"], require("12", "h200")
    config = default_config(BINARY, h200)
    source = lower(BINARY, config, h200).source
    found = {}
    for operation in ("and", "xor"):
        cubin = tools.compiler.compile(source.replace("_and((&", f"_{operation}((&"), "sm_90")
        found[operation] = tools.disassembler.listing(cubin.code).count_main_loop("lowbit_kernel")
    assert "CALL" not in found["and"]
    assert found["xor"]["CALL"] == found["and"]["BMMA.168256.AND.POPC"]
    assert found["xor"]["BMMA.168256.AND.POPC"] == 2 * found["and"]["BMMA.168256.AND.POPC"]


def test_a_card_behind_hopper_has_no_binary_instruction() -> None:
    """ptxas makes 8-bit ones of it: the artifact says so, and a card that is believed to have it refuses."""
    tools = require("12", "h200")
    blackwell = replace(GPUS["h200"], slug="b", arch="sm_100", binary_macs_per_tensor_core=0)
    config = default_config(BINARY, blackwell)
    assert build(BINARY, config, blackwell, tools).native is False
    with pytest.raises(CompilerError, match="emulates binary on sm_100, which has it"):
        build(BINARY, config, replace(blackwell, binary_macs_per_tensor_core=4096), tools)


def test_a_block_that_fits_no_sm_is_refused() -> None:
    log = "Compiling entry function 'k' for 'sm_75'\nptxas info    : Used {} registers, 1024 bytes smem"
    header = b"\x7fELF\x02\x01\x01\x33\x07" + bytes(64)
    listing = parse("k:\n        /*0000*/                   EXIT ;\n")
    launch = Launch((1, 1, 1), 512, 2048)
    fits = _resources(GPUS["t4"], "k", launch, Cubin(header, log.format(128)), listing)
    assert (fits.blocks_per_sm, fits.occupancy, fits.shared_bytes) == (1, 0.5, 3072)
    with pytest.raises(CompilerError, match=r"^a block of 512 threads with 255 registers each and 3072 bytes"):
        _resources(GPUS["t4"], "k", launch, Cubin(header, log.format(255)), listing)
