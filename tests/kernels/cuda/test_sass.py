"""Machine code as it is read: instructions by class, loops, called routines; from text, and from real cubins."""

from __future__ import annotations

from pathlib import Path

import pytest

from profiler.errors import CompilerError
from profiler.kernels.cuda.nvdisasm import Disassembler
from profiler.kernels.cuda.sass import (
    DIVISION,
    Counts,
    Instruction,
    divisions,
    most_frequent_tensor_core,
    multiplies,
    parse,
    tensor_core,
)
from profiler.kernels.toolchain import ToolchainError
from tests.kernels.cuda.tools import CHOICES, kernel, require

MMA_LOOP = """
int c[2] = {0, 0}, e[2] = {0, 0};
#pragma unroll 1
for (int i = 0; i < n; ++i) {
  #pragma unroll
  for (int j = 0; j < 4; ++j) { mma_u4(c, x[8 * i + j], x[i]); mma_s8(e, x[8 * i + j], x[i + j]); }
}
y[threadIdx.x] = c[0] + c[1]; y[64 + threadIdx.x] = (e[0] + e[1]) / d;
"""
LOADS = """
const char* p = (const char*)x + threadIdx.x * 16;
y[0] = *p; y[1] = *(const short*)(p + 1024); y[2] = *(const int*)(p + 2048);
y[3] = ((const int2*)(p + 3072))->y + ((const int2*)(p + 3072))->x;
int4 v = *(const int4*)(p + 8192);
y[4] = __dp4a(v.x, v.y, __dp4a(v.z, v.w, n));
*(int4*)(y + 8) = v; *(char*)(y + 16) = n;
"""


@pytest.mark.parametrize(
    ("opcode", "kind"),
    [
        ("IMMA.8832.U4.S4.SAT", "IMMA.8832.U4.S4"),
        ("IMMA.8816.S8.S8", "IMMA.8816.S8.S8"),
        ("IMMA.16864.S4.S4", "IMMA.16864.S4.S4"),
        ("BMMA.88128.XOR.POPC", "BMMA.88128.XOR.POPC"),
        ("BMMA.168256.AND.POPC", "BMMA.168256.AND.POPC"),
        ("LDG.E.128.CONSTANT.SYS", "LDG.128"),
        ("LDG.E.LTC128B.64", "LDG.64"),
        ("LDG.E.SYS", "LDG.32"),
        ("LDG.E.U8.CONSTANT.SYS", "LDG.8"),
        ("STS.U16", "STS.16"),
        ("LDS.U.128", "LDS.128"),
        ("LDSM.16.M88.4", "LDSM"),
        ("LDGSTS.E.BYPASS.128", "LDGSTS"),
        ("MUFU.RCP", "MUFU.RCP"),
        ("I2F.U32.RP", "I2F"),
        ("IDP.4A.S8.S8", "IDP"),
        ("BAR.SYNC.DEFER_BLOCKING", "BAR"),
        ("IMAD.WIDE.U32", "IMAD"),
        ("EXIT", "EXIT"),
    ],
)
def test_classes(opcode: str, kind: str) -> None:
    assert Instruction(0, opcode).kind == kind


def listing_text(lines: list[str]) -> str:
    """As nvdisasm prints it: labels end with a colon, everything else is an instruction."""
    text, address = ['\t.headerflags\t@"EF_CUDA_SM75"', '\t.section\t.text.k,"ax",@progbits'], 0
    for line in lines:
        if line.endswith(":"):
            text.append(line)
        else:
            guard, _, rest = line.rpartition("| ")
            text.append(f"        /*{address:04x}*/         {guard:>8} {rest} ;")
            address += 16
    return "\n".join(text)


MMA = "IMMA.8816.S8.S8 R0, R4.ROW, R6.COL, R0"


def loop_counts(lines: list[str]) -> Counts:
    return parse(listing_text(["k:", ".text.k:", *lines, "EXIT"])).count_main_loop("k")


def test_the_innermost_loop_with_tensor_cores() -> None:
    inner = [".L_2:", MMA, MMA, "BAR.SYNC 0x0", "@P0| BRA `(.L_2)"]
    fill = [".L_1:", "STS.128 [R1], R4", "@!P3| BRA `(.L_1)"]
    tail = [".L_9:", MMA, "@UP0| BRA.U UP0, `(.L_9)"]
    lines = [".L_0:", "LDG.E.128.SYS R4, [R2]", *fill, *inner, MMA, "@P1| BRA `(.L_0)", *tail]
    assert loop_counts(lines) == {"IMMA.8816.S8.S8": 2, "BAR": 1, "BRA": 1}
    whole = parse(listing_text(["k:", *lines, "EXIT"])).count("k")
    assert whole == {"LDG.128": 1, "STS.128": 1, "IMMA.8816.S8.S8": 4, "BAR": 1, "BRA": 4, "EXIT": 1}


def test_a_loop_with_two_ways_back_is_one() -> None:
    lines = [".L_0:", MMA, "@P0| BRA `(.L_0)", MMA, "LDSM.16.M88.4 R4, [R3]", "BRA `(.L_0)"]
    assert loop_counts(lines) == {"IMMA.8816.S8.S8": 2, "LDSM": 1, "BRA": 2}


def test_without_a_loop_of_its_own_it_is_the_whole_kernel() -> None:
    lines = [".L_0:", "LDG.E.SYS R4, [R2]", "@P0| BRA `(.L_0)", MMA, "@P1| BRA `(.L_7)", "BAR.SYNC 0x0", ".L_7:"]
    assert loop_counts(lines) == {"LDG.32": 1, "BRA": 2, "IMMA.8816.S8.S8": 1, "BAR": 1, "EXIT": 1}


def test_called_routines_count_at_every_call_and_padding_never() -> None:
    routine = ["$__internal_0_$helper:", MMA, "SHF.L.U32 R1, R1, 0x4, RZ", "RET.REL.NODEC R20 `(k)"]
    padding = [".L_8:", "BRA `(.L_8)", "NOP", "NOP"]
    call = "CALL.REL.NOINC `($__internal_0_$helper)"
    text = listing_text(["k:", ".L_0:", call, call, "@P0| BRA `(.L_0)", call, "EXIT", *routine, *padding])
    assert parse(text).count_main_loop("k") == {"CALL": 2, "IMMA.8816.S8.S8": 2, "SHF": 2, "RET": 2, "BRA": 1}
    assert parse(text).count("k")["IMMA.8816.S8.S8"] == 3
    assert "NOP" not in parse(text).count("k")


def test_a_call_of_a_place_in_the_kernel_is_a_jump() -> None:
    lines = [".L_0:", MMA, "@P1| CALL.REL.NOINC `(.L_5)", "@P0| CALL.REL.NOINC `(.L_0)", "BAR.SYNC 0x0", ".L_5:"]
    assert loop_counts(lines) == {"IMMA.8816.S8.S8": 1, "BRA": 2}


def test_another_kernel_is_an_error() -> None:
    with pytest.raises(CompilerError, match="the cubin has no kernel 'other'; it has k"):
        parse(listing_text(["k:", "EXIT"])).count("other")
    with pytest.raises(CompilerError, match="it has none"):
        parse("").count("k")


def test_what_counts_show() -> None:
    counts = {"IMMA.8816.U8.S8": 2, "IMMA.8832.U4.S4": 16, "IMAD": 40, "MUFU.RCP": 3, "MUFU.EX2": 1, "I2F": 6, "F2I": 3}
    assert tensor_core(counts) == 18
    assert most_frequent_tensor_core(counts) == ("IMMA.8832.U4.S4", 16)
    assert divisions(counts) == 3
    assert multiplies(counts, 8)
    assert multiplies(counts, 4)
    assert not multiplies({"IMMA.8816.U8.S8": 2, "IDP": 3}, 4)
    assert multiplies({"IDP": 3}, 8)
    assert multiplies({"BMMA.168256.AND.POPC": 1}, 1)
    assert not multiplies({"BMMA.168256.AND.POPC": 1}, 8)
    assert not multiplies(counts, 1)
    assert tensor_core({**counts, "BMMA.88128.XOR.POPC": 5}) == 23
    assert not multiplies({"IMAD": 40}, 8)
    others = {"IMAD": 40, "IMMAGE": 1}
    assert (tensor_core(others), most_frequent_tensor_core(others), divisions(others)) == (0, ("", 0), 0)
    assert most_frequent_tensor_core({"IGMMA.64x8x32.S8.S8": 4}) == ("IGMMA.64x8x32.S8.S8", 4)


def counts_of(cuda: str, source: str, arch: str = "sm_75") -> tuple[Counts, Counts]:
    """Of the whole kernel and of its main loop."""
    tools = require(cuda)
    listing = tools.disassembler.listing(tools.compiler.compile(source, arch).code)
    return listing.count("k"), listing.count_main_loop("k")


@pytest.mark.compile
@pytest.mark.parametrize("cuda", CHOICES)
def test_the_main_loop_of_real_code(cuda: str) -> None:
    whole, loop = counts_of(cuda, kernel(MMA_LOOP))
    assert (loop["IMMA.8832.U4.S4"], loop["IMMA.8816.S8.S8"]) == (4, 4)
    assert tensor_core(loop) == tensor_core(whole) == 8
    assert multiplies(loop, 4)
    assert "STG.32" in whole
    assert "STG.32" not in loop
    assert whole["MUFU.RCP"] == 1, "the division by d"
    assert not any(loop.get(kind) for kind in (*DIVISION, "CALL"))


@pytest.mark.compile
def test_a_division_in_the_main_loop_is_seen() -> None:
    for type_, divisor, count in (("int", "d + i", 1), ("long long", "(long long)d * n + i", 2)):
        body = MMA_LOOP.replace("x[i])", f"x[({type_})(1000000 + n) / ({divisor})])")
        _, loop = counts_of("12", kernel(body))
        assert tensor_core(loop)
        assert divisions(loop) == count, type_


@pytest.mark.compile
@pytest.mark.parametrize("cuda", CHOICES)
def test_emulated_int4_shows(cuda: str) -> None:
    whole, loop = counts_of(cuda, kernel(MMA_LOOP), "sm_90")
    assert not multiplies(whole, 4)
    assert loop["IMMA.8816.S8.S8"] == 4
    assert loop["IMMA.8816.U8.S8"] == 8, "two for each 4-bit one, in a routine that is called"
    assert loop["CALL"] == 4


@pytest.mark.compile
@pytest.mark.parametrize("cuda", CHOICES)
@pytest.mark.parametrize("arch", ["sm_75", "sm_80", "sm_90"])
def test_widths_of_loads_and_stores(cuda: str, arch: str) -> None:
    whole, _ = counts_of(cuda, kernel(LOADS), arch)
    widths = {kind: n for kind, n in whole.items() if kind.startswith(("LDG", "STG"))}
    loads = {f"LDG.{bits}": 1 for bits in (8, 16, 32, 64, 128)}
    assert widths == {**loads, "STG.32": 5, "STG.128": 1, "STG.8": 1}
    assert whole["IDP"] == 2


@pytest.mark.compile
def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    tools = require("12")
    code = tools.compiler.compile(kernel("y[0] = n;"), "sm_75").code
    for damaged in (b"", code[:100], b"\x7fELF" + bytes(200)):
        with pytest.raises(ToolchainError, match=r"^[^\n]*nvdisasm fails: [^\n]*$"):
            tools.disassembler.listing(damaged)
    with pytest.raises(ToolchainError, match=r"cannot be started: No such file or directory; install it again: pip"):
        Disassembler(tmp_path / "nvdisasm", "13").listing(code)
